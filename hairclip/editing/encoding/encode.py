"""Encode a folder of photos: find the face of each, align it, invert it, and write all codes to one file.

A photo's code depends on no other photo, to the last bit: the networks always see batches of one size. So the file is
the same whether one process makes it, or several, or a run that was killed and started again.
"""

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hairclip.common.distributed import Stopped, World
from hairclip.common.errors import HairclipError, check_range
from hairclip.common.files import digest, open_regular
from hairclip.common.images import save_image
from hairclip.common.progress import progress_bar
from hairclip.editing.encoding.journal import Journal, Record, check_recipe, stamp
from hairclip.editing.encoding.photo_tree import PhotoTree, find_photos
from hairclip.editing.inversion.invert import Inversion
from hairclip.editing.options import InversionOptions
from hairclip.editing.photo.faces import FaceChoice, as_choice
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.pretrained.latent_files import map_latents, read_about, read_labels, save_latent_blocks
from hairclip.pretrained.weight_files import is_safetensors, write_torch

__all__ = ["EncodeReport", "EncodeSettings", "default_batch_size", "encode_folder", "split_of"]

_FORMAT = 1
"""Part of the recipe. Raise it when the same photos and settings give other codes than before."""
_BLOCK = 64  # codes that are copied at once
_SHARES = {"val": 0.05, "test": 0.05}
"""Split -> share of the photos; the rest is "train"."""
_MOST_TOGETHER = 8
"""Faces that the networks see at once, where the memory suffices."""
_PIXELS_TOGETHER = 2**21
"""Pixels of all pictures that the networks see at once on a CPU."""
_DIGITS = 16  # of a photo's digest


@dataclass(frozen=True)
class EncodeSettings:
    """How the photos of a folder are encoded.

    Attributes:
        inverting: how faces are inverted; "pivotal" is refused.
        face: which face of a photo; "all" is refused.
        aligned: whether the pictures are already cropped to the face, and square.
    """

    inverting: InversionOptions = field(default_factory=InversionOptions)
    face: FaceChoice = "largest"
    aligned: bool = False

    def __post_init__(self) -> None:
        if self.inverting.inversion == "pivotal":
            raise HairclipError(
                'inversion="pivotal" tunes the generator to each photo, and codes alone do not hold that: choose '
                "encoder or optimize."
            )
        if as_choice(self.face) == "all":
            raise HairclipError('face="all": a photo gets one code: choose largest, left, right or a number.')


@dataclass
class EncodeReport:
    """What became of the photos of a folder.

    Attributes:
        found: number of photos.
        before: number of photos that earlier runs had encoded.
        shape: number of codes in the file, `n_latent`, `w_dim`.
        splits: name of a split -> number of its codes.
        failed: name of a photo or folder -> why it has no code, one sentence.
        notes: name of a photo -> what the person should know of it, one sentence each.
        poor: names of the photos whose inversion shows another person by the limits of the networks.
        left_out: one sentence for each folder that was not searched.
    """

    found: int = 0
    before: int = 0
    shape: tuple[int, int, int] = (0, 0, 0)
    splits: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    poor: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def split_of(name: str) -> str:
    """Return the split of a photo, "train", "val" or "test", by a hash of its name.

    A photo stays in its split when others are added or removed.
    """
    number = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64
    for split, share in _SHARES.items():
        if number < share:
            return split
        number -= share
    return "train"


def default_batch_size(size: int, device: str) -> int:
    """Return the number of faces that networks of `size` pixels see at once.

    Args:
        size: height of the generator's pictures.
        device: type of the device. A CPU gets so many that encoding takes less than 6 GB of memory at 1024 px.
    """
    return _MOST_TOGETHER if device == "cuda" else max(1, min(_MOST_TOGETHER, _PIXELS_TOGETHER // size**2))


def encode_folder(
    editor: PhotoEditor,
    folder: Path,
    out: Path,
    settings: EncodeSettings | None = None,
    *,
    crops: Path | None = None,
    batch_size: int | None = None,
    workers: int = 1,
    world: World | None = None,
    progress: bool = False,
) -> EncodeReport:
    """Encode every photo of a folder and of its folders into one file. A second run encodes only what is new.

    Until the file is written, codes are kept in the folder `OUT.parts` beside it.

    Args:
        editor: finds faces and inverts them, in the precision of its `HairEditor`. Codes are float32 in any case.
        folder: where the photos are.
        out: the file to write. With ".safetensors" it holds codes, names, splits and how they were made; with ".pt" one
            tensor (N, n_latent, w_dim) in the order of the names, as the official code reads it.
        settings: how the photos are encoded.
        crops: folder for the aligned faces, named like the photos; None writes none.
        batch_size: number of faces that the networks always see at once. None takes `default_batch_size`.
        workers: number of threads that read photos and find faces.
        world: this process among those that share the photos; None for one process. Process 0 writes the file.
        progress: show how far the work has come and how long it will take.

    Returns:
        The report, in every process. It names the photos that have no code.

    Raises:
        HairclipError: if the folder holds no photo, a file cannot be written, or codes are there that were made
            otherwise.
    """
    settings = settings or EncodeSettings()
    world = world or World(0, 1, editor.editor.device)
    if batch_size is None:
        batch_size = default_batch_size(editor.editor.networks.generator.size, editor.editor.device.type)
    check_range("batch_size", batch_size, 1)
    check_range("workers", workers, 1)
    _check_places(folder, out, crops)
    tree = _tell_tree(world, folder)
    if crops is not None:
        _check_crops(tree.names)
    recipe, generator = _describe_recipe(editor, settings), editor.editor.networks.generator
    with Journal(out, (generator.n_latent, generator.w_dim), recipe) as journal:
        _resume(journal, out)
        world.wait()  # every process reads what is there before any adds to it
        run = _Run(editor, tree, settings, journal, crops, batch_size, workers, world)
        run.encode(progress)
        journal.close()
        before = int(world.total(torch.tensor(run.before)))  # every process waits here for the others
        report = _finish(run, out, before) if world.is_main else EncodeReport()
    return world.tell(report)


# ------------------------------------------------------------------------------------------ before the work


def _check_places(folder: Path, out: Path, crops: Path | None) -> None:
    """Refuse places where nothing can be written, or where the photos would be disturbed."""
    if out.suffix not in (".safetensors", ".pt"):
        raise HairclipError(f"{out} does not say its format: end it in .safetensors, or in .pt for the official code.")
    if out.is_dir():
        raise HairclipError(f"{out} is a folder: give a file to write.")
    photos = folder.resolve()
    if photos in out.resolve().parents:
        raise HairclipError(f"{out} lies in the folder of the photos, {folder}: choose a place outside.")
    _make_folder(out.parent, out)
    if crops is None:
        return
    place = crops.resolve()
    if place == photos or photos in place.parents or place in photos.parents:
        raise HairclipError(f"crops in {crops} would mix with the photos in {folder}: choose a folder apart from it.")
    _make_folder(crops, crops)


def _make_folder(folder: Path, written: Path) -> None:
    """Make a folder, and refuse one that cannot be written; `written` is what goes there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(folder, os.W_OK) else "no permission"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason is not None:
        raise HairclipError(f"cannot write {written} ({reason}): choose another place.")


def _tell_tree(world: World, folder: Path) -> PhotoTree:
    """Return the photos that process 0 finds; a folder may change while processes start."""
    found: PhotoTree | HairclipError = HairclipError("process 0 found nothing")
    if world.is_main:
        try:
            found = find_photos(folder)
        except HairclipError as error:
            found = error
    found = world.tell(found)
    if isinstance(found, HairclipError):
        raise found
    return found


def _crop_name(name: str) -> str:
    """Return the file name of a photo's crop: its own for PNG, else with .png added."""
    return name if name.endswith(".png") else f"{name}.png"


def _check_crops(names: Sequence[str]) -> None:
    """Refuse two photos whose crops would have one name."""
    taken: dict[str, str] = {}
    for name in names:
        other = taken.setdefault(_crop_name(name), name)
        if other != name:
            raise HairclipError(f"the crops of {other} and {name} would both be {_crop_name(name)}: rename one photo.")


def _describe_recipe(editor: PhotoEditor, settings: EncodeSettings) -> dict[str, Any]:
    """Return everything that codes follow from except the photos, fit for JSON."""
    networks, inverting = editor.editor.networks, settings.inverting
    is_descent = inverting.inversion != "encoder"
    require = getattr(networks, "require", None)
    if require is not None:
        require(("generator", "encoder", *(["parser"] if is_descent or networks.plain_background else [])))
    source = str(getattr(networks, "parts", {}).get("encoder", type(networks.encoder).__name__))
    recipe: dict[str, Any] = {
        "format": _FORMAT,
        "framing": asdict(editor.framing),
        "aligned": settings.aligned,
        "face": settings.face,
        "precision": "float32" if is_descent else editor.editor.precision,
        "inversion": inverting.inversion,
        "encoder": Path(source).name if os.path.exists(source) else source,
        "encoder_digest": digest(networks.encoder),
        "generator_digest": digest(networks.generator),
        "plain_background": networks.plain_background,
    }
    if is_descent or networks.plain_background:
        recipe["parser_digest"] = digest(networks.parser)
    if is_descent:
        recipe["inversion_steps"] = inverting.inversion_steps
        recipe["identity_digest"] = digest(editor.editor.identity)
    return recipe


def _resume(journal: Journal, out: Path) -> None:
    """Read what earlier runs did: their journal, and the file that they wrote."""
    written = _read_written(journal, out)
    journal.begin()
    journal.read()
    if written is not None:
        journal.adopt(*written)


def _read_written(journal: Journal, out: Path) -> tuple[list[tuple[str, Record]], Tensor] | None:
    """Return names, records and codes of the file that an earlier run wrote, None where there is none.

    Raises:
        HairclipError: if there is another file.
    """
    if not out.exists():
        return None
    labels = read_labels(out) if is_safetensors(out) else None
    if labels is None or not {"name", "photo"} <= set(labels):
        if journal.exists:  # a kill came between the writing of a .pt file and the end of the journal
            return None
        raise HairclipError(f"{out} is there already and names no photos: remove it, or choose another file to write.")
    check_recipe(read_about(out), journal.recipe, str(out))
    columns = [labels.get(key) or [None] * len(labels["name"]) for key in ("name", "photo", "psnr", "identity")]
    records = [
        (name, Record(photo, psnr=psnr, identity=same, row=row))
        for row, (name, photo, psnr, same) in enumerate(zip(*columns, strict=True))
    ]
    return records, map_latents(out)


# ------------------------------------------------------------------------------------------ the work


@dataclass(frozen=True)
class _Cut:
    """A photo whose face is cut out, or that failed, or that an earlier run encoded.

    Attributes:
        name: its name in the tree.
        record: what to write down of it.
        crop: the picture of its face, where it must be inverted.
        code: its code, where that is known, (n_latent, w_dim).
    """

    name: str
    record: Record
    crop: Image.Image | None = None
    code: Tensor | None = None


class _Run:
    """One process's pass over its part of the photos. A photo that fails stops nothing.

    Attributes:
        before: number of photos in this part that earlier runs had encoded.
    """

    def __init__(
        self,
        editor: PhotoEditor,
        tree: PhotoTree,
        settings: EncodeSettings,
        journal: Journal,
        crops: Path | None,
        batch_size: int,
        workers: int,
        world: World,
    ) -> None:
        self.editor, self.tree, self.settings, self.journal = editor, tree, settings, journal
        self.crops, self.batch_size, self.workers, self.world = crops, batch_size, workers, world
        self.before = 0

    def encode(self, progress: bool) -> None:
        """Encode what is left of this process's part."""
        mine = self.tree.names[self.world.rank :: self.world.size]
        left = []
        for name in mine:
            known = self.find(name)
            if known is None:
                left.append(name)
            elif known.failed is None:
                self.before += 1
        with progress_bar(
            total=len(mine),
            initial=len(mine) - len(left),
            label="photos" if self.world.size == 1 else f"photos of process 1 of {self.world.size}",
            unit="photo",
            show=progress and self.world.is_main,
            log_every=60,
        ) as bar:
            batch: list[tuple[_Cut, Image.Image]] = []
            for cut in self._cut_ahead(left):
                if self.world.is_orphan:
                    raise Stopped("the end of torchrun", 1)
                if cut.crop is None:
                    self.before += cut.code is not None
                    self.journal.add([(cut.name, cut.record, cut.code)])
                else:
                    batch.append((cut, cut.crop))
                if len(batch) == self.batch_size:
                    self._invert(batch)
                    batch = []
                bar.update()
            if batch:
                self._invert(batch)

    def find(self, name: str, content: str | None = None) -> Record | None:
        """Return what is written down of a photo in its present state, None where it must be encoded.

        Args:
            name: the photo's name.
            content: digest of its content; None trusts the size and time of its file.
        """
        record = self.journal.find(name, self.tree.folder / name, content)
        if record is None or record.failed is not None or self.crops is None:
            return record
        return record if (self.crops / _crop_name(name)).is_file() else None

    def _cut_ahead(self, names: Sequence[str]) -> Iterator[_Cut]:
        """Yield photos with their faces cut out, in order. Threads prepare a few photos ahead."""
        if not self.settings.aligned and names:
            self.editor.finder.load()
        waiting: deque[Future[_Cut]] = deque()
        pool = ThreadPoolExecutor(self.workers)
        try:
            for name in names:
                waiting.append(pool.submit(self._cut, name))
                if len(waiting) > 2 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _cut(self, name: str) -> _Cut:
        """Return a photo with its face cut out, or why that failed, or what an earlier run made of it."""
        path, photo = self.tree.folder / name, ""
        state = stamp(path)
        try:
            open_regular(path, "image").close()  # to read a pipe would never end
            photo = digest(path)[:_DIGITS]
            known = self.find(name, photo)
            if known is not None:
                code = None if known.failed is not None else self.journal.read_code(known)
                return _Cut(name, replace(known, stamp=state), code=code)
            cut = self.editor.cut(path, face=self.settings.face, aligned=self.settings.aligned)
            cut = self.editor.keep_editable(cut)
            (crop,) = cut.crop(self.editor.editor.networks.generator.size)
            if crop.width != crop.height:
                raise HairclipError(
                    f"{path} is {crop.width} x {crop.height}, but an aligned face is square: leave out aligned=True."
                )
            return _Cut(name, Record(photo, state, notes=tuple(cut.notes)), crop=crop)
        except torch.OutOfMemoryError:
            raise
        except HairclipError as error:
            told = str(error)
        except OSError as error:
            told = f"{path} cannot be read ({error.strerror or error}): check the file."
        except Exception as error:  # a damaged photo may raise anything, and costs no other photo its code
            told = f"{type(error).__name__}: {error}"
        return _Cut(name, Record(photo, state, failed=told))

    def _invert(self, batch: Sequence[tuple[_Cut, Image.Image]]) -> None:
        """Invert faces, and write their crops and codes."""
        inversion = self._find_codes([crop for _, crop in batch])
        codes = inversion.w_plus.float().cpu()
        rows: list[tuple[str, Record, Tensor | None]] = []
        for i, (cut, crop) in enumerate(batch):
            if not bool(codes[i].isfinite().all()):
                told = f"the codes of {self.tree.folder / cut.name} are not finite: leave the photo out."
                rows.append((cut.name, replace(cut.record, failed=told), None))
                continue
            identity = None if inversion.identity is None else round(float(inversion.identity[i]), 3)
            record = replace(cut.record, psnr=round(float(inversion.psnr[i]), 2), identity=identity)
            if self.crops is not None:
                size = self.editor.editor.networks.generator.size
                small = crop if crop.width == size else crop.resize((size, size), Image.Resampling.LANCZOS)
                save_image(small, self.crops / _crop_name(cut.name))
            rows.append((cut.name, record, codes[i]))
        self.journal.add(rows)

    def _find_codes(self, crops: Sequence[Image.Image]) -> Inversion:
        """Return the inversion of crops."""
        try:
            return self.editor.editor.invert(crops, self.settings.inverting, batch_size=self.batch_size)
        except torch.OutOfMemoryError:
            raise HairclipError(
                f"the faces of a batch do not fit the memory of {self.editor.editor.device}: give less than "
                f"batch_size={self.batch_size}; what is encoded stays."
            ) from None


# ------------------------------------------------------------------------------------------ after the work


def _finish(run: _Run, out: Path, before: int) -> EncodeReport:
    """Write the file of all codes, remove the journal, and return the report."""
    tree, journal = run.tree, run.journal
    journal.read()
    report = EncodeReport(len(tree.names), before, failed=dict(tree.unreadable), left_out=tree.left_out)
    limits = run.editor.editor.networks.inversion_limits[run.settings.inverting.inversion]
    done: dict[str, Record] = {}
    for name in tree.names:
        record = run.find(name)
        if record is None:
            report.failed[name] = f"{tree.folder / name} changed while the folder was encoded: start again."
            continue
        if record.notes:
            report.notes[name] = list(record.notes)
        if record.failed is not None:
            report.failed[name] = record.failed
            continue
        done[name] = record
        same, psnr = record.identity, record.psnr
        if same is not None and psnr is not None and not (same >= limits.identity and psnr >= limits.psnr):
            report.poor.append(name)
    if done:
        report.shape = (len(done), *journal.shape)
        report.splits = _write(journal, out, done)
    journal.remove()
    return report


def _write(journal: Journal, out: Path, done: Mapping[str, Record]) -> dict[str, int]:
    """Write the codes of photos in the order of their names; return the number of codes in each split."""
    records = list(done.values())
    splits = [split_of(name) for name in done]
    labels: dict[str, list[Any]] = {"name": list(done), "split": splits, "photo": [one.photo for one in records]}
    labels |= {"psnr": [one.psnr for one in records], "identity": [one.identity for one in records]}
    blocks = (
        torch.stack([journal.read_code(record) for record in records[first : first + _BLOCK]])
        for first in range(0, len(records), _BLOCK)
    )
    shape = (len(records), *journal.shape)
    if out.suffix == ".pt":  # torch writes whole tensors, so it gets one that is mapped from a file
        mapped = journal.folder / "all.safetensors"
        save_latent_blocks(mapped, blocks, shape)
        write_torch(out, map_latents(mapped))
    else:
        save_latent_blocks(out, blocks, shape, labels, journal.recipe)
    return {split: splits.count(split) for split in ("train", *_SHARES)}

"""Edit a folder of photos: in batches, past bad ones, and on from where an earlier run stopped."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hairclip.common.errors import HairclipError
from hairclip.common.image_files import PICTURE_SUFFIXES
from hairclip.common.progress import progress_bar
from hairclip.editing.photo.faces import FaceChoice
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.editing.photo_result import Ask, CutPhoto, PhotoResult

__all__ = ["FolderReport", "Job", "edit_folder", "photos_in"]

MANIFEST = "edits.json"
MOST_PIXELS = 64_000_000
"""Photos of a batch have no more together: they are all in memory at once."""


@dataclass(frozen=True)
class Job:
    """One edit of every photo."""

    ask: Ask
    suffix: str
    """What its files' names get before the suffix of the format, such as "_1_red_bob_cut"; empty for none."""
    key: str
    """Tells jobs of other wishes or settings apart: what it was done with."""


@dataclass
class FolderReport:
    """What became of the photos of a folder."""

    found: int
    """Photos that the folder has."""
    written: list[Path] = field(default_factory=list)
    skipped: int = 0
    """Photos that an earlier run had done."""
    failed: dict[str, str] = field(default_factory=dict)
    """File name -> why, one sentence."""
    notes: list[str] = field(default_factory=list)


class Manifest:
    """What a folder of edits holds: file name -> the key of what it was made from. Written after each photo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: dict[str, str] = {}
        try:
            self.done = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["done"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HairclipError(
                f"{folder / MANIFEST} is damaged ({error}): remove it, and all photos are edited anew."
            ) from None

    def has(self, name: str, key: str) -> bool:
        """Whether that file is there and was made from this."""
        return self.done.get(name) == key and (self.folder / name).is_file()

    def add(self, name: str, key: str) -> None:
        """Note a file that has been written."""
        self.done[name] = key
        partial = self.folder / f".{MANIFEST}.partial"
        partial.write_text(json.dumps({"done": self.done}, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.folder / MANIFEST)


def photos_in(folder: Path) -> list[Path]:
    """The picture files of a folder by name, without those of its folders.

    Raises:
        HairclipError: if it has none.
    """
    files = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
    files = sorted(path for path in files if not path.name.startswith("."))
    if not files:
        raise HairclipError(f"there is no picture in the folder {folder}: give one of JPEG, PNG or WebP files.")
    return files


def edit_folder(
    editor: PhotoEditor,
    folder: Path,
    out: Path,
    jobs: Sequence[Job],
    *,
    face: FaceChoice = "largest",
    aligned: bool = False,
    inverting: Mapping[str, Any] | None = None,
    editing: Mapping[str, Any] | None = None,
    batch_size: int = 8,
    progress: bool = True,
    look: Callable[[Path, Job, PhotoResult], None] | None = None,
) -> FolderReport:
    """Edit every photo of a folder.

    Args:
        editor: edits them.
        folder: where they are.
        out: where edits go, named like the photos; another folder.
        jobs: what to do with each.
        face: which faces.
        aligned: the pictures are crops of faces.
        inverting: options of `HairEditor.prepare`.
        editing: options of `HairEditor.edit_prepared`.
        batch_size: faces that go through the networks together.
        progress: show a progress bar, where there is a terminal.
        look: called with each photo's path, job and result, once it is written.

    Returns:
        What became of them. A photo that cannot be read or edited is named there, and the others are edited all the
        same.

    Raises:
        HairclipError: if the folder has no pictures, or `out` is the same folder or cannot be written.
    """
    files = photos_in(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HairclipError(f"cannot make the folder {out} ({error.strerror}): choose another place.") from None
    if out.resolve() == folder.resolve():
        raise HairclipError(f"edits would replace the photos in {folder}: give another folder as --out.")
    report, manifest = FolderReport(len(files)), Manifest(out)
    names = _output_names(files)
    with progress_bar(total=len(files), label="photos", show=progress) as bar:
        batch: list[tuple[Path, str, CutPhoto]] = []

        def finish() -> None:
            for path, job, written, result, key in _edited(editor, batch, jobs, names, inverting, editing, report):
                try:
                    result.save(out / written)
                except HairclipError as error:
                    report.failed[path.name] = str(error)
                    continue
                manifest.add(written, key)
                report.written.append(out / written)
                if look is not None:
                    look(path, job, result)
            bar.update(len(batch))
            batch.clear()

        for path in files:
            try:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                if all(manifest.has(_named(names[path], job), f"{digest} {job.key}") for job in jobs):
                    report.skipped += 1
                    bar.update()
                    continue
                cut = editor.cut(path, face=face, aligned=aligned)
            except (HairclipError, OSError) as error:
                report.failed[path.name] = str(error)
                bar.update()
                continue
            batch.append((path, digest, cut))
            faces = sum(len(one.squares) for _, _, one in batch)
            pixels = sum(one.photo.size[0] * one.photo.size[1] for _, _, one in batch)
            if faces >= batch_size or pixels > MOST_PIXELS:
                finish()
        if batch:
            finish()
    return report


def _edited(
    editor: PhotoEditor,
    batch: Sequence[tuple[Path, str, CutPhoto]],
    jobs: Sequence[Job],
    names: Mapping[Path, str],
    inverting: Mapping[str, Any] | None,
    editing: Mapping[str, Any] | None,
    report: FolderReport,
) -> Iterator[tuple[Path, Job, str, PhotoResult, str]]:
    """Every job of every photo of a batch: path, job, name of the file to write, result, key."""
    editing, kept = editing or {}, []
    for (path, digest, _), one in zip(
        batch, editor.invert([cut for _, _, cut in batch], **(inverting or {})), strict=True
    ):
        try:
            if not editing.get("blend", True):
                one.refuse_stranger()
        except HairclipError as error:
            report.failed[path.name] = str(error)
            continue
        report.notes += one.notes
        kept.append((path, digest, one))
    for job in jobs if kept else ():
        results = editor.edit_open([one for _, _, one in kept], job.ask, **editing)
        for (path, digest, _), result in zip(kept, results, strict=True):
            yield path, job, _named(names[path], job), result, f"{digest} {job.key}"


def _output_names(files: Sequence[Path]) -> dict[Path, str]:
    """A file name for the edits of each photo: its own where its format can be written, else with .png behind it."""
    names = {}
    for path in files:
        kept = path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")
        names[path] = path.name if kept else f"{path.name}.png"
    return names


def _named(name: str, job: Job) -> str:
    """The name with the job's suffix before that of the format."""
    path = Path(name)
    return f"{path.stem}{job.suffix}{path.suffix}"

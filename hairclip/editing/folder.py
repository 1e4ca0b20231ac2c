"""Edit a folder of photos in batches. Photos that fail are skipped, and a second run edits only what is left."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from hairclip.common.errors import HairclipError, check_range
from hairclip.common.files import digest, write_atomic
from hairclip.common.image_files import KEPT_SUFFIXES, PICTURE_SUFFIXES
from hairclip.common.progress import progress_bar
from hairclip.common.version import __version__
from hairclip.editing.options import EditOptions, InversionOptions
from hairclip.editing.photo.faces import FaceChoice
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.editing.photo_result import CutPhoto, OpenPhoto, PhotoResult
from hairclip.editing.request import EditRequest, check_requests, name_files

__all__ = ["FolderReport", "FolderSettings", "OtherEditor", "edit_folder", "list_photos", "make_key"]

Item = TypeVar("Item")
Made = TypeVar("Made")

RECORD = "edits.json"
"""Name of the file that records from which photo, request and options each picture was made."""
_FORMAT = 3
"""Part of every key. Raise it when the same request and options give other pictures than before."""
_MOST_PIXELS = 64_000_000
"""Pixels of all photos in a batch after which the batch is closed. A whole batch is in memory at once."""


@dataclass(frozen=True)
class FolderSettings:
    """How the photos of a folder are edited.

    Attributes:
        options: how edits are made.
        inverting: how faces are inverted.
        face: which faces of a photo.
        aligned: whether the pictures are already cropped to the face.
    """

    options: EditOptions = field(default_factory=EditOptions)
    inverting: InversionOptions = field(default_factory=InversionOptions)
    face: FaceChoice = "largest"
    aligned: bool = False


@dataclass(frozen=True)
class OtherEditor:
    """Another editor for some photos of a folder.

    Attributes:
        editor: edits them.
        requests: the same requests as the first editor's, in words that these networks know.
        takes: a photo, cut out for the first editor -> whether this editor edits it.
    """

    editor: PhotoEditor
    requests: Sequence[EditRequest]
    takes: Callable[[CutPhoto], bool]


@dataclass
class FolderReport:
    """What became of the photos of a folder.

    Attributes:
        found: number of photos in the folder.
        written: the pictures that were written.
        skipped: number of photos that an earlier run had done.
        failed: file name -> why the photo could not be edited, one sentence.
        notes: what the person should know, one sentence each.
    """

    found: int
    written: list[Path] = field(default_factory=list)
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class FolderRecord:
    """Records from which photo, request and options each picture was made. The file is written after each picture.

    A damaged file is renamed, and all pictures are made anew.

    Args:
        folder: where the pictures are.

    Attributes:
        done: file name -> key.
        note: a sentence if the file was damaged, else None.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: dict[str, str] = {}
        self.note: str | None = None
        path = folder / RECORD
        try:
            done = json.loads(path.read_text(encoding="utf-8"))["done"]
            if not isinstance(done, dict) or not all(isinstance(key, str) for key in done.values()):
                raise TypeError("it holds no file names with keys")
            self.done = done
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            aside = path.with_name(f"{RECORD}.damaged")
            try:
                path.replace(aside)
            except OSError as error:
                raise HairclipError(
                    f"{path} is damaged and cannot be renamed ({error.strerror}): remove it, or choose another folder."
                ) from None
            self.note = f"{path} was damaged: it is now {aside.name}, and all photos are edited anew."

    def has(self, name: str, key: str) -> bool:
        """Return whether the picture with this name exists and was made with this key."""
        return self.done.get(name) == key and (self.folder / name).is_file()

    def add(self, name: str, key: str) -> None:
        """Write down that a picture was made."""
        self.done[name] = key
        self.write()

    def write(self) -> None:
        """Write the file."""
        write_atomic(self.folder / RECORD, json.dumps({"done": self.done}, indent=1) + "\n")


def list_photos(folder: Path) -> list[Path]:
    """Return the picture files of a folder by name, without those of its folders.

    Raises:
        HairclipError: if it has none.
    """
    files = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
    files = sorted(path for path in files if not path.name.startswith("."))
    if not files:
        raise HairclipError(f"there is no picture in the folder {folder}: give one of JPEG, PNG or WebP files.")
    return files


def make_key(request: EditRequest, settings: FolderSettings, networks: str) -> str:
    """Return a digest of everything that an edit depends on except the photo.

    Args:
        request: the request. Its label does not enter the digest.
        settings: how the photos are edited.
        networks: the digest of the networks, `HairEditor.digest`.
    """
    return digest(
        _FORMAT,
        __version__,
        request.hairstyle,
        request.color,
        [str(part) for part in request.colors],
        settings,
        networks,
    )


def edit_folder(
    editor: PhotoEditor,
    folder: Path,
    out: Path,
    requests: Sequence[EditRequest],
    settings: FolderSettings | None = None,
    *,
    batch_size: int = 4,
    progress: bool = False,
    look: Callable[[Path, str, PhotoResult], None] | None = None,
    others: Sequence[OtherEditor] = (),
) -> FolderReport:
    """Edit every photo of a folder.

    Args:
        editor: edits them.
        folder: where they are.
        out: another folder, where edits go; they are named like the photos.
        requests: what is asked of each photo, one picture per request.
        settings: how the photos are edited.
        batch_size: number of faces that the networks always see at once, so that no photo's edit depends on others.
        progress: show a progress bar.
        look: called after each picture is written, with the photo's path, the request's part of the file name, and the
            result.
        others: other editors for some of the photos; the first that takes a photo edits it.

    Returns:
        The report. It names the photos that could not be read or edited.

    Raises:
        HairclipError: if the folder has no pictures, `out` is the same folder or cannot be written, or the requests
            cannot be done.
    """
    settings = settings or FolderSettings()
    check_range("batch_size", batch_size, 1)
    files = list_photos(folder)
    check_requests(requests)
    editor.check(requests, settings.options)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HairclipError(f"cannot make the folder {out} ({error.strerror}): choose another place.") from None
    if out.resolve() == folder.resolve():
        raise HairclipError(f"edits would replace the photos in {folder}: give another folder for them.")
    run = _FolderRun(editor, out, requests, settings, _name_outputs(files), batch_size, look)
    runs = [run]
    for other in others:
        other.editor.check(other.requests, settings.options)
        runs.append(run.with_editor(other.editor, other.requests))
    with progress_bar(total=len(files), label="photos", show=progress) as bar:
        batches: list[list[tuple[Path, str, CutPhoto]]] = [[] for _ in runs]
        for number, path in enumerate(files, start=1):
            which, cut = 0, None
            if any(one.is_done(path) for one in runs):
                run.report.skipped += 1
            else:
                which = _find_run(path, run, others) if others else 0
                cut = runs[which].cut(path)
            if cut is None:
                bar.update()
            else:
                batches[which].append(cut)
            for one, batch in zip(runs, batches, strict=True):
                faces = sum(len(photo.squares) for _, _, photo in batch)
                pixels = sum(photo.photo.size[0] * photo.photo.size[1] for _, _, photo in batch)
                if batch and (number == len(files) or faces >= 2 * batch_size or pixels > _MOST_PIXELS):
                    one.edit(batch)
                    bar.update(len(batch))
                    batch.clear()
    return run.report


def _find_run(path: Path, run: "_FolderRun", others: Sequence[OtherEditor]) -> int:
    """Return 1 or more for the other editor that takes a photo, 0 if none does."""
    try:
        cut = run.editor.cut(path, face=run.settings.face, aligned=run.settings.aligned)
        return next((number for number, other in enumerate(others, start=1) if other.takes(cut)), 0)
    except Exception:  # it fails again where it is cut for its edit, and is reported there
        return 0


class _FolderRun:
    """One pass over a folder. A photo that fails, for whatever reason, ends up in the report and stops nothing."""

    def __init__(
        self,
        editor: PhotoEditor,
        out: Path,
        requests: Sequence[EditRequest],
        settings: FolderSettings,
        names: dict[Path, str],
        batch_size: int,
        look: Callable[[Path, str, PhotoResult], None] | None,
    ) -> None:
        self.editor, self.out, self.settings, self.names, self.look = editor, out, settings, names, look
        self.batch_size = batch_size
        self.jobs = self._find_jobs(editor, requests)
        self.record = FolderRecord(out)
        self.report = FolderReport(len(names))
        if self.record.note is not None:
            self.report.notes.append(self.record.note)

    def with_editor(self, editor: PhotoEditor, requests: Sequence[EditRequest]) -> "_FolderRun":
        """Return a pass by another editor over the same folder, with the same record and report."""
        other = copy(self)
        other.editor, other.jobs = editor, self._find_jobs(editor, requests)
        return other

    def _find_jobs(self, editor: PhotoEditor, requests: Sequence[EditRequest]) -> list[tuple[EditRequest, str, str]]:
        """Return each request with what it adds to a file's name, and its key."""
        networks = editor.editor.digest()
        named = zip(requests, name_files(requests), strict=True)
        return [(one, suffix, make_key(one, self.settings, networks)) for one, suffix in named]

    def is_done(self, path: Path) -> bool:
        """Return whether an earlier run made every edit of a photo."""
        try:
            photo = digest(path)
        except Exception:  # `cut` reports it
            return False
        return all(self.record.has(self._name(path, suffix), f"{photo} {key}") for _, suffix, key in self.jobs)

    def cut(self, path: Path) -> tuple[Path, str, CutPhoto] | None:
        """Return a photo with its digest and its faces cut out; None if it fails."""
        try:
            photo = digest(path)
            return path, photo, self.editor.cut(path, face=self.settings.face, aligned=self.settings.aligned)
        except Exception as error:
            self._fail(path, error)
            return None

    def edit(self, batch: Sequence[tuple[Path, str, CutPhoto]]) -> None:
        """Invert and edit photos together, and write every picture."""
        opened: list[tuple[Path, str, CutPhoto]] = []
        inverted = _isolate([cut for _, _, cut in batch], self._prepare)
        for (path, photo, _), one in zip(batch, inverted, strict=True):
            if isinstance(one, Exception):
                self._fail(path, one)
                continue
            self.report.notes += one.notes
            opened.append((path, photo, one))
        for request, suffix, key in self.jobs:
            left = [entry for entry in opened if entry[0].name not in self.report.failed]
            edit = partial(
                self.editor.edit_open, request=request, options=self.settings.options, batch_size=self.batch_size
            )
            for (path, photo, _), result in zip(left, _isolate([one for _, _, one in left], edit), strict=True):
                name = self._name(path, suffix)
                try:
                    if isinstance(result, Exception):
                        raise result
                    result.save(self.out / name)
                    self.record.add(name, f"{photo} {key}")
                    self.report.written.append(self.out / name)
                    if self.look is not None:
                        self.look(path, suffix, result)
                except Exception as error:
                    self._fail(path, error)

    def _prepare(self, cuts: Sequence[CutPhoto]) -> Sequence[CutPhoto]:
        """Find the hair of photos that are dyed, and invert photos that are edited otherwise."""
        dyed = [self.editor.dyes(request, self.settings.options) for request, _, _ in self.jobs]
        if any(dyed):
            cuts = [self.editor.find_hair(cut) for cut in cuts]
        return cuts if all(dyed) else self._invert(cuts)

    def _invert(self, cuts: Sequence[CutPhoto]) -> list[OpenPhoto]:
        opened = self.editor.invert(cuts, self.settings.inverting, batch_size=self.batch_size)
        for one in opened:
            one.refuse_strangers([request for request, _, _ in self.jobs], self.settings.options)
        return opened

    def _fail(self, path: Path, error: Exception) -> None:
        """Note why a photo could not be edited, with the kind of an exception that is no user's mistake."""
        told = str(error) if isinstance(error, HairclipError) else f"{type(error).__name__}: {error}"
        self.report.failed[path.name] = told

    def _name(self, path: Path, suffix: str) -> str:
        """Return the file name of an edit, with what its request adds before the suffix."""
        name = Path(self.names[path])
        return f"{name.stem}{suffix}{name.suffix}"


def _isolate(items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Made]]) -> list[Made | Exception]:
    """Return one result of `work` per item. If `work` fails on the whole list, try each item alone.

    An item that fails alone has its exception as the result.
    """
    if not items:
        return []
    with suppress(Exception):
        return list(work(items))
    results: list[Made | Exception] = []
    for item in items:
        try:
            results += work([item])
        except Exception as error:
            results.append(error)
    return results


def _name_outputs(files: Sequence[Path]) -> dict[Path, str]:
    """Return a file name for the edits of each photo: its own where its format can be written, else with .png added."""
    names: dict[Path, str] = {}
    taken = {path.name for path in files}
    for path in files:
        name = path.name
        if path.suffix.lower() not in KEPT_SUFFIXES:
            name = f"{name}.png"
            while name in taken:
                name = f"{name}.png"
            taken.add(name)
        names[path] = name
    return names

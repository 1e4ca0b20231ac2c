"""Edit codes of a file without photos, as the official inference script does: pictures named by the code's number."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from hairclip.common.errors import HairclipError, check_range
from hairclip.common.files import digest
from hairclip.common.images import WPlus, save_image
from hairclip.common.progress import progress_bar
from hairclip.common.version import __version__
from hairclip.editing.editor import HairEditor
from hairclip.editing.folder import FolderRecord
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest, check_requests, name_files
from hairclip.pretrained.latent_files import save_latents

__all__ = ["LatentReport", "edit_latent_folder", "name_picture", "read_range"]

_FORMAT = 1
"""Part of every key. Raise it when the same request and options give other pictures than before."""
_WRITE_EVERY = 5.0  # seconds between two writes of the record


@dataclass
class LatentReport:
    """What became of the codes.

    Attributes:
        found: number of codes.
        written: number of pictures that were written.
        skipped: number of pictures that an earlier run had made.
        codes: the files of edited codes that were written.
        notes: what the person should know, one sentence each.
    """

    found: int
    written: int = 0
    skipped: int = 0
    codes: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_range(text: str, count: int) -> range:
    """Return the numbers that "A:B" names among `count`: from A up to B, without B; both ends may be left out.

    Raises:
        HairclipError: if it is no such range, or names no code.
    """
    first, colon, last = text.partition(":")
    ends = [end.strip() for end in (first, last)]
    if not colon or not all(end.isdecimal() for end in ends if end):
        raise HairclipError(f"range {text!r}: give A:B, such as 0:100, 100: or :100; numbers count from 0.")
    numbers = range(int(ends[0] or 0), min(int(ends[1] or count), count))
    if not numbers:
        raise HairclipError(f"range {text!r} names none of the {count} codes, which are numbered 0 to {count - 1}.")
    return numbers


def name_picture(number: int, added: str = "", suffix: str = ".png") -> str:
    """Return the file name of a code's picture: "00012.png"."""
    return f"{number:05d}{added}{suffix}"


def edit_latent_folder(
    editor: HairEditor,
    codes: WPlus,
    numbers: range,
    out: Path,
    requests: Sequence[EditRequest],
    options: EditOptions | None = None,
    *,
    save_codes: Path | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> LatentReport:
    """Edit codes and write a picture of each; a second run makes only what is left.

    The pictures are the generator's, without blending.

    Args:
        editor: edits them.
        codes: all codes, (N, n_latent, w_dim); they may be memory-mapped.
        numbers: which of them.
        out: the folder of the pictures, named `name_picture`.
        requests: what is asked of each code, one picture per request.
        options: method, strength and settings.
        save_codes: also write the edited codes there, one file per request, named like the pictures of several
            requests. Codes of pictures that were made before are computed again.
        batch_size: number of codes that the networks always see at once; None takes what fits the memory.
        progress: show a progress bar.

    Raises:
        HairclipError: if the codes are of another generator, a request cannot be done, or a file cannot be written.
    """
    options = options or EditOptions()
    generator = editor.networks.generator
    if tuple(codes.shape[1:]) != (generator.n_latent, generator.w_dim):
        raise HairclipError(
            f"the codes are of shape {tuple(codes.shape[1:])}, but the generator takes "
            f"({generator.n_latent}, {generator.w_dim}): give codes of this generator, or another bundle."
        )
    if batch_size is not None:
        check_range("batch_size", batch_size, 1)
    check_requests(requests)
    editor.check(requests, options, photos=False)
    run = _LatentRun(editor, out, requests, options, save_codes is not None)
    batch_size = batch_size or editor.batch_size
    try:
        with progress_bar(total=len(numbers), label="codes", show=progress) as bar:
            for first in range(0, len(numbers), batch_size):
                batch = numbers[first : first + batch_size]
                filled = [*batch, *[batch[-1]] * (batch_size - len(batch))]
                run.edit(batch, codes[filled].float())
                bar.update(len(batch))
    finally:
        run.record.write()
    if save_codes is not None:
        for (_, added, _), edited in zip(run.jobs, run.edited, strict=True):
            path = save_codes.with_name(f"{save_codes.stem}{added}{save_codes.suffix}")
            save_latents(path, torch.cat(edited), {"number": list(numbers)})
            run.report.codes.append(path)
    return run.report


class _LatentRun:
    """One pass over the codes."""

    def __init__(
        self, editor: HairEditor, out: Path, requests: Sequence[EditRequest], options: EditOptions, keeps_codes: bool
    ) -> None:
        self.editor, self.out, self.options, self.keeps_codes = editor, out, options, keeps_codes
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HairclipError(f"cannot make the folder {out} ({error.strerror}): choose another place.") from None
        networks = editor.digest()
        self.jobs = [
            (one, added, digest("latents", _FORMAT, __version__, one.hairstyle, one.color, options, networks))
            for one, added in zip(requests, name_files(requests), strict=True)
        ]
        self.edited: list[list[Tensor]] = [[] for _ in self.jobs]
        self.record = FolderRecord(out)
        self.report = LatentReport(0)
        if self.record.note is not None:
            self.report.notes.append(self.record.note)
        self._written_at = time.monotonic()

    def edit(self, numbers: range, codes: WPlus) -> None:
        """Edit a batch and write its pictures. `codes` has more rows than there are numbers where it was filled up."""
        self.report.found += len(numbers)
        contents = [digest(code) for code in codes[: len(numbers)]]
        for job, (request, added, key) in enumerate(self.jobs):
            names = [name_picture(number, added) for number in numbers]
            keys = [f"{content} {key}" for content in contents]
            left = [i for i, name in enumerate(names) if not self.record.has(name, keys[i])]
            self.report.skipped += len(names) - len(left)
            if not left and not self.keeps_codes:
                continue
            edited, images = self.editor.edit_latents(codes, request, self.options)
            if self.keeps_codes:
                if edited is None:
                    raise HairclipError(
                        f"method={self.options.method!r} edits pictures, so there are no edited codes to write: "
                        'choose method="mapper" or "optimize".'
                    )
                self.edited[job].append(edited[: len(numbers)].cpu())
            for i in left:
                save_image(images[i : i + 1], self.out / names[i])
                self.record.done[names[i]] = keys[i]
                self.report.written += 1
        if time.monotonic() - self._written_at > _WRITE_EVERY:
            self.record.write()
            self._written_at = time.monotonic()

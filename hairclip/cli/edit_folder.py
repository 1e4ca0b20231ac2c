"""``python -m hairclip edit --image FOLDER``: what the command makes of a folder of photos."""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hairclip.cli.edit_arguments import inverting, slug, timing
from hairclip.cli.edit_wishes import NamedWish
from hairclip.common.errors import HairclipError
from hairclip.common.stopwatch import add_seconds
from hairclip.common.version import __version__
from hairclip.editing.folder import Job, edit_folder
from hairclip.editing.photo_result import PhotoResult
from hairclip.editing.stages import save_stages

if TYPE_CHECKING:
    from hairclip.editing.photo_editor import PhotoEditor

_SETTINGS = (
    *("strength", "seed", "face", "aligned", "framing", "invert", "invert_steps"),
    *("no_blend", "blend", "behind", "strands", "method", "optimize_steps", "bundle"),
)
_NOT_FOR_FOLDERS = ("grid", "steps", "compare")


def edit_folder_by(
    options: argparse.Namespace, wishes: Sequence[NamedWish], editor: "PhotoEditor", editing: dict[str, Any]
) -> int:
    """Edit a folder; returns the exit code, 1 where some photo could not be edited."""
    for option in _NOT_FOR_FOLDERS:
        if getattr(options, option):
            raise HairclipError(f"--{option} is for one photo: give a file as --image, not a folder.")
    jobs = [_job(options, editor, wish, number, len(wishes)) for number, wish in enumerate(wishes, start=1)]
    for note in dict.fromkeys(note for job in jobs for note in job.ask.notes):
        print(f"note: {note}")
    seconds: dict[str, float] = {}

    def look(path: Path, job: Job, result: PhotoResult) -> None:
        seconds.update(add_seconds(seconds, result.seconds))
        if options.save_stages:
            save_stages(result, Path(options.save_stages) / f"{path.name}{job.suffix}")

    report = edit_folder(
        editor,
        Path(options.image),
        Path(options.out),
        jobs,
        face=options.face,
        aligned=options.aligned,
        inverting=inverting(options) | {"progress": False},
        editing=editing | {"progress": False},
        look=look,
    )
    for note in report.notes:
        print(f"note: {note}")
    done = f", {report.skipped} of {report.found} photos were done before" if report.skipped else ""
    print(f"wrote {len(report.written)} pictures to {options.out}{done}")
    if options.timing and seconds:
        print(timing(seconds))
    if report.failed:
        print(f"hairclip: {len(report.failed)} of {report.found} photos could not be edited:", file=sys.stderr)
        for name, reason in report.failed.items():
            print(f"  {name}: {reason}", file=sys.stderr)
    return 1 if report.failed else 0


def _job(options: argparse.Namespace, editor: "PhotoEditor", wish: NamedWish, number: int, count: int) -> Job:
    """One wish; its key holds every setting that its pictures follow from, and the content of the files it names."""
    suffix = f"_{number}_{slug(wish.label)}" if count > 1 else ""
    settings = {name: getattr(options, name) for name in _SETTINGS}
    files = {part: _content(getattr(wish, part)) for part in ("hairstyle", "color")}
    made_from = {"version": __version__, **settings, **files, "mapper": _content(options.mapper)}
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    return Job(editor.ask(wish.hairstyle, wish.color), suffix, key)


def _content(words: str | None) -> str | None:
    """A text as it is; in place of a file's path, the hash of its content."""
    if words is None or len(words) > 4096 or not Path(words).is_file():
        return words
    return hashlib.sha256(Path(words).read_bytes()).hexdigest()

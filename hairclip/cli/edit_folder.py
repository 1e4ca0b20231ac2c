"""`python -m hairclip edit --image FOLDER`: edit a folder of photos and say what became of each."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hairclip.cli.edit_arguments import describe_seconds, name_flags
from hairclip.common.stopwatch import add_seconds
from hairclip.editing.folder import FolderSettings, OtherEditor, edit_folder
from hairclip.editing.options import EditOptions, InversionOptions
from hairclip.editing.photo_result import PhotoResult
from hairclip.editing.request import EditRequest
from hairclip.editing.stages import save_stages

if TYPE_CHECKING:
    from hairclip.editing.photo_editor import PhotoEditor

__all__ = ["write_folder"]


def write_folder(
    options: argparse.Namespace,
    requests: Sequence[EditRequest],
    editor: "PhotoEditor",
    editing: EditOptions,
    inverting: InversionOptions,
    others: Sequence[OtherEditor] = (),
) -> int:
    """Edit a folder and return the exit code: 1 where some photo could not be edited."""
    seconds: dict[str, float] = {}

    def look(path: Path, added: str, result: PhotoResult) -> None:
        seconds.update(add_seconds(seconds, result.seconds))
        if options.save_stages:
            save_stages(result, Path(options.save_stages) / f"{path.name}{added}")

    settings = FolderSettings(editing, inverting, options.face, options.aligned)
    report = edit_folder(
        editor, Path(options.image), Path(options.out), requests, settings, progress=True, look=look, others=others
    )
    for note in dict.fromkeys(report.notes):
        print(f"note: {name_flags(note, EditOptions, InversionOptions)}")
    done = f", {report.skipped} of {report.found} photos were done before" if report.skipped else ""
    print(f"wrote {len(report.written)} pictures to {options.out}{done}")
    if options.timing and seconds:
        print(describe_seconds(seconds))
    if report.failed:
        print(f"hairclip: {len(report.failed)} of {report.found} photos could not be edited:", file=sys.stderr)
        for name, reason in report.failed.items():
            print(f"  {name}: {name_flags(reason, EditOptions, InversionOptions)}", file=sys.stderr)
    return 1 if report.failed else 0

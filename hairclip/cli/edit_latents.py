"""`python -m hairclip edit --latents FILE --range A:B`: edit codes without photos."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hairclip.cli.edit_arguments import describe_seconds, name_flags
from hairclip.common.errors import HairclipError
from hairclip.common.stopwatch import Stopwatch
from hairclip.editing.editor import HairEditor
from hairclip.editing.latent_folder import edit_latent_folder, read_range
from hairclip.editing.options import EditOptions, InversionOptions
from hairclip.editing.request import EditRequest
from hairclip.pretrained.loaders import open_latents

__all__ = ["check_latents", "write_latents"]

_FOR_PHOTOS = ("blend", "seam", "feather", "behind", "strands", "force")
"""Fields of `EditOptions` that say how an edit is joined to a photo."""


def check_latents(options: argparse.Namespace) -> None:
    """Refuse arguments that say something of photos alone, and fill in --out and --range."""
    usual = {name: getattr(EditOptions(), name) for name in _FOR_PHOTOS} | {"face": "largest"}
    usual |= {name: getattr(InversionOptions(), name) for name in ("inversion", "inversion_steps")}
    unset = dict.fromkeys(("aligned", "grid", "gif"), False) | dict.fromkeys(
        ("compare", "frames", "save_stages", "mask", "mask_add", "mask_remove", "save_mask")
    )
    for name, value in {**unset, **usual}.items():
        if getattr(options, name) != value:
            flag = "--no-blend" if name == "blend" else f"--{name.replace('_', '-')}"
            raise HairclipError(f"{flag} is for photos, and --latents edits codes: leave one of the two out.")
    if options.save_codes is not None and Path(options.save_codes).suffix != ".safetensors":
        raise HairclipError(f"--save-codes {options.save_codes}: give a name that ends in .safetensors.")
    options.out, options.range = options.out or "edited", options.range or ":"
    if Path(options.out).is_file():
        raise HairclipError(f"--out {options.out} is a file: --latents writes into a folder, name one.")


def write_latents(
    options: argparse.Namespace,
    editor: HairEditor,
    requests: Sequence[EditRequest],
    editing: EditOptions,
    started: Stopwatch,
) -> None:
    """Edit the codes of a file and print what was written."""
    codes = open_latents(options.latents)
    watch = Stopwatch()
    with watch("edit"):
        report = edit_latent_folder(
            editor,
            codes,
            read_range(options.range, len(codes)),
            Path(options.out),
            requests,
            editing,
            save_codes=None if options.save_codes is None else Path(options.save_codes),
            progress=True,
        )
    for note in dict.fromkeys(report.notes):
        print(f"note: {name_flags(note, EditOptions)}")
    done = f", {report.skipped} were there before" if report.skipped else ""
    print(f"wrote {report.written} pictures of {report.found} codes to {options.out}{done}")
    for path in report.codes:
        print(f"wrote {path}")
    if options.timing:
        print(describe_seconds({**started.seconds, **watch.seconds}))

"""The command `python -m hairclip encode`: encode a folder of photos into one file of codes."""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hairclip.cli.edit_arguments import add_fields, name_flags, name_flags_in_errors, read_fields
from hairclip.cli.shared_arguments import DEVICE_HELP
from hairclip.common.errors import HairclipError

if TYPE_CHECKING:
    from hairclip.common.distributed import World
    from hairclip.editing.encoding.encode import EncodeReport, EncodeSettings
    from hairclip.editing.photo_editor import PhotoEditor

_SHOWN = 20
"""Number of photos that are listed on the screen. A file lists all."""


def add_command(commands: Any) -> None:
    """Add `encode` to the subcommands of a parser."""
    from hairclip.editing.options import InversionOptions

    encode = commands.add_parser(
        "encode",
        help="encode a folder of photos into W+ codes, to train on",
        description="Find the face in every photo of a folder and of its folders, align it, invert it, and write all "
        "codes to one file. Photos that have no code are named at the end, and the exit code is then 1. A second run "
        "encodes only what is left. With torchrun, several GPUs share the photos.",
    )
    encode.add_argument("--images", required=True, metavar="DIR", help="the folder of photos")
    encode.add_argument(
        "--out",
        default="codes.safetensors",
        metavar="PATH",
        help="the file to write (default codes.safetensors). Ending in .pt, it is the tensor that the official code "
        "reads, without names and splits",
    )
    encode.add_argument("--crops", metavar="DIR", help="also write the aligned faces into this folder, as PNG")
    encode.add_argument("--aligned", action="store_true", help="the pictures are already cropped to the face")
    encode.add_argument(
        "--face",
        default="largest",
        metavar="largest|left|right|N",
        help="which face of a photo; N counts from the left (default largest)",
    )
    add_fields(encode, InversionOptions, only=("inversion", "inversion_steps"))  # nothing here is random
    encode.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="type of number in which the encoder computes (default auto: bfloat16 on CUDA, else float32)",
    )
    encode.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="faces that the networks see at once (default: 8 on CUDA; on a CPU what fits 6 GB, which is 2 at 1024 px "
        "and 8 up to 512 px). It decides how codes are rounded",
    )
    encode.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="threads that read photos and find faces (default: 8 on CUDA, or fewer with fewer CPU cores, else 1)",
    )
    encode.add_argument(
        "--bundle",
        default="auto",
        metavar="NAME",
        help="name or folder of the networks. auto (the default) looks at a few of the photos: portraits for rendered "
        "people, ffhq for real ones",
    )
    encode.add_argument("--device", default="auto", metavar="NAME", help=DEVICE_HELP)
    encode.set_defaults(run=_encode)


def _encode(options: argparse.Namespace) -> int:
    from hairclip.common.distributed import Stopped, join, leave
    from hairclip.editing.bundle_choice import AUTO
    from hairclip.editing.encoding.encode import EncodeSettings, encode_folder
    from hairclip.editing.options import InversionOptions
    from hairclip.editing.photo.faces import as_choice
    from hairclip.editing.photo_editor import PhotoEditor

    with name_flags_in_errors(InversionOptions):
        inverting, face = read_fields(InversionOptions, options), as_choice(options.face)
        settings = EncodeSettings(inverting, face, options.aligned)
        world = join(options.device, exchange="words")
        try:
            on_cuda = world.device.type == "cuda"
            precision = options.precision
            if precision == "auto":
                precision = "bfloat16" if on_cuda else "float32"
            workers = options.workers
            if workers is None:
                workers = max(1, min(8, (os.cpu_count() or 1) // world.size)) if on_cuda else 1
            load = partial(PhotoEditor.from_bundle, device=str(world.device), precision=precision)
            editor = _choose(load, options, settings, world) if options.bundle == AUTO else load(options.bundle)
            report = encode_folder(
                editor,
                Path(options.images),
                Path(options.out),
                settings,
                crops=None if options.crops is None else Path(options.crops),
                batch_size=options.batch_size,
                workers=workers,
                world=world,
                progress=True,
            )
        except Stopped as stopped:
            return stopped.exit_code
        finally:
            leave()
    if world.is_main:
        _print_report(report, options)
    return 1 if report.failed and world.is_main else 0


def _choose(
    load: "Callable[[str], PhotoEditor]", options: argparse.Namespace, settings: "EncodeSettings", world: "World"
) -> "PhotoEditor":
    """Return the editor with the networks that know the photos, as process 0 finds; print which and why.

    All codes of a file are of one generator, so a few photos decide for all.
    """
    from hairclip.editing.bundle_choice import BundleChooser
    from hairclip.editing.encoding.photo_tree import find_photos

    chooser = BundleChooser(load)
    chosen: str | HairclipError = ""
    if world.is_main:
        try:
            photos = [Path(options.images) / name for name in find_photos(Path(options.images)).names]
            chosen, reason = chooser.choose_for_all(photos, face=settings.face, aligned=settings.aligned)
            print(reason)
        except HairclipError as error:
            chosen = error
    chosen = world.tell(chosen)
    if isinstance(chosen, HairclipError):
        raise chosen
    options.bundle = chosen
    return chooser.editor(chosen)


def _print_report(report: "EncodeReport", options: argparse.Namespace) -> None:
    """Print what became of the photos; a file beside the codes lists every photo that failed or has a note."""
    from hairclip.common.files import write_atomic
    from hairclip.editing.options import InversionOptions

    count, n_latent, w_dim = report.shape
    for sentence in report.left_out:
        print(f"note: left out: {sentence}")
    if count:
        splits = ", ".join(f"{number} {split}" for split, number in report.splits.items())
        done = f"; {report.before} were encoded before" if report.before else ""
        print(f"wrote {options.out}: {count} codes of {n_latent} x {w_dim} ({splits}){done}")
        if Path(options.out).suffix == ".pt":
            print("note: a .pt file holds no names and no splits: write .safetensors to keep them")
        elif not report.splits["val"]:
            print("note: no code is held out as val, which training needs: set data.validation_latents")
    if report.poor:
        advice = "real photos need --bundle ffhq" if options.bundle == "portraits" else "--inversion optimize is nearer"
        print(
            f"note: {len(report.poor)} of {count} inversions show another person, such as {report.poor[0]}: bundle "
            f"{options.bundle} does not know such faces; {advice}"
        )
    lists: dict[str, dict[str, list[str]]] = {
        "photos without a code": {name: [reason] for name, reason in report.failed.items()},
        "notes": report.notes,
        "inversions that show another person": {name: [] for name in report.poor},
    }
    listed = {title: lines for title, photos in lists.items() if (lines := _list(photos, InversionOptions))}
    path = Path(f"{options.out}.report.txt")
    if listed:
        text = "\n".join(f"{title}:\n{''.join(lines)}" for title, lines in listed.items())
        write_atomic(path, text.encode("utf-8", "backslashreplace"))
        print(f"wrote {path}, which lists {' and '.join(listed)}")
    else:
        path.unlink(missing_ok=True)
    if report.failed:
        print(f"hairclip: {len(report.failed)} of {report.found} photos have no code:", file=sys.stderr)
        lines = listed["photos without a code"]
        sys.stderr.write("".join(lines[:_SHOWN]))
        if len(lines) > _SHOWN:
            print(f"  and {len(lines) - _SHOWN} more, see {path}", file=sys.stderr)


def _list(photos: dict[str, list[str]], *kinds: type) -> list[str]:
    """Return one line per photo: its name and the sentences about it."""
    lines = []
    for name, sentences in photos.items():
        shown = name if name.isprintable() else repr(name)
        lines.append(f"  {shown}{': ' if sentences else ''}{name_flags(' '.join(sentences), *kinds)}\n")
    return lines

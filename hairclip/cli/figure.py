"""The command `python -m hairclip figure`: many edits of many people in one picture."""

import argparse
from pathlib import Path
from typing import Any

from hairclip.cli.edit_arguments import name_flags_in_errors
from hairclip.cli.shared_arguments import BUNDLE_HELP, DEVICE_HELP
from hairclip.common.errors import check_range


def add_command(commands: Any) -> None:
    """Add `figure` to the subcommands of a parser."""
    figure = commands.add_parser(
        "figure",
        help="draw many edits of many people in one picture",
        description="Draw each photo, what is asked of it, and its edit, one below the other. A YAML file lists the "
        "edits: - {image: me.jpg, text: red bob cut}, or with hairstyle and color, which are words or pictures.",
    )
    figure.add_argument(
        "--edits", type=Path, required=True, metavar="PATH", help="the YAML file; its paths are relative to its folder"
    )
    figure.add_argument("--out", required=True, metavar="PATH", help="the picture to write")
    figure.add_argument("--bundle", default="portraits", metavar="NAME", help=BUNDLE_HELP)
    figure.add_argument("--mapper", metavar="PATH", help="a mapper of your own")
    figure.add_argument("--aligned", action="store_true", help="the pictures are already cropped to the face")
    figure.add_argument("--columns", type=int, default=4, help="edits in a row (default 4)")
    figure.add_argument("--tile", type=int, default=256, help="width and height of each photo in pixels (default 256)")
    figure.add_argument("--device", default="auto", metavar="NAME", help=DEVICE_HELP)
    figure.set_defaults(run=_figure)


def _figure(options: argparse.Namespace) -> None:
    check_range("--columns", options.columns, 1)
    check_range("--tile", options.tile, 32)
    from hairclip.common.images import check_image_path, save_image
    from hairclip.editing.figure import draw_figure, read_figure
    from hairclip.editing.photo_editor import PhotoEditor

    edits = read_figure(options.edits)
    check_image_path(options.out, [path for edit in edits for path in (edit.image, *edit.pictures)])
    editor = PhotoEditor.from_bundle(options.bundle, device=options.device, mapper=options.mapper)
    with name_flags_in_errors():
        figure = draw_figure(
            editor, edits, aligned=options.aligned, columns=options.columns, tile=options.tile, progress=True
        )
    save_image(figure, options.out)
    print(f"wrote {options.out}")

"""The command ``python -m hairclip evaluate-photos``: whole snapshots of known content, edited and measured."""

import argparse
from pathlib import Path
from typing import Any

from hairclip.common.errors import check_range


def add_command(commands: Any) -> None:
    """Add ``evaluate-photos`` to the subcommands of a parser."""
    command = commands.add_parser("evaluate-photos", help="measure edits of whole photos against composed scenes")
    command.add_argument("--count", type=int, default=24, help="scenes, default 24")
    command.add_argument("--seed", type=int, default=0, help="of the scenes")
    command.add_argument("--out", default="runs/photos", help="folder of the report (default runs/photos)")
    command.add_argument(
        "--invert",
        nargs="+",
        choices=("encoder", "optimize", "pivotal"),
        default=["encoder"],
        help="how faces are inverted, one or several (default encoder)",
    )
    command.add_argument("--invert-steps", type=int, default=100, help="steps of optimize or pivotal, default 100")
    command.add_argument("--bundle", default="portraits", help="name or folder of the networks")
    command.add_argument("--mapper", help="a mapper's file")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    command.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from hairclip.common.device import pick_device
    from hairclip.editing.photo_editor import PhotoEditor
    from hairclip.evaluation.photos import evaluate_photos

    check_range("--count", options.count, 1)
    check_range("--seed", options.seed, 0)
    check_range("--invert-steps", options.invert_steps, 1)
    editor = PhotoEditor.from_bundle(options.bundle, device=pick_device(options.device), mapper=options.mapper)
    evaluate_photos(
        editor,
        Path(options.out),
        count=options.count,
        seed=options.seed,
        inversions=tuple(dict.fromkeys(options.invert)),
        invert_steps=options.invert_steps,
    )

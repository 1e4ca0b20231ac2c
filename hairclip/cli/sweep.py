"""The command sweep: try settings of an editing method on validation people."""

import argparse
from pathlib import Path
from typing import Any

from hairclip.common.errors import HairclipError, check_range

BUNDLE_HELP = "name or YAML file of a bundle, or a folder of weight files (default portraits)"


def add_command(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    sweep = commands.add_parser(
        "sweep",
        help="try settings of an editing method on validation people",
        description="Edit the same validation people with every combination of settings, before blending, and print "
        "the shares of right hairstyles and colors and the mean identity. No person of the test split is used.",
    )
    sweep.add_argument("--method", required=True, help="name of the method")
    sweep.add_argument(
        "--set",
        action="append",
        default=[],
        dest="grid",
        metavar="NAME=V1,V2",
        help="values of a setting of the method, or of strength; repeat it for more settings",
    )
    sweep.add_argument("--bundle", default="portraits", help=BUNDLE_HELP)
    sweep.add_argument("--count", type=int, default=60, help="requests; two in three ask for a hairstyle (default 60)")
    sweep.add_argument("--out", type=Path, help="file that the table is written to, in Markdown")
    sweep.add_argument("--workers", type=int, default=0, help="processes that render (default 0: none)")
    sweep.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    sweep.set_defaults(run=_sweep)


def _sweep(options: argparse.Namespace) -> None:
    check_range("--count", options.count, 3)
    check_range("--workers", options.workers, 0)
    grid = dict(_values(given) for given in options.grid)
    from hairclip.common.device import pick_device
    from hairclip.common.files import write_atomic
    from hairclip.editing.editor import HairEditor
    from hairclip.evaluation.cases import portrait_colors
    from hairclip.evaluation.method_sweep import sweep_method
    from hairclip.pretrained.bundle import load_bundle

    bundle = load_bundle(options.bundle, pick_device(options.device))
    rows = sweep_method(
        HairEditor(bundle),
        bundle.judge,
        portrait_colors(),
        options.method,
        grid,
        count=options.count,
        workers=options.workers,
    )
    lines = [f"| {' | '.join(grid)} | hairstyle | color | identity |", "|---" * (len(grid) + 3) + "|"]
    for row in rows:
        figures = f"{row.hairstyle:.3f} | {row.color:.3f} | {row.identity:.3f}"
        lines.append(f"| {' | '.join(str(value) for value in row.settings.values())} | {figures} |")
    table = "\n".join(lines)
    print(table)
    if options.out is not None:
        write_atomic(options.out, table + "\n")


def _values(given: str) -> tuple[str, list[Any]]:
    """Return name and values of NAME=V1,V2; numbers become numbers."""
    name, _, values = given.partition("=")
    if not name or not values:
        raise HairclipError(f"--set {given}: write a name and values, such as alpha=4,6.")
    return name, [_number(value) for value in values.split(",")]


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text

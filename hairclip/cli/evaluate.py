"""The command `python -m hairclip evaluate`: measure edits of held-out people against the rendered truth."""

import argparse
import os
from pathlib import Path
from typing import Any

from hairclip.common.errors import HairclipError, check_range


def add_command(commands: Any) -> None:
    """Add `evaluate` to the subcommands of a parser."""
    evaluate = commands.add_parser("evaluate", help="measure edits of held-out people against the rendered truth")
    evaluate.add_argument("--config", required=True, help="a YAML file, such as configs/portraits.yaml")
    evaluate.add_argument("--count", type=int, default=200, help="edits, default 200")
    evaluate.add_argument("--out", help="folder of the report (default: runs/NAME/evaluation)")
    evaluate.add_argument(
        "--method",
        choices=("mapper", "optimize", "both"),
        default="both",
        help="mapper alone, or also optimisation: on a subset (both, default) or on every case (optimize)",
    )
    evaluate.add_argument("--mapper", help="a mapper's file (default: that of the run, else the bundle's)")
    evaluate.add_argument("--seed", type=int, default=0, help="of the cases")
    evaluate.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    evaluate.add_argument("overrides", nargs="*", metavar="key=value")
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from hairclip.common.device import pick_device
    from hairclip.config import load_config
    from hairclip.evaluation.edit_report import evaluate_editor
    from hairclip.evaluation.subject import configured_editor, measuring_networks
    from hairclip.pretrained.loaders import load_mapper

    check_range("--count", options.count, 1)
    check_range("--workers", options.workers, 0)
    check_range("--seed", options.seed, 0)
    config = load_config(options.config, options.overrides)
    device = pick_device(config.device)
    if config.dry_run:
        raise HairclipError(f"{options.config}: dry_run asks for random networks, which edit nothing: set it to false.")
    networks = measuring_networks(config, device, named=options.config)
    trained = Path("runs") / config.name / "mapper.safetensors"
    mapper = options.mapper or (trained if trained.is_file() else networks.parts.get("mapper"))
    if mapper is None:
        raise HairclipError(f"there is no mapper {trained} and none in {config.networks.bundle}: give one as --mapper.")
    print(f"mapper: {mapper}")
    editor = configured_editor(config, networks, load_mapper(mapper, device))
    optimize_count = {"mapper": 0, "both": 24, "optimize": options.count}[options.method]
    evaluate_editor(
        editor,
        networks.judge,
        options.out or Path("runs") / config.name / "evaluation",
        count=options.count,
        optimize_count=min(optimize_count, options.count),
        seed=options.seed,
        workers=options.workers,
    )

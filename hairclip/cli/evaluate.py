"""The commands `evaluate`, `evaluate-photos` and `evaluate-inversion`: how good edits and inversions are."""

import argparse
import os
from pathlib import Path
from typing import Any

from hairclip.common.errors import HairclipError, check_range

INVERSIONS = ("encoder", "optimize", "pivotal")
DEVICE_HELP = "auto (default), cpu, cuda, cuda:N or mps"
BUNDLE_HELP = "name or YAML file of a bundle, or a folder of weight files (default portraits)"


def add_command(commands: Any) -> None:
    """Add the three commands to the subcommands of a parser."""
    _add_evaluate(commands)
    _add_evaluate_photos(commands)
    _add_evaluate_inversion(commands)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="measure edits of held-out people against the rendered truth",
        description="Edit rendered people that no network has seen, and compare each edit with the rendered truth. "
        "Prints a table; writes report.json and sheets of pictures.",
    )
    evaluate.add_argument("--config", required=True, help="a YAML file, such as configs/portraits.yaml")
    evaluate.add_argument("--count", type=int, default=200, help="number of edits (default 200)")
    evaluate.add_argument("--out", help="folder of the report (default: runs/NAME/evaluation)")
    evaluate.add_argument(
        "--method",
        choices=("mapper", "optimize", "both"),
        default="both",
        help="mapper: the mapper alone; both: also optimization of the first 24 edits (default); "
        "optimize: also optimization of all edits",
    )
    evaluate.add_argument("--mapper", help="file of a mapper (default: that of the run, else the bundle's)")
    evaluate.add_argument("--seed", type=int, default=0, help="seed of people and requests (default 0)")
    evaluate.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    evaluate.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the configuration")
    evaluate.set_defaults(run=_evaluate)


def _add_evaluate_photos(commands: Any) -> None:
    photos = commands.add_parser(
        "evaluate-photos",
        help="measure edits of whole photos against composed scenes",
        description="Compose rendered people into snapshots, edit these as photos, and compare each with the same "
        "scene rendered with the requested hair. Prints a table; writes report.json and sheets of pictures.",
    )
    photos.add_argument("--count", type=int, default=24, help="number of scenes (default 24)")
    photos.add_argument("--seed", type=int, default=0, help="seed of the scenes (default 0)")
    photos.add_argument("--out", type=Path, default=Path("runs/photos"), help="folder of the report")
    photos.add_argument(
        "--inversion", nargs="+", choices=INVERSIONS, default=["encoder"], help="one or several (default encoder)"
    )
    photos.add_argument("--inversion-steps", type=int, default=100, help="steps of optimize and pivotal (default 100)")
    photos.add_argument("--bundle", default="portraits", help=BUNDLE_HELP)
    photos.add_argument("--mapper", help="file of a mapper (default: the bundle's)")
    photos.add_argument("--device", default="auto", help=DEVICE_HELP)
    photos.set_defaults(run=_evaluate_photos)


def _add_evaluate_inversion(commands: Any) -> None:
    inversion = commands.add_parser(
        "evaluate-inversion",
        help="measure how well each method of inversion rebuilds held-out portraits, and what it costs",
        description="Invert rendered portraits of people that no network has seen by each method. Prints a table; "
        "writes inversions.json and a sheet of pictures.",
    )
    inversion.add_argument("--count", type=int, default=24, help="number of portraits (default 24)")
    inversion.add_argument("--steps", type=int, default=100, help="steps of optimize and pivotal (default 100)")
    inversion.add_argument(
        "--methods", nargs="+", choices=INVERSIONS, default=list(INVERSIONS), help="methods to measure (default all)"
    )
    inversion.add_argument("--seed", type=int, default=0, help="seed of the portraits (default 0)")
    inversion.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    inversion.add_argument("--bundle", default="portraits", help=BUNDLE_HELP)
    inversion.add_argument("--device", default="auto", help=DEVICE_HELP)
    inversion.add_argument("--out", type=Path, default=Path("runs/evaluate_inversion"), help="folder of the report")
    inversion.set_defaults(run=_evaluate_inversion)


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


def _evaluate_photos(options: argparse.Namespace) -> None:
    from hairclip.common.device import pick_device
    from hairclip.editing.photo_editor import PhotoEditor
    from hairclip.evaluation.photos import evaluate_photos

    check_range("--count", options.count, 1)
    check_range("--seed", options.seed, 0)
    check_range("--inversion-steps", options.inversion_steps, 1)
    editor = PhotoEditor.from_bundle(options.bundle, device=pick_device(options.device), mapper=options.mapper)
    evaluate_photos(
        editor,
        options.out,
        count=options.count,
        seed=options.seed,
        inversions=tuple(dict.fromkeys(options.inversion)),
        inversion_steps=options.inversion_steps,
    )


def _evaluate_inversion(options: argparse.Namespace) -> None:
    from hairclip.common.device import pick_device
    from hairclip.editing.editor import HairEditor
    from hairclip.evaluation.inversions import evaluate_inversions
    from hairclip.pretrained.bundle import load_bundle

    check_range("--count", options.count, 1)
    check_range("--steps", options.steps, 1)
    check_range("--seed", options.seed, 0)
    check_range("--workers", options.workers, 0)
    networks = load_bundle(options.bundle, pick_device(options.device))
    evaluate_inversions(
        HairEditor(networks),
        networks.judge,
        options.out,
        count=options.count,
        steps=options.steps,
        methods=tuple(dict.fromkeys(options.methods)),
        seed=options.seed,
        workers=options.workers,
    )

"""The commands of the portraits world: render-portraits, train-portrait-networks, train-strands, their evaluation."""

import argparse
import os
from pathlib import Path
from typing import Any

from hairclip.cli.shared_arguments import (
    BUNDLE_HELP,
    DEVICE_HELP,
    add_processor,
    check_threads,
    check_weights_file,
    use_processor,
)
from hairclip.common.errors import check_range

NETWORKS = ("parser", "judge", "identity", "clip", "generator")
"""What `train-portrait-networks` trains, in this order; `hairclip.portraits.fit.networks` holds the recipes."""


def add_command(commands: Any) -> None:
    """Add the four commands to the subcommands of a parser."""
    _add_render(commands)
    _add_train(commands)
    _add_train_strands(commands)
    _add_evaluate(commands)


def _add_render(commands: Any) -> None:
    render = commands.add_parser(
        "render-portraits",
        help="render synthetic portraits",
        description="Render synthetic portraits: PNG files of images and labels with metadata.jsonl, or --quads. "
        "Run it again to continue: files that are complete are kept.",
    )
    render.add_argument("--count", type=int, required=True, help="number of portraits or quads")
    render.add_argument("--seed", type=int, default=0, help="seed of people, hair and scenes (default 0)")
    render.add_argument("--size", type=int, default=128, help="height and width in pixels (default 128)")
    render.add_argument("--out", type=Path, required=True, help="folder of the files")
    render.add_argument(
        "--split",
        choices=("train", "val", "test", "all"),
        help="whose people to show (default: all, or train with --quads)",
    )
    render.add_argument(
        "--quads",
        action="store_true",
        help="write npz files of quads: two heads of hair, each in two hair colors, for train-portrait-networks",
    )
    render.add_argument(
        "--poses",
        choices=("narrow", "wide"),
        default="narrow",
        help="wide: heads turned by up to 63 degrees, hard light, larger frames (default narrow)",
    )
    render.add_argument("--workers", type=int, default=1, help="processes that render (default 1)")
    render.set_defaults(run=_render)


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train-portrait-networks",
        help="train the small networks of the portraits world",
        description="Train the networks of data/portraits from rendered quads. Each network continues from its "
        "checkpoint in --out; --install gets the finished weights as safetensors.",
    )
    train.add_argument("--quads", type=Path, required=True, help="folder that render-portraits --quads wrote")
    train.add_argument("--out", type=Path, default=Path("runs/networks"), help="folder of the checkpoints")
    train.add_argument("--install", type=Path, default=Path("data/portraits"), help="folder of the finished weights")
    train.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS, help="train these (default: all)")
    train.add_argument("--steps", type=int, help="steps of every network but the generator (default: its recipe's)")
    train.add_argument("--latents", type=int, default=3200, help="number of training latents to write (default 3200)")
    add_processor(train)
    train.add_argument(
        "--compile", action="store_true", help="compile the generator with torch.compile; needs a C++ compiler"
    )
    train.set_defaults(run=_train)


def _add_train_strands(commands: Any) -> None:
    strands = commands.add_parser(
        "train-strands",
        help="grow the generator of the portraits world and teach it strands of hair",
        description="Grow a bundle's generator to the size of rendered quads, and teach it strands that lie where hair "
        "flows. Its codes keep their meaning. The training continues from its checkpoints.",
    )
    strands.add_argument("--quads", type=Path, required=True, help="folder that render-portraits --quads --size wrote")
    strands.add_argument("--bundle", default="portraits", help=BUNDLE_HELP)
    strands.add_argument("--out", type=Path, required=True, help="file of the finished weights, ending in .safetensors")
    strands.add_argument("--steps", type=int, help="steps of the grown generator (default: the recipe's)")
    strands.add_argument("--field-steps", type=int, help="steps of the strand field (default: the recipe's)")
    strands.add_argument("--checkpoints", type=Path, default=Path("runs/strands"), help="folder of the checkpoints")
    add_processor(strands)
    strands.set_defaults(run=_train_strands)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate-portrait-networks",
        help="measure the networks of the portraits world on held-out people",
        description="Measure the portrait networks on rendered people that none of them has seen, and print the "
        "table of what each must reach. The exit code is 1 if a network misses it.",
    )
    evaluate.add_argument("--bundle", default="portraits", help="bundle name, or a folder of weight files")
    evaluate.add_argument("--count", type=int, default=200, help="number of people, three portraits each (default 200)")
    evaluate.add_argument(
        "--optimize-count", type=int, default=24, help="portraits that are also inverted by descent (default 24)"
    )
    evaluate.add_argument("--optimize-steps", type=int, default=300, help="steps of that descent (default 300)")
    evaluate.add_argument("--seed", type=int, default=1, help="seed of the people (default 1)")
    evaluate.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    evaluate.add_argument("--device", default="auto", help=DEVICE_HELP)
    evaluate.add_argument("--out", type=Path, default=Path("runs/evaluate_networks"), help="folder of the report")
    evaluate.add_argument(
        "--calibrate-colors",
        action="store_true",
        help="measure the reference hair colors on training people, write data/portraits/colors.json, and stop",
    )
    evaluate.set_defaults(run=_evaluate)


def _render(options: argparse.Namespace) -> None:
    for option in ("count", "size", "workers"):
        check_range(f"--{option}", getattr(options, option), 1)
    check_range("--seed", options.seed, 0)
    from hairclip.common.progress import progress_bar
    from hairclip.portraits.dataset import DatasetSpec, render_dataset

    dataset = DatasetSpec(
        count=options.count,
        seed=options.seed,
        size=options.size,
        split=options.split or ("train" if options.quads else "all"),
        mode="quads" if options.quads else "portraits",
        poses=options.poses,
    )
    unit = "quad" if options.quads else "portrait"
    with progress_bar(label=f"rendering {dataset.split}", total=options.count, unit=unit) as bar:
        for done in render_dataset(dataset, options.out, workers=options.workers):
            bar.update(done)


def _train(options: argparse.Namespace) -> None:
    for option in ("steps", "latents", "threads"):
        if getattr(options, option) is not None:
            check_range(f"--{option}", getattr(options, option), 1)
    from hairclip.portraits.fit.data import load_quads
    from hairclip.portraits.fit.networks import fit_networks

    device = use_processor(options)
    fit_networks(
        load_quads(options.quads),
        options.only,
        checkpoints=options.out,
        install=options.install,
        device=device,
        steps=options.steps,
        latents=options.latents,
        compiled=options.compile,
    )


def _train_strands(options: argparse.Namespace) -> None:
    for option in ("steps", "field_steps"):
        if getattr(options, option) is not None:
            check_range(f"--{option.replace('_', '-')}", getattr(options, option), 1)
    check_threads(options)
    check_weights_file(options.out)
    from dataclasses import replace

    from hairclip.portraits.fit.likeness import Recognizers
    from hairclip.portraits.fit.people import RenderedPeople
    from hairclip.portraits.fit.strands import StrandRecipe, fit_strands
    from hairclip.pretrained.bundle import load_bundle
    from hairclip.pretrained.mapper import CODES_OF, describe_companions
    from hairclip.pretrained.network_files import save_network

    device = use_processor(options)
    bundle = load_bundle(options.bundle, device)
    given = {"steps": options.steps, "field_steps": options.field_steps}
    recipe = replace(StrandRecipe(), **{name: value for name, value in given.items() if value is not None})
    options.out.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after an hour of training
    people = RenderedPeople(options.quads)
    recognizers = Recognizers(parser=bundle.parser, clip=bundle.clip, identity=bundle.identity)
    grown = fit_strands(
        people, bundle.encoder, bundle.generator, recognizers, options.checkpoints, device, recipe=recipe
    )
    codes_of = describe_companions(bundle.parts).get("generator")
    save_network(options.out, "generator", grown, half=True, notes={CODES_OF: codes_of} if codes_of else None)
    print(f"wrote {options.out}")


def _evaluate(options: argparse.Namespace) -> int:
    check_range("--count", options.count, 2)
    check_range("--optimize-count", options.optimize_count, 0)
    check_range("--optimize-steps", options.optimize_steps, 1)
    check_range("--seed", options.seed, 0)
    check_range("--workers", options.workers, 0)
    if options.calibrate_colors:
        from hairclip.common.color import save_named_colors
        from hairclip.common.files import data_folder
        from hairclip.evaluation.cases import calibrate_colors

        path = data_folder() / "portraits" / "colors.json"
        save_named_colors(calibrate_colors(workers=options.workers, progress=True), path)
        print(f"wrote {path}")
        return 0
    from hairclip.common.device import pick_device
    from hairclip.evaluation.portrait_networks import evaluate_networks
    from hairclip.pretrained.bundle import load_bundle

    report = evaluate_networks(
        load_bundle(options.bundle, pick_device(options.device)),
        options.out,
        count=options.count,
        optimize_count=options.optimize_count,
        optimize_steps=options.optimize_steps,
        seed=options.seed,
        workers=options.workers,
    )
    return 0 if all(passed is not False for passed in report["passed"].values()) else 1

"""The commands of the parser of photos: train-photo-parser, evaluate-photo-parser, evaluate-hair-mask, evaluate-dye."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hairclip.cli.shared_arguments import (
    BUNDLE_HELP,
    DEVICE_HELP,
    SPLITS,
    add_processor,
    check_threads,
    check_weights_file,
    use_processor,
)
from hairclip.common.errors import HairclipError, check_range

if TYPE_CHECKING:  # torch takes seconds to import: a mistake in the arguments does not wait for it
    import torch

    from hairclip.networks.face_parser import FaceParser
    from hairclip.pretrained.bundle import Bundle


def add_command(commands: Any) -> None:
    """Add the four commands to the subcommands of a parser."""
    _add_train(commands)
    _add_evaluate(commands)
    _add_evaluate_mask(commands)
    _add_evaluate_dye(commands)


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train-photo-parser",
        help="train the parser that finds the hair of real photos",
        description="Train a face parser on rendered people in random surroundings. It continues from its checkpoint.",
    )
    train.add_argument("--quads", type=Path, required=True, help="folder that render-portraits --quads wrote")
    train.add_argument("--wide", type=Path, help="folder that render-portraits --quads --poses wide wrote")
    train.add_argument("--out", type=Path, required=True, help="file of the finished weights, ending in .safetensors")
    train.add_argument("--steps", type=int, required=True, help="number of steps")
    train.add_argument("--init", type=Path, help="file of a trained parser to start from (default: random weights)")
    train.add_argument("--rate", type=float, default=3e-3, help="peak learning rate (default 0.003)")
    train.add_argument("--batch", type=int, default=8, help="pictures of a step (default 8)")
    train.add_argument("--textures", type=int, default=400, help="textures of backdrops and clothes (default 400)")
    train.add_argument("--checkpoints", type=Path, default=Path("runs/photo_parser"), help="folder of the checkpoint")
    train.add_argument("--workers", type=int, default=0, help="processes that make pictures (default 0: none)")
    add_processor(train)
    train.set_defaults(run=_train)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate-photo-parser",
        help="measure how well the parser of photos finds hair, by random factor",
        description="Measure the hair IoU of a bundle's photo parser and parser on rendered people that no network has "
        "seen: plain, with each random factor alone, and with all of them. Prints a table; writes photo_parser.json.",
    )
    evaluate.add_argument("--bundle", default="portraits", help=BUNDLE_HELP)
    evaluate.add_argument("--file", type=Path, help="measure the parser in this file in place of the bundle's")
    evaluate.add_argument("--count", type=int, default=40, help="number of people in each case (default 40)")
    evaluate.add_argument("--textures", type=int, default=60, help="textures of backdrops and clothes (default 60)")
    evaluate.add_argument("--photos", type=Path, help="folder of photos NAME.jpg with masks NAME_hair.png")
    evaluate.add_argument("--seed", type=int, default=0, help="seed of people and surroundings (default 0)")
    _add_split(evaluate)
    evaluate.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    evaluate.add_argument("--device", default="auto", help=DEVICE_HELP)
    evaluate.add_argument("--out", type=Path, default=Path("runs/evaluate_photo_parser"), help="folder of the report")
    evaluate.set_defaults(run=_evaluate)


def _add_evaluate_mask(commands: Any) -> None:
    mask = commands.add_parser(
        "evaluate-hair-mask",
        help="measure the soft hair mask of whole photos on composed scenes",
        description="Compose snapshots of rendered people whose long hair leaves the face's square, find their hair, "
        "and compare it with the rendered hair. Prints a table; writes hair_masks.json and a sheet of pictures.",
    )
    mask.add_argument("--bundle", default="portraits", help=BUNDLE_HELP)
    mask.add_argument("--file", type=Path, help="start from the parser in this file in place of the bundle's")
    mask.add_argument("--count", type=int, default=24, help="number of scenes (default 24)")
    mask.add_argument("--size", type=int, default=512, help="pixels of the rendered people (default 512)")
    mask.add_argument("--seed", type=int, default=0, help="seed of the scenes (default 0)")
    _add_split(mask)
    mask.add_argument("--device", default="auto", help=DEVICE_HELP)
    mask.add_argument("--out", type=Path, default=Path("runs/evaluate_hair_mask"), help="folder of the report")
    mask.set_defaults(run=_evaluate_mask)


def _add_evaluate_dye(commands: Any) -> None:
    dye = commands.add_parser(
        "evaluate-dye",
        help="measure how near dyed hair comes to colors that no word names",
        description="Dye the hair of rendered people in twelve codes and shades, and measure the distance of the mean "
        "color of the hair from the color. Prints a table; writes dyes.json.",
    )
    dye.add_argument("--bundle", default="portraits", help=BUNDLE_HELP)
    dye.add_argument("--file", type=Path, help="find hair by the parser in this file in place of the bundle's")
    dye.add_argument("--count", type=int, default=6, help="number of people (default 6)")
    dye.add_argument("--photos", type=Path, help="folder of photos NAME.jpg that are dyed, too")
    dye.add_argument("--seed", type=int, default=0, help="seed of the people (default 0)")
    dye.add_argument("--device", default="auto", help=DEVICE_HELP)
    dye.add_argument("--out", type=Path, default=Path("runs/evaluate_dye"), help="folder of the report")
    dye.set_defaults(run=_evaluate_dye)


def _add_split(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--split",
        choices=tuple(SPLITS),
        default="test",
        help="the people: test for reports (default), validation for choosing weights and settings",
    )


def _train(options: argparse.Namespace) -> None:
    for option in ("steps", "batch", "textures"):
        check_range(f"--{option}", getattr(options, option), 1)
    check_range("--workers", options.workers, 0)
    if not options.rate > 0:
        raise HairclipError(f"--rate {options.rate:g}: give a number above 0.")
    check_threads(options)
    check_weights_file(options.out)
    from hairclip.portraits.fit.people import RenderedPeople
    from hairclip.portraits.fit.photo_parser import fit_photo_parser
    from hairclip.pretrained.loaders import load_parser
    from hairclip.pretrained.network_files import save_network

    device = use_processor(options)
    initial = None if options.init is None else load_parser(options.init)
    options.out.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after hours of training
    parser = fit_photo_parser(
        RenderedPeople(options.quads),
        options.checkpoints,
        device,
        steps=options.steps,
        wide=None if options.wide is None else RenderedPeople(options.wide),
        batch=options.batch,
        textures=options.textures,
        workers=options.workers,
        initial=initial,
        rate=options.rate,
    )
    save_network(options.out, "parser", parser, half=True)
    print(f"wrote {options.out}")


def _evaluate(options: argparse.Namespace) -> int:
    for option in ("count", "textures"):
        check_range(f"--{option}", getattr(options, option), 1)
    check_range("--seed", options.seed, 0)
    check_range("--workers", options.workers, 0)
    from hairclip.common.device import pick_device
    from hairclip.editing.photo.faces import FINDERS
    from hairclip.evaluation.photo_parser import evaluate_photo_parser
    from hairclip.pretrained.bundle import load_bundle

    device = pick_device(options.device)
    bundle = load_bundle(options.bundle, device)
    parsers = {"photo parser": _photo_parser(options, bundle, device)}
    if bundle.parser is not bundle.photo_parser:
        parsers["parser"] = bundle.parser
    report = evaluate_photo_parser(
        parsers,
        options.out,
        count=options.count,
        seed=options.seed,
        split=SPLITS[options.split],
        textures=options.textures,
        photos=options.photos,
        finder=None if options.photos is None else FINDERS.load("mtcnn")(device),
        workers=options.workers,
    )
    return _exit_code(report)


def _evaluate_mask(options: argparse.Namespace) -> int:
    check_range("--count", options.count, 1)
    check_range("--size", options.size, 32)
    check_range("--seed", options.seed, 0)
    from hairclip.common.device import pick_device
    from hairclip.evaluation.hair_masks import evaluate_hair_masks
    from hairclip.pretrained.bundle import load_bundle

    device = pick_device(options.device)
    parser = _photo_parser(options, load_bundle(options.bundle, device), device)
    report = evaluate_hair_masks(
        parser, options.out, count=options.count, seed=options.seed, size=options.size, split=SPLITS[options.split]
    )
    return _exit_code(report)


def _evaluate_dye(options: argparse.Namespace) -> None:
    check_range("--count", options.count, 1)
    check_range("--seed", options.seed, 0)
    from hairclip.common.device import pick_device
    from hairclip.editing.photo.faces import FINDERS
    from hairclip.evaluation.dyes import evaluate_dyes
    from hairclip.pretrained.bundle import load_bundle

    device = pick_device(options.device)
    finder = None if options.photos is None else FINDERS.load("mtcnn")(device)
    parser = _photo_parser(options, load_bundle(options.bundle, device), device)
    evaluate_dyes(parser, options.out, count=options.count, seed=options.seed, photos=options.photos, finder=finder)


def _photo_parser(options: argparse.Namespace, bundle: "Bundle", device: "torch.device") -> "FaceParser":
    """Return the parser to measure: that of --file, else the bundle's."""
    from hairclip.pretrained.loaders import load_parser

    return bundle.photo_parser if options.file is None else load_parser(options.file, device)


def _exit_code(report: dict[str, Any]) -> int:
    """Return 1 if a figure misses what it must reach."""
    return 0 if all(passed is not False for passed in report["passed"].values()) else 1

"""The command train-denoiser."""

import argparse
from pathlib import Path
from typing import Any

from hairclip.cli.shared_arguments import (
    add_labeled_pictures,
    check_labeled_pictures,
    check_weights_file,
    load_labeled_bundle,
    read_labeled_pictures,
    use_processor,
)
from hairclip.common.errors import check_range


def add_command(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    train = commands.add_parser(
        "train-denoiser",
        help="train the denoiser of the editing method diffusion",
        description="Train the two denoisers of the editing method diffusion on labeled pictures: those that the "
        "bundle's generator makes of its labeled latents, and rendered ones. It continues from its checkpoints.",
    )
    add_labeled_pictures(train, "runs/denoiser")
    train.add_argument("--out", type=Path, required=True, help="file of the finished weights, ending in .safetensors")
    train.add_argument("--steps", type=int, default=2600, help="steps of the coarse stage (default 2600)")
    train.add_argument("--fine-steps", type=int, default=2400, help="steps of the fine stage (default 2400)")
    train.add_argument("--batch", type=int, default=32, help="pictures of a step (default 32)")
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> None:
    check_labeled_pictures(options)
    for option in ("steps", "fine-steps", "batch"):
        check_range(f"--{option}", getattr(options, option.replace("-", "_")), 1)
    check_weights_file(options.out)
    from hairclip.portraits.fit.denoiser import fit_painter, read_told, save_painter

    device = use_processor(options)
    bundle = load_labeled_bundle(options, device, "the denoiser learns")
    options.out.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after an hour of training
    pictures = read_labeled_pictures(options, bundle)
    painter = fit_painter(
        pictures,
        read_told(pictures, bundle, progress=True),
        options.checkpoints,
        device,
        steps=options.steps,
        fine_steps=options.fine_steps,
        batch=options.batch,
        seed=options.seed,
    )
    save_painter(options.out, painter)
    print(f"wrote {options.out}")

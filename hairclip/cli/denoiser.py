"""The command train-denoiser."""

import argparse
from pathlib import Path
from typing import Any

from hairclip.common.errors import HairclipError, check_range


def add_command(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    train = commands.add_parser(
        "train-denoiser",
        help="train the denoiser of the editing method diffusion",
        description="Train the two denoisers of the editing method diffusion on labeled pictures: those that the "
        "bundle's generator makes of its labeled latents, and rendered ones. It continues from its checkpoints.",
    )
    train.add_argument("--bundle", default="portraits", help="bundle of generator, CLIP, parser and labeled latents")
    train.add_argument("--quads", type=Path, help="folder that render-portraits --quads wrote (default: none)")
    train.add_argument("--pictures", type=int, default=4800, help="pictures of the generator (default 4800)")
    train.add_argument("--out", type=Path, required=True, help="file of the finished weights, ending in .safetensors")
    train.add_argument("--steps", type=int, default=2600, help="steps of the coarse stage (default 2600)")
    train.add_argument("--fine-steps", type=int, default=2400, help="steps of the fine stage (default 2400)")
    train.add_argument("--batch", type=int, default=32, help="pictures of a step (default 32)")
    train.add_argument("--seed", type=int, default=0, help="seed of all that is random (default 0)")
    train.add_argument(
        "--checkpoints", type=Path, default=Path("runs/denoiser"), help="folder of pictures and checkpoints"
    )
    train.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    train.add_argument("--threads", type=int, help="processor threads (default: torch's)")
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> None:
    for option in ("pictures", "steps", "fine-steps", "batch", "threads"):
        value = getattr(options, option.replace("-", "_"))
        if value is not None:
            check_range(f"--{option}", value, 1)
    check_range("--seed", options.seed, 0)
    if options.out.suffix != ".safetensors":
        raise HairclipError(f"--out {options.out}: give a file that ends in .safetensors.")
    import torch

    from hairclip.common.device import pick_device
    from hairclip.portraits.fit.denoiser import fit_painter, read_told, save_painter
    from hairclip.portraits.fit.labeled_pictures import labeled_pictures
    from hairclip.pretrained.bundle import load_bundle

    device = pick_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    bundle = load_bundle(options.bundle, device)
    if "latents" not in bundle.parts:
        raise HairclipError(f"{bundle.name} has no latents, and the denoiser learns from labeled ones: add them to it.")
    options.out.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after an hour of training
    options.checkpoints.mkdir(parents=True, exist_ok=True)
    pictures = labeled_pictures(
        options.checkpoints / "pictures.safetensors",
        bundle,
        bundle.parts["latents"],
        count=options.pictures,
        quads=options.quads,
        seed=options.seed,
        progress=True,
    )
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

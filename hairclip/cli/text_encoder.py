"""The command train-text-encoder."""

import argparse
from pathlib import Path
from typing import Any

from hairclip.cli.shared_arguments import DEVICE_HELP, check_weights_file
from hairclip.common.errors import HairclipError, check_range


def add_command(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    train = commands.add_parser(
        "train-text-encoder",
        help="train the text encoder, which the methods difference and tedigan need",
        description="Train the network that turns the words of a hairstyle and a hair color into a W+ code. It learns "
        "from labeled codes of the train split alone, and continues from its checkpoint.",
    )
    train.add_argument("--out", type=Path, required=True, help="file of the finished weights, ending in .safetensors")
    train.add_argument("--bundle", default="portraits", help="bundle whose CLIP reads the words (default portraits)")
    train.add_argument(
        "--latents", help="name or file of codes with the labels hairstyle and color (default: the bundle's)"
    )
    train.add_argument("--steps", type=int, default=500, help="number of steps (default 500)")
    train.add_argument("--batch", type=int, default=128, help="codes of a step (default 128)")
    train.add_argument("--seed", type=int, default=0, help="seed of weights and batches (default 0)")
    train.add_argument("--checkpoints", type=Path, default=Path("runs/text_encoder"), help="folder of the checkpoint")
    train.add_argument("--device", default="auto", help=DEVICE_HELP)
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> None:
    for option in ("steps", "batch"):
        check_range(f"--{option}", getattr(options, option), 1)
    check_range("--seed", options.seed, 0)
    check_weights_file(options.out)
    from hairclip.common.device import pick_device
    from hairclip.pretrained.bundle import load_bundle
    from hairclip.pretrained.mapper import describe_companions
    from hairclip.pretrained.network_files import save_network
    from hairclip.training.latents import load_latent_set
    from hairclip.training.text_encoder import fit_text_encoder

    device = pick_device(options.device)
    bundle = load_bundle(options.bundle, device)
    source = options.latents or bundle.parts.get("latents")
    if source is None:
        raise HairclipError(f"the bundle {options.bundle} has no latents: give labeled codes with --latents.")
    bundle.require(("clip",) if options.latents else ("clip", "latents"))
    latents = load_latent_set(source)
    options.out.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after the training
    network = fit_text_encoder(
        latents.split("train") if latents.splits else latents,
        bundle.clip,
        options.checkpoints,
        device,
        steps=options.steps,
        batch=options.batch,
        seed=options.seed,
    )
    notes = {"contents": describe_companions(bundle.parts)}
    save_network(options.out, "text_encoder", network, half=True, notes=notes)
    print(f"wrote {options.out}")

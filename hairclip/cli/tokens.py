"""The commands hair-priors and train-tokens."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hairclip.common.errors import HairclipError, check_range

if TYPE_CHECKING:  # torch takes seconds to import: a mistake in the arguments does not wait for it
    from hairclip.portraits.fit.labeled_pictures import LabeledPictures
    from hairclip.pretrained.bundle import Bundle


def add_command(commands: Any) -> None:
    """Add the two commands to the subcommands of a parser."""
    priors = commands.add_parser(
        "hair-priors",
        help="measure where hair of each hairstyle lies, for the methods that paint pictures",
        description="Measure the mean hair of each hairstyle and the mean color of each word on labeled pictures.",
    )
    _add_pictures(priors, "runs/hair_priors")
    priors.add_argument("--out", type=Path, required=True, help="file to write, ending in .safetensors")
    priors.set_defaults(run=_measure)
    train = commands.add_parser(
        "train-tokens",
        help="train codec and token transformer of the editing method vq",
        description="Train the codec of pictures and tokens, then the transformer that draws tokens of hair, on "
        "labeled pictures. Both continue from their checkpoints. Writes codec.safetensors and "
        "token_transformer.safetensors.",
    )
    _add_pictures(train, "runs/tokens")
    train.add_argument("--out", type=Path, required=True, help="folder of the finished weights")
    train.add_argument("--codec-steps", type=int, default=400, help="steps of the codec (default 400)")
    train.add_argument("--steps", type=int, default=2000, help="steps of the transformer (default 2000)")
    train.add_argument("--batch", type=int, default=32, help="pictures of a step of the transformer (default 32)")
    train.set_defaults(run=_train)


def _add_pictures(command: argparse.ArgumentParser, checkpoints: str) -> None:
    command.add_argument("--bundle", default="portraits", help="bundle of generator, CLIP, parser and labeled latents")
    command.add_argument("--quads", type=Path, help="folder that render-portraits --quads wrote (default: none)")
    command.add_argument("--pictures", type=int, default=4800, help="pictures of the generator (default 4800)")
    command.add_argument(
        "--checkpoints", type=Path, default=Path(checkpoints), help="folder of pictures and checkpoints"
    )
    command.add_argument("--seed", type=int, default=0, help="seed of all that is random (default 0)")
    command.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    command.add_argument("--threads", type=int, help="processor threads (default: torch's)")


def _measure(options: argparse.Namespace) -> None:
    if options.out.suffix != ".safetensors":
        raise HairclipError(f"--out {options.out}: give a file that ends in .safetensors.")
    _, pictures = _read_pictures(options, "the priors are")
    from hairclip.portraits.fit.hair_priors import measure_hair_priors
    from hairclip.pretrained.network_files import save_network

    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_network(options.out, "hair_priors", measure_hair_priors(pictures), half=True, quarter_above=50_000)
    print(f"wrote {options.out}")


def _train(options: argparse.Namespace) -> None:
    for option in ("codec-steps", "steps", "batch"):
        check_range(f"--{option}", getattr(options, option.replace("-", "_")), 1)
    bundle, pictures = _read_pictures(options, "tokens are")
    from hairclip.common.device import pick_device
    from hairclip.portraits.fit.tokens import embed_words, fit_codec, fit_token_transformer
    from hairclip.pretrained.network_files import save_network

    device = pick_device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)  # fails now, not after the training
    folder, seed = options.checkpoints, options.seed
    priors = bundle.hair_priors
    codec = fit_codec(pictures, folder, device, steps=options.codec_steps, seed=seed)
    # Matrices of more numbers than this lose nothing measurable in float8.
    save_network(options.out / "codec.safetensors", "codec", codec, half=True, quarter_above=20_000)
    hairstyles, colors = embed_words(bundle, priors)
    transformer = fit_token_transformer(
        pictures, codec, hairstyles, colors, priors, folder, device, steps=options.steps, batch=options.batch, seed=seed
    )
    path = options.out / "token_transformer.safetensors"
    save_network(path, "token_transformer", transformer, half=True, quarter_above=20_000)
    print(f"wrote codec.safetensors and token_transformer.safetensors to {options.out}")


def _read_pictures(options: argparse.Namespace, what: str) -> "tuple[Bundle, LabeledPictures]":
    """Return the bundle and the labeled pictures, which are made where they are missing."""
    check_range("--pictures", options.pictures, 1)
    check_range("--seed", options.seed, 0)
    if options.threads is not None:
        check_range("--threads", options.threads, 1)
    import torch

    from hairclip.common.device import pick_device
    from hairclip.portraits.fit.labeled_pictures import labeled_pictures
    from hairclip.pretrained.bundle import load_bundle

    if options.threads:
        torch.set_num_threads(options.threads)
    bundle = load_bundle(options.bundle, pick_device(options.device))
    if "latents" not in bundle.parts:
        raise HairclipError(f"{bundle.name} has no latents, and {what} learned from labeled ones: add them to it.")
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
    return bundle, pictures

"""The commands hair-priors and train-tokens."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hairclip.cli.shared_arguments import (
    add_labeled_pictures,
    check_labeled_pictures,
    check_weights_file,
    load_labeled_bundle,
    read_labeled_pictures,
    use_processor,
)
from hairclip.common.errors import check_range

if TYPE_CHECKING:  # torch takes seconds to import: a mistake in the arguments does not wait for it
    import torch

    from hairclip.portraits.fit.labeled_pictures import LabeledPictures
    from hairclip.pretrained.bundle import Bundle


def add_command(commands: Any) -> None:
    """Add the two commands to the subcommands of a parser."""
    priors = commands.add_parser(
        "hair-priors",
        help="measure where hair of each hairstyle lies, for the methods that paint pictures",
        description="Measure the mean hair of each hairstyle and the mean color of each word on labeled pictures.",
    )
    add_labeled_pictures(priors, "runs/hair_priors")
    priors.add_argument("--out", type=Path, required=True, help="file to write, ending in .safetensors")
    priors.set_defaults(run=_measure)
    train = commands.add_parser(
        "train-tokens",
        help="train codec and token transformer of the editing method vq",
        description="Train the codec of pictures and tokens, then the transformer that draws tokens of hair, on "
        "labeled pictures. Both continue from their checkpoints. Writes codec.safetensors and "
        "token_transformer.safetensors.",
    )
    add_labeled_pictures(train, "runs/tokens")
    train.add_argument("--out", type=Path, required=True, help="folder of the finished weights")
    train.add_argument("--codec-steps", type=int, default=400, help="steps of the codec (default 400)")
    train.add_argument("--steps", type=int, default=2000, help="steps of the transformer (default 2000)")
    train.add_argument("--batch", type=int, default=32, help="pictures of a step of the transformer (default 32)")
    train.set_defaults(run=_train)


def _measure(options: argparse.Namespace) -> None:
    check_weights_file(options.out)
    _, pictures, _ = _read_pictures(options, "the priors are learned")
    from hairclip.portraits.fit.hair_priors import measure_hair_priors
    from hairclip.pretrained.network_files import save_network

    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_network(options.out, "hair_priors", measure_hair_priors(pictures), half=True, quarter_above=50_000)
    print(f"wrote {options.out}")


def _train(options: argparse.Namespace) -> None:
    for option in ("codec-steps", "steps", "batch"):
        check_range(f"--{option}", getattr(options, option.replace("-", "_")), 1)
    bundle, pictures, device = _read_pictures(options, "tokens are learned")
    from hairclip.portraits.fit.tokens import embed_words, fit_codec, fit_token_transformer
    from hairclip.pretrained.network_files import save_network

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


def _read_pictures(options: argparse.Namespace, learner: str) -> "tuple[Bundle, LabeledPictures, torch.device]":
    """Return the bundle, the labeled pictures and the device; see `load_labeled_bundle`."""
    check_labeled_pictures(options)
    device = use_processor(options)
    bundle = load_labeled_bundle(options, device, learner)
    return bundle, read_labeled_pictures(options, bundle), device

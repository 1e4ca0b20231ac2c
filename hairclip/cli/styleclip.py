"""The commands that make the networks of StyleCLIP's methods: directions and train-style-mappers."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hairclip.cli.shared_arguments import BUNDLE_HELP, add_processor, check_threads, check_weights_file, use_processor
from hairclip.common.errors import check_range

if TYPE_CHECKING:  # torch takes seconds to import: a mistake in the arguments does not wait for it
    from hairclip.pretrained.bundle import Bundle
    from hairclip.training.latents import LatentSet

SAMPLED = "sampled"


def add_command(commands: Any) -> None:
    """Add the commands to the subcommands of a parser."""
    _add_directions(commands)
    _add_train(commands)


def _add_directions(commands: Any) -> None:
    directions = commands.add_parser(
        "directions",
        help="compute the global directions of a generator, for method styleclip-global",
        description="Measure mean and deviation of each channel of the space S, and in which direction of CLIP's space "
        "each channel moves a picture (StyleCLIP, section 6). A run that was stopped continues where it was.",
    )
    directions.add_argument("--bundle", default="portraits", help=BUNDLE_HELP)
    directions.add_argument("--out", type=Path, required=True, help="file of the directions, ending in .safetensors")
    directions.add_argument("--images", type=int, default=100, help="pictures that show each channel (default 100)")
    directions.add_argument(
        "--latents",
        help="codes: a name, a file, or sampled to draw them from the generator (default: those of the bundle that are "
        "labeled for training, else sampled)",
    )
    directions.add_argument("--draws", type=int, default=100_000, help="number of sampled codes (default 100000)")
    directions.add_argument("--seed", type=int, default=0, help="chooses the pictures (default 0)")
    directions.add_argument("--batch", type=int, default=64, help="pictures made together (default 64)")
    directions.add_argument("--precision", default="float32", help="of the generator: float32 (default), bfloat16, ...")
    directions.add_argument(
        "--checkpoints", type=Path, help="folder of the sums so far (default: directions/ in hairclip's cache)"
    )
    add_processor(directions)
    directions.set_defaults(run=_directions)


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train-style-mappers",
        help="train StyleCLIP's latent mappers of many words, for method styleclip-mapper",
        description="Train a latent mapper (StyleCLIP, section 5) for each word of a bundle, all in one batch. A "
        "training that was stopped continues from its checkpoint.",
    )
    train.add_argument("--bundle", default="portraits", help=BUNDLE_HELP)
    train.add_argument("--out", type=Path, required=True, help="file of the mappers, ending in .safetensors")
    train.add_argument("--steps", type=int, default=500, help="number of steps (default 500)")
    train.add_argument(
        "--hairstyles", nargs="+", metavar="WORD", help="hairstyles (default: all that the bundle knows)"
    )
    train.add_argument("--colors", nargs="+", metavar="WORD", help="colors (default: all that the bundle knows)")
    train.add_argument("--color-samples", type=int, default=1, help="samples of each color in a step (default 1)")
    train.add_argument("--lr", type=float, default=1e-3, help="peak rate (default 1e-3)")
    train.add_argument("--scale", type=float, default=0.4, help="factor on the output (default 0.4; published 0.1)")
    train.add_argument(
        "--gain",
        type=float,
        default=1.0,
        help="factor on the output once the training is done, such as the strength that sweep finds best (default 1)",
    )
    train.add_argument("--clip-weight", type=float, default=1.0, help="weight of CLIP's distance (default 1)")
    train.add_argument(
        "--latent-weight", type=float, default=0.4, help="weight of the codes' change (default 0.4; published 0.8)"
    )
    train.add_argument("--identity-weight", type=float, default=0.1, help="weight of the identity (default 0.1)")
    train.add_argument(
        "--text-pixels",
        choices=("normalized", "official"),
        default="normalized",
        help="pixels that CLIP sees: as it was trained (default), or as the official code shows them",
    )
    train.add_argument("--latents", help="codes: a name, a file, or sampled; see directions")
    train.add_argument("--draws", type=int, default=5000, help="number of sampled codes (default 5000)")
    train.add_argument("--seed", type=int, default=0, help="of weights and codes (default 0)")
    train.add_argument("--precision", default="float32", help="float32 (default), bfloat16, ...")
    train.add_argument("--checkpoints", type=Path, default=Path("runs/style_mappers"), help="folder of the checkpoint")
    add_processor(train)
    train.set_defaults(run=_train)


def _directions(options: argparse.Namespace) -> None:
    for option in ("images", "draws", "batch"):
        check_range(f"--{option}", getattr(options, option), 1)
    check_range("--seed", options.seed, 0)
    _check_out(options)
    from hairclip.common.files import home_folder
    from hairclip.common.precision import check_precision
    from hairclip.pretrained.bundle import load_bundle
    from hairclip.pretrained.mapper import describe_companions
    from hairclip.pretrained.network_files import save_network
    from hairclip.training.directions import compute_directions

    device = use_processor(options)
    check_precision(options.precision, device)
    bundle = load_bundle(options.bundle, device)
    bundle.require(("generator", "clip"))
    directions = compute_directions(
        bundle.generator,
        bundle.clip,
        _codes(options, bundle),
        options.checkpoints or home_folder() / "directions",
        images=options.images,
        seed=options.seed,
        batch=options.batch,
        precision=options.precision,
    )
    notes = {**directions.notes, "contents": describe_companions(bundle.parts)}
    save_network(options.out, "directions", directions, half=True, notes=notes)
    print(f"wrote {options.out}; the directions of two halves of the images agree to {notes['split_half_cosine']:.2f}")


def _train(options: argparse.Namespace) -> None:
    for option in ("steps", "color_samples", "draws"):
        check_range(f"--{option.replace('_', '-')}", getattr(options, option), 1)
    for option in ("lr", "scale", "gain", "clip_weight", "latent_weight", "identity_weight"):
        check_range(f"--{option.replace('_', '-')}", getattr(options, option), 0.0)
    check_range("--seed", options.seed, 0)
    _check_out(options)
    from dataclasses import asdict, fields

    from hairclip.common.precision import check_precision
    from hairclip.conditions.vocabulary import COLORS, HAIRSTYLES
    from hairclip.networks.mapper import LAYER_SPLIT
    from hairclip.pretrained.bundle import load_bundle
    from hairclip.pretrained.mapper import describe_companions
    from hairclip.pretrained.network_files import save_network
    from hairclip.training.style_mappers import StyleMapperOptions, train_style_mappers

    device = use_processor(options)
    check_precision(options.precision, device)
    bundle = load_bundle(options.bundle, device)
    bundle.require(("generator", "clip", "identity"))
    words = bundle.known_words()
    settings = StyleMapperOptions(**{one.name: getattr(options, one.name) for one in fields(StyleMapperOptions)})
    mappers = train_style_mappers(
        bundle.generator,
        bundle.clip,
        bundle.identity,
        _codes(options, bundle),
        options.hairstyles or words.hairstyles or HAIRSTYLES,
        options.colors or words.colors or COLORS,
        options.checkpoints,
        settings,
        groups=LAYER_SPLIT,
    )
    mappers.scale *= options.gain
    notes = {"training": {**asdict(settings), "gain": options.gain}, "contents": describe_companions(bundle.parts)}
    save_network(options.out, "style_mappers", mappers, half=True, bytes_above=100_000, notes=notes)
    print(f"wrote {options.out}: {len(mappers.words)} words")


def _codes(options: argparse.Namespace, bundle: "Bundle") -> "LatentSet":
    """Return the codes to measure with: those that are named, else the bundle's to train on, else drawn ones."""
    from hairclip.pretrained.sources import find_unfetched
    from hairclip.training.directions import drawn_codes
    from hairclip.training.latents import load_latent_set

    shipped = bundle.parts.get("latents")
    if options.latents is None and shipped is not None and not find_unfetched(bundle.parts, ["latents"]):
        labeled = load_latent_set(shipped).split("train")
        if len(labeled):
            return labeled
    if options.latents in (None, SAMPLED):
        return drawn_codes(bundle.generator, options.draws, options.seed)
    found = load_latent_set(options.latents)
    return found.split("train") if found.splits else found


def _check_out(options: argparse.Namespace) -> None:
    check_threads(options)
    check_weights_file(options.out)
    options.out.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after the work

"""Arguments that several commands share, and the checks of them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hairclip.common.errors import HairclipError, check_range

if TYPE_CHECKING:  # torch takes seconds to import: a mistake in the arguments does not wait for it
    import torch

    from hairclip.portraits.fit.labeled_pictures import LabeledPictures
    from hairclip.portraits.spec import Split
    from hairclip.pretrained.bundle import Bundle

DEVICE_HELP = "auto (default), cpu, cuda, cuda:N or mps"
BUNDLE_HELP = "name or YAML file of a bundle, or a folder of weight files (default portraits)"

SPLITS: "dict[str, Split]" = {"test": "test", "validation": "val"}
"""Value of --split -> the split of people."""


def add_processor(command: argparse.ArgumentParser) -> None:
    """Add --device and --threads to a command that trains."""
    command.add_argument("--device", default="auto", help=DEVICE_HELP)
    command.add_argument("--threads", type=int, help="processor threads (default: torch's)")


def use_processor(options: argparse.Namespace) -> "torch.device":
    """Return the device of --device, and let torch use the threads of --threads."""
    import torch

    from hairclip.common.device import pick_device

    device = pick_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    return device


def check_threads(options: argparse.Namespace) -> None:
    """Refuse a number of threads below 1."""
    if options.threads is not None:
        check_range("--threads", options.threads, 1)


def check_weights_file(path: Path) -> None:
    """Refuse an --out that is no file of weights."""
    if path.suffix != ".safetensors":
        raise HairclipError(f"--out {path}: give a file that ends in .safetensors.")


def add_labeled_pictures(command: argparse.ArgumentParser, checkpoints: str) -> None:
    """Add what a command needs that learns from labeled pictures.

    Args:
        command: the command.
        checkpoints: default of the folder of pictures and checkpoints.
    """
    command.add_argument("--bundle", default="portraits", help="bundle of generator, CLIP, parser and labeled latents")
    command.add_argument("--quads", type=Path, help="folder that render-portraits --quads wrote (default: none)")
    command.add_argument("--pictures", type=int, default=4800, help="pictures of the generator (default 4800)")
    command.add_argument(
        "--checkpoints", type=Path, default=Path(checkpoints), help="folder of pictures and checkpoints"
    )
    command.add_argument("--seed", type=int, default=0, help="seed of all that is random (default 0)")
    add_processor(command)


def check_labeled_pictures(options: argparse.Namespace) -> None:
    """Check the arguments that `add_labeled_pictures` adds."""
    check_range("--pictures", options.pictures, 1)
    check_range("--seed", options.seed, 0)
    check_threads(options)


def load_labeled_bundle(options: argparse.Namespace, device: "torch.device", learner: str) -> "Bundle":
    """Return the bundle, whose latents must have labels.

    Args:
        options: the arguments.
        device: where the networks are.
        learner: subject and verb for the error, such as "tokens are learned".
    """
    from hairclip.pretrained.bundle import load_bundle

    bundle = load_bundle(options.bundle, device)
    if "latents" not in bundle.parts:
        raise HairclipError(f"{bundle.name} has no latents, and {learner} from labeled ones: add them to it.")
    return bundle


def read_labeled_pictures(options: argparse.Namespace, bundle: "Bundle") -> "LabeledPictures":
    """Return the labeled pictures in the folder of checkpoints, which are made where they are missing."""
    from hairclip.portraits.fit.labeled_pictures import labeled_pictures

    options.checkpoints.mkdir(parents=True, exist_ok=True)
    return labeled_pictures(
        options.checkpoints / "pictures.safetensors",
        bundle,
        bundle.parts["latents"],
        count=options.pictures,
        quads=options.quads,
        seed=options.seed,
        progress=True,
    )

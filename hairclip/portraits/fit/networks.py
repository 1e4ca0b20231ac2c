"""Train the networks of the portraits world one after another and write the files that are shipped."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from hairclip.common.files import data_folder
from hairclip.portraits.fit.clip import fit_clip
from hairclip.portraits.fit.data import Metadata, Quads
from hairclip.portraits.fit.generator import GeneratorFit, GeneratorRecipe
from hairclip.portraits.fit.identity import fit_identity
from hairclip.portraits.fit.judge import fit_judge
from hairclip.portraits.fit.latents import encode_all, fit_mapping
from hairclip.portraits.fit.likeness import Recognizers
from hairclip.portraits.fit.parser import fit_parser
from hairclip.pretrained.bundle_files import describe_folder
from hairclip.pretrained.latent_files import save_latents
from hairclip.pretrained.loaders import load_clip, load_identity, load_parser
from hairclip.pretrained.network_files import Kind, save_network

RECOGNIZERS: dict[Kind, Callable[..., nn.Module]] = {
    "parser": fit_parser,
    "judge": fit_judge,
    "identity": fit_identity,
    "clip": fit_clip,
}
"""Recipe of each network that looks at pictures, by name."""

NETWORKS: tuple[Kind, ...] = (*RECOGNIZERS, "generator")
"""Everything that `fit_networks` trains; the generator needs parser, identity and clip."""

_VALIDATION_SHARE = 12
"""One latent of so many is held out."""


def fit_networks(
    quads: Quads,
    names: Sequence[Kind],
    *,
    checkpoints: Path,
    install: Path,
    device: torch.device,
    steps: int | None = None,
    latents: int = 3200,
    compiled: bool = False,
) -> None:
    """Train the named networks in order and write their weights.

    Args:
        quads: rendered pictures of training people.
        names: some of `NETWORKS`.
        checkpoints: folder of the checkpoints; a network continues from its own.
        install: folder of the finished weights and of a ``bundle.yaml`` that says how they are used. The generator
            reads parser, clip and identity from it.
        device: where to train.
        steps: steps of each recognizer; None takes the number of its recipe.
        latents: how many W+ codes of training people to write beside the generator.
        compiled: whether to run the generator through `torch.compile`.
    """
    install.mkdir(parents=True, exist_ok=True)  # fails now, not after hours of training
    if install.resolve() != (data_folder() / "portraits").resolve():  # the bundle portraits describes that folder
        describe_folder(install, like="portraits")
    for name in names:
        if name == "generator":
            fit_generator_and_latents(quads, checkpoints, install, device, count=latents, compiled=compiled)
            continue
        network = RECOGNIZERS[name](quads, checkpoints, device, **({} if steps is None else {"steps": steps}))
        # Clip's large matrices make up most of all weights, and lose nothing measurable in float8.
        quarter_above = 200_000 if name == "clip" else None
        save_network(install / f"{name}.safetensors", name, network, half=True, quarter_above=quarter_above)


def fit_generator_and_latents(
    quads: Quads,
    checkpoints: Path,
    install: Path,
    device: torch.device,
    *,
    count: int,
    compiled: bool = False,
    recipe: GeneratorRecipe | None = None,
) -> None:
    """Train generator and encoder, then write them with the mapping network, the average latent and `count` codes.

    Args:
        quads: rendered pictures of training people.
        checkpoints: folder of the checkpoints.
        install: folder of the finished weights; parser, clip and identity must already be there.
        device: where to train.
        count: how many codes to write, at most one a quad.
        compiled: whether to run the generator through `torch.compile`.
        recipe: all other settings; None takes the recipe of the shipped networks at the size of `quads`.
    """
    recognizers = Recognizers(
        parser=load_parser(install / "parser.safetensors"),
        clip=load_clip(install / "clip.safetensors"),
        identity=load_identity(install / "identity.safetensors"),
    )
    recipe = recipe or GeneratorRecipe(size=quads.size)
    training = GeneratorFit(quads, recipe, recognizers, checkpoints, device, compiled=compiled)
    networks = training.fit()
    encoder, generator = networks.encoder, networks.generator
    codes = encode_all(encoder, quads, device)
    fit_mapping(generator.mapping.cpu().requires_grad_(True), training.told_latents(), generator.z_dim, checkpoints)
    generator.latent_avg = generator.mean_latent(generator=torch.Generator().manual_seed(0))
    save_network(install / "generator.safetensors", "generator", generator, half=True)
    # The encoder's filters lose nothing measurable in float8; the layer that reads the components loses 0.01 dB.
    save_network(
        install / "encoder.safetensors", "encoder", encoder, half=True, quarter_above=140_000, spared=["linear.weight"]
    )
    chosen, labels = choose_latents(quads.metadata, count)
    save_latents(install / "latents.safetensors", codes[torch.from_numpy(chosen)], labels, half=True, components=192)
    print(json.dumps({"latents": len(chosen), "styles": sorted(set(labels["hairstyle"]))}))


def choose_latents(metadata: Metadata, count: int) -> tuple[Int[np.ndarray, "latents"], dict[str, list[str]]]:
    """Choose the portraits whose codes are shipped, and label them.

    Args:
        metadata: specs of Q quads, as in `Quads`.
        count: how many to choose; at most Q are.

    Returns:
        Flat indices of the chosen portraits, one a quad, so that nobody is in both splits; and their labels
        "hairstyle", "color" and "split". The last twelfth is "val", the rest "train".
    """
    quad = np.arange(min(count, len(metadata)))
    chosen = quad * 4 + quad % 4
    held_out = len(quad) // _VALIDATION_SHARE
    portraits = [portrait for heads in metadata for colors in heads for portrait in colors]
    return chosen, {
        "hairstyle": [portraits[i]["hair"]["style"] for i in chosen],
        "color": [portraits[i]["color"]["name"] for i in chosen],
        "split": ["train"] * (len(quad) - held_out) + ["val"] * held_out,
    }

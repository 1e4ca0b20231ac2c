"""Grow a generator: larger pictures of the same codes (Karras et al. 2018, "Progressive Growing of GANs")."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hairclip.networks.stylegan2 import Generator

__all__ = ["grow", "shared_tensors"]


@torch.no_grad()
def grow(
    generator: Generator,
    size: int,
    channels: Mapping[int, int] | None = None,
    *,
    strands: Mapping[str, Any] | None = None,
) -> Generator:
    """Return a larger generator that takes the same codes and makes the same pictures, enlarged.

    The image outputs of the new resolutions add nothing until they are trained. The weights of their layers and their
    noise are random, from torch's global generator.

    Args:
        generator: the smaller one. It does not change.
        size: height and width of the larger one's pictures.
        channels: channels at the new resolutions; those of the largest resolution if None.
        strands: see `Generator`; the smaller one's if None.
    """
    if size <= generator.size:
        raise ValueError(f"a generator of {generator.size} px grows to a larger size, not to {size}")
    new = [generator.size << step for step in range(1, (size // generator.size).bit_length())]
    table = {**dict.fromkeys(new, generator.channels[generator.size]), **(channels or {}), **generator.channels}
    config = {**generator.config, "size": size, "channels": table, "n_latent": generator.n_latent}
    if strands is not None:
        config["strands"] = strands
    larger = Generator(**config).to(generator.constant)
    for output in larger.to_rgb[len(generator.to_rgb) :]:
        nn.init.zeros_(output.weight)  # type: ignore[arg-type]
    state = {**larger.state_dict(), **shared_tensors(generator, larger)}
    if generator.latent_avg is not None:
        state["latent_avg"] = generator.latent_avg
    larger.load_state_dict(state)
    return larger.train(generator.training)


def shared_tensors(source: nn.Module, target: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a smaller generator that a larger one has in the same shape."""
    wanted = target.state_dict()
    return {k: v for k, v in source.state_dict().items() if k in wanted and wanted[k].shape == v.shape}

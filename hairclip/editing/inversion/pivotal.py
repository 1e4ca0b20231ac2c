"""Tune a copy of the generator until one code gives one photo (Roich et al. 2021, "Pivotal Tuning for Latent-based
Editing of Real Images").

The code found by optimization, the pivot, lies where edits work well and does not change. The weights learn what it
cannot rebuild. The locality regularization (section 3.2) keeps the change of the generator near the pivot.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.images import WPlus
from hairclip.common.progress import progress_bar
from hairclip.editing.inversion.perceptual import PerceptualDistance
from hairclip.networks.stylegan2 import Generator

__all__ = ["Deltas", "Tuned", "tune", "tuned_copy"]

Deltas: TypeAlias = Mapping[str, Tensor]
"""Name of a weight -> tuned minus original weight, in float16: half the size, and fine enough for small numbers."""


@dataclass(frozen=True)
class Tuned:
    """A generator tuned to one photo.

    Attributes:
        generator: the tuned generator, whose weights are exactly the original ones plus `deltas`.
        deltas: the differences, to be stored.
    """

    generator: Generator
    deltas: Deltas


def tune(
    generator: Generator,
    pivot: WPlus,
    loss: Callable[[Tensor], Tensor],
    *,
    steps: int = 100,
    lr: float = 2e-3,
    locality: float = 0.1,
    reach: float = 1.0,
    perceptual: PerceptualDistance | None = None,
    patience: int = 40,
    seed: int = 0,
    progress: bool = False,
) -> Tuned:
    """Return a copy of the generator that makes the photo from the pivot. The generator itself does not change.

    The loss is that of equations 3 to 5 of the paper.

    Args:
        generator: the frozen original.
        pivot: the code, (1, n_latent, w_dim). It does not change.
        loss: pictures -> (1,) distance to the photo.
        steps: most steps of Adam on the weights of the synthesis network.
        lr: rate of Adam.
        locality: weight of the locality term, 0 for none.
        reach: distance from the pivot, towards a random latent, at which the tuned generator shall make the picture of
            the original. Its unit is the mean distance of random latents from their mean (the paper's alpha).
        perceptual: distance of features in the locality term, beside that of pixels; None for pixels alone.
        patience: stop when the loss has not fallen by 0.5 % in this many steps.
        seed: seed of the random latents.
        progress: show a progress bar.

    Returns:
        The copy with the lowest loss, frozen and in eval mode.
    """
    if len(pivot) != 1:
        raise ValueError(f"a generator is tuned to one pivot, not to {len(pivot)}")
    pivot = pivot.detach()
    tuned = _copy(generator)
    weights = _tunable(tuned)
    for weight in weights.values():
        weight.requires_grad_(True)
    optimizer = torch.optim.Adam(weights.values(), lr=lr)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        sample = _latents(generator, 256, random)
        spread = (sample - sample.mean(dim=0)).norm(dim=-1).mean()
    best = {name: weight.detach().clone() for name, weight in weights.items()}
    best_loss, mark, stale = math.inf, math.inf, 0
    with torch.enable_grad(), progress_bar(total=steps, label="tuning", show=progress, leave=False) as bar:
        for step in range(steps + 1):
            distance = loss(tuned(pivot, noise="const")).sum()
            score = float(distance.detach())
            mark, stale = (score, 0) if score < mark * 0.995 else (mark, stale + 1)
            if score < best_loss:
                best = {name: weight.detach().clone() for name, weight in weights.items()}
                best_loss = score
            if step == steps or stale >= patience:
                break
            if locality > 0:
                near = _towards(_latents(generator, 1, random), pivot, reach * spread)
                distance = distance + locality * _difference(generator, tuned, near, perceptual)
            optimizer.zero_grad()
            distance.backward()
            optimizer.step()
            bar.update()
            if step % 10 == 0:
                bar.set_postfix_str(f"loss {score:.3f}")
    original = _tunable(generator)
    return tuned_copy(generator, {name: (best[name] - original[name].detach()).half() for name in best})


@torch.no_grad()
def tuned_copy(generator: Generator, deltas: Deltas) -> Tuned:
    """Return a copy of the generator with differences added to its weights, frozen and in eval mode.

    Raises:
        ValueError: if the differences are not those of this generator's weights.
    """
    tuned = _copy(generator)
    weights = _tunable(tuned)
    shapes = {name: weight.shape for name, weight in weights.items()}
    if {name: delta.shape for name, delta in deltas.items()} != shapes:
        raise ValueError("these differences belong to another generator")
    for name, weight in weights.items():
        weight += deltas[name].to(weight.device, weight.dtype)
    return Tuned(tuned, deltas)


def _copy(generator: Generator) -> Generator:
    """Return a copy that shares the mapping network, through which W+ codes never go."""
    tuned = copy.deepcopy(generator, {id(generator.mapping): generator.mapping})
    return tuned.eval().requires_grad_(False)


def _tunable(generator: Generator) -> dict[str, Tensor]:
    """Return the weights of the synthesis network by name; no gradient reaches those that find strands."""
    apart = ("mapping.", "strands.")
    return {name: weight for name, weight in generator.named_parameters() if not name.startswith(apart)}


@torch.no_grad()
def _latents(generator: Generator, count: int, random: torch.Generator) -> Tensor:
    z = torch.randn(count, generator.z_dim, generator=random)
    return generator.mapping(z.to(generator.constant))


def _towards(w: Tensor, pivot: Tensor, distance: Tensor) -> Tensor:
    """Return the code at a distance from the pivot towards w (equation 4); the distance is that of each layer."""
    way = w[:, None] - pivot
    return pivot + distance * way / way.norm(dim=-1).mean(dim=1)[:, None, None].clamp_min(1e-8)


def _difference(generator: Generator, tuned: Generator, codes: Tensor, perceptual: PerceptualDistance | None) -> Tensor:
    """Return the difference between the pictures of the copy and of the original (equation 5)."""
    with torch.no_grad():
        kept = generator(codes, noise="const")
    made = tuned(codes, noise="const")
    difference = F.mse_loss(made, kept)
    if perceptual is not None:
        difference = difference + perceptual(made, kept).sum()
    return difference

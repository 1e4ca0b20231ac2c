"""Bend a person: hair of another length and fullness, and outlines that no renderer draws."""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from hairclip.portraits.randomize.dice import Dice
from hairclip.portraits.randomize.noise import smooth_noise
from hairclip.portraits.randomize.person import Person

__all__ = ["Grid", "Warp", "bend_outlines", "grow_hair"]

Grid: TypeAlias = Float[Tensor, "1 height width 2"]
"""Where in the render each pixel comes from, x and y in [-1, 1], as `torch.grid_sample` takes it."""
Warp: TypeAlias = Callable[[Grid], Grid]


def grow_hair(dice: Dice, person: Person) -> Warp:
    """Return a warp that stretches or shrinks what lies around the face, by other factors aside than up and down."""
    middle = torch.from_numpy((person.eyes + person.mouth) / 2 / person.size * 2 - 1).float()
    face = person.face_length / person.size * 2 * dice.uniform(0.9, 1.15)
    aside, upright = math.exp(dice.uniform(-0.25, 0.6)), math.exp(dice.uniform(-0.25, 0.5))
    waves, turn, height = dice.whole(1, 4), dice.uniform(0, 6), 0.15 * dice.uniform(0, 1)

    def warp(grid: Grid) -> Grid:
        way = grid - middle
        radius = way.norm(dim=-1, keepdim=True).clamp_min(1e-4)
        share = (way[..., :1] / radius).square()
        growth = aside * share + upright * (1 - share)
        growth = growth * (1 + height * torch.sin(torch.atan2(way[..., 1:], way[..., :1]) * waves + turn))
        grown = middle + way / radius * (face + (radius - face) / growth)
        return torch.where(radius > face, grown, grid)

    return warp


def bend_outlines(dice: Dice, person: Person) -> Warp:
    """Return a warp that moves every pixel a little, and its neighbors about as much."""
    cells, strength = dice.whole(3, 7), dice.uniform(0, 0.07)
    field = torch.stack([smooth_noise(dice, person.size, cells) for _ in range(2)], dim=-1)[None] * strength
    return lambda grid: grid + field

"""Make random fields: smooth, fractal, and streaks like strands of hair."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hairclip.portraits.randomize.dice import Dice, Field

__all__ = ["Direction", "fractal_noise", "hair_noise", "pixel_grid", "smooth_noise", "streaks", "unit_grid"]

Direction = Float[Tensor, "2 height width"]
"""A unit vector (x, y) per pixel."""


def smooth_noise(dice: Dice, size: int, cells: int) -> Field:
    """Return smooth numbers of deviation about 1; a feature measures `size / cells` pixels."""
    cells = max(2, cells)
    coarse = dice.white_noise(1, 1, cells, cells)
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[0, 0]


def fractal_noise(dice: Dice, size: int, cells: int, octaves: int, falloff: float = 0.6) -> Field:
    """Return a sum of smooth noises, each twice as fine and `falloff` times as strong; its deviation is 1."""
    total, strength = torch.zeros(size, size), 1.0
    for octave in range(octaves):
        if cells * 2**octave > size:
            break
        total = total + strength * smooth_noise(dice, size, cells * 2**octave)
        strength *= falloff
    return total / total.std().clamp_min(1e-6)


def streaks(dice: Dice, direction: Direction, length: int) -> Field:
    """Return white noise averaged along a field of directions; its deviation is 1.

    This is line integral convolution (Cabral and Leedom 1993). The sign of a direction does not matter.

    Args:
        dice: random numbers.
        direction: where each streak goes.
        length: length of the streaks in pixels.
    """
    size, step = direction.shape[-1], 1.5
    coarse = size // dice.pick((1, 1, 2, 3)) + 1
    noise = F.interpolate(dice.white_noise(1, 1, coarse, coarse), size=(size, size), mode="bilinear")
    x0, y0 = pixel_grid(size)
    total = noise[0, 0].clone()
    for sign in (1.0, -1.0):
        x, y, across, down = x0, y0, direction[0] * sign, direction[1] * sign
        for _ in range(max(2, length // 3)):
            x, y = x + across * step, y + down * step
            grid = torch.stack([x, y], -1)[None] * (2 / (size - 1)) - 1
            total += F.grid_sample(noise, grid, align_corners=True, padding_mode="reflection")[0, 0]
            ahead = F.grid_sample(direction[None], grid, align_corners=True, padding_mode="border")[0]
            forward = torch.where(ahead[0] * across + ahead[1] * down < 0, -1.0, 1.0)
            across, down = ahead[0] * forward, ahead[1] * forward
    return total / total.std().clamp_min(1e-6)


def hair_noise(dice: Dice, size: int, length: int = 24) -> Field:
    """Return streaks that bend smoothly, as hair does."""
    bend, first = dice.uniform(0.2, 1.5), dice.uniform(0, math.pi)
    angle = smooth_noise(dice, size, dice.whole(2, 5)) * bend + first
    return streaks(dice, torch.stack([angle.cos(), angle.sin()]), length)


def pixel_grid(size: int) -> tuple[Field, Field]:
    """Return x and y of every pixel, counted from 0."""
    y, x = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    return x, y


def unit_grid(size: int) -> tuple[Field, Field]:
    """Return x and y of every pixel in [-1, 1]."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    return x, y

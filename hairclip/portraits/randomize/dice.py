"""Draw random numbers, colors and textures for one picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["HAIR_COLORS", "SKIN_COLORS", "Color", "Dice", "Field", "Pixels", "Textures"]

T = TypeVar("T")
Pixels: TypeAlias = Float[Tensor, "3 height width"]
"""A picture for products of light and color, so in [0, 1] with 0 for black, not in the library's [-1, 1]."""
Field: TypeAlias = Float[Tensor, "height width"]
"""One number per pixel."""
Color: TypeAlias = Float[Tensor, "3 1 1"]
"""sRGB in [0, 1], ready for a product with `Pixels`."""

HAIR_COLORS = (
    (0.05, 0.04, 0.035), (0.12, 0.08, 0.06), (0.25, 0.16, 0.1), (0.45, 0.3, 0.18), (0.7, 0.55, 0.35),
    (0.85, 0.75, 0.6), (0.5, 0.5, 0.5), (0.8, 0.8, 0.8), (0.45, 0.15, 0.08),
)  # fmt: skip
"""Black, browns, blonds, grays and red, sRGB."""
SKIN_COLORS = ((0.9, 0.72, 0.62), (0.8, 0.6, 0.48), (0.65, 0.45, 0.34), (0.48, 0.32, 0.24), (0.32, 0.2, 0.15))


@dataclass(frozen=True)
class Dice:
    """Random numbers and what is made of them.

    Attributes:
        rng: the source of all of them.
        textures: function from `rng` and a size to a texture, such as `make_texture` or a `TextureBank`.
    """

    rng: np.random.Generator
    textures: "Textures"

    def happens(self, chance: float) -> bool:
        """Return True with this probability."""
        return bool(self.rng.random() < chance)

    def uniform(self, low: float, high: float) -> float:
        """Return a number between `low` and `high`."""
        return float(self.rng.uniform(low, high))

    def normal(self, mean: float, deviation: float) -> float:
        """Return a normally distributed number."""
        return float(self.rng.normal(mean, deviation))

    def factor(self, deviation: float, mean: float = 0.0) -> float:
        """Return a factor whose logarithm is normally distributed."""
        return float(np.exp(self.rng.normal(mean, deviation)))

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high - 1`."""
        return int(self.rng.integers(low, high))

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices."""
        return choices[int(self.rng.integers(len(choices)))]

    def white_noise(self, *shape: int) -> Tensor:
        """Return independent normal numbers of a shape."""
        return torch.from_numpy(self.rng.standard_normal(shape, dtype=np.float32))

    def point(self, low: float, high: float) -> tuple[float, float]:
        """Return two numbers between `low` and `high`."""
        x, y = self.rng.uniform(low, high, 2)
        return float(x), float(y)

    def color(self) -> Color:
        """Return any color; colors of hair and skin and grays are frequent, because hair must be told from them."""
        kind = self.rng.random()
        if kind < 0.25:
            return self.hair_color(0.6, 1.4, 0.03, darkest=0.0)
        if kind < 0.35:
            return self.skin_color(0.7, 1.2)
        if kind < 0.5:
            return torch.full((3, 1, 1), self.uniform(0, 1))
        values = self.rng.random(3)
        gray = values.mean()
        return _as_color(gray + (values - gray) * self.rng.uniform(0.2, 1.3))

    def hair_color(self, low: float, high: float, deviation: float = 0.0, darkest: float = 0.01) -> Color:
        """Return a natural hair color times a brightness from `low` to `high`, each channel off by `deviation`."""
        values = np.array(self.pick(HAIR_COLORS)) * self.rng.uniform(low, high) + self.rng.normal(0, 1, 3) * deviation
        return _as_color(values, darkest)

    def skin_color(self, low: float, high: float) -> Color:
        """Return a color of skin times a brightness from `low` to `high`."""
        return _as_color(np.array(self.pick(SKIN_COLORS)) * self.rng.uniform(low, high))

    def tint(self, deviation: float) -> Color:
        """Return a factor per channel whose logarithm is normally distributed."""
        return torch.from_numpy(np.exp(self.rng.normal(0, deviation, 3)).astype(np.float32))[:, None, None]

    def texture(self, size: int) -> Pixels:
        """Return a square picture of something."""
        return self.textures(self.rng, size)


Textures: TypeAlias = Callable[[np.random.Generator, int], Pixels]


def _as_color(values: np.ndarray, darkest: float = 0.0) -> Color:
    return torch.from_numpy(values.clip(darkest, 1).astype(np.float32))[:, None, None]

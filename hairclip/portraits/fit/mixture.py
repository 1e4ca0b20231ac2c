"""What one step of the generator's recipe looks at: quads, encoded and mixed so that codes must keep hair apart."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hairclip.common.images import Images, Labels, WPlus
from hairclip.portraits.fit.data import Quads
from hairclip.portraits.vocabulary import BALD

FIRST_FINE = 8
"""First fine layer: HairCLIP's split."""


@dataclass(frozen=True)
class Mixture:
    """Which encoded portrait each target takes its codes from.

    Attributes:
        shape: ``(T,)`` source of the coarse and medium codes.
        color: ``(T,)`` source of the fine codes.
    """

    shape: Tensor
    color: Tensor

    def apply(self, codes: WPlus) -> WPlus:
        return torch.cat([codes[self.shape, :FIRST_FINE], codes[self.color, FIRST_FINE:]], dim=1)


@dataclass(frozen=True)
class Draw:
    """What one step looks at: portraits to encode and portraits to make, by flat index, and how codes are mixed."""

    encoded: np.ndarray
    targets: np.ndarray
    mixture: Mixture


def draw(quads: Quads, chosen: np.ndarray, rng: np.random.Generator) -> Draw:
    """Two portraits of every chosen quad are encoded: head a in one colour, head b in the other.

    Asked for are head a or b in the other's colour, and one of the two as it is. A bald head lends no colour.
    """
    count = len(chosen)
    color = rng.integers(0, 2, count)
    encoded = np.stack([chosen * 4 + color, chosen * 4 + 2 + (1 - color)], 1)
    first = np.arange(count) * 2  # position of head a among the encoded
    bald = quads.style_names.index(BALD) if BALD in quads.style_names else -1
    swapped, kept = rng.integers(0, 2, count), rng.integers(0, 2, count)
    lends = quads.styles[chosen, 1 - swapped, 0] != bald
    lender = np.where(lends, 1 - swapped, swapped)
    swap_color = np.where(lender == 0, color, 1 - color)
    targets = np.stack([chosen * 4 + swapped * 2 + swap_color, np.where(kept == 0, encoded[:, 0], encoded[:, 1])], 1)
    shape = np.stack([first + swapped, first + kept], 1)
    source = np.stack([first + lender, first + kept], 1)
    mixture = Mixture(*(torch.from_numpy(part.reshape(-1)) for part in (shape, source)))
    return Draw(encoded.reshape(-1), targets.reshape(-1), mixture)


@dataclass(frozen=True)
class Batch:
    """What to encode (traits and pictures), what to make, the weight of each pixel, and how codes are mixed."""

    traits: Float[Tensor, "encoded traits"]
    images: Float[Tensor, "encoded 3 height width"]
    real: Images
    labels: Labels
    mixture: Mixture

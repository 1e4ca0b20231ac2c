"""Draw what one step of the generator's recipe looks at.

Codes of two portraits are mixed: coarse and medium layers of one, fine layers of the other. The renderer has drawn the
true answer, so hair color must lie in the fine layers, and everything else in the others.
"""

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
    """What one step looks at.

    Attributes:
        encoded: (N,), flat indices of the portraits to encode.
        targets: (T,), flat indices of the portraits to make.
        mixture: which codes are joined for each portrait to make.
    """

    encoded: np.ndarray
    targets: np.ndarray
    mixture: Mixture


def draw(quads: Quads, chosen: np.ndarray, rng: np.random.Generator) -> Draw:
    """Choose what to encode of each quad: head a in one color, head b in the other; and what to make of both.

    Asked for are head a or b in the other's color, and one of the two as it is. A bald head lends no color.
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
    """One batch of the generator's recipe: N portraits to encode, T portraits to make.

    Attributes:
        traits: (N, traits), traits of the portraits to encode.
        images: (N, 3, H, W), their pictures.
        real: (T, 3, H, W), rendered pictures of the portraits to make.
        labels: (T, H, W), their labels.
        mixture: which codes are joined for each portrait to make.
    """

    traits: Float[Tensor, "encoded traits"]
    images: Float[Tensor, "encoded 3 height width"]
    real: Images
    labels: Labels
    mixture: Mixture

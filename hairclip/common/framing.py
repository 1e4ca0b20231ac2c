"""Place the square that is cut out around a face."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from hairclip.common.errors import HairclipError

__all__ = ["FFHQ", "FRAMINGS", "PORTRAITS", "Framing", "Points"]

Points: TypeAlias = Float[np.ndarray, "points 2"]
"""Pixel coordinates (x, y), float64."""


@dataclass(frozen=True)
class Framing:
    """How large the square around a face is, and where its center lies.

    Attributes:
        scale: size of the square as a multiple of FFHQ's.
        shift: way from the middle of the eyes to the center, as a share of the way from there to the mouth.
    """

    scale: float = 1.0
    shift: float = 0.1

    def place(self, eyes: Points, mouth: Points) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return center, half width and half height of the square around a face, three vectors (2,) with y down.

        This is the square of FFHQ's "download_ffhq.py" (Karras et al. 2019, appendix A), scaled and shifted.

        Args:
            eyes: left and right eye as seen in the image, (2, 2).
            mouth: left and right corner of the mouth as seen in the image, (2, 2).

        Raises:
            HairclipError: if the points coincide.
        """
        middle = (eyes[0] + eyes[1]) / 2
        across, down = eyes[1] - eyes[0], (mouth[0] + mouth[1]) / 2 - middle
        right = across - np.array([-down[1], down[0]])
        length = float(np.hypot(*right))
        if length < 1e-6:
            raise HairclipError("the landmarks of this face coincide: give a picture in which the face is visible.")
        right *= max(2.0 * math.hypot(*across), 1.8 * math.hypot(*down)) / length * self.scale
        return middle + self.shift * down, right, np.array([-right[1], right[0]])


FFHQ = Framing()
"""The crop of FFHQ, which most face generators are trained on."""
PORTRAITS = Framing(scale=1.33, shift=-0.13)
"""The crop of the rendered portraits: long and high hair stays in the frame."""

FRAMINGS: dict[str, Framing] = {"ffhq": FFHQ, "portraits": PORTRAITS}
"""Names that a bundle's YAML may give in place of the two numbers."""

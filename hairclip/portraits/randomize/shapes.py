"""Draw shapes with Pillow as soft masks."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from hairclip.portraits.randomize.dice import Field

__all__ = ["Canvas"]


class Canvas:
    """A black square to draw white shapes on.

    Attributes:
        draw: Pillow's pen; coordinates are pixels.
    """

    def __init__(self, size: int) -> None:
        self._image = Image.new("L", (size, size))
        self.draw = ImageDraw.Draw(self._image)

    def mask(self, blur: float = 0.0) -> Field:
        """Return what was drawn, in [0, 1], blurred by a Gaussian of this deviation in pixels."""
        image = self._image.filter(ImageFilter.GaussianBlur(blur)) if blur > 0 else self._image
        return torch.from_numpy(np.asarray(image, np.float32) / 255)

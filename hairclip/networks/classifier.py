"""Classify portraits by hairstyle. The network is the judge of evaluations, and no loss uses it."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.common.images import Images, resize_area


class _Block(nn.Module):
    """A pre-activation residual block (He et al. 2016, figure 4e) that halves the resolution."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, 2, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(in_channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        residual = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return residual + self.shortcut(F.avg_pool2d(active, 2, ceil_mode=True))


class HairstyleClassifier(nn.Module):
    """Residual classifier of portraits by hairstyle.

    Args:
        classes: names of the classes, in the order of the logits.
        widths: channels per stage; every stage halves the resolution.
        input_size: pixels to which images are resized.
    """

    def __init__(
        self, classes: Sequence[str], *, widths: Sequence[int] = (32, 64, 128, 192), input_size: int = 128
    ) -> None:
        super().__init__()
        self.classes, self.widths, self.input_size = list(classes), tuple(widths), input_size
        self.stem = nn.Conv2d(3, self.widths[0], 3, 2, 1, bias=False)
        inputs = (self.widths[0], *self.widths[:-1])
        self.blocks = nn.Sequential(*(_Block(i, o) for i, o in zip(inputs, self.widths, strict=True)))
        self.norm = nn.BatchNorm2d(self.widths[-1])
        self.head = nn.Linear(self.widths[-1], len(self.classes))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        return {"classes": list(self.classes), "widths": list(self.widths), "input_size": self.input_size}

    def forward(self, images: Images) -> Float[Tensor, "batch classes"]:
        """Return logits (B, len(classes)) of images (B, 3, H, W), RGB in [-1, 1], of any size."""
        features = F.relu(self.norm(self.blocks(self.stem(resize_area(images, self.input_size)))))
        return self.head(features.mean(dim=(2, 3)))

    @torch.no_grad()
    def names(self, images: Images) -> list[str]:
        """Return the name of the most likely class of each image."""
        return [self.classes[i] for i in self(images).argmax(dim=1).tolist()]

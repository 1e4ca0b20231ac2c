"""Encode faces to W+ with a small network: a linear map of the picture's principal components, plus convolutions.

The components are there before training begins. A generator that is trained together with its encoder therefore sees
codes that mean something from its first step on, well conditioned because large features have large numbers.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.common.images import Images, WPlus, resize_area

Activations = Float[Tensor, "batch channels height width"]


class PcaEncoder(nn.Module):
    """Encodes aligned faces to W+ codes.

    Args:
        n_latent: codes per image.
        w_dim: length of a code.
        components: principal components that are read.
        component_size: pixels at which they are taken.
        input_size: pixels that the convolutional branch sees.
        widths: its channels; each stage halves the resolution.
        blocks: residual blocks (He et al. 2016) of each stage, as many numbers as `widths`.
        neck: channels per position that it hands on.
    """

    mean: Tensor
    basis: Tensor

    def __init__(
        self,
        *,
        n_latent: int,
        w_dim: int,
        components: int = 192,
        component_size: int = 32,
        input_size: int = 64,
        widths: Sequence[int] = (32, 64, 128),
        blocks: Sequence[int] = (1, 1, 1),
        neck: int = 16,
    ) -> None:
        super().__init__()
        self.n_latent, self.w_dim, self.components = n_latent, w_dim, components
        self.component_size, self.input_size = component_size, input_size
        self.widths, self.blocks, self.neck = tuple(widths), tuple(blocks), neck
        pixels = 3 * component_size**2
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("basis", torch.zeros(pixels, components))
        self.linear = nn.Linear(components, n_latent * w_dim)
        if not self.linear.weight.is_meta:  # see EqualLinear
            nn.init.normal_(self.linear.weight, std=components**-0.5)
        stages: list[nn.Module] = []
        channels = 3
        for width, count in zip(widths, blocks, strict=True):
            stages += [_convolution(channels, width, stride=2), *(_Residual(width) for _ in range(count))]
            channels = width
        self.branch = nn.Sequential(*stages, nn.Conv2d(channels, neck, 1), nn.Flatten())
        positions = (input_size >> len(widths)) ** 2
        self.correction = nn.Linear(neck * positions, n_latent * w_dim)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        return {
            "n_latent": self.n_latent,
            "w_dim": self.w_dim,
            "components": self.components,
            "component_size": self.component_size,
            "input_size": self.input_size,
            "widths": list(self.widths),
            "blocks": list(self.blocks),
            "neck": self.neck,
        }

    @torch.no_grad()
    def fit_components(self, images: Images) -> None:
        """Set the principal components from many pictures; the strongest ones get a spread of about one."""
        pixels = resize_area(images, self.component_size).flatten(1)
        mean = pixels.mean(dim=0)
        _, spread, directions = torch.linalg.svd(pixels - mean, full_matrices=False)
        unit = spread[min(2, len(spread) - 1)] / len(images) ** 0.5
        count = min(self.components, len(spread))
        self.mean.copy_(mean)
        self.basis.zero_()
        self.basis[:, :count] = directions[:count].T / unit

    def forward(self, images: Images) -> WPlus:
        """Return the codes (B, n_latent, w_dim) of images (B, 3, H, W), RGB in [-1, 1], of any size."""
        coefficients: Float[Tensor, "batch components"] = (
            resize_area(images, self.component_size).flatten(1) - self.mean
        ) @ self.basis
        codes = self.linear(coefficients) + self.correction(self.branch(resize_area(images, self.input_size)))
        return codes.float().unflatten(1, (self.n_latent, self.w_dim))


class _Residual(nn.Module):
    """Two convolutions whose result is added; it begins as the identity of what is positive."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, stride=1)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Activations) -> Activations:
        return F.leaky_relu(x + self.norm(self.second(self.first(x))), 0.2)


def _convolution(in_channels: int, channels: int, *, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.LeakyReLU(0.2))

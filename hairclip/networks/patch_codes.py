"""Turn pictures into a grid of short codes and back, by principal components of square patches.

Neighboring pixels say nearly the same: a patch of 8 x 8 pixels with three colors, 192 numbers, is rebuilt well from 16.
Both ways are one matrix product. There is nothing to train, and no code loses what its neighbor holds.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.common.images import Images

__all__ = ["PatchCodec", "PatchCodes"]

PatchCodes = Float[Tensor, "batch channels rows columns"]


class PatchCodec(nn.Module):
    """Linear codec of square patches. A new one holds zeros: `fit` computes its numbers from pictures.

    Args:
        patch: height and width of a patch in pixels. Sizes of pictures are multiples of it.
        channels: numbers that a code keeps of a patch, at most ``3 * patch ** 2``.
    """

    mean: Tensor
    basis: Tensor
    scale: Tensor

    def __init__(self, patch: int = 8, channels: int = 16) -> None:
        super().__init__()
        numbers = 3 * patch**2
        if not 0 < channels <= numbers:
            raise ValueError(f"a patch of {patch} x {patch} pixels has {numbers} numbers, not {channels}")
        self.patch, self.channels = patch, channels
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("basis", torch.zeros(channels, numbers))
        self.register_buffer("scale", torch.ones(channels))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        return {"patch": self.patch, "channels": self.channels}

    @torch.no_grad()
    def fit(self, images: Images, *, patches: int = 60_000, power: float = 0.0, seed: int = 0) -> "PatchCodec":
        """Compute mean, basis and scale from pictures, and return the codec.

        Args:
            images: (N, 3, H, W) in [-1, 1].
            patches: number of patches that the components are computed from, drawn at random.
            power: each component is divided by its deviation to this power, and all together by one number, so that
                codes have a mean square of 1. With 0, nothing is divided: distances of codes are those of pixels.
            seed: of the drawn patches.
        """
        rows = F.pixel_unshuffle(images, self.patch).movedim(1, -1).flatten(0, 2)
        random = torch.Generator().manual_seed(seed)
        rows = rows[torch.randperm(len(rows), generator=random)[:patches]].double()
        mean = rows.mean(dim=0)
        covariance = (rows - mean).T @ (rows - mean) / len(rows)
        variances, directions = torch.linalg.eigh(covariance)  # the smallest first
        variances = variances.flip(0)[: self.channels].clamp_min(1e-12)
        scale = torch.ones_like(variances)
        if power:
            scale = variances.sqrt().pow(power)
            scale = scale * (variances / scale.square()).mean().sqrt()
        self.mean.copy_(mean)
        self.basis.copy_(directions.T.flip(0)[: self.channels])
        self.scale.copy_(scale)
        return self

    def encode(self, images: Images) -> PatchCodes:
        """Return the codes (N, channels, H / patch, W / patch) of pictures (N, 3, H, W)."""
        weight = self.basis / self.scale[:, None]
        return F.conv2d(F.pixel_unshuffle(images, self.patch), weight[..., None, None], -(weight @ self.mean))

    def decode(self, codes: PatchCodes) -> Images:
        """Return the pictures of codes. They may leave [-1, 1] a little."""
        weight = (self.basis * self.scale[:, None]).T
        return F.pixel_shuffle(F.conv2d(codes, weight[..., None, None], self.mean), self.patch)

    def forward(self, images: Images) -> Images:
        """Return what the codes keep of pictures."""
        return self.decode(self.encode(images))

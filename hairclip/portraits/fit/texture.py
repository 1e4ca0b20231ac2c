"""How strands look where nobody can say where each one lies: local oriented energy.

A code of a few hundred numbers does not fix the phase of every strand. A pixel loss then asks for their mean, which is
smooth. Energy in quadrature pairs of Gabor filters (Adelson and Bergen 1985, equation 4; the statistics of Portilla
and Simoncelli 2000, section 2) does not depend on phase: averaged over a neighborhood it says how strong strands of
each direction and width are, and asks for as much of them as the render shows.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.common.color import luma
from hairclip.common.images import Images


class OrientedEnergy(nn.Module):
    """Magnitudes of Gabor responses of the brightness, averaged over neighborhoods.

    Args:
        orientations: directions, evenly spread over half a turn.
        wavelength: pixels from strand to strand, at the finest scale.
        scales: each next one sees the picture at half the size.
        radius: of the filters, pixels.
        window: side of the neighborhood, pixels at every scale; neighborhoods overlap by half.
    """

    filters: Tensor

    def __init__(
        self, *, orientations: int = 6, wavelength: float = 3.0, scales: int = 2, radius: int = 3, window: int = 8
    ) -> None:
        super().__init__()
        self.scales, self.window, self.radius = scales, window, radius
        self.register_buffer("filters", gabor_pairs(orientations, wavelength, radius), persistent=False)

    def forward(self, images: Images) -> list[Float[Tensor, "batch orientations rows columns"]]:
        """Return one map of energies per scale."""
        brightness = luma(images)
        maps = []
        for scale in range(self.scales):
            if scale:
                brightness = F.avg_pool2d(brightness, 2)
            responses = F.conv2d(brightness, self.filters.to(brightness.dtype)).float()
            even, odd = responses.chunk(2, dim=1)
            energy = (even.square() + odd.square() + 1e-5).sqrt()
            maps.append(F.avg_pool2d(energy, self.window, self.window // 2))
        return maps

    def distance(
        self,
        images: Images,
        target: Images,
        weight: Float[Tensor, "batch 1 height width"] | None = None,
        *,
        relative: bool = False,
    ) -> Float[Tensor, ""]:
        """Return the mean absolute difference of the energies of two batches.

        Args:
            images, target: pictures.
            weight: how much each pixel's neighborhood counts; None for 1.
            relative: divide the difference of each scale by the mean energy of the target.
        """
        with torch.no_grad():
            wanted = self(target)
        differences = []
        for ours, theirs in zip(self(images), wanted, strict=True):
            counted = 1.0 if weight is None else F.interpolate(weight, size=theirs.shape[2:], mode="area")
            difference = ((ours - theirs).abs() * counted).mean()
            differences.append(difference / (theirs * counted).mean().clamp_min(1e-6) if relative else difference)
        return torch.stack(differences).mean()


def gabor_pairs(orientations: int, wavelength: float, radius: int) -> Float[Tensor, "filters 1 side side"]:
    """Return Gabor filters of zero mean and unit norm, first the even ones, then the odd ones."""
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    envelope = torch.exp(-(x.square() + y.square()) / (2 * (radius / 2) ** 2))
    angles = [math.pi * k / orientations for k in range(orientations)]
    across = [(math.cos(angle) * x + math.sin(angle) * y) * (2 * math.pi / wavelength) for angle in angles]
    pairs = torch.stack([*(envelope * a.cos() for a in across), *(envelope * a.sin() for a in across)])[:, None]
    pairs = pairs - envelope * (pairs.sum(dim=(2, 3), keepdim=True) / envelope.sum())
    return pairs / pairs.square().sum(dim=(2, 3), keepdim=True).sqrt()

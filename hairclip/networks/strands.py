"""Strands of hair: noise that is smeared along the direction in which hair runs.

A generator's codes cannot say where each strand lies. They can say how hair runs: `StrandField` reads the direction and
the coverage of hair from the generator's activations, and `line_integral` turns white noise into strands along that
direction. `Generator` gives them to its last layers in place of stored noise, so these layers only learn how strong
strands are.

A field of directions is (B, 2, H, W): (cos 2a, sin 2a) of the angle a from the x axis, to the right, towards the y
axis, down. Opposite directions are the same direction of hair, and twice the angle makes them the same numbers.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.common.images import SoftMasks
from hairclip.networks.stylegan2_ops import full_precision

__all__ = ["DirectionField", "StrandField", "line_integral"]

DirectionField = Float[Tensor, "batch 2 height width"]

_SLOPE = 0.2  # of leaky ReLU
_SLOPES = 65  # of lines between horizontal and diagonal, whose variance is known exactly


@torch.no_grad()
def line_integral(
    noise: Float[Tensor, "one_or_batch height width"], direction: DirectionField, *, steps: int, stride: float = 1.0
) -> Float[Tensor, "batch height width"]:
    """Return noise smeared along a field of directions (Cabral and Leedom 1993, equation 5, with a constant kernel).

    Each pixel becomes the mean of noise at samples of the line through it, times a factor that gives white noise of
    unit variance the same variance again, at every angle. Two things make it fast. Sums of three neighbors on a line
    are taken first, and a long line is a sum of such sums. The field is looked up at the nearest pixel.

    Args:
        noise: (1, H, W), or (B, H, W) for noise of its own for each sample.
        direction: (cos 2a, sin 2a) in any length; the length does not count.
        steps: samples on either side of a pixel; the number of them is 1, 4, 7, ..., the nearest to `steps`.
        stride: pixels between neighbors on a line, in the larger direction of the line.
    """
    if steps < 1 or stride <= 0:
        raise ValueError(f"a line has one or more steps of more than 0 pixels, not {steps} of {stride}")
    with full_precision(noise.device):
        cos2, sin2 = F.normalize(direction.float(), dim=1).unbind(dim=1)
        x, y = (0.5 + 0.5 * cos2).clamp_min(0).sqrt(), (0.5 - 0.5 * cos2).clamp_min(0).sqrt()
        larger = torch.maximum(x, y).clamp_min(0.5)
        step = torch.stack((torch.where(sin2 < 0, -x, x), y), dim=1) * (stride / larger)[:, None]
        smeared = _sum_on_lines(noise.float().expand(len(direction), -1, -1)[:, None], step, hops=_hops(steps))
        deviation = torch.tensor(_deviations(_hops(steps), stride), device=noise.device)
        # Linear between the slopes of the table; the slope of a line is its smaller direction over its larger one.
        place = torch.minimum(x, y) / larger * (_SLOPES - 1)
        below = place.long().clamp_max(_SLOPES - 2)
        spread = torch.lerp(deviation[below], deviation[below + 1], place - below)
        return (smeared[:, 0] / spread).to(noise.dtype)


def _hops(steps: int) -> int:
    """Return how many sums of three a line has on either side of its middle one."""
    return round((steps - 1) / 3)


def _sum_on_lines(
    noise: Float[Tensor, "batch 1 height width"], step: DirectionField, hops: int
) -> Float[Tensor, "batch 1 height width"]:
    """Return the sum over ``3 (2 hops + 1)`` samples of the line through each pixel.

    Args:
        noise: what is summed.
        step: (x, y) in pixels from a sample to the next one, either way.
        hops: see `_hops`.
    """
    height, width = noise.shape[2:]
    pixels = torch.stack(
        torch.broadcast_tensors(
            torch.arange(width, device=noise.device, dtype=noise.dtype),
            torch.arange(height, device=noise.device, dtype=noise.dtype)[:, None],
        )
    )
    size = noise.new_tensor((width, height))[:, None, None]

    def look_up(maps: Tensor, at: Tensor, mode: str) -> Tensor:
        grid = ((2 * at + 1) / size - 1).permute(0, 2, 3, 1)
        return F.grid_sample(maps, grid, mode=mode, padding_mode="reflection", align_corners=False)

    three = noise + look_up(noise, pixels + step, "bilinear") + look_up(noise, pixels - step, "bilinear")
    total = three
    for sign in (1.0, -1.0):
        at, way = pixels, sign * step
        for hop in range(hops):
            if hop:
                way = _along(look_up(step, at, "nearest"), way)
            way = _along(look_up(step, at + 1.5 * way, "nearest"), way)  # the midpoint method
            at = at + 3 * way
            total = total + look_up(three, at, "bilinear")
    return total


def _along(step: DirectionField, way: DirectionField) -> DirectionField:
    """Return steps, each turned by half a circle where it points against `way`."""
    return torch.where((step * way).sum(dim=1, keepdim=True) < 0, -step, step)


@lru_cache(maxsize=16)
def _deviations(hops: int, stride: float) -> tuple[float, ...]:
    """Return the standard deviation of white noise summed on straight lines, for slopes from 0 to 1.

    It is the length of the response to a single bright pixel, because the sum is the same filter at every pixel.
    """
    side = 2 * int((3 * hops + 2) * stride + 2) + 1
    bright = torch.zeros(1, 1, side, side)
    bright[:, :, side // 2, side // 2] = 1
    slopes = torch.linspace(0, 1, _SLOPES)
    step = stride * torch.stack((torch.ones_like(slopes), slopes), dim=1)[:, :, None, None]
    response = _sum_on_lines(bright.expand(_SLOPES, -1, -1, -1), step.expand(-1, -1, side, side), hops)
    return tuple(response.square().sum(dim=(1, 2, 3)).sqrt().tolist())


class StrandField(nn.Module):
    """Reads how hair runs, and where it is, from activations of a generator.

    Args:
        channels: channels of the activations.
        width: channels of the layers.
    """

    def __init__(self, channels: int, width: int = 48) -> None:
        super().__init__()
        self.channels, self.width = channels, width
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, width, 3, padding=2, dilation=2),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, width, 3, padding=4, dilation=4),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, 3, 1),
        )

    def forward(self, activations: Float[Tensor, "batch channels height width"]) -> tuple[DirectionField, SoftMasks]:
        """Return the direction of hair, whose length says how sure it is, and its coverage in 0..1, (B, 1, H, W)."""
        read = self.layers(activations)
        read = read.to(torch.promote_types(read.dtype, torch.float32))
        return read[:, :2], read[:, 2:].sigmoid()

"""Strands of hair: noise that is smeared along the direction in which hair runs, and laid over a smooth picture.

A generator's codes cannot say where each strand lies. They can say how hair runs and how strong its strands are.
`StrandField` reads both from the generator's activations. Where it is not sure of the direction, because hair is
curly, `draw_directions` chooses one. `strand_maps` smears white noise along these directions, in strands of several
widths, and `lay_strands` makes hair brighter and darker along them. The brightness alone changes, so strands bring no
color of their own. A smooth picture also has soft outlines. `sharpen_outline` makes those of hair sharp, and frays them
where tips stick out.

A field of directions is (B, 2, H, W): (cos 2a, sin 2a) of the angle a from the x axis, to the right, towards the y
axis, down. Opposite directions are the same direction of hair, and twice the angle makes them the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.common.images import Images, SoftMasks
from hairclip.networks.stylegan2_ops import full_precision

__all__ = [
    "DirectionField",
    "HairField",
    "StrandField",
    "draw_directions",
    "fixed_noise",
    "lay_strands",
    "line_integral",
    "sharpen_outline",
    "strand_maps",
]

DirectionField = Float[Tensor, "batch 2 height width"]

_SLOPE = 0.2  # of leaky ReLU
_SLOPES = 65  # of lines between horizontal and diagonal, whose variance is known exactly
_MOST_STEPS = 24  # of one pass
_SURE, _UNSURE = 0.999, 0.02  # limits of a direction's length, so that the angle's deviation stays finite and not 0
_FIRST_STRENGTH = -2.5  # softplus of it is 0.08
_FIRST_REACH = -2.0  # softplus of it is 0.13
_MOST_REACH = 0.3  # with more, an outline falls into islands
_SOFT = 1.1  # how far from the outline a smooth picture is soft, in cells
_FLAT = 0.15  # coverage per cell below which there is no outline


@dataclass(frozen=True)
class HairField:
    """How hair runs at each cell of a grid.

    Attributes:
        direction: its length says how sure it is: the mean of (cos 2a, sin 2a) over all directions that hair may have.
        coverage: share of the cell that hair covers, (B, 1, h, w) in [0, 1].
        strength: standard deviation of the logarithm of brightness that strands of each width give, the thinnest
            first, (B, widths, h, w), 0 or more.
        reach: standard deviation of the place of the hair's outline, (B, 1, h, w) in cells.
    """

    direction: DirectionField
    coverage: SoftMasks
    strength: Float[Tensor, "batch widths height width"]
    reach: Float[Tensor, "batch 1 height width"]


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


def _binomial(like: Tensor) -> Float[Tensor, "3 3"]:
    """Return a small blur's weights, in the type and on the device of `like`."""
    row = like.new_tensor((1.0, 2.0, 1.0))
    return torch.outer(row, row)


@torch.no_grad()
def draw_directions(direction: DirectionField, noise: Float[Tensor, "one_or_batch height width"]) -> DirectionField:
    """Return directions that were drawn at random, smooth from cell to cell, in the lengths of `direction`.

    The doubled angle has a wrapped normal distribution (Mardia and Jupp 2000, "Directional Statistics"), whose mean
    direction and mean resultant length are those of `direction`: length 1 stays as it is, length 0 turns any way.

    Args:
        direction: mean of (cos 2a, sin 2a).
        noise: white, of unit variance.
    """
    kernel = _binomial(noise)
    kernel = kernel / kernel.square().sum().sqrt()  # white noise keeps its variance
    smooth = F.conv2d(F.pad(noise[:, None], (1, 1, 1, 1), mode="reflect"), kernel[None, None])[:, 0]
    length = direction.norm(dim=1).clamp(_UNSURE, _SURE)
    turn = (-2 * length.log()).sqrt() * smooth  # a normal angle of variance v has the resultant length exp(-v / 2)
    cos, sin = turn.cos(), turn.sin()
    x, y = direction.unbind(dim=1)
    return torch.stack((x * cos - y * sin, x * sin + y * cos), dim=1)


@torch.no_grad()
def strand_maps(
    direction: DirectionField, noise: Sequence[Float[Tensor, "one_or_batch _ _"]], *, half_length: float
) -> Float[Tensor, "batch widths size size"]:
    """Return strands of several widths, each about of unit variance: noise of several sizes smeared along directions.

    Args:
        direction: of any size.
        noise: white noise of unit variance, the largest first. Its size is that of the maps; smaller ones are enlarged.
        half_length: of a strand, in sides of the picture.
    """
    size, maps = noise[0].shape[-1], []
    for white in noise:
        side = white.shape[-1]
        along = F.interpolate(direction, size=side, mode="bilinear", align_corners=False)
        strands = _smear(white, along, steps=max(1, round(half_length * side)))[:, None]
        maps.append(strands if side == size else F.interpolate(strands, size=size, mode="bicubic", align_corners=False))
    return torch.cat(maps, dim=1)


def _smear(
    noise: Float[Tensor, "one_or_batch side side"], along: DirectionField, steps: int
) -> Float[Tensor, "batch side side"]:
    """Return `line_integral` with that many steps; of a long line in two passes, which take a fraction of the time."""
    if steps <= _MOST_STEPS:
        return line_integral(noise, along, steps=steps)
    # The first pass sums three neighbors, and the second steps from one such sum to the next: no pixel counts twice.
    smeared = line_integral(line_integral(noise, along, steps=1), along, steps=round(steps / 3), stride=3.0)
    return smeared / smeared.std(dim=(1, 2), keepdim=True)


@lru_cache(maxsize=4)
def fixed_noise(size: int) -> Float[Tensor, "size size"]:
    """Return white noise of unit variance that is always the same, for strands thinner than a generator draws."""
    return torch.randn(size, size, generator=torch.Generator().manual_seed(size))


def lay_strands(
    images: Images, hair: HairField, maps: Float[Tensor, "batch widths size size"], *, outline: int = 1
) -> Images:
    """Return pictures with strands laid over their hair: its outline becomes sharp, and its brightness changes.

    The brightness is multiplied by the exponential of the strands, whose mean is about 1.

    Args:
        images: smooth pictures, in [-1, 1].
        hair: with the directions that the maps were made of.
        maps: see `strand_maps`.
        outline: which of the maps frays the outline.
    """
    size = images.shape[-1]
    with full_precision(images.device):
        moved, coverage = sharpen_outline(images.float(), hair, maps[:, outline])
        strength = F.interpolate(hair.strength, size=size, mode="bilinear", align_corners=False)
        brightness = (strength * maps - strength.square() / 2).sum(dim=1, keepdim=True)
        return ((moved + 1) * (coverage * brightness).exp() - 1).to(images.dtype)


def sharpen_outline(
    images: Images, hair: HairField, tips: Float[Tensor, "batch size size"]
) -> tuple[Images, Float[Tensor, "batch 1 size size"]]:
    """Return pictures whose hair has a sharp outline, and the coverage that fits them.

    Pixels near the outline, where hair covers half, are taken from farther away on their own side of it (Arad and
    Gotsman 1999, "Enhancement by image-dependent warping"). Noise in the place of the outline frays it.

    Args:
        images: smooth pictures.
        hair: where hair is, and the deviation of the noise.
        tips: noise of unit variance.
    """
    size, cells = images.shape[-1], hair.coverage.shape[-1]
    kernel = _binomial(images)[None, None]
    coverage = F.conv2d(F.pad(hair.coverage, (1, 1, 1, 1), mode="replicate"), kernel / kernel.sum())
    coverage = F.interpolate(coverage, size=size, mode="bicubic", align_corners=False)
    reach = F.interpolate(hair.reach, size=size, mode="bilinear", align_corners=False)[:, 0]
    around = F.pad(coverage, (1, 1, 1, 1), mode="replicate")[:, 0]
    x, y = around[:, 1:-1, 2:] - around[:, 1:-1, :-2], around[:, 2:, 1:-1] - around[:, :-2, 1:-1]
    slope = (x.square() + y.square() + 1e-8).sqrt()
    steep = slope * (size / cells / 2)  # coverage per cell
    distance = (coverage[:, 0] - 0.5) / (steep + _FLAT)
    # It goes from -1 to 1 within two pixels, so that the outline is not jagged.
    side = (size / cells * (distance + reach * tips)).tanh()
    inward = (_SOFT * side - distance) * (distance.abs() < _SOFT) * (steep / _FLAT).clamp_max(1)
    shift = inward / slope * (2 / cells)  # a cell is 2 / cells of the grid's unit
    steps = (2 * torch.arange(size, device=images.device, dtype=torch.float32) + 1) / size - 1
    grid = torch.stack((steps + shift * x, steps[:, None] + shift * y), dim=-1)
    moved = F.grid_sample(torch.cat((images, coverage), dim=1), grid, padding_mode="border", align_corners=False)
    return moved[:, :3], moved[:, 3:].clamp(0, 1)


class StrandField(nn.Module):
    """Reads from activations of a generator where hair is, how it runs, and how strong its strands are.

    Args:
        channels: channels of the activations.
        width: channels of the layers.
        widths: number of strands' widths.
    """

    def __init__(self, channels: int, width: int = 48, widths: int = 3) -> None:
        super().__init__()
        self.channels, self.width, self.widths = channels, width, widths
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, width, 3, padding=2, dilation=2),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, width, 3, padding=4, dilation=4),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, 4 + widths, 1),
        )

    def forward(self, activations: Float[Tensor, "batch channels height width"]) -> HairField:
        """Return the hair of each cell."""
        read = self.layers(activations)
        read = read.to(torch.promote_types(read.dtype, torch.float32))
        direction, coverage, reach, strength = read.split((2, 1, 1, self.widths), dim=1)
        return HairField(
            direction=direction,
            coverage=coverage.sigmoid(),
            reach=F.softplus(reach + _FIRST_REACH).clamp_max(_MOST_REACH),
            strength=F.softplus(strength + _FIRST_STRENGTH),
        )

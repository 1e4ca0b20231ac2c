"""The e4e encoder: aligned faces to W+ codes in one forward pass.

Tov et al. 2021, "Designing an Encoder for StyleGAN Image Manipulation": an IR-SE backbone with a feature pyramid
(Richardson et al. 2021, figure 2); style 0 gives one code for all layers, every further style an offset for its own
layer (section 5.1).
Module names equal the names in ``e4e_ffhq_encode.pt``.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hairclip.common.images import Images, WPlus, resize_area
from hairclip.networks.ir_se import input_layer, residual_body


class ScaledLinear(nn.Module):
    """Linear layer that multiplies its stored weight by 1/sqrt(fan-in) (Karras et al. 2018, section 4.1).

    `hairclip.networks.stylegan2_layers.EqualLinear` scales its input instead, which rounds differently.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight / math.sqrt(self.weight.shape[1]), self.bias)


class StyleHead(nn.Module):
    """Computes one code (B, w_dim) from a feature map (B, in_channels, spatial, spatial) by halving it to 1x1."""

    def __init__(self, in_channels: int, width: int, w_dim: int, spatial: int) -> None:
        super().__init__()
        convs: list[nn.Module] = []
        for i in range(int(math.log2(spatial))):
            convs += [nn.Conv2d(in_channels if i == 0 else width, width, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*convs)
        self.linear = ScaledLinear(width, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


class E4EEncoder(nn.Module):
    """Encoder to W+; the defaults are the official FFHQ encoder for a 1024 px generator when ``n_latent=18``.

    Args:
        n_latent: codes per image, one per generator layer.
        w_dim: length of a code.
        input_size: pixels to which images are resized; a power of two.
        units, widths: residual units and channels of the four backbone stages, see `ir_se.IRSE`.
        fpn_width: channels of the feature pyramid; where it differs from the last stage's, a 1x1 convolution adapts.
        style_width: channels inside the style heads, `w_dim` if not given. Nearly all parameters sit in these heads.
        levels: styles before ``levels[0]`` read the coarsest map, before ``levels[1]`` the middle, the rest the finest.
        offsets: True for e4e, whose styles after the first are offsets from it; False for pSp (Richardson et al. 2021),
            whose styles are codes of their own.

    The buffer ``latent_avg`` ``(n_latent, w_dim)`` is added to the codes; it starts as zero.
    """

    latent_avg: Tensor

    def __init__(
        self,
        *,
        n_latent: int,
        w_dim: int = 512,
        input_size: int = 256,
        units: Sequence[int] = (3, 4, 14, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
        fpn_width: int = 512,
        style_width: int | None = None,
        levels: Sequence[int] = (3, 7),
        offsets: bool = True,
    ) -> None:
        super().__init__()
        if len(units) != 4:
            raise ValueError(f"the encoder reads three of four stages, but units has {len(units)} entries")
        if input_size < 32 or input_size & (input_size - 1):
            raise ValueError(f"input_size must be a power of two, 32 or more, not {input_size}")
        self.n_latent, self.w_dim, self.input_size = n_latent, w_dim, input_size
        self.units, self.widths, self.fpn_width = tuple(units), tuple(widths), fpn_width
        self.style_width, self.levels, self.offsets = style_width or w_dim, tuple(levels), offsets
        self.input_layer = input_layer(self.widths[0])
        self.body = residual_body(self.units, self.widths)
        self.latlayer0 = None if self.widths[3] == fpn_width else nn.Conv2d(self.widths[3], fpn_width, 1)
        self.latlayer1 = nn.Conv2d(self.widths[2], fpn_width, 1)
        self.latlayer2 = nn.Conv2d(self.widths[1], fpn_width, 1)
        self.styles = nn.ModuleList(
            StyleHead(fpn_width, self.style_width, w_dim, input_size // (16, 8, 4)[self._level(i)])
            for i in range(n_latent)
        )
        self.register_buffer("latent_avg", torch.zeros(n_latent, w_dim))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        return {
            "n_latent": self.n_latent,
            "w_dim": self.w_dim,
            "input_size": self.input_size,
            "units": list(self.units),
            "widths": list(self.widths),
            "fpn_width": self.fpn_width,
            "style_width": self.style_width,
            "levels": list(self.levels),
            "offsets": self.offsets,
        }

    def _level(self, style: int) -> int:
        return sum(style >= start for start in self.levels)

    def pyramid(self, images: Images) -> tuple[Tensor, Tensor, Tensor]:
        """Return feature maps with `fpn_width` channels at 1/16, 1/8 and 1/4 of the input size."""
        x = self.input_layer(resize_area(images, self.input_size))
        ends = [sum(self.units[: i + 1]) for i in range(4)]
        stages: list[Tensor] = []
        for i, unit in enumerate(self.body, start=1):
            x = unit(x)
            if i in ends:
                stages.append(x)
        coarse = x if self.latlayer0 is None else self.latlayer0(x)
        middle = _enlarge(coarse, stages[2]) + self.latlayer1(stages[2])
        fine = _enlarge(middle, stages[1]) + self.latlayer2(stages[1])
        return coarse, middle, fine

    def forward(self, images: Images) -> WPlus:
        """Return the codes (B, n_latent, w_dim) of aligned faces (B, 3, H, W), RGB in [-1, 1], of any size."""
        maps = self.pyramid(images)
        styles = [head(maps[self._level(i)]) for i, head in enumerate(self.styles)]
        codes = [styles[0], *(styles[0] + offset for offset in styles[1:])] if self.offsets else styles
        return torch.stack(codes, dim=1) + self.latent_avg


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)

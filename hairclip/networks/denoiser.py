"""Paint hair into a region of a picture by diffusion on patch codes, first its shape, then its strands.

The coarse stage denoises codes of 8 x 8 patches. The fine stage denoises what those codes lose, as codes of 4 x 4
patches, and sees the coarse picture (the cascade of Ho et al. 2022, "Cascaded Diffusion Models", with their noise
augmentation). Both see the picture around the region and are told the hairstyle and the color as CLIP embeddings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.common.images import Embeddings, Images
from hairclip.networks.diffusion import noised, sample
from hairclip.networks.patch_codes import PatchCodec, PatchCodes

__all__ = ["Canvas", "Denoiser", "HairPainter", "unit_embeddings"]

Weights = Float[Tensor, "batch 1 height width"]


@dataclass(frozen=True)
class Canvas:
    """A picture and where to paint in it.

    Attributes:
        picture: (B, 3, H, W) in [-1, 1]. What it shows inside the region is never seen.
        region: 1 where to paint, else 0, (B, 1, H, W).
        shading: brightness of hair that keeps its shape, `hairclip.common.color.gray_hair`, (B, 3, H, W); zeros where
            the hairstyle changes.
    """

    picture: Images
    region: Weights
    shading: Images

    def known(self) -> Images:
        """Return the picture with gray in place of the region."""
        return self.picture * (1 - self.region)

    def repeated(self, times: int) -> "Canvas":
        """Return the canvas several times in one batch."""
        parts = (self.picture, self.region, self.shading)
        return Canvas(*(part.repeat(times, 1, 1, 1) for part in parts))


def unit_embeddings(embeddings: Embeddings) -> Embeddings:
    """Return embeddings (B, width) scaled to a mean square of 1, as denoisers are told them; zeros stay zeros."""
    return F.normalize(embeddings, dim=-1) * embeddings.shape[-1] ** 0.5


class _Block(nn.Module):
    """Two convolutions with a residual. The condition scales and shifts between them (Perez et al. 2018)."""

    def __init__(self, in_channels: int, channels: int, condition: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, in_channels), nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(condition, 2 * channels)
        self.shortcut = nn.Identity() if in_channels == channels else nn.Conv2d(in_channels, channels, 1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        hidden = self.norm2(self.conv1(F.silu(self.norm1(x))))
        return self.shortcut(x) + self.conv2(F.silu(hidden * (1 + scale) + shift))


class _Attention(nn.Module):
    """Self-attention over all places, with a residual."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.inputs = nn.Conv2d(channels, 3 * channels, 1)
        self.output = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.output.weight)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.inputs(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)
        mixed = F.scaled_dot_product_attention(parts[:, 0], parts[:, 1], parts[:, 2])
        return x + self.output(mixed.transpose(-1, -2).flatten(1, 2).unflatten(2, x.shape[-2:]))


class Denoiser(nn.Module):
    """U-Net of two resolutions that predicts the velocity of noisy codes.

    Args:
        channels: channels of the codes.
        context: channels of what it sees beside them.
        embedding: width of the CLIP embeddings.
        widths: channels at the resolution of the codes, and at half of it.
        middle: number of blocks at half the resolution.
        hidden: width of the joined condition.
        attention: whether places at half the resolution see each other.
    """

    def __init__(
        self,
        channels: int,
        context: int,
        embedding: int,
        *,
        widths: tuple[int, int],
        middle: int,
        hidden: int,
        attention: bool,
    ) -> None:
        super().__init__()
        wide, deep = widths
        self.time = nn.Sequential(nn.Linear(64, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.style, self.color = nn.Linear(embedding, hidden), nn.Linear(embedding, hidden)
        self.first = nn.Conv2d(channels + context, wide, 3, padding=1)
        self.down = nn.ModuleList([_Block(wide, wide, hidden), _Block(wide, wide, hidden)])
        self.shrink = nn.Conv2d(wide, deep, 3, stride=2, padding=1)
        self.middle = nn.ModuleList([_Block(deep, deep, hidden) for _ in range(middle)])
        self.attention = _Attention(deep) if attention else nn.Identity()
        self.grow = nn.Conv2d(deep, wide, 3, padding=1)
        self.up = nn.ModuleList([_Block(2 * wide, wide, hidden), _Block(wide, wide, hidden)])
        self.norm, self.last = nn.GroupNorm(8, wide), nn.Conv2d(wide, channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def forward(
        self, noisy: PatchCodes, time: Float[Tensor, " batch"], context: Tensor, style: Embeddings, color: Embeddings
    ) -> PatchCodes:
        """Return velocities (B, channels, H, W).

        Args:
            noisy: codes at the times, (B, channels, H, W).
            time: in [0, 1].
            context: (B, context, H, W).
            style: embeddings of the hairstyle, (B, embedding), of mean square 1; zeros where it is not told.
            color: the same of the color.
        """
        frequencies = torch.exp(torch.linspace(0.0, math.log(1000.0), 32, device=time.device))
        angles = time[:, None] * frequencies
        told = self.time(torch.cat([angles.cos(), angles.sin()], dim=1)) + self.style(style) + self.color(color)
        told = F.silu(told)
        x = self.first(torch.cat([noisy, context], dim=1))
        for block in self.down:
            x = block(x, told)
        deep = self.shrink(x)
        for number, block in enumerate(self.middle):
            deep = block(deep, told)
            if number == 0:
                deep = self.attention(deep)
        x = torch.cat([x, self.grow(F.interpolate(deep, scale_factor=2.0, mode="nearest"))], dim=1)
        for block in self.up:
            x = block(x, told)
        return self.last(F.silu(self.norm(x)))


class HairPainter(nn.Module):
    """Two denoisers and the codecs of their codes.

    Args:
        embedding: width of the CLIP embeddings.
        channels: channels of the coarse and of the fine codes.
        coarse: widths of the coarse denoiser.
        fine: widths of the fine denoiser.
        middle: blocks of both at half the resolution.
        hidden: widths of their joined conditions.
    """

    def __init__(
        self,
        embedding: int,
        *,
        channels: Sequence[int] = (16, 16),
        coarse: Sequence[int] = (96, 160),
        fine: Sequence[int] = (48, 96),
        middle: Sequence[int] = (3, 2),
        hidden: Sequence[int] = (192, 128),
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "embedding": embedding,
            "channels": list(channels),
            "coarse": list(coarse),
            "fine": list(fine),
            "middle": list(middle),
            "hidden": list(hidden),
        }
        self.codec, self.detail = PatchCodec(8, channels[0]), PatchCodec(4, channels[1])
        self.coarse = Denoiser(
            channels[0],
            4 + 2 * channels[0],
            embedding,
            widths=(coarse[0], coarse[1]),
            middle=middle[0],
            hidden=hidden[0],
            attention=True,
        )
        self.fine = Denoiser(
            channels[1],
            1 + 16 + 48 + 16,
            embedding,
            widths=(fine[0], fine[1]),
            middle=middle[1],
            hidden=hidden[1],
            attention=False,
        )

    # ------------------------------------------------------------------ what the denoisers see

    def coarse_context(self, canvas: Canvas) -> Tensor:
        """Return what the coarse denoiser sees beside its codes, (B, 4 + 2 channels, H / 8, W / 8)."""
        quarters = F.pixel_unshuffle(F.avg_pool2d(canvas.region, 4), 2)
        return torch.cat([quarters, self.codec.encode(canvas.known()), self.codec.encode(canvas.shading)], dim=1)

    def fine_context(self, canvas: Canvas, coarse: Images, disturbed: Float[Tensor, " batch"]) -> Tensor:
        """Return what the fine denoiser sees beside its codes, (B, 81, H / 4, W / 4).

        Args:
            canvas: where to paint.
            coarse: the picture of the coarse stage.
            disturbed: deviation of the noise in the codes of `coarse`.
        """
        shown = torch.where(canvas.region > 0, coarse, canvas.picture)
        parts = [F.pixel_unshuffle(part, 4) for part in (canvas.region, shown, canvas.shading[:, :1])]
        level = disturbed[:, None, None, None].expand(-1, 1, *parts[0].shape[-2:])
        return torch.cat([level, *parts], dim=1)

    # ------------------------------------------------------------------ painting

    @torch.no_grad()
    def paint(
        self,
        canvas: Canvas,
        style: Embeddings,
        color: Embeddings,
        *,
        steps: int = 20,
        fine_steps: int = 8,
        guidance: float = 2.0,
        fine_guidance: float = 1.0,
        disturbed: float = 0.1,
        start: float = 1.0,
        seed: int = 0,
        progress: bool = False,
    ) -> Images:
        """Return painted pictures, (B, 3, H, W). Only the region counts: the rest is nearly the given picture.

        Each sample gets the same noise, so that its answer does not depend on its place in a batch.

        Args:
            canvas: where to paint. Height and width are multiples of 16.
            style: see `Denoiser.forward`.
            color: see `Denoiser.forward`.
            steps: steps of the coarse stage.
            fine_steps: steps of the fine stage; 0 leaves it out.
            guidance: how far the coarse stage exaggerates what it is told (Ho and Salimans 2022); 1 does not.
            fine_guidance: the same of the fine stage.
            disturbed: how much noise the fine stage expects in the coarse picture.
            start: time at which the coarse stage starts, in (0, 1]. Below 1 it starts from the noised picture.
            seed: of the noise.
            progress: show progress bars.
        """
        picture, random = canvas.picture, torch.Generator().manual_seed(seed)
        known = self.codec.encode(picture)
        noise = torch.randn(known[:1].shape, generator=random).to(known).expand_as(known)
        free = F.max_pool2d(canvas.region, self.codec.patch)
        time = known.new_full((len(known),), start)
        codes = sample(
            self._guided(self.coarse, self.coarse_context(canvas), style, color, guidance),
            noised(known, noise, time),
            steps=steps,
            start=start,
            known=known,
            free=free,
            progress=progress,
        )
        coarse = self.codec.decode(codes)
        if fine_steps == 0:
            return coarse
        context = self.fine_context(canvas, coarse, known.new_full((len(known),), disturbed))
        shape = (1, self.detail.channels, *context.shape[-2:])
        residual = sample(
            self._guided(self.fine, context, style, color, fine_guidance),
            torch.randn(shape, generator=random).to(known).expand(len(known), -1, -1, -1),
            steps=fine_steps,
            label="adding strands",
            progress=progress,
        )
        return coarse + self.detail.decode(residual)

    def _guided(self, denoiser: nn.Module, context: Tensor, style: Tensor, color: Tensor, guidance: float) -> Any:
        """Return a function from noisy codes and times to velocities under guidance."""
        if guidance == 1.0:
            return lambda noisy, time: denoiser(noisy, time, context, style, color)
        doubled = torch.cat([context, context])
        styles, colors = (torch.cat([told, torch.zeros_like(told)]) for told in (style, color))

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            both = denoiser(torch.cat([noisy, noisy]), torch.cat([time, time]), doubled, styles, colors)
            told, untold = both.chunk(2)
            return untold + guidance * (told - untold)

        return predict

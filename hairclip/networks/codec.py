"""Turn pictures into a grid of tokens and back: a vector-quantized codec (van den Oord et al. 2017) on patch codes.

Principal components of patches do most of the work on both sides. Convolutions add what they miss. The last layers of
these start at zero, so that a new codec is as good as its components, and training can only improve it.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.common.images import Images
from hairclip.networks.patch_codes import PatchCodec, PatchCodes

__all__ = ["Codec", "TokenGrid", "code_rows", "nearest", "straight_through"]

TokenGrid = Int[Tensor, "batch rows columns"]
"""Numbers of codebook entries."""

_KMEANS_ROUNDS, _KMEANS_CODES = 12, 40_000


class Codec(nn.Module):
    """Codec with one token for each patch.

    Args:
        patch: height and width of a patch in pixels.
        channels: numbers of a patch's code before it is quantized.
        entries: number of codebook entries.
        encoder_width: filters of the encoder's convolutions.
        decoder_widths: filters of the decoder's convolutions at 1/8, 1/4 and 1/2 of the picture's size.

    Attributes:
        codebook: (entries, channels).
    """

    codebook: Tensor

    def __init__(
        self,
        patch: int = 8,
        channels: int = 32,
        entries: int = 512,
        encoder_width: int = 96,
        decoder_widths: Sequence[int] = (128, 64, 32),
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "patch": patch,
            "channels": channels,
            "entries": entries,
            "encoder_width": encoder_width,
            "decoder_widths": list(decoder_widths),
        }
        self.patch, self.entries = patch, entries
        self.linear = PatchCodec(patch, channels)
        width = encoder_width
        self.encoder = nn.Sequential(
            nn.Conv2d(3 * patch**2, width, 1), Residual(width), Residual(width), _zero(nn.Conv2d(width, channels, 1))
        )
        wide, middle, fine = decoder_widths
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, wide, 3, padding=1),
            Residual(wide),
            Residual(wide),
            nn.Conv2d(wide, 4 * middle, 1),
            nn.PixelShuffle(2),
            Residual(middle),
            Residual(middle),
            nn.Conv2d(middle, 4 * fine, 1),
            nn.PixelShuffle(2),
            Residual(fine),
            nn.GroupNorm(4, fine),
            nn.SiLU(),
            _zero(nn.Conv2d(fine, 3 * (patch // 4) ** 2, 3, padding=1)),
            nn.PixelShuffle(patch // 4),
        )
        self.register_buffer("codebook", torch.zeros(entries, channels))

    @torch.no_grad()
    def fit(self, images: Images, *, seed: int = 0) -> "Codec":
        """Compute the components and a first codebook (k-means) from pictures (N, 3, H, W), and return the codec."""
        self.linear.fit(images, seed=seed)
        random = torch.Generator().manual_seed(seed)
        codes = code_rows(self.encode(images))
        if len(codes) < self.entries:
            raise ValueError(f"{self.entries} entries need as many patches, and the pictures have {len(codes)}")
        codes = codes[torch.randperm(len(codes), generator=random)[:_KMEANS_CODES]]
        centers = codes[: self.entries].clone()
        for _ in range(_KMEANS_ROUNDS):
            chosen = nearest(codes, centers)
            counts = torch.bincount(chosen, minlength=self.entries).float()
            sums = torch.zeros_like(centers).index_add_(0, chosen, codes)
            spare = codes[torch.randint(len(codes), (self.entries,), generator=random)]
            centers = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], spare)
        self.codebook.copy_(centers)
        return self

    def encode(self, images: Images) -> PatchCodes:
        """Return the codes of pictures before quantization, (B, channels, H / patch, W / patch)."""
        with _float32(images):
            linear = self.linear.encode(images)
        return linear + self.encoder(F.pixel_unshuffle(images, self.patch)).float()

    def tokens(self, images: Images) -> TokenGrid:
        """Return the tokens of pictures, (B, H / patch, W / patch)."""
        return self.quantize(self.encode(images))

    def quantize(self, codes: PatchCodes) -> TokenGrid:
        """Return the number of the nearest codebook entry of each code."""
        batch, _, rows, columns = codes.shape
        return nearest(code_rows(codes), self.codebook).view(batch, rows, columns)

    def look_up(self, tokens: TokenGrid) -> PatchCodes:
        """Return the codebook entries of tokens, (B, channels, rows, columns)."""
        return self.codebook[tokens].movedim(-1, 1)

    def decode(self, codes: PatchCodes) -> Images:
        """Return the pictures of codes. They may leave [-1, 1] a little."""
        with _float32(codes):
            linear = self.linear.decode(codes)
        return linear + self.decoder(codes).float()

    def decode_tokens(self, tokens: TokenGrid) -> Images:
        """Return the pictures of tokens in [-1, 1]."""
        return self.decode(self.look_up(tokens)).clamp(-1.0, 1.0)

    def forward(self, images: Images) -> Images:
        """Return what the tokens keep of pictures, in [-1, 1]."""
        return self.decode_tokens(self.tokens(images))


class Residual(nn.Module):
    """Two 3 x 3 convolutions whose sum with the input is returned; a new one returns its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8 if width % 8 == 0 else 1, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            _zero(nn.Conv2d(width, width, 3, padding=1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return features + self.body(features)


def straight_through(codes: Tensor, entries: Tensor) -> Tensor:
    """Return `entries` with the gradient of `codes`."""
    return codes + (entries - codes).detach()


def nearest(codes: Float[Tensor, "count channels"], centers: Float[Tensor, "entries channels"]) -> Int[Tensor, "count"]:
    """Return the number of the nearest center of each code."""
    # |c - e|^2 without |c|^2, which is the same for all centers; the smallest is the largest of 2 c e - |e|^2
    with _float32(codes):
        return (2.0 * codes @ centers.T - centers.square().sum(dim=1)).argmax(dim=1)


def code_rows(codes: PatchCodes) -> Float[Tensor, "count channels"]:
    """Return the codes of all patches one below the other."""
    return codes.movedim(1, -1).flatten(0, 2)


def _float32(like: Tensor) -> AbstractContextManager[object]:
    """Return a context without mixed precision: components and nearest entries lose more than they gain by it."""
    return torch.autocast(like.device.type, enabled=False)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer

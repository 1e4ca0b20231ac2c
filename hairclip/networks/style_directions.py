"""Global directions in the space S (Patashnik et al. 2021, "StyleCLIP", section 6).

S holds the styles of a generator's convolutions, as `Generator.styles` gives them. Each number in it is a channel. For
every channel, a row says in which direction CLIP's embedding of a picture moves when the channel grows. A text asks for
a direction in the same space, so the product of the two says how much each channel helps.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.common.images import Embeddings
from hairclip.networks.stylegan2 import Generator

__all__ = ["StyleDirections", "channel_statistics", "split_channels"]

Channels = Float[Tensor, " channels"]


class StyleDirections(nn.Module):
    """The direction of every channel in CLIP's space, and how far the channel strays.

    Args:
        channels: number of channels: of all convolutions, or of the first few.
        width: width of CLIP's embeddings.
        measured: whether mean and deviation are known; `measure` adds them otherwise.

    Attributes:
        relevance: direction of each channel, (channels, width), of length 1; zeros for a channel without one.
        mean: mean of each channel over pictures, (channels,), or None.
        deviation: standard deviation of each channel, (channels,), or None.
        notes: how the directions were computed, as far as their file tells.
    """

    relevance: Tensor
    mean: Tensor | None
    deviation: Tensor | None

    def __init__(self, channels: int, width: int, measured: bool = True) -> None:
        super().__init__()
        self.channels, self.width, self.measured = channels, width, measured
        self.notes: dict[str, Any] = {}
        self.register_buffer("relevance", torch.zeros(channels, width))
        self.register_buffer("mean", torch.zeros(channels) if measured else None)
        self.register_buffer("deviation", torch.ones(channels) if measured else None)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        return {"channels": self.channels, "width": self.width, "measured": self.measured}

    def measure(self, generator: Generator, codes: Iterable[Float[Tensor, "_ n_latent w_dim"]]) -> None:
        """Fill mean and deviation from batches of codes, where a file has none, as the official `fs3.npy`."""
        mean, deviation = channel_statistics(generator, codes)
        self.mean, self.deviation = mean[: self.channels], deviation[: self.channels]
        self.measured = True

    def choose(
        self, difference: Embeddings, *, beta: float = 0.0, channels: int | None = None
    ) -> Float[Tensor, "batch channels"]:
        """Return how far each channel moves at strength 1, (B, channels), in units of its deviation.

        The channel that helps most moves by 1 (the official code divides by it; the paper does not).

        Args:
            difference: embedding of the wanted text minus that of a neutral one, (B, width); its length counts not.
            beta: channels whose cosine with the difference is smaller do not move.
            channels: only so many move, those of the largest cosine; None for all.
        """
        cosine = F.normalize(difference.float(), dim=1) @ self.relevance.float().T
        size = cosine.abs()
        kept = size >= beta
        if channels is not None and channels < self.channels:
            kept &= size >= size.topk(channels, dim=1).values[:, -1:]
        chosen = torch.where(kept, cosine, torch.zeros_like(cosine))
        # Where no channel is left, nothing moves.
        return chosen / chosen.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)

    def offsets(self, moves: Float[Tensor, "batch channels"], generator: Generator) -> list[Tensor | None]:
        """Return `Generator.forward`'s style offsets of moves in units of the deviation."""
        if self.deviation is None:
            raise ValueError("these directions have no deviation yet: call measure")
        return split_channels(moves * self.deviation, generator.style_widths)


def split_channels(values: Float[Tensor, "batch channels"], widths: Sequence[int]) -> list[Tensor | None]:
    """Return one (B, width) tensor per convolution, and None for convolutions after the last channel.

    Raises:
        ValueError: if the channels end inside a convolution.
    """
    found: list[Tensor | None] = []
    start = 0
    for width in widths:
        found.append(values[:, start : start + width] if start < values.shape[1] else None)
        start += width if start < values.shape[1] else 0
    if start != values.shape[1]:
        raise ValueError(f"{values.shape[1]} channels are no whole number of convolutions of widths {tuple(widths)}")
    return found


@torch.no_grad()
def channel_statistics(
    generator: Generator,
    codes: Iterable[Float[Tensor, "_ n_latent w_dim"]],
    advance: Callable[[int], object] = lambda count: None,
) -> tuple[Channels, Channels]:
    """Return mean and standard deviation of every channel of S over codes, (channels,) each.

    Args:
        generator: whose styles are looked at.
        codes: batches of W+ codes (B, n_latent, w_dim).
        advance: called with the size of each batch that is done.
    """
    device = generator.constant.device
    count = 0
    total = squares = torch.zeros(sum(generator.style_widths), dtype=torch.float64)
    for batch in codes:
        styles = torch.cat(generator.styles(batch.to(device)), dim=1).double().cpu()
        total, squares, count = total + styles.sum(dim=0), squares + styles.square().sum(dim=0), count + len(styles)
        advance(len(styles))
    mean = total / count
    deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
    return mean.float().to(device), deviation.float().to(device)

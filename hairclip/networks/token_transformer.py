"""Fill in hidden tokens of a picture, conditioned on a hairstyle and a color (masked tokens, Chang et al. 2022).

Convolutions read and write the tokens at their own grid. Attention works on cells of 2 x 2 tokens: there are four times
fewer, and each sees all others, so that this level decides the shape of the hair.
"""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.common.images import Embeddings, Flags
from hairclip.common.progress import progress_bar
from hairclip.networks.codec import TokenGrid

__all__ = ["TokenTransformer", "count_hidden", "fill_tokens"]

_PACE = 4.0
"""Factor by which the precision of the answer learns faster than other weights."""

TokenMask = Bool[Tensor, "batch rows columns"]
Logits = Float[Tensor, "batch entries rows columns"]


class TokenTransformer(nn.Module):
    """Says for each token of a grid how likely each codebook entry is.

    Args:
        entries: number of codebook entries.
        channels: numbers of a codebook entry.
        condition_dim: width of the CLIP embeddings.
        grid: rows and columns of tokens, even.
        width: filters at the tokens' grid.
        deep_width: width of attention.
        layers: attention layers.
        heads: attention heads.

    Attributes:
        codebook: that of the codec, (entries, channels); the network starts from the distances between its entries.
        spread: deviation of each of its channels, by which the input is divided, (channels,).
    """

    codebook: Tensor
    spread: Tensor

    def __init__(
        self,
        entries: int = 512,
        channels: int = 32,
        condition_dim: int = 128,
        grid: int = 16,
        width: int = 96,
        deep_width: int = 160,
        layers: int = 4,
        heads: int = 5,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "entries": entries,
            "channels": channels,
            "condition_dim": condition_dim,
            "grid": grid,
            "width": width,
            "deep_width": deep_width,
            "layers": layers,
            "heads": heads,
        }
        self.entries, self.grid = entries, grid
        self.register_buffer("codebook", torch.zeros(entries, channels))
        self.register_buffer("spread", torch.ones(channels))
        self.unasked = nn.Parameter(torch.randn(2, condition_dim))
        self.condition = nn.Linear(condition_dim, 2 * deep_width)  # its halves: for the style, and for the color
        self.share = nn.Linear(1, deep_width)
        # The inputs: an entry, whether it is hidden, whether it lies in the region.
        self.stem = nn.Conv2d(channels + 2, width, 3, padding=1)
        self.place = nn.Parameter(0.02 * torch.randn(1, width, grid, grid))
        self.before = Modulated(width, deep_width)
        self.down = nn.Conv2d(width, deep_width, 2, stride=2)
        self.deep_place = nn.Parameter(0.02 * torch.randn(1, (grid // 2) ** 2 + 2, deep_width))
        self.layers = nn.ModuleList(AttentionLayer(deep_width, heads) for _ in range(layers))
        self.up = nn.Sequential(nn.Conv2d(deep_width, 4 * width, 1), nn.PixelShuffle(2))
        self.after = nn.ModuleList(Modulated(width, deep_width) for _ in range(2))
        self.norm = nn.GroupNorm(8, width)
        self.to_code = nn.Conv2d(width, channels, 1)
        self.to_entries = nn.Conv2d(width, entries, 1)
        nn.init.zeros_(self.to_entries.weight)
        nn.init.zeros_(self.to_entries.bias)  # type: ignore[arg-type]
        self.log_precision = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def start_from(self, codebook: Float[Tensor, "entries channels"]) -> "TokenTransformer":
        """Take the codebook of a codec, as a new network's first knowledge of the entries, and return the network."""
        self.codebook.copy_(codebook)
        self.spread.copy_(codebook.std(dim=0).clamp_min(1e-6))
        self.log_precision.fill_(-float(codebook.square().sum(dim=1).mean().log()) / _PACE)
        return self

    def forward(
        self,
        tokens: TokenGrid,
        hidden: TokenMask,
        region: TokenMask,
        hairstyle: Embeddings,
        color: Embeddings,
        has_hairstyle: Flags,
        has_color: Flags,
    ) -> Logits:
        """Return the logits of all codebook entries for each token.

        Args:
            tokens: the picture. The tokens under `hidden` are not read.
            hidden: tokens to fill in.
            region: tokens that the edit may change; the hidden ones are among them.
            hairstyle: CLIP embeddings, (B, condition_dim), of any length.
            color: the same.
            has_hairstyle: whether the hairstyle is told, (B,).
            has_color: whether the color is told, (B,).
        """
        told = []
        for i, (embedding, has) in enumerate(((hairstyle, has_hairstyle), (color, has_color))):
            unit = F.normalize(embedding, dim=1) * math.sqrt(embedding.shape[1])
            halves = self.condition(torch.where(has[:, None], unit, self.unasked[i]))
            told.append(halves.chunk(2, dim=1)[i])
        share = hidden.flatten(1).sum(dim=1, keepdim=True) / region.flatten(1).sum(dim=1, keepdim=True).clamp_min(1)
        about = F.silu(told[0] + told[1] + self.share(share))
        codes = (self.codebook / self.spread)[tokens].movedim(-1, 1) * ~hidden[:, None]
        inputs = torch.cat([codes, hidden[:, None].float(), region[:, None].float()], dim=1)
        features = self.before(self.stem(inputs) + self.place, about)
        deep = self.down(features)
        cells = torch.cat([torch.stack(told, dim=1), deep.flatten(2).mT], dim=1) + self.deep_place
        for layer in self.layers:
            cells = layer(cells)
        features = features + self.up(cells[:, 2:].mT.unflatten(2, deep.shape[2:]))
        for block in self.after:
            features = block(features, about)
        features = F.silu(self.norm(features))
        distance = squared_distances(self.to_code(features), self.codebook)
        return self.to_entries(features).float() - (_PACE * self.log_precision).exp() * distance


class Modulated(nn.Module):
    """Two 3 x 3 convolutions beside the identity, with a scale and a shift that depend on the condition."""

    def __init__(self, width: int, condition_dim: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.modulation = nn.Linear(condition_dim, 2 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, features: Tensor, about: Float[Tensor, "batch width"]) -> Tensor:
        """Return features of the same shape."""
        changed = self.convolutions[0](F.silu(self.norms[0](features)))
        scale, shift = self.modulation(about)[:, :, None, None].chunk(2, dim=1)
        changed = self.norms[1](changed) * (1 + scale) + shift
        return features + self.convolutions[1](F.silu(changed))


class AttentionLayer(nn.Module):
    """A layer of a transformer: attention of all cells to all, then a perceptron, each beside the identity."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.queries = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, cells: Float[Tensor, "batch cells width"]) -> Float[Tensor, "batch cells width"]:
        """Return cells of the same shape."""
        split = self.queries(self.norms[0](cells)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*split.unbind(0))
        cells = cells + self.joined(attended.transpose(1, 2).flatten(2))
        return cells + self.perceptron(self.norms[1](cells))


def squared_distances(codes: Float[Tensor, "batch channels rows columns"], codebook: Tensor) -> Logits:
    """Return the squared distance of each code to each entry, without a part that is the same for all entries."""
    with torch.autocast(codes.device.type, enabled=False):  # small differences of large numbers
        near = F.conv2d(codes.float(), codebook[..., None, None])
    return codebook.square().sum(dim=1)[:, None, None] - 2 * near


def count_hidden(count: int, step: int, steps: int) -> int:
    """Return how many of `count` tokens are still hidden after `step` of `steps` rounds: count * cos(pi/2 step/steps).

    The result is rounded down, and 0 after the last round.
    """
    return int(count * math.cos(math.pi / 2 * step / steps)) if step < steps else 0


@torch.no_grad()
def fill_tokens(
    transformer: TokenTransformer,
    tokens: TokenGrid,
    region: TokenMask,
    hairstyle: Embeddings,
    color: Embeddings,
    has_hairstyle: Flags,
    has_color: Flags,
    *,
    steps: int = 12,
    guidance: float = 2.0,
    temperature: float = 1.0,
    disorder: float = 4.0,
    seed: int = 0,
    progress: bool = False,
) -> TokenGrid:
    """Return tokens in which all of the region is drawn anew, a part of it in each round.

    A round draws all hidden tokens and keeps those that the network is most sure of. Every sample gets the same random
    numbers, so that its result depends on no other.

    Args:
        transformer: the network.
        tokens: the pictures, (B, rows, columns).
        region: tokens to draw, (B, rows, columns).
        hairstyle: see `TokenTransformer.forward`.
        color: see `TokenTransformer.forward`.
        has_hairstyle: see `TokenTransformer.forward`.
        has_color: see `TokenTransformer.forward`.
        steps: number of rounds.
        guidance: 1 draws from what the network says. More moves away from what it says without a condition.
        temperature: 0 takes the most likely entry, 1 draws by likelihood.
        disorder: strength of the noise in the choice of what is kept; it fades out over the rounds.
        seed: of all that is random.
        progress: show a progress bar.
    """
    random = torch.Generator().manual_seed(seed)
    tokens, hidden = tokens.clone(), region.clone()
    never = torch.zeros_like(has_hairstyle)
    counts = region.flatten(1).sum(dim=1).tolist()
    for step in progress_bar(range(1, steps + 1), label="drawing", show=progress, leave=False):
        logits = transformer(tokens, hidden, region, hairstyle, color, has_hairstyle, has_color)
        if guidance != 1.0:
            plain = transformer(tokens, hidden, region, hairstyle, color, never, never)
            logits = plain + guidance * (logits - plain)
        noise = _gumbel(logits[:1].shape, random).to(logits)
        drawn = (logits + temperature * noise).argmax(dim=1)
        sure = logits.log_softmax(dim=1).gather(1, drawn[:, None])[:, 0]
        fade = disorder * (1.0 - step / steps)
        sure = sure + fade * _gumbel(sure[:1].shape, random).to(sure)
        tokens = torch.where(hidden, drawn, tokens)
        sure = torch.where(hidden, sure, torch.inf).flatten(1)
        kept = torch.zeros_like(hidden).flatten(1)
        for i, count in enumerate(counts):
            kept[i, sure[i].argsort()[: count_hidden(count, step, steps)]] = True
        hidden = kept.view_as(hidden) & hidden
    return tokens


def _gumbel(shape: torch.Size, random: torch.Generator) -> Tensor:
    return -torch.log(-torch.log(torch.rand(shape, generator=random).clamp(1e-9, 1 - 1e-7)))

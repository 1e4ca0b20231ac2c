"""StyleCLIP's latent mappers (Patashnik et al. 2021, "StyleCLIP", section 5): a small network for each text.

A mapper sees no text: it has learned one. So the mappers of many texts are kept together, with one more dimension in
each weight, and a batch of many texts is one product of batches.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.common.images import WPlus
from hairclip.networks.mapper import LAYER_SPLIT

__all__ = ["DEPTH", "LEVELS", "StyleMappers"]

LEVELS = ("coarse", "medium", "fine")
DEPTH = 4
"""Fully connected layers of a mapper, as published."""

_SLOPE, _GAIN = 0.2, math.sqrt(2.0)  # of the activation, as in StyleGAN's mapping network

Numbers = Int64[Tensor, " batch"]


class _Level(nn.Module):
    """The layers of all texts that move one group of a code's layers.

    The numbers are the effective ones. The official networks store them divided by their rate, see
    `hairclip.pretrained.foreign.mappers`.
    """

    def __init__(self, texts: int, w_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(texts, DEPTH, w_dim, w_dim) / math.sqrt(w_dim))
        self.bias = nn.Parameter(torch.zeros(texts, DEPTH, w_dim))

    def forward(self, w: Float[Tensor, "batch layers w_dim"], rows: Numbers) -> Float[Tensor, "batch layers w_dim"]:
        """Return the unscaled change of a group of layers.

        Args:
            w: the group, (B, layers, w_dim).
            rows: number of the text of each sample, (B,).
        """
        # As published: the mean square over the layers of the group, not over each latent.
        x = w * torch.rsqrt(w.square().mean(dim=1, keepdim=True) + 1e-8)
        weight, bias = self.weight[rows], self.bias[rows]
        for layer in range(DEPTH):
            x = torch.baddbmm(bias[:, layer, None], x, weight[:, layer].transpose(1, 2))
            x = F.leaky_relu(x, _SLOPE) * _GAIN
        return x


class StyleMappers(nn.Module):
    """Computes how codes change for a text: `w_plus + mappers(w_plus, words)` are the edited codes.

    Args:
        n_latent: layers of the W+ codes; the generator's `n_latent`.
        w_dim: width of the latents.
        words: word -> the groups of layers that its mapper moves, some of `LEVELS`.
        groups: where medium and fine layers begin.
        scale: factor on the output, 0.1 as published.

    Attributes:
        notes: how the mappers were trained, as far as their file tells.
        constant: the constant input of the generator that lies in the same file, (channels, 4, 4); None without one.
    """

    def __init__(
        self,
        n_latent: int,
        w_dim: int,
        words: Mapping[str, Sequence[str]],
        groups: Sequence[int] = LAYER_SPLIT,
        scale: float = 0.1,
    ) -> None:
        super().__init__()
        if len(groups) != 2 or not 0 < groups[0] < groups[1] < n_latent:
            raise ValueError(f"groups are two rising layers inside 0..{n_latent}, not {tuple(groups)}")
        if not words or not all(levels and set(levels) <= set(LEVELS) for levels in words.values()):
            raise ValueError(f"each word has some of the levels {', '.join(LEVELS)}, and there is at least one word")
        self.n_latent, self.w_dim, self.scale = n_latent, w_dim, scale
        self.groups = (groups[0], groups[1])
        self.words = {word: tuple(level for level in LEVELS if level in levels) for word, levels in words.items()}
        self.notes: dict[str, Any] = {}
        self.constant: Tensor | None = None
        self.levels = nn.ModuleDict()
        for level in LEVELS:
            with_it = [word for word, levels in self.words.items() if level in levels]
            if with_it:
                self.levels[level] = _Level(len(with_it), w_dim)
        self._rows = {level: self._number(level) for level in self.levels}

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        words = {word: list(levels) for word, levels in self.words.items()}
        return {
            "n_latent": self.n_latent,
            "w_dim": self.w_dim,
            "words": words,
            "groups": list(self.groups),
            "scale": self.scale,
        }

    def forward(self, w_plus: WPlus, words: Sequence[str]) -> WPlus:
        """Return the change of the codes, (B, n_latent, w_dim), already scaled.

        Args:
            w_plus: codes, (B, n_latent, w_dim).
            words: the word of each sample.
        """
        if w_plus.shape[1:] != (self.n_latent, self.w_dim) or len(words) != len(w_plus):
            raise ValueError(
                f"codes of shape {tuple(w_plus.shape)} and {len(words)} words do not fit: "
                f"(B, {self.n_latent}, {self.w_dim}) and B"
            )
        order = list(self.words)
        numbers = torch.tensor([order.index(word) for word in words])
        moved = []
        for level, (first, end) in zip(LEVELS, pairwise((0, *self.groups, self.n_latent))):
            part = w_plus[:, first:end]
            change = torch.zeros_like(part)
            if level in self.levels:
                rows = self._rows[level][numbers]
                has = (rows >= 0).nonzero()[:, 0].to(part.device)
                if len(has):
                    change = change.index_copy(0, has, self.levels[level](part[has], rows[rows >= 0].to(part.device)))
            moved.append(change)
        return self.scale * torch.cat(moved, dim=1)

    def _number(self, level: str) -> Numbers:
        """Return the row of each word in the weights of a level, (words,); -1 for a word without it."""
        has = torch.tensor([level in levels for levels in self.words.values()])
        return torch.where(has, has.long().cumsum(dim=0) - 1, -1)

"""Encode the words of a hairstyle and of a hair color to a W+ code, as TediGAN encodes text (Xia et al. 2021).

TediGAN's section 3.2 puts the text into the latent space of the pictures. Its encoder was never released. This one
learns from W+ codes that are labeled by words, and takes CLIP's embeddings of these words.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.common.images import Embeddings, Flags, WPlus
from hairclip.networks.mapper import LAYER_SPLIT, HairCondition

__all__ = ["TextEncoder", "Words", "nearest_rows", "nearest_words"]

Coefficients = Float[Tensor, "batch components"]
Words = Float[Tensor, "_ embedding"]
"""Embeddings of a list of words."""


class TextEncoder(nn.Module):
    """Computes the mean W+ code of people with a hairstyle, with a hair color, or with both.

    The network gives coefficients of principal components. The components are those of codes that are standardized:
    each of their entries has a mean of 0 and a deviation of 1.

    Args:
        n_latent: layers of the W+ codes.
        w_dim: width of the latents.
        condition_dim: width of the embeddings; the CLIP's `width`.
        width: neurons of each of the two hidden layers.
        components: number of principal components.
        hairstyles: names of the hairstyles that it was trained on.
        colors: names of the colors that it was trained on.

    Attributes:
        notes: which networks it was trained with, as far as its file tells.
    """

    mean: Tensor
    spread: Tensor
    basis: Tensor

    def __init__(
        self,
        *,
        n_latent: int,
        w_dim: int,
        condition_dim: int,
        width: int = 384,
        components: int = 96,
        hairstyles: Sequence[str] = (),
        colors: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.n_latent, self.w_dim, self.condition_dim = n_latent, w_dim, condition_dim
        self.width, self.components = width, components
        self.hairstyles, self.colors = tuple(hairstyles), tuple(colors)
        self.notes: dict[str, Any] = {}
        self.layers = nn.Sequential(
            nn.Linear(2 * condition_dim, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, components),
        )
        self.register_buffer("mean", torch.zeros(n_latent, w_dim))
        self.register_buffer("spread", torch.ones(n_latent, w_dim))
        self.register_buffer("basis", torch.zeros(components, n_latent * w_dim))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        return {
            "n_latent": self.n_latent,
            "w_dim": self.w_dim,
            "condition_dim": self.condition_dim,
            "width": self.width,
            "components": self.components,
            "hairstyles": list(self.hairstyles),
            "colors": list(self.colors),
        }

    @torch.no_grad()
    def fit_components(self, codes: WPlus) -> None:
        """Set mean, deviation and principal components from the codes of the training."""
        self.mean.copy_(codes.mean(dim=0))
        self.spread.copy_(codes.std(dim=0).clamp_min(1e-6))
        flat = ((codes - self.mean) / self.spread).flatten(1)
        _, _, directions = torch.linalg.svd(flat, full_matrices=False)
        count = min(self.components, len(directions))
        self.basis.zero_()
        self.basis[:count] = directions[:count]

    def project(self, codes: WPlus) -> Coefficients:
        """Return the coefficients of codes (B, n_latent, w_dim), which the network is trained to give."""
        return ((codes - self.mean) / self.spread).flatten(1) @ self.basis.T

    def coefficients(self, condition: HairCondition) -> Coefficients:
        """Return what the network gives for the words of each sample."""
        words = [
            _unit(condition.hairstyle, condition.has_hairstyle),
            _unit(condition.color, condition.has_color),
        ]
        return self.layers(torch.cat(words, dim=1))

    def forward(self, condition: HairCondition) -> WPlus:
        """Return a code (B, n_latent, w_dim) for the words of each sample; an absent word may be anything."""
        codes = (self.coefficients(condition) @ self.basis).unflatten(1, (self.n_latent, self.w_dim))
        return self.mean + self.spread * codes

    def difference(self, own: HairCondition, wanted: HairCondition, groups: tuple[int, int] = LAYER_SPLIT) -> WPlus:
        """Return the code of the wanted words minus the code of the person's own words, (B, n_latent, w_dim).

        A word that is not wanted stays the person's own. A hairstyle moves only the layers below `groups[1]`, and a
        color only the layers from there on, as the sub-mappers of HairCLIP do (Wei et al. 2022, section 3.2).

        Args:
            own: the words that describe the person; none is absent.
            wanted: what shall change.
            groups: the first medium and the first fine layer.
        """
        target = HairCondition(
            torch.where(wanted.has_hairstyle[:, None], wanted.hairstyle, own.hairstyle),
            torch.where(wanted.has_color[:, None], wanted.color, own.color),
            own.has_hairstyle,
            own.has_color,
        )
        is_fine = torch.arange(self.n_latent, device=self.mean.device) >= groups[1]
        moves = torch.where(is_fine[None], wanted.has_color[:, None], wanted.has_hairstyle[:, None])
        offset = self(target) - self(own)
        return torch.where(moves[..., None], offset, torch.zeros_like(offset))


def nearest_rows(embeddings: Embeddings, words: Words) -> Int[Tensor, " batch"]:
    """Return for each embedding the number of the most similar of `words` (N, width), (B,).

    CLIP classifies so without training, see Radford et al. 2021, section 3.1.
    """
    return (F.normalize(embeddings, dim=1) @ F.normalize(words, dim=1).T).argmax(dim=1)


def nearest_words(embeddings: Embeddings, words: Words) -> Embeddings:
    """Return for each embedding the most similar of `words` (N, width), (B, width)."""
    return words[nearest_rows(embeddings, words)]


def _unit(embeddings: Embeddings, present: Flags) -> Embeddings:
    """Return embeddings of length sqrt(width), so that their entries have a size of about 1; 0 for absent ones."""
    scaled = F.normalize(embeddings, dim=1) * embeddings.shape[1] ** 0.5
    return torch.where(present[:, None], scaled, torch.zeros_like(scaled))

"""The hair mapper (Wei et al. 2022, "HairCLIP: Design Your Hair by Text and Reference Image", section 3.2).

Three sub-mappers move the coarse, medium and fine layers of a W+ code. The hairstyle condition modulates the coarse and
medium ones, the color condition the fine one. CLIP is not in here: conditions arrive as embeddings, one per sample,
with a flag that says whether the sample has that condition at all. So a batch mixes every kind of edit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.common.images import Embeddings, Flags, WPlus

__all__ = ["LAYER_SPLIT", "HairCondition", "HairMapper", "ModulationModule", "References", "SubMapper"]

LAYER_SPLIT = (4, 8)
"""First medium and first fine layer of HairCLIP's W+ codes (section 3.2)."""

Absent = Literal["passthrough", "zero"]
NormAxis = Literal["layer", "feature"]
References = Literal["whole", "separated"]
Output = Literal["leaky_relu", "linear"]
Codes = Float[Tensor, "batch layers w_dim"]


@dataclass(frozen=True)
class HairCondition:
    """The hairstyle and the hair color that each sample of a batch shall get.

    A row without its flag may hold any finite numbers, by convention zeros.

    Attributes:
        hairstyle: CLIP embeddings of hairstyle texts or of references, (B, width), not normalized.
        color: CLIP embeddings of color texts or of references, (B, width), not normalized.
        has_hairstyle: whether the hairstyle shall change, bool (B,).
        has_color: whether the color shall change, bool (B,).
    """

    hairstyle: Tensor
    color: Tensor
    has_hairstyle: Tensor
    has_color: Tensor

    def __post_init__(self) -> None:
        if self.hairstyle.ndim != 2 or self.hairstyle.shape != self.color.shape:
            raise ValueError(f"embeddings are (B, width) alike, not {self.hairstyle.shape} and {self.color.shape}")
        for flags in (self.has_hairstyle, self.has_color):
            if flags.dtype != torch.bool or flags.shape != self.hairstyle.shape[:1]:
                raise ValueError(f"flags are bool ({len(self.hairstyle)},), not {flags.dtype} {tuple(flags.shape)}")

    def __len__(self) -> int:
        return len(self.hairstyle)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> "HairCondition":
        """Return some of the samples; a single index keeps the batch dimension."""
        if isinstance(index, int):
            index = [index]
        return HairCondition(*(getattr(self, field.name)[index] for field in fields(self)))

    def to(self, device: torch.device | str) -> "HairCondition":
        """Return the condition on another device."""
        return HairCondition(*(getattr(self, field.name).to(device) for field in fields(self)))

    @classmethod
    def cat(cls, conditions: Sequence["HairCondition"]) -> "HairCondition":
        """Return several batches as one."""
        return cls(*(torch.cat([getattr(c, field.name) for c in conditions]) for field in fields(cls)))

    @classmethod
    def absent(cls, batch: int, width: int, device: torch.device | str | None = None) -> "HairCondition":
        """Return `batch` samples without any condition."""
        zeros = torch.zeros(batch, width, device=device)
        flags = torch.zeros(batch, dtype=torch.bool, device=device)
        return cls(hairstyle=zeros, color=zeros, has_hairstyle=flags, has_color=flags)


def _condition_network(condition_dim: int, w_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(condition_dim, w_dim), nn.LayerNorm(w_dim), nn.LeakyReLU(0.01), nn.Linear(w_dim, w_dim)
    )


class ModulationModule(nn.Module):
    """Fully connected layer, normalization, modulation by the condition, leaky ReLU (section 3.2).

    A sample whose condition is absent leaves after the normalization: no modulation and no activation.

    Args:
        w_dim: width of the latents.
        condition_dim: width of the embeddings.
        activated: False leaves the leaky ReLU away.
    """

    def __init__(self, w_dim: int, condition_dim: int, *, activated: bool = True) -> None:
        super().__init__()
        self.activated = activated
        self.fc = nn.Linear(w_dim, w_dim)
        self.gamma = _condition_network(condition_dim, w_dim)
        self.beta = _condition_network(condition_dim, w_dim)

    def forward(self, x: Codes, embedding: Embeddings, present: Flags) -> Codes:
        x = self.fc(x)
        # As published: mean and variance over layers and features together.
        x = F.layer_norm(x, x.shape[1:])
        gamma = self.gamma(embedding)[:, None]
        beta = self.beta(embedding)[:, None]
        modulated = x * (1.0 + gamma) + beta
        if self.activated:
            modulated = F.leaky_relu(modulated, 0.01)
        return torch.where(present[:, None, None], modulated, x)


class SubMapper(nn.Module):
    """Pixel norm and five modulation modules: the mapper of one group of layers.

    Args:
        w_dim: width of the latents.
        condition_dim: width of the embeddings.
        pixel_norm: "layer" takes the mean square over the layers of the group, as the official networks do (their
            normalization, made for (B, w_dim), meets (B, layers, w_dim)); "feature" takes it over each latent.
        output: "leaky_relu" ends in that activation, as published, and so hardly moves any coordinate down;
            "linear" leaves it away.
        depth: modulation modules.
    """

    def __init__(
        self,
        w_dim: int,
        condition_dim: int,
        pixel_norm: NormAxis = "layer",
        output: Output = "leaky_relu",
        depth: int = 5,
    ) -> None:
        super().__init__()
        self.norm_dim = 1 if pixel_norm == "layer" else 2
        self.blocks = nn.ModuleList(
            ModulationModule(w_dim, condition_dim, activated=output == "leaky_relu" or number < depth - 1)
            for number in range(depth)
        )

    def forward(self, w: Codes, embedding: Embeddings, present: Flags) -> Codes:
        """Return the unscaled change of some layers; a sample without condition is computed without modulation."""
        x = w * torch.rsqrt(w.square().mean(dim=self.norm_dim, keepdim=True) + 1e-8)
        for block in self.blocks:
            x = block(x, embedding, present)
        return x


class HairMapper(nn.Module):
    """Computes how conditions change W+ codes: `w_plus + mapper(w_plus, condition)` is the edited code.

    Args:
        n_latent: layers of the W+ codes; the generator's `n_latent`.
        w_dim: width of the latents.
        condition_dim: width of the embeddings; the CLIP's `width`.
        groups: where medium and fine layers begin: coarse ``[0, a)``, medium ``[a, b)``, fine ``[b, n_latent)``.
        absent: a sample without a hairstyle condition (coarse, medium) or color condition (fine) either goes through
            the unmodulated network, which moves it a little, as the official networks were trained ("passthrough"), or
            does not move at all ("zero").
        scale: factor on the output, 0.1 in the paper's code.
        pixel_norm: axis of the sub-mappers' first normalization, see `SubMapper`.
        output: how they end, see `SubMapper`.
        references: what CLIP saw of the reference pictures that this mapper is trained with: their hair as it is
            ("whole", as in the paper) or its shape and its color apart ("separated").
        coarse, medium, fine: whether that sub-mapper exists; without it its layers do not move.
    """

    def __init__(
        self,
        n_latent: int,
        w_dim: int = 512,
        condition_dim: int = 512,
        groups: Sequence[int] = LAYER_SPLIT,
        absent: Absent = "passthrough",
        scale: float = 0.1,
        pixel_norm: NormAxis = "layer",
        output: Output = "leaky_relu",
        references: References = "whole",
        coarse: bool = True,
        medium: bool = True,
        fine: bool = True,
    ) -> None:
        super().__init__()
        if len(groups) != 2 or not 0 < groups[0] < groups[1] < n_latent:
            raise ValueError(f"groups are two rising layers inside 0..{n_latent}, not {tuple(groups)}")
        if absent not in ("passthrough", "zero"):
            raise ValueError(f'absent is "passthrough" or "zero", not {absent!r}')
        if pixel_norm not in ("layer", "feature"):
            raise ValueError(f'pixel_norm is "layer" or "feature", not {pixel_norm!r}')
        if output not in ("leaky_relu", "linear"):
            raise ValueError(f'output is "leaky_relu" or "linear", not {output!r}')
        if references not in ("whole", "separated"):
            raise ValueError(f'references is "whole" or "separated", not {references!r}')
        self.n_latent, self.w_dim, self.condition_dim, self.scale = n_latent, w_dim, condition_dim, scale
        self.groups = (groups[0], groups[1])
        self.absent: Absent = absent
        self.pixel_norm: NormAxis = pixel_norm
        self.output: Output = output
        self.references: References = references
        self.coarse = SubMapper(w_dim, condition_dim, pixel_norm, output) if coarse else None
        self.medium = SubMapper(w_dim, condition_dim, pixel_norm, output) if medium else None
        self.fine = SubMapper(w_dim, condition_dim, pixel_norm, output) if fine else None

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        return {
            "n_latent": self.n_latent,
            "w_dim": self.w_dim,
            "condition_dim": self.condition_dim,
            "groups": list(self.groups),
            "absent": self.absent,
            "scale": self.scale,
            "pixel_norm": self.pixel_norm,
            "output": self.output,
            "references": self.references,
            "coarse": self.coarse is not None,
            "medium": self.medium is not None,
            "fine": self.fine is not None,
        }

    def parameters_by_condition(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that a sample uses always, only with a hairstyle, and only with a color.

        Returns:
            "always", "hairstyle" and "color", each a list that may be empty; together all parameters, each once.
        """
        found: dict[str, list[nn.Parameter]] = {"always": [], "hairstyle": [], "color": []}
        for network, condition in ((self.coarse, "hairstyle"), (self.medium, "hairstyle"), (self.fine, "color")):
            for name, parameter in network.named_parameters() if network is not None else ():
                is_modulation = ".gamma." in name or ".beta." in name
                found[condition if is_modulation or self.absent == "zero" else "always"].append(parameter)
        return found

    def forward(self, w_plus: WPlus, condition: HairCondition) -> WPlus:
        """Return the change of the codes, (B, n_latent, w_dim), already scaled."""
        if w_plus.shape[1:] != (self.n_latent, self.w_dim):
            raise ValueError(f"codes of shape {tuple(w_plus.shape)} do not fit: (B, {self.n_latent}, {self.w_dim})")
        given, wanted = tuple(condition.hairstyle.shape), (len(w_plus), self.condition_dim)
        if given != wanted:
            raise ValueError(f"embeddings of shape {given} do not fit: {wanted}")
        a, b = self.groups
        style, has_style = condition.hairstyle, condition.has_hairstyle
        parts = [
            self._move(self.coarse, w_plus[:, :a], style, has_style),
            self._move(self.medium, w_plus[:, a:b], style, has_style),
            self._move(self.fine, w_plus[:, b:], condition.color, condition.has_color),
        ]
        return torch.cat(parts, dim=1)

    def _move(self, mapper: SubMapper | None, w: Tensor, embedding: Tensor, present: Tensor) -> Tensor:
        if mapper is None:
            return torch.zeros_like(w)
        move: Tensor = mapper(w, embedding.to(w.dtype), present)
        if self.absent == "zero":
            move = torch.where(present[:, None, None], move, torch.zeros_like(move))
        return (self.scale * move).to(w.dtype)

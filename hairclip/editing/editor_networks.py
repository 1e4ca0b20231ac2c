"""The networks of an editor, and what is built from them when it is first needed."""

from typing import Literal, TypeAlias

import torch
from torch import nn

from hairclip.common.errors import HairclipError
from hairclip.conditions.encoder import ConditionEncoder
from hairclip.editing.inversion.cache import InversionCache
from hairclip.losses.hair_edit import HairEditLoss
from hairclip.networks.ir_se import FaceEncoder
from hairclip.networks.mapper import HairMapper, References
from hairclip.pretrained.bundle import MissingPartError, Networks

__all__ = ["EditorNetworks", "Method", "Networks", "check_mapper"]

Method: TypeAlias = Literal["mapper", "optimize"]


class EditorNetworks:
    """One set of networks that edits hair.

    Args:
        networks: a bundle, or any object with its attributes, all on one device and in eval mode.
        mapper: used instead of `networks.mapper`.
        groups: first medium and first fine layer, for `method="optimize"`.
        loss: what `method="optimize"` descends on; None takes HairCLIP's weights and pixels as CLIP was trained with.
        cache: remembers inversions; None inverts every time.
    """

    def __init__(
        self,
        networks: Networks,
        *,
        mapper: nn.Module | None = None,
        groups: tuple[int, int] = (4, 8),
        loss: HairEditLoss | None = None,
        cache: InversionCache | None = None,
    ) -> None:
        self.networks = networks
        self.cache = cache
        self.groups = groups
        self._mapper = mapper
        self._conditions: dict[References, ConditionEncoder] = {}
        self._loss = loss

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.networks.generator.parameters()).device

    @property
    def mapper(self) -> nn.Module:
        """The trained mapper, loaded when first needed.

        Raises:
            HairclipError: if it was trained for another generator or CLIP.
        """
        mapper = self.networks.mapper if self._mapper is None else self._mapper
        check_mapper(mapper, self.networks, "the mapper")
        return mapper

    def conditions(self, method: Method = "mapper") -> ConditionEncoder:
        """What turns texts and reference pictures into conditions, as the mapper was trained or the loss is made."""
        judged = self.mapper if method == "mapper" else self.loss
        seen: References = getattr(judged, "references", "whole")
        if seen not in self._conditions:
            gamma = "none" if self._loss is None else self._loss.gamma
            self._conditions[seen] = ConditionEncoder(
                self.networks.clip, self.networks.parser, gamma=gamma, references=seen
            )
        return self._conditions[seen]

    @property
    def loss(self) -> HairEditLoss:
        """What `method="optimize"` descends on."""
        if self._loss is None:
            networks, identity = self.networks, self.identity
            if identity is None:
                raise MissingPartError(
                    'these networks have no identity network, which method="optimize" needs: use method="mapper".'
                )
            self._loss = HairEditLoss(networks.clip, networks.parser, identity, text_pixels="normalized")
        return self._loss

    @property
    def identity(self) -> FaceEncoder | None:
        """Tells whether an inversion shows the same person; None for networks without one."""
        try:
            return self.networks.identity
        except MissingPartError:
            return None


def check_mapper(mapper: nn.Module, networks: Networks, name: str) -> None:
    """Refuse a mapper that was trained with networks of other sizes."""
    if not isinstance(mapper, HairMapper):
        return
    generator = networks.generator
    fits = (generator.n_latent, generator.w_dim, networks.clip.width)
    made = (mapper.n_latent, mapper.w_dim, mapper.condition_dim)
    if made != fits:
        raise HairclipError(
            f"{name} does not fit the other networks: it takes {made[0]} layers of width {made[1]} and conditions of "
            f"width {made[2]}, but the generator has {fits[0]} layers of width {fits[1]} and CLIP the width {fits[2]}; "
            "give a mapper trained with them."
        )

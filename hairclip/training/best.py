"""The mapper with the lowest validation loss so far, kept beside the latest one."""

import copy
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hairclip.networks.mapper import HairMapper


class Best:
    """Remembers the weights that validated best; equal losses keep the earlier ones.

    Its state holds the weights themselves, so that a checkpoint restores the best mapper of that moment bit for bit,
    even in another folder or after steps that the checkpoint does not know of.

    Attributes:
        loss: its validation loss; infinite before the first validation.
        step: after how many optimiser steps it was validated.
    """

    def __init__(self) -> None:
        self.loss = math.inf
        self.step = 0
        self._weights: dict[str, Tensor] = {}

    def consider(self, loss: float, step: int, mapper: HairMapper) -> bool:
        """Take over a mapper if its validation loss is the lowest so far; returns whether it is."""
        if not loss < self.loss:  # so that not-a-number is never the best
            return False
        self.loss, self.step = loss, step
        self._weights = {name: tensor.detach().cpu().clone() for name, tensor in mapper.state_dict().items()}
        return True

    def mapper(self, like: HairMapper) -> HairMapper | None:
        """A copy of `like` with the best weights; None before the first validation."""
        if not self._weights:
            return None
        best = copy.deepcopy(like)
        best.load_state_dict(self._weights)
        return best

    def state_dict(self) -> dict[str, Any]:
        """Loss, step and weights."""
        return {"loss": self.loss, "step": self.step, "weights": dict(self._weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.loss, self.step, self._weights = float(state["loss"]), int(state["step"]), dict(state["weights"])

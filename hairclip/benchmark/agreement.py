"""Whether the library's step and the reference compute the same: loss, terms, and gradients of the mapper."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hairclip.benchmark.measure import exact_float32
from hairclip.benchmark.steps import LibraryTraining, ReferenceTraining
from hairclip.benchmark.world import World
from hairclip.training.tasks import Task

__all__ = ["TOLERANCE", "Agreement", "compare"]

TOLERANCE = 1e-3
"""Largest relative difference in float32 of the loss and of the mapper's gradient."""


@dataclass(frozen=True)
class Agreement:
    """How far the library's step is from the reference, both relative to the reference.

    Attributes:
        precision: of the library's step; the reference is float32.
        loss: of the mean loss.
        gradient: norm of the difference of all gradients of the mapper, over the reference's norm.
        cosine: of the angle between the two gradients.
        terms: each term that applies: mean absolute difference times its weight, as a share of the loss.
    """

    precision: str
    loss: float
    gradient: float
    cosine: float
    terms: dict[str, float]

    @property
    def passes(self) -> bool:
        """Whether it is near enough; of less than float32 nothing is asked."""
        return self.precision != "float32" or max(self.loss, self.gradient) <= TOLERANCE


def compare(world: World, tasks: Sequence[Task], precisions: Sequence[str]) -> list[Agreement]:
    """The library's step in each precision against the reference on the same tasks, weights and mapper."""
    size = world.config.training.batch_size
    weights = world.parts.loss.weights.of_terms()
    with exact_float32(world.device):
        loss, terms, gradients = ReferenceTraining(world, tasks).gradients()
        expected = _flat(gradients)
        found = []
        for precision in precisions:
            output, ours = LibraryTraining(world, tasks, precision).gradients(size)
            flat = _flat(ours)
            found.append(
                Agreement(
                    precision,
                    loss=_relative(output.total, loss),
                    gradient=_relative(flat, expected),
                    cosine=float(torch.nn.functional.cosine_similarity(flat, expected, dim=0)),
                    terms={
                        name: float((output.terms[name] - row).abs().mean() * weights[name] / loss)
                        for name, row in terms.items()
                        if row.any()
                    },
                )
            )
    return found


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.double().flatten() for tensor in tensors])


def _relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm().clamp(min=1e-30))

"""Check that the library's step and the official step compute the same loss, terms and gradients of the mapper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hairclip.evaluation.speed.clock import exact_float32
from hairclip.evaluation.speed.setting import Setting
from hairclip.evaluation.speed.steps import LibraryTraining, OfficialTraining
from hairclip.training.tasks import Task

__all__ = ["TOLERANCE", "Agreement", "compare"]

TOLERANCE = 1e-3
"""Largest relative difference in float32 of the loss and of the mapper's gradient."""


@dataclass(frozen=True)
class Agreement:
    """How far the library's step is from the official step, relative to the official step.

    Attributes:
        name: of the library's step; the official step is float32.
        is_exact: whether it should be equal: float32, and losses of the whole picture.
        loss: of the mean loss.
        gradient: norm of the difference of all gradients of the mapper, over the official step's norm.
        cosine: of the angle between the two gradients.
        terms: each term that applies: mean absolute difference times its weight, as a share of the loss.
        weights: the weight of each of these terms.
        values: their means over the tasks in the official step, before the weight.
    """

    name: str
    is_exact: bool
    loss: float
    gradient: float
    cosine: float
    terms: dict[str, float]
    weights: dict[str, float]
    values: dict[str, float]

    @property
    def passes(self) -> bool:
        """Whether it is near enough, where it should be equal."""
        return not self.is_exact or max(self.loss, self.gradient) <= TOLERANCE


def compare(variants: Mapping[str, Setting], tasks: Sequence[Task]) -> list[Agreement]:
    """Compare the library's steps with the official step on the same tasks, weights and mapper.

    Args:
        variants: name -> setting of a step. The official step runs on the networks of the first.
        tasks: one sample each.
    """
    first = next(iter(variants.values()))
    weights = first.parts.loss.weights
    with exact_float32(first.device):
        loss, terms, gradients = OfficialTraining(first, tasks).gradients()
        expected = _flat(gradients)
        values = {term: float(row.mean()) for term, row in terms.items() if row.any()}
        found = []
        for name, setting in variants.items():
            output, ours = LibraryTraining(setting, tasks).gradients()
            flat = _flat(ours)
            found.append(
                Agreement(
                    name,
                    setting.is_exact,
                    loss=_relative(output.total, loss),
                    gradient=_relative(flat, expected),
                    cosine=float(torch.nn.functional.cosine_similarity(flat, expected, dim=0)),
                    terms={
                        term: float((output.terms[term] - terms[term]).abs().mean() * weights[term] / loss)
                        for term in values
                    },
                    weights={term: weights[term] for term in values},
                    values=values,
                )
            )
    return found


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.double().flatten() for tensor in tensors])


def _relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm().clamp(min=1e-30))

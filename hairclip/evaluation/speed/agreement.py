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
    """The differences between a step of the library and the official step.

    Attributes:
        name: name of the library's step. The official step is always float32.
        is_exact: whether both should be equal, because the library's step is float32 and judges whole pictures.
        loss: relative difference of the mean losses.
        gradient: norm of the difference of the mapper's gradients, divided by the norm of the official gradient.
        cosine: cosine of the angle between the two gradients.
        terms: name of a term -> its mean absolute difference times its weight, as a share of the loss.
        weights: name of a term -> its weight.
        values: name of a term -> its mean over the tasks in the official step, before the weight.
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
        """Whether loss and gradient agree within `TOLERANCE`; always true where they need not be equal."""
        return not self.is_exact or max(self.loss, self.gradient) <= TOLERANCE


def compare(variants: Mapping[str, Setting], tasks: Sequence[Task]) -> list[Agreement]:
    """Compare the library's steps with the official step on the same tasks, weights and mapper.

    Args:
        variants: name -> setting of a step. The official step runs on the networks of the first.
        tasks: the tasks, each of one sample.

    Returns:
        One comparison per variant.
    """
    first = next(iter(variants.values()))
    weights = first.parts.loss.weights
    with exact_float32(first.device):
        loss, terms, gradients = OfficialTraining(first, tasks).gradients()
        expected = _flat(gradients)
        values = {term: float(row.mean()) for term, row in terms.items() if row.any()}
        agreements = []
        for name, setting in variants.items():
            output, ours = LibraryTraining(setting, tasks).gradients()
            flat = _flat(ours)
            agreements.append(
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
    return agreements


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.double().flatten() for tensor in tensors])


def _relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm().clamp(min=1e-30))

"""The two sides of the comparison: the library's own training step, as a run takes it, and the reference's."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hairclip.benchmark.measure import Stopwatch
from hairclip.benchmark.reference import Asked, ReferenceStep
from hairclip.benchmark.world import World
from hairclip.losses.total import LossOutput
from hairclip.networks.mapper import HairMapper
from hairclip.prompts import color_prompt, hairstyle_prompt
from hairclip.training import trainer
from hairclip.training.parts import EditData
from hairclip.training.tasks import Task
from hairclip.training.updates import Updates

__all__ = ["LibraryTraining", "Question", "ReferenceTraining", "questions"]


def _updates(world: World, mapper: HairMapper, precision: str) -> Updates:
    scaler = torch.amp.GradScaler(world.device.type, enabled=precision == "float16")
    return Updates(mapper, world.config.optimizer, steps=world.config.training.steps, scaler=scaler)


class LibraryTraining:
    """Training steps on one list of tasks, through the trainer's own functions, on a mapper of its own.

    Args:
        world: whose networks and data.
        tasks: the batch, the same in every step.
        precision: a name of `hairclip.benchmark.world.DTYPES`.
        cache: whether what was computed of a source is kept; None does as the configuration says.
    """

    def __init__(self, world: World, tasks: Sequence[Task], precision: str, *, cache: bool | None = None) -> None:
        self.world, self.tasks = world, tasks
        self.autocast = trainer._autocast(precision, world.device)
        self.mapper = copy.deepcopy(world.parts.mapper)
        self.updates = _updates(world, self.mapper, precision)
        keeps = world.config.data.cache_sources if cache is None else cache
        self.data: EditData = replace(world.parts.training, cache=keeps, _sources={})
        self.steps = 0

    def __call__(self, watch: Stopwatch) -> None:
        """One step: the batch is made, the edit is judged, the mapper changes."""
        output, _ = self._judged(self.tasks)
        self.updates.step(output.total, self.steps)
        self.steps += 1
        watch.lap("step")

    def gradients(self, size: int) -> tuple[LossOutput, list[Tensor]]:
        """The loss of all tasks and its gradients in the mapper, taken in batches of `size`; nothing is changed."""
        self.mapper.zero_grad(set_to_none=True)
        outputs = []
        for first in range(0, len(self.tasks), size):
            output, _ = self._judged(self.tasks[first : first + size])
            (output.per_sample.sum() / len(self.tasks)).backward()
            outputs.append(output)
        per_sample = torch.cat([output.per_sample.detach() for output in outputs])
        terms = {name: torch.cat([output.terms[name].detach() for output in outputs]) for name in outputs[0].terms}
        return LossOutput(per_sample.mean(), per_sample, terms), _gradients(self.mapper)

    def _judged(self, tasks: Sequence[Task]) -> tuple[LossOutput, Tensor]:
        sample = self.data.collate(tasks)
        parts = self.world.parts
        return trainer.edit_and_judge(self.mapper, parts.networks.generator, parts.loss, sample, self.autocast)


@dataclass(frozen=True)
class Question:
    """A task for the reference step, which takes codes, prompts and pictures and keeps nothing of them."""

    w_plus: Tensor
    hairstyle: Asked
    color: Asked


def questions(world: World, tasks: Sequence[Task]) -> list[Question]:
    """The tasks as the reference takes them, their pictures already read or synthesised."""
    data, device = world.parts.training, world.device
    asked = data.collate(tasks).batch.condition.has_color.tolist()  # not of a reference that shows too little hair
    made = []
    for task, keeps in zip(tasks, asked, strict=True):
        hairstyle, color = task.hairstyle, task.color if keeps else None
        made.append(
            Question(
                data.latents[[task.latent]].to(device),
                data.hairstyle_references.picture(hairstyle).to(device)
                if isinstance(hairstyle, int)
                else hairstyle_prompt(hairstyle)
                if hairstyle is not None
                else None,
                data.color_references.picture(color).to(device)
                if isinstance(color, int)
                else color_prompt(color)
                if color is not None
                else None,
            )
        )
    return made


class ReferenceTraining:
    """Training steps of the reference, one sample each, on a mapper of its own.

    Args:
        world: whose networks and data.
        tasks: one step is taken on each.
    """

    def __init__(self, world: World, tasks: Sequence[Task]) -> None:
        self.questions = questions(world, tasks)
        self.mapper = copy.deepcopy(world.parts.mapper)
        self.updates = _updates(world, self.mapper, "float32")
        self.step = ReferenceStep(self.mapper, world.parts.networks.generator, world.parts.loss)
        self.steps = 0

    def __call__(self, watch: Stopwatch) -> None:
        """A step on each of the tasks."""
        for question in self.questions:
            self.step(question.w_plus, question.hairstyle, question.color, self._descend)
            self.steps += 1
        watch.lap("step")

    def _descend(self, total: Tensor) -> None:
        self.updates.step(total, self.steps)

    def gradients(self) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
        """Mean loss of the tasks, each term per task (0 where it does not apply), and the mapper's gradients."""
        self.mapper.zero_grad(set_to_none=True)
        totals, rows = [], []
        for question in self.questions:
            total, terms = self.step(question.w_plus, question.hairstyle, question.color)
            totals.append(total)
            rows.append(terms)
        names = self.step.loss.weights.of_terms()
        zero = torch.zeros_like(totals[0])
        terms = {name: torch.stack([row.get(name, zero) for row in rows]) for name in names}
        gradients = [gradient / len(self.questions) for gradient in _gradients(self.mapper)]
        return torch.stack(totals).mean(), terms, gradients


def _gradients(mapper: HairMapper) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.detach() for p in mapper.parameters()]

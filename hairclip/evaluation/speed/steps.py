"""The two sides of the comparison: the library's training step, as a run takes it, and the official step."""

import copy
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hairclip.common.distributed import World as Processes
from hairclip.conditions.encoder import EditBatch
from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.evaluation.speed.clock import LapTimer
from hairclip.evaluation.speed.official_step import OfficialStep, PromptOrPicture
from hairclip.evaluation.speed.setting import Setting
from hairclip.losses.hair_edit import LossOutput
from hairclip.networks.mapper import HairMapper
from hairclip.training import trainer
from hairclip.training.acceleration import (
    autocast_of,
    gradient_scaler,
    micro_batch_size,
    prepare,
    training_synthesis,
)
from hairclip.training.batches import Batches
from hairclip.training.data import Sample
from hairclip.training.references import ReferencePool
from hairclip.training.sources import SourceMemory
from hairclip.training.tasks import Task, Wanted
from hairclip.training.updates import Updates

__all__ = ["LibraryTraining", "OfficialTask", "OfficialTraining", "official_tasks"]


class LibraryTraining:
    """Takes training steps with the trainer's own functions. It trains a copy of the setting's mapper.

    Args:
        setting: gives networks, data and settings.
        tasks: the batch of every step. `take` replaces it, which requires `prefetch` to be false.
        cache: whether to keep what was computed of a source; None follows the configuration.
        prefetch: whether to make batches during the step before, if the configuration allows it.
    """

    def __init__(
        self, setting: Setting, tasks: Sequence[Task], *, cache: bool | None = None, prefetch: bool = False
    ) -> None:
        settings, device = setting.config.training, setting.device
        self.setting, self.tasks = setting, tasks
        self.size = micro_batch_size(settings, Processes(rank=0, size=1, device=device))
        self.autocast = autocast_of(setting.config, device)
        self.mapper = copy.deepcopy(setting.parts.mapper)
        scaler = gradient_scaler(setting.config, device)
        self.updates = Updates(self.mapper, setting.config.optimizer, steps=settings.steps, scaler=scaler)
        self.data = setting.parts.training
        if cache is not None:
            self.data = replace(self.data, cache=cache, sources=SourceMemory())
        prefetch = prefetch and setting.config.data.prefetch
        self.batches = Batches(self._parts, self.data.collate, device, prefetch=prefetch, steps=sys.maxsize)
        prepare(setting.parts.networks, settings, device)
        generator = setting.parts.networks.generator
        self.synthesis = training_synthesis(generator, settings, self.size, self.autocast, print)
        self.steps = 0

    def __call__(self, timer: LapTimer) -> None:
        """Take one step: make the batch, edit it, judge the edits, change the mapper."""
        self.updates.clear()
        parts = range(len(self._parts(self.steps)))
        self._descend(self.updates.backward, (self.batches.get(self.steps, part) for part in parts))
        self.updates.update(self.steps)
        self.steps += 1
        timer.lap("step")

    def take(self, tasks: Sequence[Task]) -> None:
        """Take these tasks for the next step."""
        self.tasks = tasks

    def gradients(self) -> tuple[LossOutput, list[Tensor]]:
        """Return the loss of all tasks and the mapper's gradients, without changing the mapper's weights."""
        self.mapper.zero_grad(set_to_none=True)
        scale = 1024.0 if self.updates.scaler.is_enabled() else 1.0  # small gradients vanish in float16
        samples = map(self.data.collate, self._parts(self.steps))
        outputs = self._descend(lambda loss, batch: (loss * scale).backward(), samples)
        per_sample = torch.cat([output.per_sample.detach() for output in outputs])
        terms = {name: torch.cat([output.terms[name].detach() for output in outputs]) for name in outputs[0].terms}
        gradients = [gradient / scale for gradient in _gradients(self.mapper)]
        return LossOutput(per_sample.mean(), per_sample, terms), gradients

    def _parts(self, step: int) -> list[Sequence[Task]]:
        """Return the batch in parts that go through the networks at once."""
        return [self.tasks[first : first + self.size] for first in range(0, len(self.tasks), self.size)]

    def _descend(self, backward: Callable[[Tensor, EditBatch], None], samples: Iterable[Sample]) -> list[LossOutput]:
        """Compute losses and gradients of every part of the batch."""
        outputs, loss = [], self.setting.parts.loss
        for sample in samples:
            output, _ = trainer.edit_and_judge(self.mapper, self.synthesis, loss, sample, self.autocast)
            backward(output.per_sample.sum() / len(self.tasks), sample.batch)
            outputs.append(output)
        return outputs


@dataclass(frozen=True)
class OfficialTask:
    """A task for the official step.

    Attributes:
        w_plus: code of the source, (1, n_latent, w_dim).
        hairstyle: a prompt, a picture (1, 3, H, W) or None.
        color: a prompt, a picture (1, 3, H, W) or None.
    """

    w_plus: Tensor
    hairstyle: PromptOrPicture
    color: PromptOrPicture


def official_tasks(setting: Setting, tasks: Sequence[Task]) -> list[OfficialTask]:
    """Return the tasks for the official step, with their pictures already read or synthesized."""
    data, device = setting.parts.training, setting.device
    has_color = data.collate(tasks).batch.condition.has_color.tolist()  # not of a reference that shows too little hair
    return [
        OfficialTask(
            w_plus=data.latents[[task.latent]].to(device),
            hairstyle=_prompt_or_picture(task.hairstyle, data.hairstyle_references, hairstyle_prompt, device),
            color=_prompt_or_picture(task.color, data.color_references, color_prompt, device) if keeps else None,
        )
        for task, keeps in zip(tasks, has_color, strict=True)
    ]


def _prompt_or_picture(
    wanted: Wanted, pool: ReferencePool, prompt: Callable[[str], str], device: torch.device
) -> PromptOrPicture:
    if isinstance(wanted, int):
        return pool.picture(wanted).to(device)
    return None if wanted is None else prompt(wanted)


class OfficialTraining:
    """Takes official training steps, one sample at a time. It trains a copy of the setting's mapper.

    Args:
        setting: gives networks and data.
        tasks: the tasks of every step; empty if `take` is called before each step.
        batched: whether the optimizer steps once after all tasks. Otherwise it steps after each task.
    """

    def __init__(self, setting: Setting, tasks: Sequence[Task], *, batched: bool = False) -> None:
        self.setting, self.batched = setting, batched
        self.official_tasks = official_tasks(setting, tasks) if tasks else []
        self.mapper = copy.deepcopy(setting.parts.mapper)
        scaler = torch.amp.GradScaler(setting.device.type, enabled=False)
        self.updates = Updates(
            self.mapper, setting.config.optimizer, steps=setting.config.training.steps, scaler=scaler
        )
        self.step = OfficialStep(self.mapper, setting.parts.networks.generator, setting.parts.loss)
        self.steps = 0

    def __call__(self, timer: LapTimer) -> None:
        """Take a step on each task, or one step on all of them."""
        size = len(self.official_tasks) if self.batched else 1
        for first in range(0, len(self.official_tasks), size):
            self.updates.clear()
            for task in self.official_tasks[first : first + size]:
                self.step(
                    task.w_plus,
                    task.hairstyle,
                    task.color,
                    lambda total: self.updates.backward(total / size),
                )
            self.updates.update(self.steps)
            self.steps += 1
        timer.lap("step")

    def take(self, tasks: Sequence[Task]) -> None:
        """Take these tasks for the next step."""
        self.official_tasks = official_tasks(self.setting, tasks)

    def gradients(self) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
        """Return the mean loss of the tasks, each term per task (0 where it does not apply), and the gradients."""
        self.mapper.zero_grad(set_to_none=True)
        totals, rows = [], []
        for task in self.official_tasks:
            total, terms = self.step(task.w_plus, task.hairstyle, task.color)
            totals.append(total)
            rows.append(terms)
        names = self.step.loss.weights
        zero = torch.zeros_like(totals[0])
        terms = {name: torch.stack([row.get(name, zero) for row in rows]) for name in names}
        gradients = [gradient / len(self.official_tasks) for gradient in _gradients(self.mapper)]
        return torch.stack(totals).mean(), terms, gradients


def _gradients(mapper: HairMapper) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.detach() for p in mapper.parameters()]

"""Train a HairMapper (Wei et al. 2022, section 3.3): codes, tasks, conditions, mapper, generator, losses, updates.

What a step draws follows from (seed, step) alone, and the processes share it. A resumed run therefore continues bit for
bit on the CPU; with another number of processes it differs by the order of sums only.

A run that is killed loses the steps since its last checkpoint. When torchrun is killed, its processes notice it after
the step that they are in, write one more checkpoint, and end.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hairclip.common import distributed
from hairclip.common.distributed import StopSignal, World, alone
from hairclip.common.errors import HairclipError
from hairclip.common.files import digest
from hairclip.common.version import __version__
from hairclip.config import Config, dump_config
from hairclip.losses.hair_edit import HairEditLoss, LossOutput
from hairclip.networks.mapper import HairMapper
from hairclip.networks.text_encoder import TextEncoder
from hairclip.pretrained.mapper import describe_companions
from hairclip.pretrained.network_files import save_network
from hairclip.pretrained.sources import weight_names
from hairclip.training.acceleration import (
    Synthesis,
    autocast_of,
    gradient_scaler,
    micro_batch_size,
    prepare,
    training_synthesis,
)
from hairclip.training.batches import Batches
from hairclip.training.checkpoint import Best, input_digests, remove_run, resume_from, save_checkpoint
from hairclip.training.data import Sample
from hairclip.training.setup import Parts, build_parts, network_bundle
from hairclip.training.tasks import Task
from hairclip.training.teacher import teach
from hairclip.training.tracking import Averages, Tracker, edit_grid
from hairclip.training.updates import Updates

__all__ = ["BEST_FILE", "MAPPER_FILE", "edit_and_judge", "train", "validate"]

MAPPER_FILE = "mapper.safetensors"
"""The result of a run, in its folder: the mapper of the last checkpoint."""
BEST_FILE = "mapper-best.safetensors"
"""The mapper with the lowest validation loss of the run, in the same folder."""


def train(config: Config, run: Path, *, resume: str = "auto") -> Path:
    """Train a mapper in this process, or as one of torchrun's processes.

    Args:
        config: the whole setting.
        run: folder for everything that the run writes.
        resume: "auto" continues the run in that folder if there is one. "never" starts it anew. A path names the
            checkpoint, or the run, to go on from.

    Returns:
        The file of the trained mapper, `run/mapper.safetensors`; `run/mapper-best.safetensors` lies beside it.

    Raises:
        HairclipError: if the setting, a file or the disk does not allow it.
        Stopped: if a signal stopped the run before its last step; a checkpoint is written first.
    """
    world = distributed.join(config.device)
    try:
        with StopSignal() as stop, ExitStack() as stack:
            training = _Training(config, run, world, stack)
            training.start(resume)
            while training.step < config.training.steps and (stopped := stop.reason(world)) is None:
                training.learn()
                training.report()
                training.validate()
                training.save(at_end=False)
            training.save(at_end=True)
            if training.step < config.training.steps and stopped is not None:
                training.say(
                    f"{stopped} after step {training.step} of {config.training.steps}: start it again to continue"
                )
                raise stopped
    finally:
        distributed.leave()
    return run / MAPPER_FILE


class _Training:
    """The state of a run: its parts, the step it has reached, and what is written when.

    Attributes:
        step: number of optimizer steps so far.
    """

    def __init__(self, config: Config, run: Path, world: World, stack: ExitStack) -> None:
        self.config, self.run, self.world, self.stack = config, run, world, stack
        self.micro_batch = micro_batch_size(config.training, world)
        self.autocast = autocast_of(config, world.device)
        self.parts = build_parts(config, world.device)
        prepare(self.parts.networks, config.training, world.device)
        self.updates = Updates(
            self.parts.mapper,
            config.optimizer,
            steps=config.training.steps,
            scaler=gradient_scaler(config, world.device),
            anywhere=world.anywhere,
        )
        self.inputs = input_digests(self.parts)
        if config.training.init is not None:
            self.inputs["training.init"] = digest(self.parts.mapper)
        if self.parts.teacher is not None:
            self.inputs["training.teacher"] = digest(self.parts.teacher)
        self.notes = {} if config.dry_run else {"contents": describe_companions(network_bundle(config).parts)}
        self.step, self.saved, self.best, self.averages = 0, -1, Best(), Averages()

    def start(self, resume: str) -> None:
        """Load the checkpoint to go on from, and open what the run reads and writes."""
        config, world = self.config, self.world
        checkpoint, passed = resume_from(resume, self.run, config.model_dump(), self.inputs, self._load)
        if checkpoint is None and world.is_main:
            remove_run(self.run)
        if checkpoint is None and self.parts.teacher is not None:
            self._learn_from_teacher(self.parts.teacher)
        self.mapper = world.wrap(self.parts.mapper)
        self.track = Tracker(
            self.run,
            config_yaml=dump_config(config),
            config=config.model_dump(),
            start=self.step,
            steps=config.training.steps,
            trackers=config.logging.all_trackers,
            enabled=world.is_main,
        )
        self.stack.callback(self.track.close)
        self.say = self.track.say
        for reason in passed:
            self.say(reason)
        if checkpoint is not None:
            self.say(f"continuing from {checkpoint} at step {self.step}")
            if note := self.updates.schedule_note(self.step, config.training.steps):
                self.say(note)
            elif self.step == config.training.steps:
                self.say(f"all {self.step} steps are done already: give a larger training.steps to train on")
            if checkpoint.parent == self.run and (self.run / MAPPER_FILE).is_file():
                self.saved = self.step
            self._write_best()  # the file may lie in another folder, or be of a step after this checkpoint
        self.track.figures(self.step, "weights", self.parts.loss.weights)
        self.synthesis = training_synthesis(
            self.parts.networks.generator, config.training, self.micro_batch, self.autocast, self.say
        )
        batches = Batches(
            self._tasks,
            self.parts.training.collate,
            world.device,
            prefetch=config.data.prefetch,
            steps=config.training.steps,
        )
        self.batches = self.stack.enter_context(batches)

    def learn(self) -> None:
        """Take one optimizer step."""
        parts = self.config.training.accumulate
        self.updates.clear()
        for part in range(parts):
            sample = self.batches.get(self.step, part)
            with nullcontext() if part + 1 == parts else alone(self.mapper):
                output, _ = edit_and_judge(self.mapper, self.synthesis, self.parts.loss, sample, self.autocast)
                self.updates.backward(output.total / parts, sample.batch)
            self.averages.add(output.total, output.terms)
        self.updates.update(self.step)
        self.step += 1
        self.track.bar.update()

    def _learn_from_teacher(self, teacher: TextEncoder) -> None:
        """Let the mapper start where the teacher leads it; each process computes the same."""
        parts, config = self.parts, self.config
        teach(
            parts.mapper,
            teacher,
            parts.training,
            parts.sampler,
            steps=config.training.teacher_steps,
            seed=config.seed,
            progress=self.world.is_main,
        )

    def report(self) -> None:
        """Write the means of the training figures; every process must call this."""
        if not self._is_due(self.config.logging.every):
            return
        figures = self.averages.take(self.world.total)
        if not math.isfinite(figures["total"]):
            raise HairclipError(f"the loss is not finite after step {self.step}: {why_not_finite(self.parts)}.")
        rate = self.updates.rate(self.step - 1)
        self.track.figures(self.step, "train", {**figures, "lr": rate, "data_wait": self.batches.take_wait()})

    def validate(self) -> None:
        """Judge the mapper on the validation tasks, keep the best one, and draw some edits."""
        if self.world.is_main and self._is_due(self.config.validation.every):
            mapper = self.updates.result()
            figures = validate(mapper, self.parts, self.config.validation.batch_size, self.autocast)
            self.track.figures(self.step, "validation", figures)
            if self.best.consider(figures["total"], self.step, mapper):
                self._write_best()
        if self.world.is_main and self._is_due(self.config.logging.images_every):
            self.track.picture(self.step, self._draw())

    def save(self, *, at_end: bool) -> None:
        """Write a checkpoint and the mapper, where they are due or the run ends."""
        if (
            self.world.is_main
            and self.saved != self.step
            and (at_end or self._is_due(self.config.training.checkpoint_every))
        ):
            weights = self.updates.mapper.state_dict().values()
            if not all(bool(weight.isfinite().all()) for weight in weights):  # keep the checkpoint before it
                raise HairclipError(f"the mapper is not finite after step {self.step}: {why_not_finite(self.parts)}.")
            state = {
                "step": self.step,
                "config": self.config.model_dump(),
                "inputs": self.inputs,
                "best": self.best.state_dict(),
                **self.updates.state_dict(),
            }
            save_checkpoint(self.run, state, keep=self.config.training.keep_checkpoints)
            self._write_mapper(MAPPER_FILE, self.updates.result(), self.step)
            self.saved = self.step
        if at_end:
            if self.best.step:
                place = self.run / BEST_FILE
                self.say(f"lowest validation loss: {self.best.loss:.4f} after step {self.best.step}, in {place}")
            self.track.close()
            self.world.wait()

    def _load(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint; a best mapper that was validated otherwise is judged anew."""
        self.updates.load_state_dict(state)
        self.step = int(state["step"])
        self.best.load_state_dict(state["best"], self.parts.mapper)
        best, before, now = self.best.mapper(self.parts.mapper), state["config"]["validation"], self.config.validation
        if best is not None and (before["count"], before["seed"]) != (now.count, now.seed):
            self.best.loss = validate(best, self.parts, now.batch_size, self.autocast)["total"]

    def _tasks(self, step: int) -> list[Sequence[Task]]:
        """Return the tasks of this process at a step, one list per part of the batch."""
        # Every process draws the whole batch: what a step sees does not depend on how many processes share it.
        whole = self.parts.sampler.sample(self.config.training.batch_size, self.config.seed, 0, step)
        mine, size = self.world.share(whole), self.micro_batch
        return [mine[first : first + size] for first in range(0, len(mine), size)]

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.training.steps

    @torch.no_grad()
    def _draw(self) -> Any:
        """Return a grid of the edits of the first validation tasks."""
        data, tasks = self.parts.validation, self.parts.validation_tasks[: self.config.logging.image_rows]
        sample = data.collate(tasks)
        generator, mapper = self.parts.networks.generator, self.updates.result()
        _, edited = edit_and_judge(mapper, generator, self.parts.loss, sample, self.autocast)
        return edit_grid(tasks, sample.source.images, edited, data.hairstyle_references, data.color_references)

    def _write_best(self) -> None:
        """Write the best mapper so far; remove its file where nothing was validated yet."""
        best = self.best.mapper(self.parts.mapper)
        if self.world.is_main and best is None:
            (self.run / BEST_FILE).unlink(missing_ok=True)
        elif self.world.is_main and best is not None:
            self._write_mapper(BEST_FILE, best, self.best.step)

    def _write_mapper(self, name: str, mapper: HairMapper, step: int) -> None:
        """Write a mapper, ready for editing, with notes on how it came about."""
        notes = {"training": self.config.model_dump(), "step": step, "hairclip": __version__, **self.notes}
        save_network(self.run / name, "mapper", mapper, companions=_companions(self.config), notes=notes)


def edit_and_judge(
    mapper: nn.Module,
    generator: Synthesis,
    loss: HairEditLoss,
    sample: Sample,
    autocast: AbstractContextManager[object],
) -> tuple[LossOutput, Tensor]:
    """Return the loss of a batch (equations 2 and 5 to 11), and its edited pictures (B, 3, H, W)."""
    w_hat = sample.w_plus + mapper(sample.w_plus, sample.batch.condition)
    with autocast:
        edited = generator(w_hat)
    edited = edited.float()
    return loss(sample.source, edited, sample.w_plus, w_hat, sample.batch), edited


@torch.no_grad()
def validate(
    mapper: HairMapper, parts: Parts, batch_size: int, autocast: AbstractContextManager[object]
) -> dict[str, float]:
    """Return mean loss and terms over the fixed validation tasks; equal weights give equal figures."""
    averages = Averages()
    for first in range(0, len(parts.validation_tasks), batch_size):
        sample = parts.validation.collate(parts.validation_tasks[first : first + batch_size])
        output, _ = edit_and_judge(mapper, parts.networks.generator, parts.loss, sample, autocast)
        averages.add(output.total, output.terms)
    return averages.take()


def why_not_finite(parts: Parts) -> str:
    """Say why a loss is infinite or not a number: because of a network, because of a code, or because of the rate."""
    for name, network in vars(parts.networks).items():
        for key, tensor in network.state_dict().items():
            if not bool(tensor.isfinite().all()):
                return f"networks.{name} has numbers that are not finite in {key}: fetch or make that network again"
    for setting, latents in (("latents", parts.training.latents), ("validation_latents", parts.validation.latents)):
        for number in range(len(latents)):
            if not bool(latents[[number]].isfinite().all()):
                return f"code {number} of data.{setting} has numbers that are not finite: make these codes again"
    return "networks and codes are finite, so the steps are too large: lower optimizer.lr or set optimizer.grad_clip"


def _companions(config: Config) -> dict[str, str]:
    """Return the names or whole paths of the generator and CLIP that a mapper belongs to."""
    if config.dry_run:
        return {}
    known = weight_names()
    sources = {part: str(network_bundle(config).parts[part]) for part in ("generator", "clip")}
    paths = {source for source in sources.values() if source not in known and Path(source).exists()}
    return {part: str(Path(source).resolve()) if source in paths else source for part, source in sources.items()}

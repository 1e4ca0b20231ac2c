"""The training of a HairMapper (Wei et al. 2022, section 3.3): latents, tasks, conditions, mapper, generator, losses.

Reads downward: data and networks, state, resume, then the loop. What a step draws follows from (seed, step) alone, and
the processes share it: a resumed run continues bit for bit on the CPU, also with another number of processes but for
the order of sums.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hairclip.common.errors import HairclipError
from hairclip.common.version import __version__
from hairclip.config import Config, dump_config
from hairclip.losses.hair_edit import HairEditLoss, LossOutput
from hairclip.networks.mapper import HairMapper
from hairclip.pretrained.mapper import describe_companions
from hairclip.pretrained.network_files import save_network
from hairclip.pretrained.sources import weight_names
from hairclip.training import checkpoint, distributed
from hairclip.training.acceleration import Synthesis, prepare, training_synthesis
from hairclip.training.batches import Batches
from hairclip.training.best import Best
from hairclip.training.data import Sample
from hairclip.training.distributed import World, alone
from hairclip.training.pictures import edit_grid
from hairclip.training.setup import PRECISIONS, Parts, build_parts, network_bundle
from hairclip.training.tasks import Task
from hairclip.training.tracking import Averages, StopSignal, Tracker
from hairclip.training.updates import Updates

MAPPER_FILE = "mapper.safetensors"
"""The result of a run, in its folder: the mapper of the last checkpoint."""
BEST_FILE = "mapper-best.safetensors"
"""Beside it the mapper with the lowest validation loss of the run."""


def train(config: Config, run: Path, *, resume: str = "auto") -> Path:
    """Train a mapper as `config` says, in this process or as one of torchrun's.

    Args:
        config: the whole setting.
        run: folder for everything that the run writes.
        resume: "auto" continues the run in that folder if there is one, "never" starts it anew, else a checkpoint to go
            on from.

    Returns:
        The trained mapper's file, ``run/mapper.safetensors``; ``run/mapper-best.safetensors`` lies beside it.
    """
    world = distributed.join(config.device)
    try:
        with StopSignal() as stop, ExitStack() as stack:
            return _train(config, run, resume, world, stop, stack)
    finally:
        distributed.leave()


def _train(config: Config, run: Path, resume: str, world: World, stop: StopSignal, stack: ExitStack) -> Path:
    settings, steps = config.training, config.training.steps
    micro_batch = _micro_batch(settings.batch_size, world, settings.accumulate)
    autocast = _autocast(settings.precision, world.device)
    _autocast(config.losses.precision, world.device, "losses.precision")

    parts = build_parts(config, world.device)
    prepare(parts.networks, settings, world.device)
    is_half = "float16" in (settings.precision, config.losses.precision)
    scaler = torch.amp.GradScaler(world.device.type, enabled=is_half)
    updates = Updates(parts.mapper, config.optimizer, steps=steps, scaler=scaler, anywhere=world.anywhere)

    start = checkpoint.find_checkpoint(resume, run)
    step, best = 0, Best()
    if start is not None:
        state = checkpoint.load_checkpoint(start, config.model_dump())
        updates.load_state_dict(state)
        step = int(state["step"])
        restore_best(best, state, parts, config, autocast)
    elif world.is_main:
        checkpoint.remove_run(run)
    mapper = world.wrap(parts.mapper)
    tensorboard = config.logging.tensorboard
    track = Tracker(
        run, config_yaml=dump_config(config), start=step, steps=steps, tensorboard=tensorboard, enabled=world.is_main
    )
    stack.callback(track.close)
    if start is not None:
        track.say(f"continuing from {start} at step {step}")
        if note := updates.schedule_note(step, steps):
            track.say(note)
        if world.is_main:  # it may lie in another folder, or be of a step after this checkpoint
            write_best(run, best, config, parts.mapper)

    track.figures(step, "weights", parts.loss.weights)
    synthesis = training_synthesis(parts.networks.generator, settings, micro_batch, autocast, track.say)

    def tasks(step: int) -> list[Sequence[Task]]:
        # The whole batch is drawn by everybody: what a step sees does not depend on how many processes share it.
        mine = world.share(parts.sampler.sample(settings.batch_size, config.seed, 0, step))
        return [mine[first : first + micro_batch] for first in range(0, len(mine), micro_batch)]

    batches = stack.enter_context(
        Batches(tasks, parts.training.collate, world.device, prefetch=config.data.prefetch, steps=steps)
    )
    is_saved = start is not None and start.parent == run and (run / MAPPER_FILE).is_file()
    averages, saved = Averages(), step if is_saved else -1
    while step < steps and not world.anywhere(torch.tensor(bool(stop))):
        updates.clear()
        for part in range(settings.accumulate):
            sample = batches.get(step, part)
            with nullcontext() if part + 1 == settings.accumulate else alone(mapper):
                output, _ = edit_and_judge(mapper, synthesis, parts.loss, sample, autocast)
                updates.backward(output.total / settings.accumulate, sample.batch)
            averages.add(output.total, output.terms)
        updates.update(step)
        step += 1

        track.bar.update()
        if step % config.logging.every == 0 or step == steps:
            figures = averages.take(world.total)
            if not math.isfinite(figures["total"]):
                raise HairclipError(
                    f"the loss is not finite after step {step}: lower optimizer.lr or set optimizer.grad_clip."
                )
            rate = updates.rate(step - 1)
            track.figures(step, "train", {**figures, "lr": rate, "data_wait": batches.take_wait()})
        if world.is_main and (step % config.validation.every == 0 or step == steps):
            figures = validate(updates.result(), parts, config.validation.batch_size, autocast)
            track.figures(step, "validation", figures)
            if best.consider(figures["total"], step, updates.result()):
                write_best(run, best, config, parts.mapper)
        if world.is_main and (step % config.logging.images_every == 0 or step == steps):
            draw(updates.result(), parts, config.logging.image_rows, autocast, track, step)
        if world.is_main and (step % settings.checkpoint_every == 0 or step == steps):
            save(run, step, config, updates, best)
            saved = step

    if world.is_main and saved != step:
        save(run, step, config, updates, best)
    if best.step:
        track.say(f"lowest validation loss: {best.loss:.4f} after step {best.step}, in {run / BEST_FILE}")
    track.close()
    world.wait()
    if world.is_main and step < steps:
        name = stop.received.name if stop.received else "another process"
        print(f"stopped by {name} after step {step} of {steps}; --resume auto continues", file=sys.stderr)
    return run / MAPPER_FILE


def edit_and_judge(
    mapper: nn.Module,
    generator: Synthesis,
    loss: HairEditLoss,
    sample: Sample,
    autocast: AbstractContextManager[object],
) -> tuple[LossOutput, Tensor]:
    """The edit of a batch, ``(B, 3, H, W)``, and its loss (equations 2 and 5 to 11)."""
    w_hat = sample.w_plus + mapper(sample.w_plus, sample.batch.condition)
    with autocast:
        edited = generator(w_hat)
    edited = edited.float()
    return loss(sample.source, edited, sample.w_plus, w_hat, sample.batch), edited


@torch.no_grad()
def validate(
    mapper: HairMapper, parts: Parts, batch_size: int, autocast: AbstractContextManager[object]
) -> dict[str, float]:
    """Mean loss and terms over the fixed validation tasks, with fixed noise: the same weights give the same figures."""
    averages = Averages()
    for first in range(0, len(parts.validation_tasks), batch_size):
        sample = parts.validation.collate(parts.validation_tasks[first : first + batch_size])
        output, _ = edit_and_judge(mapper, parts.networks.generator, parts.loss, sample, autocast)
        averages.add(output.total, output.terms)
    return averages.take()


@torch.no_grad()
def draw(
    mapper: HairMapper, parts: Parts, rows: int, autocast: AbstractContextManager[object], track: Tracker, step: int
) -> None:
    """A grid of the first validation tasks: source | wanted | edit."""
    data, tasks = parts.validation, parts.validation_tasks[:rows]
    sample = data.collate(tasks)
    _, edited = edit_and_judge(mapper, parts.networks.generator, parts.loss, sample, autocast)
    grid = edit_grid(tasks, sample.source.images, edited, data.hairstyle_references, data.color_references)
    track.picture(step, grid)


def save(run: Path, step: int, config: Config, updates: Updates, best: Best) -> None:
    """A checkpoint, and beside it the mapper so far, ready for editing."""
    state = {"step": step, "config": config.model_dump(), **updates.state_dict(), "best": best.state_dict()}
    checkpoint.save_checkpoint(run, state, keep=config.training.keep_checkpoints)
    notes = _notes(config, step)
    save_network(run / MAPPER_FILE, "mapper", updates.result(), companions=_companions(config), notes=notes)


def write_best(run: Path, best: Best, config: Config, like: HairMapper) -> None:
    """The best mapper so far, ready for editing; no file where nothing was validated yet."""
    mapper = best.mapper(like)
    if mapper is None:
        (run / BEST_FILE).unlink(missing_ok=True)
    else:
        notes = _notes(config, best.step)
        save_network(run / BEST_FILE, "mapper", mapper, companions=_companions(config), notes=notes)


def restore_best(
    best: Best, state: Mapping[str, Any], parts: Parts, config: Config, autocast: AbstractContextManager[object]
) -> None:
    """Go on from the best mapper of a checkpoint; where the validation has changed since, it is judged anew."""
    if "best" not in state:  # written before there was one
        return
    best.load_state_dict(state["best"])
    mapper, before, now = best.mapper(parts.mapper), state["config"]["validation"], config.validation.model_dump()
    if mapper is not None and any(before[key] != now[key] for key in ("count", "seed")):
        best.loss = validate(mapper, parts, config.validation.batch_size, autocast)["total"]


def _notes(config: Config, step: int) -> dict[str, Any]:
    """How a mapper came about, for its file and its model card."""
    notes = {"training": config.model_dump(), "step": step, "hairclip": __version__}
    return notes if config.dry_run else {**notes, "contents": describe_companions(network_bundle(config).parts)}


def _companions(config: Config) -> dict[str, str]:
    """Names or whole paths of the generator and CLIP that a mapper belongs to."""
    if config.dry_run:
        return {}
    known = weight_names()
    sources = {part: str(network_bundle(config).parts[part]) for part in ("generator", "clip")}
    paths = {source for source in sources.values() if source not in known and Path(source).exists()}
    return {part: str(Path(source).resolve()) if source in paths else source for part, source in sources.items()}


def _micro_batch(batch_size: int, world: World, accumulate: int) -> int:
    """How many samples this process takes at once."""
    if batch_size % (world.size * accumulate):
        raise HairclipError(
            f"training.batch_size: {batch_size} samples cannot be shared among {world.size} processes in "
            f"{accumulate} parts each: give a multiple of {world.size * accumulate}."
        )
    return batch_size // (world.size * accumulate)


def _autocast(precision: str, device: torch.device, key: str = "training.precision") -> AbstractContextManager[object]:
    """Mixed precision of the generator, which is most of a step; the losses stay float32."""
    if precision == "float32":
        return nullcontext()
    if precision == "float16" and device.type != "cuda":
        raise HairclipError(f"{key}: float16 needs a CUDA device, not {device}: choose bfloat16 or float32.")
    return torch.autocast(device.type, dtype=PRECISIONS[precision])

"""Whether the fast step trains as well as the plain one: the same mapper, taught twice on the same tasks.

Both sides start from the same weights, see the same tasks in the same batches and take the same optimiser's steps; they
differ in how a step is computed (`hairclip.benchmark.reference`) and in its precision. They take turns, step by step,
so that the ratio of their times is one of one run. What they learnt is measured on the same held-out people.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor
from tqdm import trange

from hairclip.benchmark.measure import Stopwatch
from hairclip.benchmark.reference import ReferenceStep
from hairclip.benchmark.report import table
from hairclip.benchmark.steps import LibraryTraining, questions
from hairclip.benchmark.world import World
from hairclip.config import Config
from hairclip.edit import HairEditor
from hairclip.errors import HairclipError
from hairclip.evaluation.report import FIGURES, evaluate_editor
from hairclip.networks.mapper import HairMapper
from hairclip.pretrained import Bundle, save_network
from hairclip.training import trainer
from hairclip.training.parts import build_loss, network_sources
from hairclip.training.tasks import Task
from hairclip.training.updates import Updates

__all__ = [
    "SIDES",
    "BatchedReference",
    "Trained",
    "compare_figures",
    "evaluate_mapper",
    "measuring_networks",
    "train_both",
]

SIDES = ("reference", "library")


class BatchedReference:
    """The plain step, one sample at a time, for whole batches: the optimiser steps once after each.

    Args:
        world: whose networks, data and settings.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.mapper = copy.deepcopy(world.parts.mapper)
        scaler = torch.amp.GradScaler(world.device.type, enabled=False)
        self.updates = Updates(self.mapper, world.config.optimizer, steps=world.config.training.steps, scaler=scaler)
        self.step = ReferenceStep(self.mapper, world.parts.networks.generator, world.parts.loss)
        self.steps = 0

    def train(self, tasks: Sequence[Task], watch: Stopwatch) -> float:
        """One step on a batch; returns its seconds. Finding the reference pictures is not counted."""
        asked = questions(self.world, tasks)

        def descend(total: Tensor) -> None:
            self.updates.backward(total / len(asked))

        watch.start()
        self.updates.clear()
        for question in asked:
            self.step(question.w_plus, question.hairstyle, question.color, descend)
        self.updates.update(self.steps)
        self.steps += 1
        watch.lap("step")
        return watch.seconds()["step"]


@dataclass(frozen=True)
class Trained:
    """What one side came to.

    Attributes:
        mapper: the trained mapper, averaged where the configuration says so.
        seconds: of all its steps.
        validation: mean loss over the fixed validation tasks.
    """

    mapper: HairMapper
    seconds: float
    validation: float


def train_both(world: World, watch: Stopwatch, *, progress: bool = True) -> dict[str, Trained]:
    """Train both sides as the configuration says, `training.steps` steps of `training.batch_size` samples.

    Args:
        world: networks, data and settings; its mapper is copied, not changed.
        watch: the clock.
        progress: show a bar.

    Returns:
        For each of `SIDES` what it came to.
    """
    settings, parts = world.config.training, world.parts
    reference, library = BatchedReference(world), LibraryTraining(world, [])
    seconds = dict.fromkeys(SIDES, 0.0)
    bar = trange(settings.steps, desc=f"both ways, seed {world.config.seed}", disable=not progress)
    for step in bar:
        tasks = parts.sampler.sample(settings.batch_size, world.config.seed, 0, step)
        library.tasks = tasks
        watch.start()
        library(watch)  # first: what it computes of its sources is its own work
        seconds["library"] += watch.seconds()["step"]
        seconds["reference"] += reference.train(tasks, watch)
        bar.set_postfix_str(f"{seconds['reference'] / seconds['library']:.2f}x")
    found = {}
    for side, updates in zip(SIDES, (reference.updates, library.updates), strict=True):
        mapper = updates.result()
        loss = trainer.validate(mapper, parts, world.config.validation.batch_size, library.autocast)["total"]
        found[side] = Trained(mapper, seconds[side], loss)
    return found


def measuring_networks(world: World) -> Bundle:
    """The networks that measure an edit: encoder and judge among them.

    Raises:
        HairclipError: if the configuration does not have them.
    """
    sources = network_sources(world.config)
    if world.is_random or not {"encoder", "judge"} <= set(sources):
        raise HairclipError("--quality needs networks that can measure: use configs/portraits.yaml.")
    return Bundle(sources, world.device)


def evaluate_mapper(
    config: Config, networks: Bundle, mapper: HairMapper, folder: Path, *, count: int, workers: int
) -> dict[str, Any]:
    """The benchmark's figures of a mapper on `count` edits of held-out people; it is kept in `folder`, too."""
    folder.mkdir(parents=True, exist_ok=True)
    save_network(folder / "mapper.safetensors", "mapper", mapper)
    groups = config.mapper.groups[0], config.mapper.groups[1]
    editor = HairEditor(networks, mapper=mapper.eval(), groups=groups, loss=build_loss(config, networks))
    report = evaluate_editor(
        editor, networks.judge, folder, count=count, optimize_count=0, workers=workers, say=lambda line: None
    )
    figures: dict[str, Any] = report["figures"]["mapper"]
    return figures


def compare_figures(seeds: Sequence[dict[str, dict[str, float]]]) -> str:
    """A table: every figure's mean and standard deviation over the seeds, side by side.

    Args:
        seeds: for each seed, for each of `SIDES`, the figures by name.
    """
    names = {"seconds": "seconds of training", "validation": "validation loss"}
    names |= {figure.name: figure.title for figure in FIGURES}
    rows = []
    for name, label in names.items():
        cells = []
        for side in SIDES:
            values = [figures[side][name] for figures in seeds if figures[side].get(name) is not None]
            spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.3f}{spread}" if values else "-")
        rows.append([label, *cells])
    return table([f"mean over {len(seeds)} seeds", *SIDES], rows)

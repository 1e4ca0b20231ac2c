"""Train one mapper with the library's step and one with the official step, and compare what they learned.

Both sides start from the same weights, see the same tasks in the same batches and use the same optimizer. With
`training.teacher`, these weights have learned from the teacher. They differ in how a step is computed and in its
precision. They take turns, step by step, so that other load on the machine slows both alike. What they learned is
measured on the same held-out people.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from hairclip.common.progress import progress_bar
from hairclip.common.tables import format_table
from hairclip.config import Config
from hairclip.evaluation.edit_report import FIGURES, evaluate_editor
from hairclip.evaluation.speed.clock import LapTimer, Work
from hairclip.evaluation.speed.setting import Setting
from hairclip.evaluation.speed.steps import LibraryTraining, OfficialTraining
from hairclip.evaluation.subject import configured_editor
from hairclip.networks.mapper import HairMapper
from hairclip.pretrained.bundle import Bundle
from hairclip.pretrained.network_files import save_network
from hairclip.training import trainer
from hairclip.training.teacher import teach

__all__ = ["Trained", "compare_figures", "evaluate_mapper", "train_both"]


@dataclass(frozen=True)
class Trained:
    """The result of one training.

    Attributes:
        mapper: the trained mapper; its moving average if the configuration keeps one.
        seconds: seconds of all its steps; learning from a teacher does not count.
        validation: mean loss over the fixed validation tasks.
    """

    mapper: HairMapper
    seconds: float
    validation: float


def train_both(
    setting: Setting, timer: LapTimer, *, exact: Setting | None = None, progress: bool = True
) -> dict[str, Trained]:
    """Train both sides as the configuration says, `training.steps` steps of `training.batch_size` samples.

    Args:
        setting: networks, data and settings; its mapper is copied, not changed.
        timer: reads the clock.
        exact: the same setting in float32. Its step then replaces the official step: it computes the same and takes a
            fraction of the time. None trains by the official step.
        progress: show a progress bar.

    Returns:
        The two trainings: "library", and "official" or "float32".
    """
    settings, parts = setting.config.training, setting.parts
    if parts.teacher is not None:  # once for both sides: its steps do not differ, and their seconds do not count
        taught = copy.deepcopy(parts.mapper)
        steps, seed = settings.teacher_steps, setting.config.seed
        teach(taught, parts.teacher, parts.training, parts.sampler, steps=steps, seed=seed, progress=progress)
        setting = setting.with_mapper(taught)
        exact = None if exact is None else exact.with_mapper(taught)
    library = LibraryTraining(setting, [])
    other = "official" if exact is None else "float32"
    sides: dict[str, LibraryTraining | OfficialTraining] = {
        "library": library,  # first: what it computes of its sources is its own work
        other: OfficialTraining(setting, [], batched=True) if exact is None else LibraryTraining(exact, []),
    }
    seconds = dict.fromkeys(sides, 0.0)
    bar = progress_bar(range(settings.steps), label=f"both ways, seed {setting.config.seed}", show=progress)
    for step in bar:
        tasks = parts.sampler.sample(settings.batch_size, setting.config.seed, 0, step)
        for side, training in sides.items():
            training.take(tasks)
            seconds[side] += _seconds(training, timer)
        bar.set_postfix_str(f"{seconds[other] / seconds['library']:.2f}x")
    trained = {}
    for side in (other, "library"):
        mapper = sides[side].updates.result()
        loss = trainer.validate(mapper, parts, setting.config.validation.batch_size, library.autocast)["total"]
        trained[side] = Trained(mapper, seconds[side], loss)
    return trained


def _seconds(training: Work, timer: LapTimer) -> float:
    timer.start()
    training(timer)
    return timer.seconds()["step"]


def evaluate_mapper(
    config: Config, networks: Bundle, mapper: HairMapper, folder: Path, *, count: int, workers: int
) -> dict[str, Any]:
    """Return the figures of a mapper on `count` edits of held-out people, and write mapper and report to `folder`."""
    save_network(folder / "mapper.safetensors", "mapper", mapper)
    editor = configured_editor(config, networks, mapper)
    report = evaluate_editor(
        editor, networks.judge, folder, count=count, optimize_count=0, workers=workers, say=lambda line: None
    )
    figures: dict[str, Any] = report["figures"]["mapper"]
    return figures


def compare_figures(seeds: Sequence[dict[str, dict[str, float]]]) -> str:
    """Return a table of the mean and standard deviation of every figure over the seeds, a column per side.

    Args:
        seeds: one mapping per seed: side -> name of the figure -> value.
    """
    sides = list(seeds[0])
    names = {"seconds": "seconds of training", "validation": "validation loss"}
    names |= {figure.name: figure.title for figure in FIGURES}
    rows = []
    for name, label in names.items():
        cells = []
        for side in sides:
            values = [figures[side][name] for figures in seeds if figures[side].get(name) is not None]
            spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.3f}{spread}" if values else "-")
        rows.append([label, *cells])
    return format_table([f"mean over {len(seeds)} seeds", *sides], rows)

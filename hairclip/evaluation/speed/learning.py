"""Whether the fast step trains as well as the plain one: the same mapper, taught twice on the same tasks.

Both sides start from the same weights, see the same tasks in the same batches and take the same optimiser's steps; they
differ in how a step is computed (`official_step`) and in its precision. They take turns, step by step,
so that the ratio of their times is one of one run. What they learnt is measured on the same held-out people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from hairclip.common.progress import progress_bar
from hairclip.config import Config
from hairclip.evaluation.edit_report import FIGURES, evaluate_editor
from hairclip.evaluation.speed.clock import Stopwatch, Work
from hairclip.evaluation.speed.report import table
from hairclip.evaluation.speed.setting import World
from hairclip.evaluation.speed.steps import LibraryTraining, ReferenceTraining
from hairclip.evaluation.subject import configured_editor
from hairclip.networks.mapper import HairMapper
from hairclip.pretrained.bundle import Bundle
from hairclip.pretrained.network_files import save_network
from hairclip.training import trainer

__all__ = ["Trained", "compare_figures", "evaluate_mapper", "train_both"]


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


def train_both(
    world: World, watch: Stopwatch, *, exact: World | None = None, progress: bool = True
) -> dict[str, Trained]:
    """Train both sides as the configuration says, `training.steps` steps of `training.batch_size` samples.

    Args:
        world: networks, data and settings; its mapper is copied, not changed.
        watch: the clock.
        exact: the same in float32: its step, which equals the reference to the last digits of float32 and takes a
            fraction of the time, is then taken in the reference's place.
        progress: show a bar.

    Returns:
        What each side came to: "library", and "reference" or "float32".
    """
    settings, parts = world.config.training, world.parts
    library = LibraryTraining(world, [])
    other = "reference" if exact is None else "float32"
    sides: dict[str, LibraryTraining | ReferenceTraining] = {
        "library": library,  # first: what it computes of its sources is its own work
        other: ReferenceTraining(world, [], batched=True) if exact is None else LibraryTraining(exact, []),
    }
    seconds = dict.fromkeys(sides, 0.0)
    bar = progress_bar(range(settings.steps), label=f"both ways, seed {world.config.seed}", show=progress)
    for step in bar:
        tasks = parts.sampler.sample(settings.batch_size, world.config.seed, 0, step)
        for side, training in sides.items():
            training.take(tasks)
            seconds[side] += _seconds(training, watch)
        bar.set_postfix_str(f"{seconds[other] / seconds['library']:.2f}x")
    found = {}
    for side in (other, "library"):
        mapper = sides[side].updates.result()
        loss = trainer.validate(mapper, parts, world.config.validation.batch_size, library.autocast)["total"]
        found[side] = Trained(mapper, seconds[side], loss)
    return found


def _seconds(training: Work, watch: Stopwatch) -> float:
    watch.start()
    training(watch)
    return watch.seconds()["step"]


def evaluate_mapper(
    config: Config, networks: Bundle, mapper: HairMapper, folder: Path, *, count: int, workers: int
) -> dict[str, Any]:
    """The benchmark's figures of a mapper on `count` edits of held-out people; it is kept in `folder`, too."""
    folder.mkdir(parents=True, exist_ok=True)
    save_network(folder / "mapper.safetensors", "mapper", mapper)
    editor = configured_editor(config, networks, mapper)
    report = evaluate_editor(
        editor, networks.judge, folder, count=count, optimize_count=0, workers=workers, say=lambda line: None
    )
    figures: dict[str, Any] = report["figures"]["mapper"]
    return figures


def compare_figures(seeds: Sequence[dict[str, dict[str, float]]]) -> str:
    """A table: every figure's mean and standard deviation over the seeds, side by side.

    Args:
        seeds: for each seed, for each side, the figures by name.
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
    return table([f"mean over {len(seeds)} seeds", *sides], rows)

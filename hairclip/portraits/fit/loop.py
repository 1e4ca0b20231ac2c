"""Run the steps of a recipe: seeded, with a progress bar, with checkpoints to continue from."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from hairclip.common.errors import HairclipError
from hairclip.common.files import open_atomic
from hairclip.common.progress import progress_bar

StepLog = Mapping[str, float]
"""Numbers of one step, by name, for the progress bar."""


@runtime_checkable
class Stateful(Protocol):
    """Anything that has a state to save: modules and optimizers."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


def step_generator(seed: int, step: int) -> np.random.Generator:
    """Return the random numbers of one step.

    They depend on `seed` and `step` alone, so that a run that is continued equals one that was never stopped.
    """
    return np.random.default_rng([seed, step])


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which products are computed in bfloat16; weights and sums stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16)


def run(
    name: str,
    *,
    steps: int,
    state: Mapping[str, Stateful],
    step: Callable[[int, np.random.Generator], StepLog],
    folder: Path,
    seed: int = 0,
    save_every: int = 200,
) -> None:
    """Call `step(index, rng)` for each index below `steps`, and continue from `folder/name.pt` if it is there.

    Args:
        name: what is trained: the name of the checkpoint, and the label of the progress bar.
        steps: number of steps.
        state: the modules and optimizers that a checkpoint holds.
        step: takes one optimizer step and returns numbers for the progress bar.
        folder: where the checkpoint is kept.
        seed: seed of all random numbers; those of a step depend on `seed` and `index` alone.
        save_every: steps between two checkpoints.

    Raises:
        HairclipError: if the checkpoint cannot be read or is one of other networks, or if one cannot be written.
    """
    path = folder / f"{name}.pt"
    begin = restore(path, state) if path.exists() else 0
    bar = progress_bar(range(begin, steps), label=name, initial=begin, total=steps, mininterval=5)
    running: dict[str, float] = {}
    for index in bar:
        for key, value in step(index, step_generator(seed, index)).items():
            running[key] = value if key not in running else 0.98 * running[key] + 0.02 * value
        if index % 20 == 0:
            bar.set_postfix({key: f"{value:.4f}" for key, value in running.items()})
        if (index + 1) % save_every == 0 or index + 1 == steps:
            save(path, index + 1, state)


def save(path: Path, step: int, state: Mapping[str, Stateful]) -> None:
    """Write a checkpoint after `step` steps, whole or not at all."""
    with open_atomic(path) as file:
        torch.save({"step": step, **{key: part.state_dict() for key, part in state.items()}}, file)


def restore(path: Path, state: Mapping[str, Stateful]) -> int:
    """Put a checkpoint into modules and optimizers, and return the number of steps it was written after.

    Raises:
        HairclipError: if the file is damaged, or does not fit these modules and optimizers.
    """
    try:
        saved = torch.load(path, weights_only=True)
        for key, part in state.items():
            part.load_state_dict(saved[key])
        return int(saved["step"])
    except Exception as error:  # a damaged file raises almost anything
        raise HairclipError(
            f"the checkpoint {path} cannot be continued ({type(error).__name__}): delete it to train anew."
        ) from error

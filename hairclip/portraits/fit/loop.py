"""The loop under every recipe: seeded steps, a progress bar, atomic checkpoints and resume."""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from hairclip.common.progress import progress_bar

StepLog = Mapping[str, float]


@runtime_checkable
class Stateful(Protocol):
    """Anything with a state to save: modules and optimisers alike."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


def step_generator(seed: int, step: int) -> np.random.Generator:
    """Randomness of one step: a function of (seed, step) alone, so that a resumed run continues as if never stopped."""
    return np.random.default_rng([seed, step])


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """bfloat16 products where the processor has them; weights and sums stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16)


def cosine(step: int, steps: int, *, warmup: int = 100, floor: float = 0.02) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + float(np.cos(np.pi * progress)))


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
    """Call ``step(index, rng)`` for each index up to `steps`, resuming from ``folder/name.pt`` if it is there.

    Args:
        state: the modules and optimisers that a checkpoint holds.
        step: does one optimiser step and returns numbers for the progress bar.
    """
    path = folder / f"{name}.pt"
    begin = 0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        for key, part in state.items():
            part.load_state_dict(saved[key])
        begin = int(saved["step"])
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
    """Write a checkpoint whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save({"step": step, **{key: part.state_dict() for key, part in state.items()}}, partial)
    os.replace(partial, path)

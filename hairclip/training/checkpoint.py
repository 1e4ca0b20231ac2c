"""Checkpoints of a run: written whole or not at all, the newest few kept, found again by ``--resume auto``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hairclip.common.errors import HairclipError
from hairclip.config import Config
from hairclip.pretrained.weight_files import why_unreadable

FREE_TO_CHANGE = (
    "name",
    "device",
    "training.steps",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "validation",
    "logging",
    "data.cache_sources",
    "data.cache_budget_gb",
    "data.cache_folder",
    "data.prefetch",
    "training.accumulate",
    "training.checkpoint_activations",
    "training.compile",
    "training.cuda_graphs",
    "training.channels_last",
)
"""What may differ between a run and its continuation; everything else would make it another experiment."""


def checkpoint_path(run: Path, step: int) -> Path:
    """Where the checkpoint after `step` optimiser steps lies."""
    return run / f"checkpoint-{step:08d}.pt"


def list_checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(run.glob("checkpoint-????????.pt"))


def save_checkpoint(run: Path, state: Mapping[str, Any], *, keep: int) -> Path:
    """Write ``state`` (with its ``step``) and remove all but the newest `keep` checkpoints."""
    path = checkpoint_path(run, int(state["step"]))
    partial = path.with_name(f".{path.name}.partial")
    try:
        torch.save(dict(state), partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise HairclipError(
            f"cannot write the checkpoint {path} ({error.strerror}): make room, then use --resume auto."
        ) from None
    for old in list_checkpoints(run)[:-keep]:
        if old != path:
            old.unlink(missing_ok=True)
    return path


def find_checkpoint(resume: str, run: Path) -> Path | None:
    """What ``--resume`` means: "auto" the run's newest checkpoint if any, "never" none, else a checkpoint or a run."""
    if resume == "never":
        return None
    if resume == "auto":
        found = list_checkpoints(run)
        return found[-1] if found else None
    path = Path(resume)
    found = list_checkpoints(path) if path.is_dir() else [path] if path.is_file() else []
    if not found:
        raise HairclipError(
            f"--resume {resume}: there is no checkpoint: give a checkpoint file, a run folder, auto or never."
        )
    return found[-1]


def load_checkpoint(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint and check that it belongs to an experiment with this configuration."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise HairclipError(
            f"{path} cannot be read as a checkpoint ({why_unreadable(error)}): resume from another one, or start anew "
            "with --resume never."
        ) from None
    if not isinstance(state, dict) or not {"step", "config", "mapper", "optimizer"} <= state.keys():
        raise HairclipError(f"{path} is no checkpoint of a training run: give a file named checkpoint-*.pt.")
    # a setting that did not exist yet had the effect of its default
    before, now = _flat(Config().model_dump()) | _flat(state["config"]), _flat(config)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key) and not _is_free(key)]
    if changed:
        key = changed[0]
        raise HairclipError(
            f"{path} was trained with {key}={before.get(key)}, but now {key}={now.get(key)}: set it back to resume, or "
            "start anew with another --out or with --resume never."
        )
    return state


def remove_run(run: Path) -> None:
    """Remove the files of an earlier run that a new one in the same folder would mix with."""
    for pattern in ("checkpoint-*.pt", ".checkpoint-*.partial", "metrics.jsonl", "mapper*.safetensors"):
        for path in run.glob(pattern):
            path.unlink(missing_ok=True)
    for path in (run / "tensorboard").glob("events.out.tfevents.*"):
        path.unlink(missing_ok=True)


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE_TO_CHANGE)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat

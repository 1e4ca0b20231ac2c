"""Checkpoints: whole or absent, the newest kept, refused where they belong to another experiment."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.config import Config
from hairclip.training.checkpoint import (
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
    remove_run,
    save_checkpoint,
)


def state(step: int, config: Config | None = None) -> dict[str, Any]:
    return {"step": step, "config": (config or Config()).model_dump(), "mapper": {}, "optimizer": {}}


def test_keeps_the_newest(tmp_path: Path):
    for step in (2, 4, 10, 12):
        save_checkpoint(tmp_path, state(step), keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-00000010.pt", "checkpoint-00000012.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in list_checkpoints(tmp_path)]


def test_a_failed_write_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_checkpoint(tmp_path, state(1), keep=2)

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(HairclipError, match="No space left"):
        save_checkpoint(tmp_path, state(2), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000001.pt"]


def test_what_resume_finds(tmp_path: Path):
    assert find_checkpoint("auto", tmp_path) is None
    path = save_checkpoint(tmp_path, state(3), keep=2)
    assert find_checkpoint("auto", tmp_path) == path
    assert find_checkpoint("never", tmp_path) is None
    assert find_checkpoint(str(path), tmp_path / "other") == path
    assert find_checkpoint(str(tmp_path), tmp_path / "other") == path
    with pytest.raises(HairclipError, match="no checkpoint"):
        find_checkpoint(str(tmp_path / "none"), tmp_path)


def test_only_length_and_reporting_may_change(tmp_path: Path):
    path = save_checkpoint(tmp_path, state(3), keep=2)
    longer = Config().model_dump() | {"training": Config().training.model_dump() | {"steps": 5000}}
    assert load_checkpoint(path, longer)["step"] == 3
    other = Config().model_dump() | {"optimizer": Config().optimizer.model_dump() | {"lr": 0.1}}
    with pytest.raises(HairclipError, match="optimizer.lr=0.0005, but now optimizer.lr=0.1"):
        load_checkpoint(path, other)


def test_damaged_and_foreign_files_are_told(tmp_path: Path):
    path = save_checkpoint(tmp_path, state(3), keep=2)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(HairclipError, match="cannot be read as a checkpoint"):
        load_checkpoint(path, {})
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(HairclipError, match="no checkpoint of a training run"):
        load_checkpoint(path, {})


def test_remove_run_spares_other_files(tmp_path: Path):
    save_checkpoint(tmp_path, state(3), keep=2)
    for name in ("metrics.jsonl", "mapper.safetensors", "notes.txt"):
        (tmp_path / name).touch()
    remove_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

"""Checkpoints: whole or absent, the newest kept, refused where they belong to another experiment."""

import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.config import Config
from hairclip.training.checkpoint import (
    DamagedCheckpoint,
    list_checkpoints,
    read_checkpoint,
    remove_run,
    resume_from,
    save_checkpoint,
)

INPUTS = {"networks.clip": "a" * 64, "data.latents": "b" * 64}


def state(step: int, config: Config | None = None) -> dict[str, Any]:
    weights = torch.arange(6.0).reshape(2, 3)
    return {
        "step": step,
        "config": (config or Config()).model_dump(),
        "inputs": dict(INPUTS),
        "mapper": {"weight": weights + step},
        "optimizer": {
            "state": {0: {"step": 3, "exp_avg": weights}},
            "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}],
        },
        "average": None,
        "scaler": {},
        "schedule_end": 9,
        "best": {"loss": float("inf"), "step": 0, "weights": {}},
    }


def resumed(resume: str, run: Path, **changed: Any) -> tuple[Path | None, list[str], list[dict[str, Any]]]:
    loaded: list[dict[str, Any]] = []
    settings = {"config": Config().model_dump(), "inputs": INPUTS, "load": loaded.append, **changed}
    found, passed = resume_from(resume, run, **settings)
    return found, passed, loaded


def test_keeps_the_newest(tmp_path: Path):
    for step in (2, 4, 10, 12):
        save_checkpoint(tmp_path, state(step), keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-00000010.pt", "checkpoint-00000012.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in list_checkpoints(tmp_path)]


def test_a_branch_replaces_what_came_after_it(tmp_path: Path):
    for step in (2, 4, 6):
        save_checkpoint(tmp_path, state(step), keep=3)
    save_checkpoint(tmp_path, state(3), keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-00000002.pt", "checkpoint-00000003.pt"]


def test_a_full_disk_is_one_sentence_and_leaves_the_older_one(tmp_path: Path):
    """A child process may write files up to a size only, as if the disk were full from there on."""
    rooms = range(0, 4100, 100)
    contents = {}
    for room in rooms:
        old = save_checkpoint(tmp_path / str(room), state(1), keep=1)
        contents[room] = old.read_bytes()
        assert len(contents[room]) > max(rooms)
    script = f"""
import resource, signal
from pathlib import Path
from hairclip.common.errors import HairclipError
from hairclip.training.checkpoint import save_checkpoint
from tests.training.test_checkpoint import state
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for room in {rooms}:
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        save_checkpoint(Path({str(tmp_path)!r}) / str(room), state(2), keep=1)
    except HairclipError as error:
        assert "cannot write" in str(error) and "\\n" not in str(error), error
    else:
        raise SystemExit(3)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    for room in rooms:
        (left,) = (tmp_path / str(room)).iterdir()
        assert left.read_bytes() == contents[room]


def test_a_kill_while_writing_leaves_the_older_one(tmp_path: Path):
    old = save_checkpoint(tmp_path, state(1), keep=2)
    script = f"""
import os, signal
from pathlib import Path
import hairclip.training.checkpoint as checkpoint
from tests.training.test_checkpoint import state
write = os.write
def half(handle, content):
    write(handle, bytes(content)[:10])
    os.kill(os.getpid(), signal.SIGKILL)
os.write = half
checkpoint.save_checkpoint(Path({str(tmp_path)!r}), state(2), keep=1)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [old.name]


def test_what_resume_finds(tmp_path: Path):
    assert resumed("auto", tmp_path) == (None, [], [])
    path = save_checkpoint(tmp_path, state(3), keep=2)
    assert resumed("auto", tmp_path)[0] == path
    assert resumed("never", tmp_path)[0] is None
    for given in (path, tmp_path):
        found, _, (loaded,) = resumed(str(given), tmp_path / "other")
        assert found == path
        assert loaded["step"] == 3
        assert torch.equal(loaded["mapper"]["weight"], state(3)["mapper"]["weight"])
    with pytest.raises(HairclipError, match="no checkpoint"):
        resumed(str(tmp_path / "none"), tmp_path)


def test_only_length_reporting_and_places_may_change(tmp_path: Path):
    path = save_checkpoint(tmp_path, state(3), keep=2)
    free = Config.model_validate(
        {"training": {"steps": 5000}, "data": {"latents": "moved.pt"}, "networks": {"clip": "x"}}
    )
    assert resumed("auto", tmp_path, config=free.model_dump())[0] == path
    other = Config.model_validate({"optimizer": {"lr": 0.1}}).model_dump()
    with pytest.raises(HairclipError, match="optimizer.lr=0.0005, but now optimizer.lr=0.1"):
        resumed("auto", tmp_path, config=other)
    with pytest.raises(HairclipError, match="other content of networks.clip"):
        resumed("auto", tmp_path, inputs={**INPUTS, "networks.clip": "c" * 64})


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path: Path):
    first = save_checkpoint(tmp_path, state(3), keep=3)
    second = save_checkpoint(tmp_path, state(4), keep=3)
    second.write_bytes(second.read_bytes()[:2000])
    found, passed, (loaded,) = resumed("auto", tmp_path)
    assert found == first
    assert loaded["step"] == 3
    assert len(passed) == 1
    assert str(second) in passed[0]
    with pytest.raises(HairclipError, match="cannot be read as a checkpoint"):
        resumed(str(second), tmp_path)
    first.write_bytes(b"")
    with pytest.raises(HairclipError, match="checkpoint-00000004.pt"):  # never anew without a word
        resumed("auto", tmp_path)


def test_a_state_that_does_not_fit_gives_way_too(tmp_path: Path):
    for step in (3, 4):
        save_checkpoint(tmp_path, state(step), keep=3)

    def load(loaded: dict[str, Any]) -> None:
        if loaded["step"] == 4:
            raise HairclipError("the checkpoint does not fit the mapper.")

    found, passed, _ = resumed("auto", tmp_path, load=load)
    assert found is not None
    assert found.name == "checkpoint-00000003.pt"
    assert "does not fit" in passed[0]


def test_foreign_files_are_told(tmp_path: Path):
    path = tmp_path / "checkpoint-00000003.pt"
    for content in ({"weights": torch.zeros(1)}, [1, 2], {1: 2}, "text", None):
        torch.save(content, path)
        with pytest.raises(DamagedCheckpoint, match="no checkpoint of a training run"):
            read_checkpoint(path)


def altered(value: Any, dice: random.Random) -> Any:
    """Return a copy of a nested value in which one thing is another."""
    if isinstance(value, Mapping) and value and dice.random() < 0.85:
        key = dice.choice(list(value))
        choice = dice.random()
        if choice < 0.2:
            return {name: item for name, item in value.items() if name != key}
        if choice < 0.3:
            return {**value, dice.choice(["extra", 7]): 1}
        return {**value, key: altered(value[key], dice)}
    if isinstance(value, list) and value and dice.random() < 0.7:
        return [altered(value[0], dice), *value[1:]]
    if isinstance(value, Tensor) and dice.random() < 0.8:
        return dice.choice([value[:1], value.double(), value + 1, value * float("nan"), value.reshape(-1)])
    others = [None, "x", -1, 10**30, 1.5, float("nan"), True, [], {}, [[[]]], torch.zeros(2), b"\x00", (1, 2), {"a": 1}]
    return dice.choice(
        [other for other in others if type(other) is not type(value) or not isinstance(value, (dict, list))]
    )


def test_hundreds_of_altered_checkpoints_are_refused_in_one_sentence(tmp_path: Path):
    whole = save_checkpoint(tmp_path, state(3), keep=2)
    content, known = whole.read_bytes(), torch.load(whole)
    path = tmp_path / "altered.pt"
    dice = random.Random(0)
    refusals: list[str] = []
    for _ in range(300):
        if dice.random() < 0.4:
            damaged = bytearray(content)
            for _ in range(dice.choice([1, 4, 64])):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            path.write_bytes(bytes(damaged[: dice.choice([len(damaged), dice.randrange(len(damaged))])]))
        else:
            torch.save(altered(known, dice), path)
        try:
            read = read_checkpoint(path)
        except DamagedCheckpoint as error:
            refusals.append(str(error))
        else:  # a byte that no reader looks at
            assert torch.equal(read["mapper"]["weight"], state(3)["mapper"]["weight"])
    assert len(refusals) > 200
    assert not [text for text in refusals if "\n" in text or len(text) > 400 + len(str(path))]


def test_remove_run_spares_other_files(tmp_path: Path):
    save_checkpoint(tmp_path, state(3), keep=2)
    for name in ("metrics.jsonl", "mapper.safetensors", "notes.txt"):
        (tmp_path / name).touch()
    remove_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

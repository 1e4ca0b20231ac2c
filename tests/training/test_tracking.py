"""What a run writes: figures as lines, means that count only what applied, signals as a flag."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.training.tracking import Averages, StopSignal, Tracker


def tracker(run: Path, start: int = 0, **settings: bool) -> Tracker:
    return Tracker(run, config_yaml="name: x\n", start=start, steps=10, **{"tensorboard": False, **settings})


def lines(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_run_drops_later_and_broken_lines(tmp_path: Path):
    first = tracker(tmp_path)
    for step in (1, 2, 3):
        first.figures(step, "train", {"total": 1.5})
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "ki')
    second = tracker(tmp_path, start=2)
    second.figures(3, "validation", {"total": 0.25})
    second.close()
    assert [(line["step"], line["total"]) for line in lines(tmp_path)] == [(1, 1.5), (2, 1.5), (3, 0.25)]
    assert "versions" in json.loads((tmp_path / "run.json").read_text())
    assert (tmp_path / "config.yaml").read_text() == "name: x\n"


def test_tensorboard_holds_scalars_and_pictures(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track = tracker(tmp_path, tensorboard=True)
    track.figures(1, "train", {"total": 2.0})
    track.picture(1, Image.fromarray(np.zeros((4, 6, 3), np.uint8)))
    track.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("train/total")] == [2.0]
    assert events.Images("edits")[0].width == 6
    assert (tmp_path / "images" / "00000001.jpg").is_file()


def test_a_silent_tracker_writes_nothing(tmp_path: Path):
    track = tracker(tmp_path / "run", enabled=False)
    track.figures(1, "train", {"total": 2.0})
    track.picture(1, Image.new("RGB", (2, 2)))
    track.close()
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(HairclipError, match="--out"):
        tracker(tmp_path / "file")


def test_means_count_what_applied():
    averages = Averages()
    averages.add(torch.tensor(2.0), {"a": torch.tensor([1.0, 0.0]), "b": torch.zeros(2)})
    averages.add(torch.tensor(5.0), {"a": torch.tensor([3.0]), "b": torch.zeros(1)})
    assert averages.take() == {"total": 3.0, "a": 2.0}
    assert averages.take() == {}


@pytest.fixture
def sigint():
    """Python's own handling of SIGINT, which background jobs of a shell start without."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.mark.usefixtures("sigint")
def test_the_first_signal_is_a_flag_the_second_is_not():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        assert stop.received == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == before
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)

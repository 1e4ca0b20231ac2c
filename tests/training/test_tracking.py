"""What a run writes: figures as lines, means that count only what applied, signals as a flag."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.training.tracking import Averages, Tracker


def tracker(run: Path, start: int = 0, **settings: Any) -> Tracker:
    return Tracker(run, config_yaml="name: x\n", start=start, steps=10, **settings)


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

    track = tracker(tmp_path, trackers=["tensorboard"])
    track.figures(1, "train", {"total": 2.0})
    track.picture(1, Image.fromarray(np.zeros((4, 6, 3), np.uint8)))
    track.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("train/total")] == [2.0]
    assert events.Images("edits")[0].width == 6
    assert (tmp_path / "images" / "00000001.jpg").is_file()


class Diary:
    """A tracker of one's own."""

    def __init__(self, run: Path, config: dict[str, Any], start: int) -> None:
        self.page = run / "diary.txt"
        self.page.write_text(f"{config['name']} from {start}\n")

    def figures(self, step: int, kind: str, values: dict[str, float]) -> None:
        self.page.write_text(f"{self.page.read_text()}{kind} {step} {values['total']}\n")

    def picture(self, step: int, picture: Image.Image) -> None:
        self.page.write_text(f"{self.page.read_text()}picture {step} {picture.size}\n")

    def close(self) -> None:
        self.page.write_text(f"{self.page.read_text()}end\n")


def test_a_tracker_of_ones_own_is_found_by_name(tmp_path: Path):
    track = tracker(tmp_path, start=3, trackers=[f"{__name__}:Diary"], config={"name": "x"})
    track.figures(4, "train", {"total": 2.0})
    track.picture(4, Image.new("RGB", (6, 4)))
    track.close()
    assert (tmp_path / "diary.txt").read_text() == "x from 3\ntrain 4 2.0\npicture 4 (6, 4)\nend\n"
    with pytest.raises(HairclipError, match="there is no tracker 'tensorbord'"):
        tracker(tmp_path, trackers=["tensorbord"])


def test_events_of_steps_that_are_repeated_are_not_shown_twice(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start in (0, 2):
        track = tracker(tmp_path, start=start, trackers=["tensorboard"])
        for step in range(start + 1, 5):
            track.figures(step, "train", {"total": float(step + start)})
        track.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/total")] == [(1, 1), (2, 2), (3, 5), (4, 6)]


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
        b"null\n",
        b'{"step": "x"}\n',
        b'{"step": null}\n',
        b"7\n",
        b"\0" * 64 + b"\n",
    ],
)
def test_damaged_lines_are_dropped(tmp_path: Path, damage: bytes):
    first = tracker(tmp_path)
    first.figures(1, "train", {"total": 1.5})
    first.close()
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(damage + path.read_bytes() + damage)
    second = tracker(tmp_path, start=1)
    second.figures(2, "train", {"total": 2.5})
    second.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_a_full_disk_leaves_whole_lines_whole_events_and_no_half_picture(tmp_path: Path):
    """A child process may write files up to a size only, as if the disk were full from there on."""
    rooms = (0, 1, 7, 40, 200, 1000, 5000)
    script = f"""
import resource, signal
from pathlib import Path
import numpy as np
from PIL import Image
from hairclip.common.errors import HairclipError
from hairclip.training.tracking import Tracker
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
for room in {rooms}:
    run = Path({str(tmp_path)!r}) / str(room)
    track = Tracker(run, config_yaml="", start=0, steps=9, trackers=["tensorboard"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        for step in range(1, 100):
            track.figures(step, "train", {{"total": 1.0}})
            track.picture(step, noise)
    except HairclipError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        (run / "told").write_text(str(error))
    track.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for run in (tmp_path / str(room) for room in rooms):
        assert "cannot write" in (run / "told").read_text()
        assert all("step" in line for line in lines(run))
        for path in (run / "images").glob("*"):
            Image.open(path).load()
        assert len(EventAccumulator(str(run / "tensorboard")).Reload().Tags()["scalars"]) <= 1
        assert not list(run.rglob("*.partial"))


def test_a_silent_tracker_writes_nothing(tmp_path: Path):
    track = tracker(tmp_path / "run", enabled=False)
    track.figures(1, "train", {"total": 2.0})
    track.picture(1, Image.new("RGB", (2, 2)))
    track.close()
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(HairclipError, match="cannot write"):
        tracker(tmp_path / "file")


def test_means_count_what_applied():
    averages = Averages()
    averages.add(torch.tensor(2.0), {"a": torch.tensor([1.0, 0.0]), "b": torch.zeros(2)})
    averages.add(torch.tensor(5.0), {"a": torch.tensor([3.0]), "b": torch.zeros(1)})
    assert averages.take() == {"total": 3.0, "a": 2.0}
    assert averages.take() == {}

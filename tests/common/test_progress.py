"""Progress bars are shown to people only."""

import io
import sys
from pathlib import Path

import pytest

from hairclip.common.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, **options: bool) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress_bar(range(3), label="counting", **options)) == [0, 1, 2]
    return stream.getvalue()


def test_a_bar_is_shown_in_a_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    assert "counting: 100%" in shown(Terminal(), monkeypatch)


def test_no_bar_is_written_into_a_pipe_or_a_log(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    assert shown(io.StringIO(), monkeypatch) == ""


def test_no_bar_is_shown_where_it_is_switched_off(monkeypatch: pytest.MonkeyPatch):
    assert shown(Terminal(), monkeypatch, show=False) == ""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert shown(Terminal(), monkeypatch) == ""


def test_a_log_file_gets_whole_lines_with_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    for _ in progress_bar(range(3), label="counting", log_every=0.0):
        pass
    lines = log.getvalue().splitlines()
    assert lines[-1].startswith("counting: 3 of 3, 00:00 gone, 00:00 left, ")
    assert all(line.startswith("counting: ") for line in lines)
    assert "\r" not in log.getvalue()


def test_every_bar_of_the_package_is_made_in_one_place():
    root = Path(__file__).resolve().parents[2]
    files = [*(root / "hairclip").rglob("*.py"), *(root / "scripts").rglob("*.py")]
    using = [path.name for path in files if "tqdm" in path.read_text(encoding="utf-8")]
    assert using == ["progress.py"]

"""Fetching all parts of a bundle: what is said first, and who must agree."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from hairclip.cli import main as cli
from hairclip.pretrained import download as fetch
from hairclip.pretrained.registry import WEIGHTS

FFHQ = ("stylegan2-ffhq", "hairclip", "parsenet", "ir-se50", "e4e-ffhq", "celeba-hq-test")


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the weights that a command fetches."""
    names: list[str] = []
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path))
    monkeypatch.setattr(fetch, "obtain", lambda weight: names.append(weight.name) or tmp_path / weight.file)
    return names


def answering(answer: str) -> Callable[[pytest.MonkeyPatch], None]:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
        monkeypatch.setattr("builtins.input", lambda question: answer)

    return patch


def test_a_bundle_is_fetched_after_yes(fetched: list[str], capsys: pytest.CaptureFixture[str]):
    assert cli.main(["download", "ffhq", "--yes"]) == 0
    assert sorted(fetched) == sorted(FFHQ)  # mapper and CLIP are one file, fetched once


def test_size_licenses_and_room_are_said_before_anything_is_fetched(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    answering("y")(monkeypatch)
    assert cli.main(["download", "ffhq"]) == 0
    out = capsys.readouterr().out
    said, _, _ = out.partition("stylegan2-ffhq: /")
    total = sum(WEIGHTS[name].size or 0 for name in FFHQ)
    assert f"together at least {total / 1e6:,.1f} MB; free on the disk" in said
    for name in FFHQ:
        assert WEIGHTS[name].license in said
    assert len(fetched) == len(FFHQ)


def test_nothing_is_fetched_without_consent(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    for arguments in (["ffhq"], ["--all"]):
        assert cli.main(["download", *arguments]) == 2
        assert "add --yes to agree" in capsys.readouterr().err
    answering("n")(monkeypatch)
    assert cli.main(["download", "ffhq"]) == 2
    assert fetched == []


def test_a_disk_that_is_too_small_is_said_before_it_is_full(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    answering("y")(monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    assert cli.main(["download", "ffhq"]) == 2
    assert "has room for 1.0 MB of" in capsys.readouterr().err
    assert fetched == []


def test_a_bundle_that_comes_with_hairclip_needs_no_download(fetched: list[str], capsys: pytest.CaptureFixture[str]):
    assert cli.main(["download", "portraits"]) == 0
    assert "come with hairclip" in capsys.readouterr().out
    assert fetched == []


def test_a_mistyped_bundle_is_guessed(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["download", "fhq"]) == 2
    assert "did you mean ffhq?" in capsys.readouterr().err
    assert cli.main(["download", "parsnet"]) == 2
    assert "did you mean parsenet?" in capsys.readouterr().err

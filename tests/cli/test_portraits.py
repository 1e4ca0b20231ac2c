"""The commands of the portraits world: what they write, and one sentence for a user's mistake."""

import json
from pathlib import Path

import pytest

from hairclip.cli import main as cli
from hairclip.cli.portraits import NETWORKS
from hairclip.portraits.fit import networks


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("render-portraits", ["--count", "0", "--out", "new"], "--count 0: give 1 or more."),
        ("render-portraits", ["--count", "1", "--seed", "-1", "--out", "new"], "--seed -1: give 0 or more."),
        ("render-portraits", ["--count", "1", "--out", "FILE/x"], "FILE/x"),
        ("render-portraits", ["--count", "1", "--out", "DAMAGED"], "dataset.json is damaged"),
        ("train-portrait-networks", ["--quads", "none"], "no rendered quads in none"),
        ("train-portrait-networks", ["--quads", "none", "--steps", "0"], "--steps 0: give 1 or more."),
        ("train-portrait-networks", ["--quads", "none", "--device", "gpu"], "device 'gpu'"),
        ("evaluate-portrait-networks", ["--bundle", "none"], "none"),
        ("evaluate-portrait-networks", ["--count", "0"], "--count 0: give 2 or more."),
        ("evaluate-portrait-networks", ["--out", "FILE/x"], "FILE/x"),
        ("evaluate-portrait-networks", ["--device", "gpu"], "device 'gpu'"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    command: str, arguments: list[str], words: str,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    (tmp_path / "DAMAGED").mkdir()
    (tmp_path / "DAMAGED" / "dataset.json").write_text("{")
    assert cli.main([command, *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("hairclip: error: ")
    assert words in error
    assert not (tmp_path / "new").exists()


def test_the_command_offers_every_network_that_has_a_recipe():
    assert networks.NETWORKS == NETWORKS


def test_render_portraits_writes_pictures_labels_and_metadata(tmp_path: Path):
    assert cli.main(["render-portraits", "--count", "1", "--size", "32", "--out", str(tmp_path)]) == 0
    (line,) = (tmp_path / "metadata.jsonl").read_text().splitlines()
    picture = tmp_path / json.loads(line)["file"]
    assert picture.is_file()
    assert (tmp_path / "labels" / picture.name).is_file()

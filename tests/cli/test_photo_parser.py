"""The commands of the photo parser: a tiny training from start to file, and one sentence for a mistake."""

from pathlib import Path

import pytest
import torch

from hairclip.cli import main as cli
from hairclip.pretrained import load_parser
from tests.helpers.quads import write_quads


def test_a_training_writes_a_parser_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    quads, wide, out = (
        write_quads(tmp_path / "quads"),
        write_quads(tmp_path / "wide"),
        tmp_path / "new" / "p.safetensors",
    )
    arguments = ["--quads", str(quads), "--wide", str(wide), "--out", str(out), "--checkpoints", str(tmp_path / "run")]
    small = ["--steps", "1", "--batch", "2", "--textures", "2", "--device", "cpu"]
    assert cli.main(["train-photo-parser", *arguments, *small]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    assert load_parser(out).input_size == 32
    assert (tmp_path / "run" / "photo_parser.pt").is_file()
    more = [*arguments, *small, "--checkpoints", str(tmp_path / "more"), "--init", str(out), "--rate", "1e-9"]
    again = tmp_path / "again.safetensors"
    assert cli.main(["train-photo-parser", *more, "--out", str(again)]) == 0
    before, after = (load_parser(path).final.weight for path in (out, again))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("train-photo-parser", ["--quads", "none", "--out", "x.safetensors", "--steps", "1"], "no rendered quads"),
        ("train-photo-parser", ["--quads", "none", "--out", "x.safetensors", "--steps", "0"], "--steps 0: give 1"),
        (
            "train-photo-parser",
            ["--quads", "none", "--out", "x.safetensors", "--steps", "1", "--rate", "0"],
            "--rate 0: give a number above 0.",
        ),
        ("train-photo-parser", ["--quads", "none", "--out", "x.pt", "--steps", "1"], "ends in .safetensors"),
        ("evaluate-photo-parser", ["--count", "0"], "--count 0: give 1 or more."),
        ("evaluate-photo-parser", ["--bundle", "none"], "there is no bundle none"),
        ("evaluate-hair-mask", ["--size", "8"], "--size 8: give 32 or more."),
        ("evaluate-dye", ["--count", "0"], "--count 0: give 1 or more."),
        ("evaluate-hair-mask", ["--bundle", "none"], "there is no bundle none"),
        ("evaluate-hair-mask", ["--file", "none.safetensors"], "there is no weight file none.safetensors"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    command: str, arguments: list[str], words: str,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert cli.main([command, *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("hairclip: error: ")
    assert words in error
    assert not list(tmp_path.rglob("*.safetensors"))

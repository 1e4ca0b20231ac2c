"""The command train-text-encoder: a tiny training from start to file, and one sentence for a mistake."""

from pathlib import Path

import pytest

from hairclip.cli import main as cli
from hairclip.pretrained import load_text_encoder
from tests.helpers.tiny_networks import N_LATENT, W_DIM, WIDTH
from tests.helpers.tiny_run import write_tiny_world


def test_a_training_writes_a_text_encoder_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_tiny_world(tmp_path)
    out = tmp_path / "new" / "text.safetensors"
    arguments = ["--bundle", str(tmp_path), "--out", str(out), "--checkpoints", str(tmp_path / "run")]
    assert cli.main(["train-text-encoder", *arguments, "--steps", "2", "--device", "cpu"]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    encoder = load_text_encoder(out)
    assert (encoder.n_latent, encoder.w_dim, encoder.condition_dim) == (N_LATENT, W_DIM, WIDTH)
    assert set(encoder.notes["contents"]) == {"generator", "clip"}
    assert (tmp_path / "run" / "text_encoder.pt").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "x.pt"], "ends in .safetensors"),
        (["--out", "x.safetensors", "--steps", "0"], "--steps 0: give 1"),
        (["--out", "x.safetensors", "--bundle", "none"], "there is no bundle none"),
        (["--out", "x.safetensors", "--latents", "none.safetensors"], "none.safetensors"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], words: str,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train-text-encoder", *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("hairclip: error: ")
    assert words in error
    assert not list(tmp_path.rglob("*.safetensors"))

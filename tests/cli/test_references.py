"""``python -m hairclip references``: which words and faces it takes, what it prints, and how it exits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hairclip.cli import main as cli
from hairclip.pretrained import save_latents
from hairclip.training.setup import build_parts
from hairclip.training.trainer import train
from tests.helpers.tiny_networks import N_LATENT, W_DIM, save_bundle
from tests.helpers.tiny_run import tiny_config

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with codes, of which the first 20 are for training."""
    folder = save_bundle(tmp_path_factory.mktemp("bundle"))
    codes = torch.randn(24, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    labels = {"color": ["red", "blond"] * 12, "split": ["train"] * 20 + ["test"] * 4}
    save_latents(folder / "latents.safetensors", codes, labels)
    return folder


def references(bundle: Path, *more: str) -> int:
    return cli.main(["references", "--bundle", str(bundle), "--device", "cpu", "--batch-size", "4", *more])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def test_training_reads_the_sets_that_the_command_writes(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "sets"
    asked = ["--out", str(out), "--count", "3", "--hairstyles", "afro, bob cut,bald", "--top", "44"]
    assert references(bundle, *asked, "--latents", "sampled") == 0
    lines = capsys.readouterr().out.splitlines()
    words = ("red hair", "blond hair", "afro hairstyle", "bob cut hairstyle", "bald hairstyle")
    for line, word in zip(lines, words, strict=True):
        assert line.startswith(f"{out / word}: 3 pictures, ")
        assert line.endswith(" edits rejected")
    config = tiny_config(tmp_path / "world", f"data.color_folders={out}", f"data.hairstyle_folders={out}")
    built = build_parts(config, torch.device("cpu"))
    assert built.training.color_references.of_word == {"red": [6, 7, 8], "blond": [9, 10, 11]}
    assert list(built.training.hairstyle_references.of_word) == ["afro", "bob cut", "bald"]
    assert train(config, tmp_path / "run").is_file()


def test_only_training_faces_are_edited_and_a_word_with_too_few_is_told(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "sets"
    assert references(bundle, "--out", str(out), "--kind", "color", "--colors", "red", "--count", "22") == 1
    told = capsys.readouterr()
    assert "20 pictures, 0 edits rejected; 22 pictures were wanted" in told.out
    assert "1 word has too few pictures" in told.err


def test_mistakes_are_told_in_one_sentence(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "home"))
    bare = save_bundle(tmp_path / "bare")
    out = ["--out", str(tmp_path / "sets"), "--kind", "color"]
    for folder, more, told in (
        (bundle, ["--count", "0"], "--count 0: give 1 or more."),
        (bundle, ["--colors", ","], "--colors ',' names nothing"),
        (bundle, ["--colors", "mauve-ish"], "'mauve ish' is not understood"),
        (bundle, ["--method", "no"], "no"),
        (Path("ffhq"), [], "the latents of ffhq do not tell which are for training: give --latents celeba-hq-train"),
        (Path("ffhq"), ["--latents", "celeba-hq-train"], "python -m hairclip download"),
        (bare, [], "has no latents: give --latents NAME, a file, or sampled."),
    ):
        assert references(folder, *out, *more) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1


@pytest.mark.slow
def test_two_processes_write_the_set_of_one(bundle: Path, tmp_path: Path):
    asked = ["--bundle", str(bundle), "--device", "cpu", "--batch-size", "2", "--count", "5", "--tries", "2"]
    asked += ["--top", "2", "--hairstyles", "afro"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    script = str(REPOSITORY / "scripts" / "references.py")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, start in (("one", []), ("two", launch)):
        done = subprocess.run(
            [sys.executable, *start, script, *asked, "--out", str(tmp_path / name)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode in (0, 1), done.stderr
        assert done.stdout.count("edits rejected") == 3  # one process prints
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(list((tmp_path / "two" / "red hair").glob("*.jpg"))) == 5

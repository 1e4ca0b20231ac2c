"""The commands of the methods that paint by tokens: priors and training from start to file, and mistakes."""

from pathlib import Path

import pytest
import torch

from hairclip.cli import main as cli
from hairclip.common.images import save_image
from hairclip.pretrained.bundle import load_bundle
from hairclip.pretrained.latent_files import save_latents
from tests.helpers.tiny_networks import N_LATENT, W_DIM, save_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle with labeled latents and without priors, codec and token transformer."""
    folder = tmp_path_factory.mktemp("bundle")
    save_bundle(folder)
    codes = torch.randn(40, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    labels = {"hairstyle": ["afro", "bob cut"] * 20, "color": ["red"] * 20 + ["blond"] * 20, "split": ["train"] * 40}
    save_latents(folder / "latents.safetensors", codes, labels)
    return folder


def test_the_networks_of_the_method_vq_come_from_two_commands(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    small = ["--bundle", str(bundle), "--pictures", "40", "--checkpoints", str(tmp_path), "--device", "cpu"]
    photo = [
        "--image",
        str(tmp_path / "photo.png"),
        "--hairstyle",
        "afro",
        "--method",
        "vq",
        "--out",
        str(tmp_path / "e.png"),
    ]
    save_image(torch.zeros(1, 3, 32, 32), tmp_path / "photo.png")
    assert cli.main(["hair-priors", *small, "--out", str(bundle / "hair_priors.safetensors")]) == 0
    assert load_bundle(bundle).hair_priors.hairstyles == ("afro", "bob cut")
    assert cli.main(["edit", *photo, "--bundle", str(bundle), "--device", "cpu"]) == 2
    assert "has no codec: make it with python -m hairclip train-tokens" in capsys.readouterr().err
    steps = ["--codec-steps", "1", "--steps", "1", "--batch", "2"]
    assert cli.main(["train-tokens", *small, *steps, "--out", str(bundle)]) == 0
    trained = load_bundle(bundle)
    assert trained.token_transformer.grid * trained.codec.patch == 32
    assert torch.equal(trained.token_transformer.codebook, trained.codec.codebook)


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("hair-priors", ["--out", "x.pt"], "ends in .safetensors"),
        ("hair-priors", ["--out", "x.safetensors", "--pictures", "0"], "--pictures 0: give 1 or more."),
        ("train-tokens", ["--out", "x", "--codec-steps", "0"], "--codec-steps 0: give 1 or more."),
        ("train-tokens", ["--out", "x", "--bundle", "none"], "there is no bundle none"),
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

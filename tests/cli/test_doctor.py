"""The doctor: what is there, what is missing and where it goes, and parts of torch that do not fit."""

import importlib.metadata
from pathlib import Path

import pytest
import torch

from hairclip.cli import doctor
from hairclip.cli import main as cli
from hairclip.pretrained.registry import WEIGHTS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "weights").mkdir(parents=True)
    return tmp_path / "home" / "weights"


def test_every_shipped_configuration_is_examined(home: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert f"torch {torch.__version__}" in out
    assert "torchvision" in out
    assert str(home) in out
    assert "bundle portraits: ready" in out
    parts = "generator, clip, parser, identity, encoder, mapper, latents"
    assert f"bundle ffhq: MISSING {parts}: run python -m hairclip download ffhq (at least 2,331.6 MB)\n" in out
    portraits, ffhq = out.partition("hairclip.yaml")[2].partition("portraits.yaml")[::-2]
    assert "networks.generator: portraits/generator: there" in portraits
    assert "MISSING" not in portraits
    for name in ("stylegan2-ffhq", "clip-vit-b-32", "parsenet", "ir-se50", "celeba-hq-train", "celeba-hq-test"):
        weight = WEIGHTS[name]
        line = next(line for line in ffhq.splitlines() if f": {name}: " in line)
        assert f"MISSING: run python -m hairclip download {name}" in line
        assert weight.license in line
        assert line.endswith(f"or put it at {home / weight.file}")


def test_a_bundle_without_what_an_edit_can_do_without_is_ready(home: Path):
    assert doctor.check_bundle("ffhq").startswith("MISSING generator, clip")
    for name in ("stylegan2-ffhq", "hairclip", "parsenet", "e4e-ffhq"):
        path = home / WEIGHTS[name].file
        with path.open("wb") as file:
            file.truncate(WEIGHTS[name].size)
    assert doctor.check_bundle("ffhq") == (
        "ready to edit, without identity, latents: run python -m hairclip download ffhq (at least 175.4 MB)"
    )


def test_states_of_files(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (home / "stylegan2-ffhq-config-f.pt.partial").write_bytes(bytes(3_000_000))
    (home / "parsenet.pth").write_bytes(b"short")
    (home / "train_faces.pt").write_bytes(b"any size: it is not known")
    (tmp_path / "pictures").mkdir()
    Path("mine.yaml").write_text(
        "networks: {generator: stylegan2-ffhq, parser: ffhq/parser, identity: mine.pth}\n"
        "data: {latents: celeba-hq-train, hairstyle_images: pictures, color_images: others}\n"
    )
    assert cli.main(["doctor", "--config", "mine.yaml"]) == 0
    lines = {line.split(":")[0].strip(): line for line in capsys.readouterr().out.splitlines()}
    assert "MISSING: 3.0 MB of it are fetched" in lines["networks.generator"]
    assert "WRONG" in lines["networks.parser"]
    assert "5 bytes in place of 7,813,380" in lines["networks.parser"]
    assert lines["networks.identity"].endswith(f"MISSING: put it at {tmp_path / 'mine.pth'}")
    assert "networks.clip: portraits/clip: there" in lines["networks.clip"]
    assert "there" in lines["data.latents"]
    assert lines["data.hairstyle_images"].endswith("pictures: there")
    assert lines["data.color_images"].endswith(f"put that folder at {tmp_path / 'others'}")


def test_a_configuration_that_is_wrong_is_one_sentence(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["doctor", "--config", "none.yaml"]) == 2
    assert "none.yaml" in capsys.readouterr().err


def lines() -> list[tuple[str, bool]]:
    return list(doctor._check_torchvision("2.6.0+cu124"))


def pretend(monkeypatch: pytest.MonkeyPatch, version: str, requires: list[str]) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requires)


def test_torchvision_of_another_torch(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    pretend(monkeypatch, "0.20.0", ["numpy", "torch==2.5.0"])
    assert lines() == [("torchvision 0.20.0 wants torch==2.5.0, but torch 2.6.0+cu124 is installed", False)]
    assert cli.main(["doctor"]) == 2
    captured = capsys.readouterr()
    assert "PROBLEM: torchvision 0.20.0 wants torch==2.5.0" in captured.out
    assert "networks.generator" in captured.out  # the rest is still told
    assert captured.err.count("\n") == 1


def test_torchvision_for_another_device(monkeypatch: pytest.MonkeyPatch):
    pretend(monkeypatch, "0.21.0+cpu", ["torch==2.6.0"])
    assert lines() == [("torchvision 0.21.0+cpu and torch 2.6.0+cu124 are built for different devices", False)]


def test_torchvision_that_fails_at_work(monkeypatch: pytest.MonkeyPatch):
    import torchvision

    def nms(*arguments):
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    pretend(monkeypatch, "0.21.0", ["torch==2.6.0"])
    assert lines() == [("torchvision 0.21.0 fits", True)]
    monkeypatch.setattr(torchvision.ops, "nms", nms)
    ((line, fine),) = lines()
    assert not fine
    assert "torchvision::nms does not exist" in line


def test_no_torchvision(monkeypatch: pytest.MonkeyPatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert not lines()[0][1]


@pytest.mark.parametrize(
    ("built", "capability", "fine"),
    [
        (["sm_80", "sm_90"], (9, 0), True),
        (["sm_80"], (8, 6), True),
        (["sm_80", "sm_90"], (12, 0), False),
        (["sm_80", "compute_90"], (12, 0), True),
        (["sm_80"], (7, 5), False),
        (["sm_90a"], (9, 0), True),
    ],
)
def test_gpus_that_torch_is_not_built_for(
    built: list[str], capability: tuple[int, int], fine: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "Some GPU")
    ((line, found),) = doctor._check_cuda()
    assert found is fine
    assert "cuda:0 Some GPU" in line

"""The command: what it measures and writes, when it fails, and one sentence for a user's mistake."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from hairclip.cli import main as cli
from hairclip.evaluation.speed import official_networks
from hairclip.evaluation.speed.clock import LapTimer
from hairclip.evaluation.speed.latency import edit_works
from hairclip.evaluation.speed.setting import Setting, build_setting
from hairclip.evaluation.speed.steps import LibraryTraining, OfficialTraining, official_tasks
from tests.helpers.tiny_networks import CLIP_CONFIG, SIZE, W_DIM

ARCHITECTURES = {
    "generator": {
        "size": SIZE,
        "w_dim": W_DIM,
        "z_dim": W_DIM,
        "mapping_layers": 2,
        "channels": {4: 8, 8: 8, 16: 8, 32: 8, 64: 8},
    },
    "clip": {"model": CLIP_CONFIG},
    "parser": {"filters": [4, 4, 8, 8, 8], "input_size": 32},
    "identity": {"units": [1, 1], "widths": [8, 8], "input_size": 32, "embedding": 12, "frame": 32},
}
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def write_config(folder: Path, **sections: object) -> str:
    """A configuration with small architectures: its networks get random weights."""
    path = folder / "tiny.yaml"
    settings = {
        "name": "tiny",
        "networks": {"architectures": ARCHITECTURES},
        "data": {"reference_pool": 4},
        "mapper": {"groups": [3, 5]},
        **sections,
    }
    path.write_text(yaml.safe_dump(settings))
    return str(path)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("benchmark")
    return write_config(folder, optimizer={"name": "ranger"}, training={"batch_size": 2})


@pytest.fixture(scope="module")
def setting(config: str) -> Setting:
    return build_setting(config, device="cpu")


def run(config: str, *more: str) -> int:
    return cli.main(["benchmark", "--config", config, "--device", "cpu", "--repeats", "1", "--warmup", "0", *more])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_step_and_parts(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], accumulate: int):
    out = tmp_path / "figures" / "out.json"
    options = ["--measure", "step,parts", "--tasks", "text,both", f"training.accumulate={accumulate}"]
    assert run(config, *options, "--json", str(out)) == 0
    shown = capsys.readouterr().out
    for words in ("training step, batch 2, float32", "samples per second", "generator backward", "within 0.001"):
        assert words in shown
    figures = json.loads(out.read_text())
    assert figures["setting"]["resolution"] == SIZE
    assert figures["agreement"]["float32"]["passes"]
    assert figures["step"]["flops"] > 0
    parts = figures["parts"]["parts"]
    assert parts["generator forward"]["flops"] > 0
    assert all(part["seconds"] >= 0 for part in parts.values())
    for direction in ("forward", "backward"):  # nothing is counted twice
        assert parts[f"other terms {direction}"]["flops"] < parts[f"identity {direction}"]["flops"]
    counted = sum(part["flops"] for part in parts.values())
    assert counted == pytest.approx(figures["step"]["flops"], rel=0.02)


def test_speedup(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out.json"
    variant = "losses.precision=bfloat16 training.accumulate=2"
    options = ["--resolution", "64", "--tasks", "reference", "--variant", variant, "--cpu-time"]
    assert run(config, "--speedup", *options, "--json", str(out)) == 0
    assert "reference: float32, sources cached" in capsys.readouterr().out
    figures = json.loads(out.read_text())
    assert figures["setting"]["resolution"] == 64
    names = ["float32", "bfloat16", f"bfloat16, {variant}"]
    assert list(figures["agreement"]) == names
    assert figures["agreement"]["bfloat16"]["gradient"] > figures["agreement"]["float32"]["gradient"]
    rows = figures["speedup"]["reference"]
    assert set(rows) == {"official", *names, *(f"{name}, sources cached" for name in names)}
    assert rows["official"]["times_faster"]["median"] == 1
    assert all(row["peak_memory"]["bytes"] > 0 for row in rows.values())


def test_disagreement_is_exit_code_1(config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(official_networks, "_SLOPE", 0.21)
    assert run(config, "--measure", "step", "--tasks", "text") == 1
    assert "do not agree" in capsys.readouterr().out
    assert run(config, "--measure", "step", "--tasks", "text", "--no-check") == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--resolution", "100"], "--resolution 100"),
        (["--resolution", "128"], "lacks the resolutions"),
        (["--resolution", "4"], "--resolution 4"),
        (["--batch", "0"], "--batch 0"),
        (["--repeats", "0"], "--repeats 0"),
        (["--dtype", "float8"], "--dtype float8"),
        (["--dtype", "float16"], "float16 needs a CUDA device"),
        (["--device", "cuda"], "device 'cuda:0'"),
        (["--measure", "speed"], "--measure 'speed'"),
        (["--tasks", ""], "--tasks ''"),
        (["training.batch=2"], "training.batch"),
    ],
)
def test_mistakes_are_one_sentence(
    config: str, options: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert run(config, *options) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert words in message


def test_networks_that_are_loaded_have_one_size(capsys: pytest.CaptureFixture[str]):
    assert run(str(CONFIGS / "portraits.yaml"), "--resolution", "256") == 2
    assert "makes 128 px" in capsys.readouterr().err


def test_tasks_are_of_the_kind_asked_for(setting: Setting):
    for kind, style, color in (("text", str, type(None)), ("reference", int, type(None)), ("both", str, int)):
        tasks = setting.tasks(kind, 3)
        assert tasks == setting.tasks(kind, 3)
        assert [task.latent for task in tasks] == [0, 1, 2]
        assert all(isinstance(task.hairstyle, style) and isinstance(task.color, color) for task in tasks)
    assert all(task.color is not None for task in official_tasks(setting, setting.tasks("both", 3)))
    assert setting.tasks("mix", 5) == setting.parts.sampler.sample(5, 0, 0, 0)


def test_random_networks_show_hair_in_pictures_of_the_usual_range(setting: Setting):
    source = setting.parts.training.collate(setting.tasks("text", 4)).source
    assert 0.05 < float(source.hair_mask.float().mean()) < 0.95
    assert 0.1 < float(source.images.std()) < 1.0


def test_both_sides_train_a_mapper_of_their_own(setting: Setting):
    tasks = setting.tasks("both", 2)
    before = [parameter.clone() for parameter in setting.parts.mapper.parameters()]
    for training in (LibraryTraining(setting, tasks), OfficialTraining(setting, tasks)):
        timer = LapTimer(setting.device)
        timer.start()
        training(timer)
        assert list(timer.seconds()) == ["step"]
        moved = [not torch.equal(a, b) for a, b in zip(training.mapper.parameters(), before, strict=True)]
        assert any(moved)
    assert all(torch.equal(a, b) for a, b in zip(setting.parts.mapper.parameters(), before, strict=True))


def test_a_batch_in_parts_has_the_same_gradients(setting: Setting):
    tasks = setting.tasks("both", 4)
    settings = setting.config.training.model_copy(update={"batch_size": 4, "accumulate": 4})
    whole = LibraryTraining(setting, tasks)
    parts = LibraryTraining(replace(setting, config=setting.config.model_copy(update={"training": settings})), tasks)
    assert (whole.size, parts.size) == (2, 1)
    for a, b in zip(whole.gradients()[1], parts.gradients()[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_edits_of_one_and_of_many():
    setting = build_setting(str(CONFIGS / "portraits.yaml"), device="cpu")
    works = edit_works(setting, 2)
    assert list(works) == ["edit, 1 picture", "edit, 2 pictures"]
    for work in works.values():
        timer = LapTimer(setting.device)
        timer.start()
        work(timer)
        assert list(timer.seconds()) == ["edit"]
    assert list(edit_works(setting, 0)) == ["edit, 1 picture"]

"""Training both ways: the same mapper where both compute in float32, and one table of what they learnt."""

from pathlib import Path

import pytest
import torch

from hairclip.cli import main as cli
from hairclip.evaluation.speed.clock import LapTimer
from hairclip.evaluation.speed.learning import compare_figures, train_both
from hairclip.evaluation.speed.setting import Setting, build_setting
from hairclip.training.teacher import teach
from tests.cli.test_benchmark import write_config
from tests.helpers.tiny_run import write_tiny_world
from tests.training.test_teacher import write_teacher


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_config(
        tmp_path_factory.mktemp("quality"),
        optimizer={"name": "adam", "lr": 1e-3, "ema": 0.9},
        training={"batch_size": 3, "steps": 3},
        validation={"count": 4},
    )


@pytest.fixture(scope="module")
def setting(config: str) -> Setting:
    return build_setting(config, device="cpu")


def test_both_ways_lead_to_the_same_mapper(setting: Setting):
    found = train_both(setting, LapTimer(setting.device), progress=False)
    before = torch.cat([p.detach().flatten() for p in setting.parts.mapper.parameters()])
    official, library = (
        torch.cat([p.detach().flatten() for p in found[side].mapper.parameters()]) for side in ("official", "library")
    )
    assert (official - before).norm() > 1e-2
    assert (official - library).norm() < 2e-2 * (official - before).norm()
    assert found["official"].validation == pytest.approx(found["library"].validation, rel=1e-3)
    assert min(trained.seconds for trained in found.values()) > 0


def test_the_step_in_float32_stands_in_for_the_official_one(config: str, setting: Setting):
    half = build_setting(config, ["training.precision=bfloat16"], device="cpu")
    found = train_both(half, LapTimer(setting.device), exact=setting, progress=False)
    assert list(found) == ["float32", "library"]
    alone = train_both(setting, LapTimer(setting.device), progress=False)["library"].mapper
    for one, other in zip(found["float32"].mapper.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)
    assert any(
        not torch.equal(one, other)
        for one, other in zip(found["library"].mapper.parameters(), alone.parameters(), strict=True)
    )


def test_both_ways_start_from_what_the_teacher_taught(tmp_path: Path):
    taught = [f"training.teacher={write_teacher(tmp_path)}", "training.teacher_steps=3", "training.steps=1"]
    setting = build_setting(str(write_tiny_world(tmp_path)), [*taught, "optimizer.lr=1e-9"], device="cpu")
    before = [p.detach().clone() for p in setting.parts.mapper.parameters()]
    found = train_both(setting, LapTimer(setting.device), progress=False)
    parts, start = setting.parts, setting.parts.mapper
    assert all(torch.equal(one, other) for one, other in zip(start.parameters(), before, strict=True))
    assert parts.teacher is not None
    teach(start, parts.teacher, parts.training, parts.sampler, steps=3, seed=setting.config.seed)
    assert any(not torch.equal(one, other) for one, other in zip(start.parameters(), before, strict=True))
    for side in ("official", "library"):
        for one, other in zip(found[side].mapper.parameters(), start.parameters(), strict=True):
            assert torch.allclose(one, other, atol=1e-6)


def test_networks_that_measure_nothing_are_refused_before_training(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    options = ["--device", "cpu", "--out", str(tmp_path / "out")]
    assert cli.main(["benchmark-learning", "--config", config, *options]) == 2
    assert "configs/portraits.yaml" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_table_of_means_over_seeds():
    figures = [
        {side: {"seconds": 8.0 if side == "official" else 2.0, "validation": seed} for side in ("official", "library")}
        for seed in (1.0, 3.0)
    ]
    table = compare_figures(figures)
    assert "mean over 2 seeds" in table
    assert "2.000 ± 1.414" in table
    assert "8.000 ± 0.000" in table

"""The term of losses/README.md, outside the package: trained with, recorded, and compared with the official step."""

import json
import re
from pathlib import Path

import pytest
import yaml

from hairclip.config import Config, load_config
from hairclip.evaluation.speed.agreement import compare
from hairclip.evaluation.speed.setting import build_setting
from hairclip.losses.hair_edit import default_weights
from hairclip.training.trainer import train
from tests.helpers.tiny_run import write_tiny_world

README = Path(__file__).resolve().parents[2] / "hairclip" / "losses" / "README.md"


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny setting whose YAML names the README's term, and the module that holds it."""
    example, settings = re.findall(r"```(?:python|yaml)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "my_terms.py").write_text(example, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    tasks = {"hairstyle": 1.0, "color": 0.0, "both": 0.0, "none": 0.0}
    return write_tiny_world(tmp_path, tasks=tasks, training={"steps": 2}, **yaml.safe_load(settings))


def test_it_is_trained_with_and_recorded(setting: Path):
    train(load_config(setting), setting.parent / "run")
    lines = [json.loads(line) for line in (setting.parent / "run" / "metrics.jsonl").read_text().splitlines()]
    by_kind = {line["kind"]: line for line in lines}
    assert by_kind["weights"]["edge_energy"] == 0.1
    assert by_kind["train"]["edge_energy"] > 0
    assert by_kind["validation"]["edge_energy"] > 0


def test_it_is_in_the_agreement_with_the_official_step(setting: Path):
    setting = build_setting(str(setting), ["training.precision=float32"])
    (found,) = compare({"float32": setting}, setting.tasks("text", 2))
    assert found.weights["edge_energy"] == 0.1
    assert found.values["edge_energy"] > 0
    assert found.terms["edge_energy"] < 1e-4
    assert found.passes


def test_the_defaults_of_terms_and_configuration_agree():
    configured = Config().losses.weights
    assert {key: weight for key, weight in default_weights().items() if key in configured} == configured
    assert not any(weight for key, weight in default_weights().items() if key not in configured)

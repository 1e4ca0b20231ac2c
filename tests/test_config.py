"""The YAML: numbers as written, no duplicate keys, and errors that say what, where and what instead."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.common.yaml import read_yaml
from hairclip.config import Config, LossConfig, MapperConfig, TasksConfig, describe_keys, dump_config, load_config

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_parse(path: Path):
    assert load_config(path).name == path.stem


def test_paper_setting_is_the_papers():
    config = load_config(next(path for path in CONFIGS if path.stem == "hairclip"))
    assert (config.optimizer.name, config.optimizer.lr) == ("ranger", 5e-4)
    assert config.training.steps * config.training.batch_size == 500_000
    assert config.losses == Config().losses
    assert config.tasks == Config().tasks
    assert config.mapper.absent == "passthrough"


def test_the_large_gpu_setting_is_the_papers_but_for_speed():
    paper, large = (load_config(CONFIGS[0].parent / f"{name}.yaml") for name in ("hairclip", "hairclip_large_gpu"))
    assert large.training.steps * large.training.batch_size == 500_000
    assert large.losses.weights == paper.losses.weights
    assert (large.networks, large.mapper, large.tasks, large.optimizer) == (
        paper.networks,
        paper.mapper,
        paper.tasks,
        paper.optimizer,
    )


def test_the_reference_of_keys_is_generated():
    text = (CONFIGS[0].parent / "README.md").read_text(encoding="utf-8")
    printed = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "hairclip", "train", "--help-config"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert text.partition("<!-- keys -->\n\n")[2] == printed.stdout == describe_keys()
    assert not re.search(r"\| torch\b", printed.stderr)
    assert "| None |" not in printed.stdout  # every key has a description


def test_a_base_is_changed_key_by_key(tmp_path: Path):
    (tmp_path / "base.yaml").write_text("optimizer: {lr: 1e-4, ema: 0.9}\nseed: 3\n")
    config = load_config(write(tmp_path, "base: base.yaml\noptimizer: {lr: 1e-3}\n"))
    assert (config.optimizer.lr, config.optimizer.ema, config.seed) == (1e-3, 0.9, 3)
    (tmp_path / "base.yaml").write_text("base: run.yaml\n")
    with pytest.raises(HairclipError, match="a base of itself"):
        load_config(tmp_path / "run.yaml")
    with pytest.raises(HairclipError, match="expected the name of a YAML file"):
        load_config(write(tmp_path, "base: [a]\n"))


def test_defaults_and_choices_are_those_of_the_constructors():
    """Wherever a constructor has an argument of the same name as a key, both must allow and assume the same."""
    from typing import get_args

    from hairclip.losses.judge import Judge
    from hairclip.networks.mapper import HairMapper
    from hairclip.training.tasks import TaskSampler

    compared = 0
    for section, built in ((TasksConfig, TaskSampler), (MapperConfig, HairMapper), (LossConfig, Judge)):
        arguments = inspect.signature(built).parameters
        for key, field in section.model_fields.items():
            if key not in arguments or key in ("identity", "precision"):  # a network, a dtype
                continue
            default = field.get_default(call_default_factory=True)
            assert arguments[key].default == (tuple(default) if isinstance(default, list) else default), key
            if isinstance(default, str):
                assert get_args(arguments[key].annotation) == get_args(field.annotation), key
            compared += 1
    assert compared == 8 + 9 + 3  # all of tasks and mapper; text_pixels, gamma and resolution


def test_paper_networks_build_from_their_architectures():
    from hairclip.training.setup import build_mapper, build_networks

    path = next(path for path in CONFIGS if path.stem == "hairclip")
    config = load_config(path, ["dry_run=true"])
    with torch.device("meta"):  # shapes alone, no memory
        networks = build_networks(config, torch.device("meta"))
        mapper = build_mapper(config, networks)
    assert (networks.generator.size, networks.clip.width) == (1024, 512)
    assert sum(parameter.numel() for parameter in mapper.parameters()) == 19_729_920


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E+2", 100.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("-1.5e3", -1500.0),
        ("500_000", 500000),
        ("-3", -3),
        ("12:30", "12:30"),
        ("2024-01-02", "2024-01-02"),
        ("no", "no"),
        ("true", True),
        ("null", None),
        ("", None),
        ("1e", "1e"),
        ("[a, 2]", ["a", 2]),
    ],
)
def test_values_read_as_written(tmp_path: Path, text: str, value: object):
    found = read_yaml(write(tmp_path, f"key: {text}"))["key"]
    assert found == value
    assert type(found) is type(value)


def test_overrides_win_in_order(tmp_path: Path):
    path = write(tmp_path, "optimizer: {lr: 1e-4}\n")
    config = load_config(
        path, ["optimizer.lr=1e-3", "training.steps=7", "optimizer.lr=2e-3", "data.hairstyles=[bob cut]"]
    )
    assert (config.optimizer.lr, config.training.steps, config.data.hairstyles) == (2e-3, 7, ["bob cut"])


def test_empty_file_is_all_defaults(tmp_path: Path):
    assert load_config(write(tmp_path, "# nothing\n")) == Config()


def test_dump_reads_back(tmp_path: Path):
    config = load_config(write(tmp_path, "optimizer: {lr: 1e-7, ema: 0.99}\n"))
    assert load_config(write(tmp_path, dump_config(config))) == config


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("trainin: {}", ["trainin", "did you mean training?"]),
        ("training: {step: 3}", ["training.step", "did you mean steps?", "batch_size"]),
        ("optimizer: {schedule: cosin}", ["optimizer.schedule", "'cosin'", "constant, cosine", "did you mean cosine?"]),
        ("optimizer: {lr: fast}", ["optimizer.lr", "a number", "'fast'"]),
        ("optimizer: {lr: '1e-4'}", ["optimizer.lr", "a number", "text '1e-4'"]),
        ("training: {steps: 2.5}", ["training.steps", "a whole number", "2.5"]),
        ("training: {steps: 0}", ["training.steps", "greater than or equal to 1"]),
        ("training: {steps: true}", ["training.steps", "a whole number", "True"]),
        ("training: 3", ["training", "a mapping of keys", "whole number 3"]),
        ("mapper: {coarse: 1}", ["mapper.coarse", "true or false"]),
        ("mapper: {groups: [4, x]}", ["mapper.groups[1]", "a whole number"]),
        ("data: {colors: [red, '']}", ["data.colors[1]", "at least 1 character"]),
        ("optimizer: {lr: .nan}", ["optimizer.lr", "finite"]),
        ("tasks: {none: 0.5}", ["tasks", "must be 1"]),
        ("dry_run: true", ["dry_run", "generator, clip, parser, identity"]),
        ("networks: {architectures: {clipp: {}}}", ["networks", "clipp", "did you mean clip?"]),
        ("name: a\nseed: 1\nname: b", ["line 3", "'name' appears twice"]),
        ("a: [1", ["line 1"]),
        ("- 1", ["mapping of keys", "list"]),
        ("training: {steps: !!python/object:os.system {}}", ["line 1", "constructor"]),
        ("training: {steps: !!int x}", ["'x'"]),
        ("a: b: c", ["line 1"]),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, parts: list[str]):
    path = write(tmp_path, text)
    with pytest.raises(HairclipError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("lr", ["'lr' is not an override", "key=value"]),
        ("optimizer.lr=fast", ["command line: optimizer.lr", "a number"]),
        ("optimizer.rate=3", ["command line: optimizer.rate", "unknown key"]),
        ("optimizer.lr.x=3", ["optimizer.lr", "holds a value"]),
        ("name=[a", ["command line: name=[a"]),
    ],
)
def test_mistaken_overrides_are_named(tmp_path: Path, override: str, parts: list[str]):
    with pytest.raises(HairclipError) as caught:
        load_config(write(tmp_path, "optimizer: {lr: 1e-4}"), [override])
    for part in parts:
        assert part in str(caught.value)


def test_file_errors_are_not_blamed_on_the_command_line(tmp_path: Path):
    path = write(tmp_path, "training: {steps: x}")
    with pytest.raises(HairclipError, match="run.yaml: training.steps"):
        load_config(path, ["optimizer.lr=1e-3"])


def test_missing_and_binary_files(tmp_path: Path):
    with pytest.raises(HairclipError, match="there is no configuration file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HairclipError, match="UTF-8"):
        load_config(tmp_path / "binary.yaml")


def test_the_layer_split_of_a_configuration_is_the_mappers():
    from hairclip.networks.mapper import LAYER_SPLIT

    assert tuple(Config().mapper.groups) == LAYER_SPLIT

"""Every command of README runs, in a shortened form; a command that this file does not know fails the test."""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hairclip.cli.main import build_parser
from hairclip.config import load_config
from hairclip.pretrained.registry import WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def readme_commands() -> list[str]:
    """The lines of README's bash blocks, taken apart at &&, and the inline code that runs a script."""
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    lines = [part.strip() for block in blocks for line in block.splitlines() for part in line.split("&&")]
    inline = re.findall(r"`(python scripts/[^`]*)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))
    return list(dict.fromkeys([line for line in lines if line] + [" ".join(code.split()) for code in inline]))


def replaced(words: list[str], option: str, value: str) -> list[str]:
    """The command with an option set to another value, added before everything else where it is missing."""
    if option in words:
        at = words.index(option)
        return [*words[: at + 1], value, *words[at + 2 :]]
    return [words[0], option, value, *words[1:]]


OWN = {"me.jpg": "data/portraits/anna.png", "friend.jpg": "data/portraits/ben.png"}
"""The reader's own photos, and what stands in for them."""


def with_photos(words: list[str], out: Path) -> list[str]:
    """The command with shipped portraits in the place of the reader's photos, a folder of two for `photos`."""
    folder = out / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    for name in OWN.values():
        shutil.copy(ROOT / name, folder)
    return [str(folder) if word == "photos" else OWN.get(word, word) for word in words]


def shortened(command: str, out: Path) -> list[str]:
    """The script and arguments that try a command in little time and write below `out` only."""
    words = shlex.split(command)[1:]
    name = Path(words[0]).stem
    if name == "edit":
        words = replaced(words, "--out", str(out / ("edited" if "photos" in words else "out.png")))
        words = with_photos(words, out)
        if "--steps" in words:
            words = replaced(words, "--steps", "2")
        if "--mapper" in words:  # of a training run
            words = replaced(words, "--mapper", "portraits/mapper")
        return replaced(words, "--optimize-steps", "3")
    if name == "benchmark":
        words = replaced(replaced(words, "--repeats", "1"), "--warmup", "0")
        if "configs/hairclip.yaml" in words:
            words = replaced(words, "--resolution", "64")
        return [*replaced(replaced(words, "--measure", "step"), "--json", str(out / "out.json")), "--no-check"]
    words = replaced(words, "--out", str(out / "out"))
    if name == "benchmark_learning":
        return [*replaced(replaced(words, "--seeds", "1"), "--edits", "3"), "training.steps=1"]
    if name == "train":
        few = ["training.steps=1", "training.batch_size=2", "validation.count=2", "data.reference_pool=4"]
        return [*words, *few, "data.cache_sources=false", "logging.tensorboard=false"]
    if name == "evaluate":
        return replaced(replaced(words, "--count", "3"), "--workers", "1")
    if name == "evaluate_photos":
        return replaced(words, "--count", "1")
    if name == "evaluate_inversion":
        words = replaced(replaced(words, "--count", "2"), "--workers", "1")
        return replaced(words, "--steps", "2")
    if name == "render_portraits":
        return replaced(replaced(replaced(words, "--count", "1"), "--workers", "1"), "--size", "32")
    if name == "train_portrait_networks":
        return replaced(replaced(words, "--quads", str(out / "none")), "--install", str(out / "install"))
    if name == "evaluate_portrait_networks":
        words = replaced(replaced(words, "--count", "2"), "--workers", "1")
        return replaced(replaced(words, "--optimize-count", "1"), "--optimize-steps", "2")
    raise AssertionError(f"README has a command that tests do not know: {command}")


COMMANDS = readme_commands()
SCRIPTS = [command for command in COMMANDS if command.startswith("python scripts/")]
MODULE = "python -m hairclip "


def test_every_command_is_covered(tmp_path: Path):
    """By running it, or by the steps of CI, which install and test."""
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in COMMANDS:
        words = shlex.split(command)
        if command.startswith(MODULE):
            continue  # see the next test
        if words[0] == "python":
            script = shortened(command, tmp_path)[0]
            assert (ROOT / script).is_file(), command
        elif words[0] == "pip":
            assert words[1:] == ["install", "-e", ".[portraits,dev]"]
            assert '--editable ".[portraits,dev]"' in ci
        elif words[0] == "pytest":
            assert words == ["pytest"]
            assert "\npytest" in ci
        else:
            assert words[0] == "torchrun", f"README has a command that tests do not know: {command}"
    assert {Path(shlex.split(command)[1]).stem for command in SCRIPTS} == {
        path.stem for path in (ROOT / "scripts").glob("*.py")
    }


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith(MODULE)])
def test_module_commands_exist_and_name_known_weights(command: str):
    options = build_parser().parse_args(shlex.split(command.removeprefix(MODULE)))
    assert set(getattr(options, "names", [])) <= set(WEIGHTS)


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if re.search(r"scripts/(train|edit|evaluate|benchmark)\.py", c)]
)
def test_options_exist_and_files_are_there(command: str):
    words = shlex.split(command)
    script = next(i for i, word in enumerate(words) if word.startswith("scripts/"))
    options: argparse.Namespace = build_parser().parse_args([Path(words[script]).stem, *words[script + 1 :]])
    if options.command == "edit":
        assert options.image == "photos" or (ROOT / OWN.get(options.image, options.image)).is_file()
    else:
        load_config(ROOT / options.config, options.overrides)


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("torchrun")])
def test_batches_can_be_shared_among_the_processes(command: str):
    """The weights of this setting are not shipped: it is not run."""
    words = shlex.split(command)
    processes = int(words[words.index("--nproc-per-node") + 1])
    script = words.index("scripts/train.py")
    options = build_parser().parse_args(["train", *words[script + 1 :]])
    batch_size = load_config(ROOT / options.config, options.overrides).training.batch_size
    assert batch_size % processes == 0, f"{command}: add training.batch_size={processes}"


@pytest.mark.slow
@pytest.mark.parametrize("command", SCRIPTS)
def test_scripts_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "cache"))
    words = shortened(command, tmp_path)
    result = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=900)
    if "train_portrait_networks" in command:  # takes hours: as far as the pictures it wants
        assert result.returncode == 2
        assert "no rendered quads in" in result.stderr
        return
    # networks evaluated on two people may miss what they must reach, which is exit code 1
    assert result.returncode in ((0, 1) if "evaluate_portrait_networks" in command else (0,)), result.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file() and "cache" not in path.parts]
    assert written
    assert all(path.stat().st_size > 0 for path in written)


@pytest.mark.slow
def test_the_notebook_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    portrait, photo = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(portrait, "README.md", "exec"), names)
    assert tuple(names["result"].image.shape) == (1, 3, 128, 128)  # type: ignore[attr-defined]
    for name, own in {**OWN, "me_red_bob.jpg": str(tmp_path / "edited.jpg")}.items():
        photo = photo.replace(f'"{name}"', repr(own))
    exec(compile(photo, "README.md", "exec"), {})
    assert (tmp_path / "edited.jpg").stat().st_size > 0

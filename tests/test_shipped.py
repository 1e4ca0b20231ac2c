"""What comes with the repository: weights that fit together, people, and README commands that run."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hairclip.__main__ import build_parser
from hairclip.pretrained import PARTS, load_bundle, load_latent_labels, load_latents

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data" / "portraits"


def readme_commands() -> list[list[str]]:
    """Every command line of README's bash blocks that starts with python."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [part.strip() for block in blocks for line in block.splitlines() for part in line.split("&&")]
    return [shlex.split(line) for line in lines if line.startswith("python ")]


def test_weights_and_pictures_stay_small():
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 30e6


def test_the_networks_of_the_bundle_fit_together():
    bundle = load_bundle("portraits")
    generator, encoder, mapper = bundle.generator, bundle.encoder, bundle.mapper
    assert generator.size >= 128
    assert (encoder.n_latent, encoder.w_dim) == (generator.n_latent, generator.w_dim)
    assert (mapper.config["n_latent"], mapper.config["w_dim"]) == (generator.n_latent, generator.w_dim)
    assert mapper.config["condition_dim"] == bundle.clip.width
    latents, labels = load_latents("portraits/latents"), load_latent_labels("portraits/latents")
    assert tuple(latents.shape[1:]) == (generator.n_latent, generator.w_dim)
    assert len(labels["hairstyle"]) == len(labels["color"]) == len(latents)
    assert set(labels["split"]) == {"train", "val"}
    assert set(labels["hairstyle"]) == set(bundle.judge.classes)
    assert {path.stem for path in DATA.glob("*.safetensors")} == set(PARTS)


def test_the_shipped_people_are_described():
    people = json.loads((DATA / "people.json").read_text(encoding="utf-8"))
    for name in people:
        assert (DATA / f"{name}.png").is_file()


def test_readme_names_scripts_that_exist():
    commands = readme_commands()
    assert len(commands) > 8
    for command in commands:
        if command[1:3] == ["-m", "hairclip"]:
            build_parser().parse_args(command[3:])
        else:
            assert (ROOT / command[1]).is_file(), command


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [c for c in readme_commands() if "edit.py" in c[1] and "--mapper" not in c], ids=str
)
def test_readme_edits_run(command, tmp_path):
    out = tmp_path / "out.png"
    command[command.index("--out") + 1] = str(out)
    if "optimize" in command:
        command += ["--steps", "3"]
    subprocess.run([sys.executable, *command[1:]], cwd=ROOT, check=True, timeout=600)
    assert out.stat().st_size > 1000

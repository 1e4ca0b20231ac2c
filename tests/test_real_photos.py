"""The path of a person with the official files, from the download to the edit, driven by their stand-in.

Its networks make pictures of 64 px. The last test takes networks of the official sizes, and 8 GB of disk.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from PIL import Image, ImageChops

from hairclip.cli.main import main
from hairclip.editing.encoding.encode import split_of
from hairclip.pretrained import load_bundle, load_latents
from tests.helpers.official_stand_in import OFFICIAL, serving_stand_in, write_stand_in
from tests.test_readme import GUIDE, find_commands

ROOT = Path(__file__).parents[1]
PORTRAITS, CONFIG = ROOT / "data" / "portraits", ROOT / "configs" / "hairclip.yaml"
FEW_STEPS = ["training.steps=1", "validation.count=1", "data.reference_pool=2", "logging.tensorboard=false"]
SHORT = {
    "download": ["--yes"],
    "references": ["--count", "1", "--batch-size", "1"],
    "train": FEW_STEPS,
    "edit": ["--force"],  # random networks know nobody
}
REFERENCES = {"hairstyle_images": "crops", "color_images": "crops", "color_folders": "null"}


def test_download_fetches_a_bundle_with_checksums_and_doctor_finds_it_ready(
    stand_in_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with serving_stand_in(stand_in_files, tmp_path) as (server, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert main(["download", "ffhq", "--yes"]) == 0
        fetched = {path.name for path in (tmp_path / "weights").iterdir() if path.suffix != ".json"}
        assert {path.lstrip("/") for _, path, _ in server.seen} <= fetched
        assert main(["doctor"]) == 0
        assert "bundle ffhq: ready\n" in capsys.readouterr().out
        asked = len(server.seen)
        assert main(["download", "ffhq"]) == 0, "nothing is missing, so that nobody is asked"
        assert len(server.seen) == asked


def test_every_part_of_the_bundle_is_a_network_of_its_kind(stand_in: Path):
    bundle = load_bundle("ffhq")
    assert bundle.generator.size == 64
    assert bundle.generator.n_latent == bundle.encoder.n_latent == bundle.mapper.n_latent
    assert bundle.clip.encode_text(["red hair"]).shape == (1, bundle.mapper.condition_dim)
    assert bundle.parser.input_size == 512
    assert bundle.identity.input_size == 112


def paint_mask(photo: Path, path: Path) -> Path:
    """Write a mask that calls the upper third of a photo hair."""
    with Image.open(photo) as picture:
        width, height = picture.size
    mask = Image.new("L", (width, height))
    mask.paste(255, (0, 0, width, height // 3))
    mask.save(path)
    return path


@pytest.mark.parametrize(
    "asked",
    [
        ["--text", "red bob cut"],
        ["--color", "blue"],
        ["--hairstyle", str(PORTRAITS / "ben.png"), "--color", str(PORTRAITS / "clara.png")],
    ],
    ids=["text", "color", "references"],
)
def test_edit_changes_a_photo(stand_in: Path, tmp_path: Path, asked: list[str]):
    photo, out = PORTRAITS / "anna.png", tmp_path / "out.png"
    if asked[0] == "--color":  # a random parser finds no hair
        asked = [*asked, "--mask", str(paint_mask(photo, tmp_path / "mask.png"))]
    assert main(["edit", "--bundle", "ffhq", "--force", "--image", str(photo), *asked, "--out", str(out)]) == 0
    before, after = (Image.open(path).convert("RGB") for path in (photo, out))
    assert ImageChops.difference(before, after).getbbox() is not None
    assert not [name for name in os.listdir(stand_in / "weights") if name.endswith(".partial")]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of four photos in two folders; one of them is held out for validation."""
    folder = tmp_path / "photos"
    held_out = next(name for number in range(1000) if split_of(name := f"{number}.png") == "val")
    for name, place in (("anna", "anna.png"), ("ben", "ben.png"), ("clara", "friends/clara.png"), ("emil", held_out)):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PORTRAITS / f"{name}.png", folder / place)
    return folder


@pytest.mark.slow
def test_the_commands_of_the_guide_lead_from_a_folder_of_photos_to_an_edit(
    stand_in_files: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(PORTRAITS / "dora.png", "me.jpg")
    shutil.copytree(photos / "friends", "held_out")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    commands = [command.arguments or [] for command in find_commands(_section(GUIDE, "The commands"))]
    assert [command[0] for command in commands[:6]] == ["download", "doctor", "encode", "references", "train", "edit"]
    with serving_stand_in(stand_in_files, tmp_path / "home") as (_, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for command in commands:
            assert main([*command, *SHORT.get(command[0], [])]) == 0, command
    assert load_latents("codes.safetensors").shape == (4, 10, 128)
    assert len([*Path("crops").rglob("*.png")]) == 4
    assert len([*Path("sets").glob("* hair/00000.jpg")]) == 12
    assert Path("me_red_bob.jpg").is_file()


def _section(text: str, title: str) -> str:
    """Return the text below a heading of the second level, up to the next heading."""
    return re.split(r"^#+ ", text.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]


def test_a_training_starts_from_the_official_mapper_and_its_codes(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folders = [f"data.{key}=null" for key in REFERENCES]
    assert main(["train", "--config", str(CONFIG), "training.init=hairclip", *FEW_STEPS, *folders]) == 0
    assert Path("runs/hairclip/mapper.safetensors").is_file()


WHOLE_PATH = (
    "download ffhq clip-vit-b-32 celeba-hq-train --yes",
    "doctor",
    "edit --bundle ffhq --force --image photos/anna.png --text 'red bob cut' --out text.png",
    "edit --bundle ffhq --force --image photos/anna.png --color blue --mask mask.png --out color.png",
    "edit --bundle ffhq --force --image photos/anna.png --hairstyle photos/ben.png --color photos/ben.png --out as.png",
    "edit --bundle ffhq --latents celeba-hq-test --range 0:1 --color red --out red",
    "encode --bundle ffhq --images photos --crops crops",
    "references --bundle ffhq --kind color --colors red --count 1 --latents codes.safetensors --out sets",
    f"train --config {CONFIG} data.latents=codes.safetensors data.validation_latents=celeba-hq-test "
    f"{' '.join(FEW_STEPS)} {' '.join(f'data.{key}={value}' for key, value in REFERENCES.items())}",
    "edit --bundle ffhq --force --mapper runs/hairclip/mapper.safetensors "
    "--image photos/ben.png --text afro --out mine.png",
    "evaluate --bundle ffhq --mapper runs/hairclip/mapper.safetensors --photos photos --out measured --count 2 "
    "--kinds text-both,reference-both",
    "export --to hairclip --mapper runs/hairclip/mapper.safetensors --out mine.pt",
    "doctor --file mine.pt",
)


@pytest.mark.slow
def test_the_whole_path_at_the_official_size(photos: Path):
    """Run every command alone, print its seconds and its peak memory, and hold the peak of an edit to 6 GB."""
    with TemporaryDirectory(dir=photos.parent) as folder:  # pytest would keep gigabytes
        write_stand_in(Path(folder) / "stand_in", OFFICIAL)
        paint_mask(photos / "anna.png", photos.parent / "mask.png")
        with serving_stand_in(Path(folder) / "stand_in", Path(folder) / "home") as (_, environment):
            for command in WHOLE_PATH:
                seconds, peak = _run_alone(shlex.split(command), photos.parent, environment)
                print(f"{seconds:6.1f} s of CPU, at most {peak:5.2f} GB: {command}", flush=True)
                assert peak < 6 or not command.startswith("edit"), command


# A child's peak is at least that of the process that forks it, so a small process stands between it and pytest.
_MEASURE = """
import json, resource, subprocess, sys
code = subprocess.call([sys.executable, "-m", "hairclip", *sys.argv[2:]])
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9], file)
"""


def _run_alone(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """Run a command in a process of its own and return its seconds of CPU time and its peak memory in GB."""
    surroundings = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", _MEASURE, "usage.json", *arguments], cwd=folder, env=surroundings, check=True)
    code, seconds, peak = json.loads((folder / "usage.json").read_text())
    assert code == 0, arguments
    return seconds, peak

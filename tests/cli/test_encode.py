"""``python -m hairclip encode``: what it prints, how it exits, and what training makes of its file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hairclip.cli import main as cli
from hairclip.config import load_config
from hairclip.editing.encoding.encode import default_batch_size, split_of
from hairclip.training.latents import load_latent_set, training_and_validation
from hairclip.training.trainer import train
from tests.helpers.tiny_networks import SIZE
from tests.helpers.tiny_run import write_tiny_world

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny networks that `--bundle` takes, and `tiny.yaml`, which trains with them."""
    folder = tmp_path_factory.mktemp("world")
    write_tiny_world(folder)
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `photos`: twelve aligned faces of noise, of all three splits."""
    (tmp_path / "photos").mkdir()
    wanted = {"train": 8, "val": 2, "test": 2}
    for number in range(500):
        name = f"{number}.png"
        if wanted[split_of(name)]:
            wanted[split_of(name)] -= 1
            noise = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "photos" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def encode(world: Path, *more: str) -> int:
    return cli.main(["encode", "--images", "photos", "--aligned", "--bundle", str(world), "--device", "cpu", *more])


def test_training_takes_the_file_with_its_splits(world: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    assert encode(world) == 0
    printed = capsys.readouterr().out
    assert "wrote codes.safetensors: 12 codes of 8 x 16 (8 train, 2 val, 2 test)\n" in printed
    training, held_out = training_and_validation("codes.safetensors", None)
    assert (len(training), len(held_out), set(held_out.splits or ())) == (8, 2, {"val"})
    settings = ["data.latents=codes.safetensors", "training.steps=2", "data.reference_pool=4", "validation.count=2"]
    assert train(load_config(world / "tiny.yaml", settings), place / "run").is_file()


def test_a_pt_file_says_what_it_lacks_and_trains_beside_another(
    world: Path, place: Path, capsys: pytest.CaptureFixture[str]
):
    assert encode(world, "--out", "codes.pt") == 0
    assert "note: a .pt file holds no names and no splits: write .safetensors to keep them\n" in capsys.readouterr().out
    assert encode(world, "--out", "codes.safetensors") == 0
    training, held_out = training_and_validation("codes.pt", "codes.safetensors")
    assert (len(training), len(held_out)) == (12, 2)


def test_bad_photos_are_listed_and_the_exit_code_is_one(world: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    (place / "photos" / "CelebAMask-HQ-mask-anno").mkdir()
    for number in range(25):
        (place / "photos" / f"bad{number}.jpg").write_text("no picture")
    assert encode(world, "--inversion", "optimize", "--inversion-steps", "1") == 1
    streams = capsys.readouterr()
    assert "note: left out: CelebAMask-HQ-mask-anno holds masks, not photos.\n" in streams.out
    lines = streams.err.splitlines()
    start = lines.index("hairclip: 25 of 37 photos have no code:")
    assert lines[start + 1].startswith("  bad0.jpg: photos/bad0.jpg cannot be read as an image (")
    assert lines[start + 21] == "  and 5 more, see codes.safetensors.report.txt"
    report = (place / "codes.safetensors.report.txt").read_text()
    assert report.count("cannot be read as an image") == 25
    assert "inversions that show another person:\n" in report  # noise is nobody
    for path in (place / "photos").glob("bad*.jpg"):
        path.unlink()
    assert encode(world, "--inversion", "optimize", "--inversion-steps", "1") == 0
    assert "; 12 were encoded before\n" in capsys.readouterr().out
    assert "photos without a code" not in (place / "codes.safetensors.report.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--inversion", "pivotal"], "--inversion pivotal tunes the generator to each photo"),
        (["--face", "all"], "--face all: a photo gets one code: choose largest, left, right or a number."),
        (["--face", "tall"], "there is no face 'tall'"),
        (["--images", "nowhere"], "the folder of photos nowhere is not there: give a folder."),
        (["--out", "photos/codes.safetensors"], "photos/codes.safetensors lies in the folder of the photos, photos"),
        (["--out", "codes.zip"], "codes.zip does not say its format: end it in .safetensors, or in .pt"),
        (["--crops", "photos/crops"], "crops in photos/crops would mix with the photos in photos"),
        (["--bundle", "nobody"], "nobody"),
        (["--batch-size", "0"], "--batch-size 0"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments: list[str], told: str, world: Path, place: Path, capsys: pytest.CaptureFixture[str]
):
    assert encode(world, *arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("hairclip: error: ")
    assert told in error
    assert not list(place.glob("*.parts"))


def encode_people(folder: Path, *more: str) -> int:
    """Encode two rendered people of data/portraits."""
    (folder / "people").mkdir(exist_ok=True)
    for name in ("anna.png", "ben.png"):
        shutil.copy(REPOSITORY / "data" / "portraits" / name, folder / "people" / name)
    return cli.main(["encode", "--images", "people", "--aligned", "--device", "cpu", *more])


def test_a_few_photos_choose_the_networks_for_all(
    world: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("HAIRCLIP_HOME", str(place / "home"))
    (place / "people").mkdir()
    (place / "people" / "0.png").write_bytes(b"no picture")
    assert encode_people(place) == 1
    told = capsys.readouterr().out
    assert "bundle portraits: the encoder of portraits does not rebuild 0 of 2 faces that were looked at" in told
    assert "wrote codes.safetensors: 2 codes" in told
    assert cli.main(["encode", "--images", "photos", "--aligned", "--device", "cpu"]) == 2
    refusal = capsys.readouterr().err.splitlines()[-1]
    assert "does not rebuild 5 of 5 faces that were looked at, so these are real photos: run python -m" in refusal
    assert refusal.endswith("or give --bundle portraits to take networks that do not know these people.")
    assert encode(world, "--out", "named.safetensors") == 0, "named networks are taken as they are"


def test_real_photos_are_encoded_by_the_official_networks_where_they_are_fetched(
    stand_in: Path, place: Path, capsys: pytest.CaptureFixture[str]
):
    for path in sorted((place / "photos").iterdir())[3:]:
        path.unlink()
    assert cli.main(["encode", "--images", "photos", "--aligned", "--device", "cpu"]) == 0
    assert "bundle ffhq: the encoder of portraits does not rebuild 3 of 3 faces" in capsys.readouterr().out


def test_faces_of_a_batch_fit_the_memory_of_a_cpu():
    """Two pictures of 1024 px at once take 4.1 GB, eight 9.1 GB."""
    assert [default_batch_size(size, "cpu") for size in (128, 512, 1024, 4096)] == [8, 8, 2, 1]
    assert default_batch_size(1024, "cuda") == 8


def test_nothing_is_random_so_no_seed_is_taken(world: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        encode(world, "--seed", "1")
    assert ended.value.code == 2
    assert "unrecognized arguments: --seed 1" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_write_the_file_of_one(world: Path, place: Path):
    assert encode(world, "--out", "alone.safetensors") == 0
    (place / "photos" / "inside").mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [str(REPOSITORY / "scripts" / "encode.py"), "--images", "photos", "--aligned", "--bundle", str(world)]
    result = subprocess.run(
        [*launch, *command, "--device", "cpu", "--out", "together.safetensors"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("wrote together.safetensors: 12 codes") == 1
    assert (place / "together.safetensors").read_bytes() == (place / "alone.safetensors").read_bytes()
    assert len(load_latent_set("together.safetensors")) == 12

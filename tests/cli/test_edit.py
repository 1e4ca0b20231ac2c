"""``python -m hairclip edit``: what it writes where, what it prints, and how it exits."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from hairclip.cli import main as cli
from hairclip.editing.request import slug
from tests.helpers.tiny_networks import N_LATENT, W_DIM, save_bundle

WORDS = ["--hairstyle", "afro"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a crop of noise beside it."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    (tmp_path / "photos").mkdir()
    Image.fromarray(noise).save(tmp_path / "photos" / "me.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "home"))
    return tmp_path


def edit(bundle: Path, *more: str, image: str = "photos/me.png", aligned: bool = True) -> int:
    known = ["--image", image, "--bundle", str(bundle), "--device", "cpu", "--behind", "edit", "--force"]
    return cli.main(["edit", *known, *(["--aligned"] if aligned else []), *more])


def files(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.name not in ("photos", "home"))


def test_each_text_is_an_edit_of_its_own(bundle: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    Path("wishes.txt").write_text("\n  blue afro \n")
    assert edit(bundle, "--text", "red bob cut", "--text", "Green!", "--text", "@wishes.txt", "--out", "a.webp") == 0
    names = ["a_1_red_bob_cut.webp", "a_2_green.webp", "a_3_blue_afro.webp"]
    assert files(place) == [*names, "wishes.txt"]
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("hairstyle: ")] == [
        "hairstyle: bob cut; color: red", "hairstyle: unchanged; color: green", "hairstyle: afro; color: blue",
    ]  # fmt: skip
    assert len([line for line in lines if line.startswith("note: ")]) == 1  # that the inversion is poor: once
    contents = {Path(name).read_bytes() for name in names}
    assert len(contents) == 3


def test_nothing_is_fetched_in_silence(place: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["edit", "--image", "photos/me.png", "--bundle", "ffhq", "--text", "red bob cut"]) == 2
    told = capsys.readouterr().err
    assert "ffhq needs weights for its generator, clip, parser, encoder, mapper (stylegan2-ffhq, hairclip" in told
    assert "2,156.2 MB) that are not here yet: run python -m hairclip download ffhq." in told
    assert files(place) == []
    assert not (place / "home").exists()


def test_the_part_that_changed_and_the_time_are_printed(bundle: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    assert edit(bundle, *WORDS, "--timing", "--save-stages", "stages") == 0
    assert files(place) == ["edited.png", "stages"]  # named for the photo's format
    text = capsys.readouterr().out
    assert re.search(r"wrote edited\.png: of its 48 x 48 pixels, only some from \(\d+, \d+\) to \(\d+, \d+\)", text)
    (seconds,) = re.findall(r"seconds: (.*), together", text)
    stages = [part.split()[0] for part in seconds.split(", ")]
    assert stages == ["start", "references", "read", "models", "align", "invert", "edit", "blend", "paste", "write"]
    assert json.loads(Path("stages/stages.json").read_text())["photo"]["name"] == "photos/me.png"
    assert len(list(Path("stages").glob("*.png"))) == 10


def test_frames_and_a_moving_picture(bundle: Path, place: Path):
    assert edit(bundle, "--text", "red hair", "--text", "blue afro", "--frames", "3", "--gif", "--out", "a.png") == 0
    assert files(place) == ["a.gif", "a_001.png", "a_002.png", "a_003.png"]
    with Image.open("a.gif") as moving:
        assert moving.n_frames == 4  # there, and back again
        assert moving.size == (48, 48)


def test_inversions_are_kept_for_the_next_edit(bundle: Path, place: Path):
    options = ["--inversion", "optimize", "--inversion-steps", "2"]
    assert edit(bundle, *WORDS, *options, "--out", "a.png") == 0
    assert edit(bundle, *WORDS, *options, "--out", "b.png") == 0
    assert len(list(place.glob("home/**/*.safetensors"))) == 1
    assert edit(bundle, "--hairstyle", "bob cut", *options, "--seam", "laplacian", "--out", "c.png") == 0
    assert len(list(place.glob("home/**/*.safetensors"))) == 1
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes() != Path("c.png").read_bytes()


def test_a_folder_is_edited_and_what_failed_is_told(bundle: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    Path("photos/broken.jpg").write_bytes(b"no picture")
    options = ["--text", "red hair", "--text", "afro", "--out", "out"]
    assert edit(bundle, *options, image="photos") == 1
    written = ["me_1_red_hair.png", "me_2_afro.png"]
    assert sorted(path.name for path in Path("out").glob("*.png")) == written
    captured = capsys.readouterr()
    assert "wrote 2 pictures to out" in captured.out
    assert "1 of 2 photos could not be edited:\n  broken.jpg: photos/broken.jpg cannot be read" in captured.err
    before = [Path("out", name).stat().st_mtime_ns for name in written]
    Path("photos/broken.jpg").unlink()
    assert edit(bundle, *options, image="photos") == 0
    assert "wrote 0 pictures to out, 1 of 1 photos were done before" in capsys.readouterr().out
    assert [Path("out", name).stat().st_mtime_ns for name in written] == before
    assert edit(bundle, *options, "--strength", "0.5", image="photos") == 0  # another setting: all anew
    assert "wrote 2 pictures" in capsys.readouterr().out


def test_a_photo_without_a_face_is_one_sentence(bundle: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    assert edit(bundle, *WORDS, aligned=False) == 2
    error = capsys.readouterr().err
    assert error.startswith("hairclip: error: no face was found in photos/me.png: give a photo that shows one")
    assert error.count("\n") == 1
    assert files(place) == []


@pytest.mark.parametrize(
    ("words", "name"), [("Red bob cut!", "red_bob_cut"), ("  ", "edit"), ("ÄÖ", "edit"), ("a" * 90, "a" * 40)]
)
def test_words_become_parts_of_file_names(words: str, name: str):
    assert slug(words) == name


def test_an_empty_path_is_one_sentence(bundle: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    assert edit(bundle, *WORDS, image="") == 2
    assert capsys.readouterr().err == (
        "hairclip: error: --image is empty: give the path of a photo or of a folder of photos.\n"
    )
    assert files(place) == []


def test_an_edit_never_replaces_its_photo(bundle: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    before = Path("photos/me.png").read_bytes()
    for out in ("photos/me.png", "photos/../photos/me.png"):
        assert edit(bundle, *WORDS, "--out", out) == 2
        assert "would replace the picture photos/me.png: choose another file" in capsys.readouterr().err
    assert Path("photos/me.png").read_bytes() == before


def test_a_message_about_a_face_names_the_flag(bundle: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    assert edit(bundle, *WORDS, aligned=False) == 2
    error = capsys.readouterr().err
    assert "--aligned" in error
    assert "aligned=" not in error


def test_the_same_edit_twice_gives_the_same_bytes_also_with_a_profile(bundle: Path, place: Path):
    with Image.open("photos/me.png") as photo:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        photo.save("photos/me.png", icc_profile=profile)
    for out in ("a.png", "b.png"):
        assert edit(bundle, *WORDS, "--out", out) == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_strength_0_leaves_every_frame_the_photo(bundle: Path, place: Path):
    words = ["--text", "red afro", "--text", "blue bob cut", "--strength", "0"]
    assert edit(bundle, *words, "--frames", "3", "--out", "a.png") == 0
    with Image.open("photos/me.png") as photo:
        pixels = photo.tobytes()
    for name in ("a_001.png", "a_002.png", "a_003.png"):
        with Image.open(name) as frame:
            assert frame.tobytes() == pixels


@pytest.mark.slow
def test_two_processes_write_one_picture(bundle: Path, place: Path):
    command = [sys.executable, "-m", "hairclip", "edit", "--image", "photos/me.png", "--bundle", str(bundle)]
    command += ["--device", "cpu", "--aligned", *WORDS, "--out", "same.png"]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in started:
        _, told = process.communicate(timeout=120)
        assert (process.returncode, told) == (0, "")
    assert files(place) == ["same.png"]
    with Image.open("same.png") as picture:
        assert picture.size == (48, 48)


def test_codes_are_edited_without_photos(bundle: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    codes = torch.randn(5, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    torch.save(codes, "official.pt")
    known = ["edit", "--latents", "official.pt", "--bundle", str(bundle), "--device", "cpu", *WORDS]
    assert cli.main([*known, "--range", "1:3", "--out", "red", "--save-codes", "red.safetensors"]) == 0
    assert sorted(path.name for path in Path("red").iterdir()) == ["00001.png", "00002.png", "edits.json"]
    assert cli.main([*known, "--out", "red"]) == 0
    told = capsys.readouterr().out
    assert "wrote 2 pictures of 2 codes to red\nwrote red.safetensors\n" in told
    assert "wrote 3 pictures of 5 codes to red, 2 were there before\n" in told
    for more, reason in {
        ("--range", "7:"): "error: --range '7:' names none of the 5 codes, which are numbered 0 to 4.",
        ("--seam", "poisson"): "error: --seam is for photos, and --latents edits codes: leave one of the two out.",
        ("--save-codes", "a.pt"): "error: --save-codes a.pt: give a name that ends in .safetensors.",
        ("--out", "official.pt"): "error: --out official.pt is a file: --latents writes into a folder, name one.",
    }.items():
        assert cli.main([*known, *more]) == 2
        assert reason in capsys.readouterr().err
    assert edit(bundle, *WORDS, "--range", "1:") == 2
    assert "error: --range is of codes: give --latents in place of --image." in capsys.readouterr().err

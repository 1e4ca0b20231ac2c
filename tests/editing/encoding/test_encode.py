"""A folder of photos becomes one file of codes: each photo once, whatever fails, whenever the run is killed."""

import os
import re
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.editing.editor import HairEditor
from hairclip.editing.encoding.encode import EncodeReport, EncodeSettings, encode_folder, split_of
from hairclip.editing.options import InversionOptions
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.pretrained import load_latent_labels, load_latents
from hairclip.pretrained.latent_files import read_about
from hairclip.training.latents import load_latent_set
from tests.helpers.mean_encoder import MeanEditor
from tests.helpers.tiny_networks import N_LATENT, SIZE, W_DIM, tiny_networks
from tests.pretrained.test_weight_files import anonymous_megabytes

ALIGNED = EncodeSettings(aligned=True)
LISTED = ["2.png", "10.png", "a.png", "b.png", "c.png", "e.png", "inside/d.png"]
SHADES = dict(zip(LISTED, range(60, 200, 20)))


def write_shade(path: Path, shade: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Seven gray pictures in `in`."""
    for name, shade in SHADES.items():
        write_shade(tmp_path / "in" / name, shade)
    return tmp_path


def encode(place: Path, out: str = "codes.safetensors", **more: object) -> EncodeReport:
    settings = {"batch_size": 3, "settings": ALIGNED, "editor": PhotoEditor(MeanEditor()), **more}
    return encode_folder(folder=place / "in", out=place / out, **settings)  # type: ignore[arg-type]


def found(path: Path) -> dict[str, float]:
    """Return name -> code, one number as all numbers of a code are equal here."""
    labels, codes = load_latent_labels(path), load_latents(path)
    assert labels is not None
    assert torch.equal(codes, codes[:, :1, :1].expand_as(codes))
    return dict(zip(labels["name"], codes[:, 0, 0].tolist(), strict=True))


# ------------------------------------------------------------------------------------------ the file


def test_every_photo_has_its_code_its_name_and_its_split(tmp_path: Path):
    editor = PhotoEditor(HairEditor(tiny_networks()))
    for seed, name in enumerate(LISTED):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "in" / name)
    out = tmp_path / "codes.safetensors"
    report = encode_folder(editor, tmp_path / "in", out, ALIGNED, batch_size=3)
    assert (report.found, report.before, report.failed) == (7, 0, {})
    assert report.shape == (7, N_LATENT, W_DIM)
    labels = load_latent_labels(out)
    assert labels is not None
    assert labels["name"] == LISTED
    latents = load_latent_set(out)
    assert latents.splits == tuple(split_of(name) for name in LISTED)
    for i, name in enumerate(LISTED):
        alone = editor.open(tmp_path / "in" / name, aligned=True).prepared.inversion
        assert torch.allclose(latents[[i]], alone.w_plus, atol=1e-5)
        assert labels["psnr"][i] == pytest.approx(float(alone.psnr), abs=0.01)
        assert alone.identity is not None
        assert labels["identity"][i] == pytest.approx(float(alone.identity), abs=0.001)
    about = read_about(out)
    assert about["framing"] == {"scale": 1.0, "shift": 0.1}
    assert (about["encoder"], about["inversion"], about["precision"]) == ("E4EEncoder", "encoder", "float32")
    assert len(about["encoder_digest"]) == 64
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes.safetensors", "in"]


def test_codes_in_bfloat16_are_near_those_in_float32_and_the_file_says_which(tmp_path: Path):
    write_shade(tmp_path / "in" / "a.png", 100, (SIZE, SIZE))
    codes, precisions = [], ("float32", "bfloat16")
    for precision in precisions:
        out = tmp_path / f"{precision}.safetensors"
        editor = PhotoEditor(HairEditor(tiny_networks(), precision=precision))
        encode_folder(editor, tmp_path / "in", out, ALIGNED, batch_size=1)
        assert read_about(out)["precision"] == precision
        codes.append(load_latents(out))
    assert codes[0].dtype == codes[1].dtype == torch.float32
    assert not torch.equal(*codes)
    assert torch.allclose(*codes, atol=0.05)
    descent = EncodeSettings(InversionOptions("optimize", 3), aligned=True)
    encode_folder(editor, tmp_path / "in", tmp_path / "descent.safetensors", descent, batch_size=1)
    about = read_about(tmp_path / "descent.safetensors")
    assert (about["inversion_steps"], about["precision"]) == (3, "float32")  # gradients need float32


def test_splits_follow_from_the_name_alone_in_shares_of_ninety_five_and_five():
    splits = [split_of(f"{number:05}.png") for number in range(10_000)]
    assert [splits.count(split) for split in ("train", "val", "test")] == [9030, 483, 487]
    assert [split_of(name) for name in ("anna.png", "a/b.jpg", "\udcff.png")] == ["train", "train", "train"]


def test_a_pt_file_is_the_tensor_of_the_official_code(place: Path):
    assert encode(place).shape == encode(place, "codes.pt").shape == (7, 4, 6)
    content = torch.load(place / "codes.pt", weights_only=True)
    assert torch.equal(content, load_latents(place / "codes.safetensors"))
    assert (place / "codes.pt").stat().st_size < 7 * 4 * 6 * 4 + 2000
    with pytest.raises(HairclipError, match=r"codes\.pt is there already and names no photos: remove it"):
        encode(place, "codes.pt")


def test_crops_are_written_beside_the_codes_and_again_where_one_is_missing(place: Path):
    write_shade(place / "in" / "f.jpg", 77, (32, 32))
    encode(place, crops=place / "crops")
    crops = sorted(str(path.relative_to(place / "crops")) for path in (place / "crops").rglob("*.*"))
    assert crops == sorted([*LISTED, "f.jpg.png"])
    with Image.open(place / "crops" / "f.jpg.png") as crop:
        assert (crop.size, crop.getpixel((4, 4))) == ((8, 8), (77, 77, 77))
    (place / "crops" / "b.png").unlink()
    again = MeanEditor()
    assert encode(place, crops=place / "crops", editor=PhotoEditor(again)).before == 7
    assert again.batches == [1]
    assert (place / "crops" / "b.png").is_file()


# ------------------------------------------------------------------------------------------ photos that fail


def test_photos_that_fail_are_named_with_a_reason_and_are_not_in_the_file(place: Path):
    (place / "in" / "a.png").write_bytes(b"no picture")
    (place / "in" / "b.png").write_bytes((place / "in" / "b.png").read_bytes()[:40])
    (place / "in" / "c.png").unlink()
    (place / "in" / "c.png").symlink_to(place / "nowhere.png")
    os.mkfifo(place / "in" / "pipe.png")
    write_shade(place / "in" / "wide.png", 80, (8, 9))
    write_shade(place / "in" / "black.png", 0)
    report = encode(place)
    starts = {name: re.split(r" \(|:", why.replace(f"{place}/in/", ""))[0] for name, why in report.failed.items()}
    assert starts == {
        "a.png": "a.png cannot be read as an image",
        "b.png": "b.png cannot be read as an image",
        "c.png": "there is no image at c.png",
        "pipe.png": "pipe.png is a pipe or a device",
        "wide.png": "wide.png is 8 x 9, but an aligned face is square",
        "black.png": "the codes of black.png are not finite",
    }
    assert list(found(place / "codes.safetensors")) == ["2.png", "10.png", "e.png", "inside/d.png"]


def test_a_photo_that_was_mended_is_encoded_in_the_next_run_and_no_other(place: Path):
    (place / "in" / "a.png").write_bytes(b"no picture")
    assert list(encode(place).failed) == ["a.png"]
    write_shade(place / "in" / "a.png", 66)
    write_shade(place / "in" / "new.png", 99)
    (place / "in" / "b.png").unlink()
    editor = MeanEditor()
    report = encode(place, editor=PhotoEditor(editor))
    assert (report.failed, report.before, editor.batches) == ({}, 5, [2])
    shades = {**SHADES, "a.png": 66, "new.png": 99}
    del shades["b.png"]
    assert found(place / "codes.safetensors") == shades


def test_nothing_is_written_where_every_photo_fails(place: Path):
    for path in (place / "in").rglob("*.png"):
        path.write_bytes(b"no picture")
    report = encode(place)
    assert (len(report.failed), report.shape[0]) == (7, 0)
    assert sorted(path.name for path in place.iterdir()) == ["in"]


def test_a_photo_without_a_face_fails_and_one_with_two_faces_has_a_note(tmp_path: Path):
    data = Path(__file__).resolve().parents[3] / "data" / "portraits"
    (tmp_path / "in").mkdir()
    with Image.open(data / "anna.png") as anna, Image.open(data / "ben.png") as ben:
        both = Image.new("RGB", (anna.width + ben.width, anna.height))
        both.paste(anna.convert("RGB"), (0, 0))
        both.paste(ben.convert("RGB"), (anna.width, 0))
    both.save(tmp_path / "in" / "both.png")
    Image.new("RGB", (300, 300), "gray").save(tmp_path / "in" / "gray.png")
    report = encode(tmp_path, settings=EncodeSettings())
    assert list(report.failed) == ["gray.png"]
    assert "no face was found" in report.failed["gray.png"]
    (note,) = report.notes["both.png"]
    assert "shows 2 faces: the largest is" in note


def test_an_inversion_that_shows_another_person_is_named(place: Path):
    write_shade(place / "in" / "dark.png", 20)
    report = encode(place)
    assert report.poor == ["dark.png"]
    assert report.failed == {}


# ------------------------------------------------------------------------------------------ places


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"out": "in/codes.safetensors"}, "lies in the folder of the photos"),
        ({"out": "codes.npy"}, "does not say its format: end it in .safetensors, or in .pt"),
        ({"out": "in"}, "does not say its format"),
        ({"out": "folder.pt"}, "folder.pt is a folder: give a file to write"),
        ({"out": "file/codes.pt"}, r"cannot write .*codes\.pt \((File exists|Not a directory)"),
        ({"crops": "in"}, "would mix with the photos"),
        ({"crops": "in/crops"}, "would mix with the photos"),
        ({"crops": "."}, "would mix with the photos"),
        ({"crops": "file"}, r"cannot write .*file \(File exists\)"),
        ({"batch_size": 0}, "batch_size"),
        ({"workers": 0}, "workers"),
    ],
)
def test_places_that_cannot_be_used_are_refused_before_the_work(place: Path, change: dict[str, object], told: str):
    (place / "file").write_text("")
    (place / "folder.pt").mkdir()
    if "crops" in change:
        change = {"crops": place / str(change["crops"])}
    editor = MeanEditor()
    with pytest.raises(HairclipError, match=told) as caught:
        encode(place, editor=PhotoEditor(editor), **change)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert editor.batches == []


def test_two_crops_of_one_name_are_refused(place: Path):
    write_shade(place / "in" / "f.jpg", 77)
    write_shade(place / "in" / "f.jpg.png", 77)
    with pytest.raises(HairclipError, match=r"the crops of f.jpg and f.jpg.png would both be f.jpg.png: rename one"):
        encode(place, crops=place / "crops")
    assert encode(place).failed == {}


def test_what_gives_no_single_code_is_refused():
    with pytest.raises(HairclipError, match="tunes the generator to each photo"):
        EncodeSettings(InversionOptions("pivotal"))
    with pytest.raises(HairclipError, match="a photo gets one code"):
        EncodeSettings(face="all")


# ------------------------------------------------------------------------------------------ going on


def test_codes_of_other_networks_or_settings_are_not_mixed(place: Path):
    encode(place)
    other = PhotoEditor(MeanEditor(weight=1.0))
    with pytest.raises(HairclipError, match=r"codes\.safetensors holds codes .* otherwise \(encoder digest"):
        encode(place, editor=other)
    with pytest.raises(HairclipError, match=r"made otherwise \(aligned, face\): remove it to encode all photos anew"):
        encode(place, settings=EncodeSettings(face="left"))
    (place / "codes.safetensors").unlink()
    shutil.copytree(leave_unfinished(place), place / "codes.safetensors.parts")
    with pytest.raises(HairclipError, match=r"codes\.safetensors\.parts holds codes .* \(encoder digest\)"):
        encode(place, editor=other)
    shutil.copy(place / "in" / "a.png", place / "codes.safetensors.parts" / "recipe.json")
    with pytest.raises(HairclipError, match="tells not how its codes were made"):
        encode(place)


class Stop(BaseException):
    """Ends a run as a kill does."""


class StoppingEditor(MeanEditor):
    """Ends the run at its third batch."""

    def invert(self, *arguments: object, **settings: object) -> object:  # type: ignore[override]
        if len(self.batches) == 2:
            raise Stop
        return super().invert(*arguments, **settings)  # type: ignore[arg-type]


def leave_unfinished(place: Path) -> Path:
    """Encode all but the last photo and return the journal."""
    with pytest.raises(Stop):
        encode(place, "unfinished.safetensors", editor=PhotoEditor(StoppingEditor()))
    return place / "unfinished.safetensors.parts"


def test_a_run_goes_on_where_it_was_stopped(place: Path):
    leave_unfinished(place)
    editor = MeanEditor()
    report = encode(place, "unfinished.safetensors", editor=PhotoEditor(editor))
    assert (report.before, editor.batches) == (6, [1])
    encode(place)
    assert (place / "unfinished.safetensors").read_bytes() == (place / "codes.safetensors").read_bytes()


def test_a_journal_that_was_cut_off_anywhere_loses_only_what_was_cut_off(place: Path):
    encode(place)
    whole = (place / "codes.safetensors").read_bytes()
    parts = place / "codes.safetensors.parts"
    journal = leave_unfinished(place)
    (lines,), (codes,) = journal.glob("*.jsonl"), journal.glob("*.codes")
    text, numbers = lines.read_bytes(), codes.read_bytes()
    (place / "codes.safetensors").unlink()
    for cut in range(0, len(text), 61):
        for kept in (numbers, numbers[: -(cut % 300) or None]):
            shutil.copytree(journal, parts)
            (parts / lines.name).write_bytes(text[:cut])
            (parts / codes.name).write_bytes(kept)
            report = encode(place)
            assert report.before <= text[:cut].count(b"\n")
            assert (place / "codes.safetensors").read_bytes() == whole
            (place / "codes.safetensors").unlink()
    shutil.copytree(journal, parts)
    (parts / lines.name).write_bytes(
        b'[]\n{"name": "a.png"}\n{"name": 3, "notes": 4}\n\xff\n' + b"[" * 9999 + b"\n" + text
    )
    assert encode(place).before == 6
    assert (place / "codes.safetensors").read_bytes() == whole


def test_a_photo_that_changed_is_encoded_anew(place: Path):
    leave_unfinished(place)
    write_shade(place / "in" / "2.png", 155)
    os.utime(place / "in" / "a.png", ns=(1, 1))  # touched, but the same
    report = encode(place, "unfinished.safetensors")
    assert report.before == 5
    assert found(place / "unfinished.safetensors") == {**SHADES, "2.png": 155}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_file(place: Path):
    """Each child is killed a little later than the one before, until one lives to the end."""
    for number in range(40):
        write_shade(place / "in" / "many" / f"{number}.png", 60 + number)
    (place / "in" / "many" / "bad.png").write_bytes(b"no picture")
    encode(place)
    kills, seen = 0, 0
    while not (place / "killed.safetensors").exists() or (place / "killed.safetensors.parts").exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            encode(place, "killed.safetensors", batch_size=2, workers=2, crops=place / "crops")
            os._exit(0)
        time.sleep(0.02 + 0.04 * kills)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        done = sum(path.read_bytes().count(b"\n") for path in place.glob("killed.safetensors.parts/*.jsonl"))
        assert done >= seen or (place / "killed.safetensors").exists()  # whole, and its parts may be half removed
        seen = max(seen, done)
    assert kills > 1
    assert (place / "killed.safetensors").read_bytes() == (place / "codes.safetensors").read_bytes()
    assert len(list((place / "crops").rglob("*.png"))) == 47


# ------------------------------------------------------------------------------------------ many photos


class WatchingEditor(MeanEditor):
    """Notes how much memory the process holds while it encodes."""

    def invert(self, *arguments: object, **settings: object) -> object:  # type: ignore[override]
        self.megabytes = max(getattr(self, "megabytes", 0.0), anonymous_megabytes())
        return super().invert(*arguments, **settings)  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_number_of_photos(tmp_path: Path):
    """The codes of these photos take 33 MB."""
    write_shade(tmp_path / "one.png", 60)
    content = (tmp_path / "one.png").read_bytes()
    (tmp_path / "in").mkdir()
    peaks = []
    for count in (100, 900):
        for number in range(count):
            (tmp_path / "in" / f"{number}.png").write_bytes(content)
        editor = WatchingEditor(18, 512)
        assert encode(tmp_path, f"{count}.safetensors", editor=PhotoEditor(editor), batch_size=16).shape[0] == count
        peaks.append(max(editor.megabytes, anonymous_megabytes()))
    assert peaks[1] - peaks[0] < 8

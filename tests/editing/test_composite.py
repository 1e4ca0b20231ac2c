"""Hair of another editor's picture goes into the photo, however that picture was shifted, scaled, cut or recolored."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from hairclip.cli import main as cli
from hairclip.common.errors import HairclipError
from hairclip.editing.composite import Composite, take_hair
from hairclip.editing.photo.faces import FaceFinder
from hairclip.editing.photo.mtcnn import MtcnnFinder
from hairclip.evaluation.cases import make_cases
from hairclip.evaluation.scenes import make_scene
from hairclip.networks.face_parser import FaceParser
from hairclip.pretrained.bundle import load_bundle


@dataclass
class Setting:
    """One rendered person before and after an edit, and what finds faces and hair."""

    photo: Image.Image
    truth: Image.Image
    hair: np.ndarray
    parser: FaceParser
    finder: FaceFinder

    def take(self, edited: Image.Image, **more: Any) -> Composite:
        return take_hair(self.photo, edited, parser=self.parser, finder=self.finder, **more)


@pytest.fixture(scope="module")
def setting() -> Setting:
    scene = make_scene(make_cases(1, seed=7919)[0], [], np.random.default_rng([0, 0, 4]), 192)
    size = (scene.photo.width * 6 // 10, scene.photo.height * 6 // 10)  # smaller pictures take less time
    hair = np.asarray(Image.fromarray(scene.hair).resize(size)) > 0
    parser = load_bundle("portraits").photo_parser
    return Setting(scene.photo.resize(size), scene.truth.resize(size), hair, parser, MtcnnFinder())


def compress(picture: Image.Image, quality: int) -> Image.Image:
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=quality)
    return Image.open(stored).convert("RGB")


def shift(picture: Image.Image) -> Image.Image:
    moved = Image.new("RGB", picture.size)
    moved.paste(picture, (5, -3))
    return compress(moved, 90)


def stretch(picture: Image.Image) -> Image.Image:
    return compress(picture.resize((512, 512)), 90)


def cut(picture: Image.Image) -> Image.Image:
    part = picture.crop((30, 5, picture.width - 35, picture.height - 10))
    return compress(part.resize((part.width * 13 // 10, part.height * 13 // 10)), 92)


def recolor(picture: Image.Image) -> Image.Image:
    """Warmer, brighter, with less contrast and less saturation."""
    values = (np.asarray(picture, np.float32) / 255) ** 0.85 * np.array([1.03, 0.93, 0.81]) + 0.03
    return compress(ImageEnhance.Color(Image.fromarray(np.uint8(values.clip(0, 1) * 255))).enhance(0.8), 90)


def all_of_it(picture: Image.Image) -> Image.Image:
    turned = recolor(picture).rotate(1.2, Image.Resampling.BICUBIC)
    part = turned.crop((15, 10, turned.width - 14, turned.height - 15))
    return compress(part.resize((part.width * 8 // 10, part.height * 8 // 10)), 80)


def diffuse(picture: Image.Image) -> Image.Image:
    """Change all pixels as a diffusion editor's autoencoder does: soft detail, grain, other colors, a shift."""
    random = np.random.default_rng(0)
    moved = Image.new("RGB", picture.size, (128, 128, 128))
    moved.paste(picture.filter(ImageFilter.GaussianBlur(0.7)), (2, 1))
    drift = random.uniform(-9, 9, (3, 4, 5)).astype(np.float32)
    slow = [np.asarray(Image.fromarray(one).resize(picture.size, Image.Resampling.BICUBIC)) for one in drift]
    values = np.asarray(moved, np.float32) * np.array([1.02, 0.98, 0.95]) + 3 + np.stack(slow, axis=-1)
    return Image.fromarray(np.uint8((values + random.normal(0, 3, values.shape)).clip(0, 255)))


def psnr(one: Image.Image, other: Image.Image, where: np.ndarray) -> float:
    error = (np.asarray(one, float) - np.asarray(other, float))[where]
    return float(10 * np.log10(255**2 / max((error**2).mean(), 1e-9)))


@pytest.mark.parametrize("change", [shift, stretch, cut, all_of_it, diffuse])
def test_hair_is_the_truth_and_all_else_the_photo(setting: Setting, change: Callable[[Image.Image], Image.Image]):
    result = setting.take(change(setting.truth))
    picture, mask = np.asarray(result.picture), np.asarray(result.mask)
    assert np.array_equal(picture[mask == 0], np.asarray(setting.photo)[mask == 0])
    assert (mask > 0).mean() < 0.05 + 2.5 * setting.hair.mean()
    assert psnr(setting.photo, setting.truth, setting.hair) < 16
    assert psnr(result.picture, setting.truth, setting.hair) > 26
    assert psnr(result.picture, setting.photo, ~setting.hair) > 34
    assert result.agreement > 0.85


def test_an_edit_that_changes_nothing_leaves_every_pixel(setting: Setting):
    result = setting.take(setting.photo)
    assert result.picture.tobytes() == setting.photo.tobytes()
    assert not np.any(result.mask)
    assert result.changed == 0
    assert result.notes == ["the picture equals the picture in every pixel: nothing was taken from it."]


def test_another_person_is_refused_in_one_sentence_unless_forced(setting: Setting):
    other = make_scene(make_cases(2, seed=7919)[1], [], np.random.default_rng(3), 96).truth
    with pytest.raises(
        HairclipError, match=r"does not agree with the one in the picture \(likeness 0\.\d\d, .*force=True"
    ):
        setting.take(other)
    forced = setting.take(other, force=True)
    assert any("the faces do not agree" in note for note in forced.notes)


def test_a_mask_says_what_is_taken(setting: Setting):
    rows, columns = np.nonzero(setting.hair)
    left, top, right, bottom = columns.min(), rows.min(), int(columns.mean()), int(rows.mean())
    mask = np.zeros(setting.hair.shape, np.uint8)
    mask[top:bottom, left:right] = 255
    result = setting.take(setting.truth, mask=Image.fromarray(mask))
    outside = np.asarray(result.mask) == 0
    assert outside[mask == 0].mean() > 0.9  # around the mask a shadow may lie
    assert np.array_equal(np.asarray(result.picture)[outside], np.asarray(setting.photo)[outside])
    assert psnr(result.picture, setting.truth, mask > 0) > 30


def test_every_seam_joins(setting: Setting):
    edited = recolor(setting.truth)
    for seam in ("laplacian", "poisson"):
        result = setting.take(edited, seam=seam)
        assert psnr(result.picture, setting.truth, setting.hair) > 24, seam


def test_the_command_writes_the_photo_and_its_mask(
    setting: Setting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    photo, edited, out, mask = (str(tmp_path / name) for name in ("me.png", "edited.jpg", "out.png", "mask.png"))
    setting.photo.save(photo)
    shift(setting.truth).save(edited, quality=95)
    command = ["composite", "--photo", photo, "--edited", edited, "--device", "cpu"]
    assert cli.main([*command, "--out", out, "--save-mask", mask]) == 0
    told = capsys.readouterr().out
    assert f"wrote {out}: " in told
    assert "of its pixels changed" in told
    with Image.open(out) as written, Image.open(mask) as weight:
        outside = np.asarray(weight) == 0
        assert weight.mode == "L"
        assert weight.size == setting.photo.size
        assert np.array_equal(np.asarray(written)[outside], np.asarray(setting.photo)[outside])
    assert cli.main([*command, "--out", photo]) == 2
    assert "would replace the picture" in capsys.readouterr().err

"""Figures of pictures whose answers are known: equal, shifted, recolored, noisy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.common.face_labels import HAIR
from hairclip.common.images import from_uint8
from hairclip.editing.inversion.perceptual import PerceptualDistance
from hairclip.evaluation.real.judges import Judges, Seen
from hairclip.evaluation.real.measure import Words, compare_pictures, judge_request, measure_whole_photo, rate
from hairclip.evaluation.real.requests import PhotoRequest
from hairclip.networks.face_parser import FaceParser
from tests.helpers.tiny_networks import tiny_networks

SIDE = 64
STYLES, COLORS = ("afro", "bob cut", "perm"), ("red", "blue")


class UpperThird(FaceParser):
    """Says that the upper third of every picture is hair."""

    def __init__(self) -> None:
        super().__init__(SIDE)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(images), 19, SIDE, SIDE)
        found[:, HAIR, : SIDE // 3] = 1.0
        found[:, 0, SIDE // 3 :] = 1.0
        return found


@pytest.fixture(scope="module")
def judges() -> Judges:
    networks: SimpleNamespace = tiny_networks()
    perceptual = PerceptualDistance(networks.identity)
    return Judges(networks.identity, networks.clip, UpperThird(), perceptual)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A smooth face with noise, (SIDE, SIDE, 3)."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    smooth = np.stack([np.sin(7 * x) * np.cos(5 * y), np.sin(4 * y + x), x * y], axis=-1)
    return (smooth * 90 + 120 + np.random.default_rng(0).normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)


def look(judges: Judges, pixels: np.ndarray) -> Seen:
    return judges.look(from_uint8(pixels[None]))


def test_an_equal_picture_has_kept_everything(judges: Judges, photo: np.ndarray):
    seen = look(judges, photo)
    figures = compare_pictures(judges, seen, seen)
    assert figures["ids"] == pytest.approx(1.0)
    assert figures["psnr"] == 100.0
    assert figures["ssim"] == pytest.approx(1.0)
    assert figures["perceptual"] == 0.0


def test_new_hair_alone_costs_no_psnr_and_no_ssim(judges: Judges, photo: np.ndarray):
    edited = photo.copy()
    edited[: SIDE // 3] = 255 - edited[: SIDE // 3]
    figures = compare_pictures(judges, look(judges, edited), look(judges, photo))
    assert figures["psnr"] == 100.0
    assert figures["ssim"] == pytest.approx(1.0)
    assert figures["perceptual"] > 0


def test_shift_and_noise_cost_what_they_should(judges: Judges, photo: np.ndarray):
    before = look(judges, photo)
    noise = np.random.default_rng(1).normal(0, 10, photo.shape)
    noisy = compare_pictures(judges, look(judges, (photo + noise).clip(0, 255).round().astype(np.uint8)), before)
    assert noisy["psnr"] == pytest.approx(20 * np.log10(255 / 10), abs=0.3)
    one, three = (compare_pictures(judges, look(judges, np.roll(photo, by, axis=1)), before) for by in (1, 3))
    assert 1 > one["ssim"] > three["ssim"]
    assert 1 > one["ids"] > three["ids"]
    assert 0 < one["perceptual"] < three["perceptual"]
    below = photo[SIDE // 3 :].astype(float)
    error = np.mean((np.roll(below, 3, axis=1) - below) ** 2)
    assert three["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)


def lab(color: tuple[int, int, int]) -> np.ndarray:
    """CIE 1976 L*a*b* of one sRGB color by the standard's formulas, white point D65."""
    encoded = np.array(color) / 255
    linear = np.where(encoded > 0.04045, ((encoded + 0.055) / 1.055) ** 2.4, encoded / 12.92)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    t = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_color_distance_of_recolored_hair_is_that_of_the_standard(judges: Judges, photo: np.ndarray):
    colors = (180, 60, 40), (90, 70, 160)
    pictures = []
    for color in colors:
        pictures.append(photo.copy())
        pictures[-1][: SIDE // 3] = color
    answer, reference = (look(judges, one) for one in pictures)
    words = Words.encode(judges, STYLES, COLORS)
    for kind in ("reference-color", "reference-both"):
        figures = judge_request(answer, PhotoRequest(kind), words, reference)
        assert figures["acd"] == pytest.approx(np.linalg.norm(lab(colors[0]) - lab(colors[1])), abs=0.1)
        assert figures["acd_of_loss"] != pytest.approx(figures["acd"], abs=1)
        assert ("clip_image" in figures) == (kind == "reference-both")
    same = judge_request(answer, PhotoRequest("reference-both"), words, answer)
    assert same["acd"] == 0.0
    assert same["clip_image"] == pytest.approx(1.0)
    assert "acd" not in judge_request(answer, PhotoRequest("reference-hairstyle"), words, reference)


def test_the_score_and_the_rank_of_a_text_are_those_of_the_cosines(judges: Judges, photo: np.ndarray):
    words, seen = Words.encode(judges, STYLES, COLORS), look(judges, photo)
    with torch.no_grad():
        texts = judges.clip.encode_text([f"{style} hairstyle" for style in STYLES]).numpy()
        color = judges.clip.encode_text(["blue hair"]).numpy()[0]
    picture = seen.clip[0].numpy()
    cosines = texts @ picture / np.linalg.norm(texts, axis=1) / np.linalg.norm(picture)
    figures = judge_request(seen, PhotoRequest("text-both", hairstyle="perm", color="blue"), words, None)
    assert figures["clip_hairstyle"] == pytest.approx(cosines[2], abs=1e-5)
    assert figures["rank_hairstyle"] == 1 + int((cosines > cosines[2]).sum())
    assert figures["clip_color"] == pytest.approx(
        color @ picture / np.linalg.norm(color) / np.linalg.norm(picture), abs=1e-5
    )
    assert "clip_color" not in judge_request(seen, PhotoRequest("text-hairstyle", hairstyle="afro"), words, None)


def test_without_pixels_that_are_no_hair_there_is_no_psnr(judges: Judges, photo: np.ndarray):
    seen = look(judges, photo)
    covered = Seen(**{**vars(seen), "hair": torch.ones_like(seen.hair)})
    assert {"psnr", "ssim"}.isdisjoint(compare_pictures(judges, covered, seen))


def test_changed_pixels_of_a_whole_photo_are_counted(photo: np.ndarray):
    edited, mask = photo.copy(), np.zeros((SIDE, SIDE), np.uint8)
    edited[:4, :4] ^= 1
    edited[40, 40] ^= 1
    mask[:4, :8] = 9
    figures = measure_whole_photo(Image.fromarray(photo), Image.fromarray(edited), Image.fromarray(mask))
    assert figures["changed"] == pytest.approx(17 / SIDE**2)
    assert figures["changed_outside_mask"] == pytest.approx(1 / (SIDE**2 - 32))
    assert "changed_outside_mask" not in measure_whole_photo(Image.fromarray(photo), Image.fromarray(edited), None)


def test_a_lost_identity_and_a_missed_word_make_an_edit_worse(judges: Judges):
    words = Words.encode(judges, STYLES, COLORS)
    fine = {"ids": 1.0, "rank_hairstyle": 1.0}
    assert rate(fine, words) == 0.0
    assert rate({**fine, "ids": 0.2}, words) == pytest.approx(0.8)
    assert rate({**fine, "rank_hairstyle": 3.0}, words) == pytest.approx(1.0)
    assert rate({**fine, "acd": 50.0}, words) == pytest.approx(0.5)

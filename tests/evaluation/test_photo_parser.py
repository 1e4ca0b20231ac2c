"""The measures of a parser of photos, on painted people and with parsers whose answers are known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import HAIR
from hairclip.editing.photo.faces import Face
from hairclip.evaluation import renders
from hairclip.evaluation.hair_masks import HairScene, evaluate_hair_masks, make_hair_scenes, measure_alpha
from hairclip.evaluation.photo_parser import CASES, evaluate_photo_parser, measure_photos
from hairclip.networks.face_parser import FaceParser
from hairclip.portraits.randomize.portrait import FACTORS
from tests.evaluation.test_photos import paint

SIZE = 48


class RedHair(FaceParser):
    """Takes all that is more red than blue by a margin, and dark, for hair: in painted people it is."""

    def __init__(self, size: int = SIZE) -> None:
        super().__init__(size)
        self.size = torch.nn.Parameter(torch.zeros(1))

    def logits(self, images: Tensor) -> Tensor:
        shrunk = torch.nn.functional.interpolate(images, size=(self.input_size,) * 2, mode="area")
        red, blue = shrunk[:, 0], shrunk[:, 2]
        is_hair = (red - blue > 0.4) & (blue < -0.5)
        logits = torch.zeros(len(images), 19, *shrunk.shape[2:])
        logits[:, HAIR] = torch.where(is_hair, 10.0, -10.0)
        return logits


class Bald(RedHair):
    """Finds no hair at all."""

    def logits(self, images: Tensor) -> Tensor:
        logits = super().logits(images)
        logits[:, HAIR] = -10.0
        return logits


@pytest.fixture(autouse=True)
def _painted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renders, "draw", paint)


def test_each_factor_is_a_line_and_the_best_parser_wins(tmp_path: Path):
    lines: list[str] = []
    parsers = {"red": RedHair(), "bald": Bald()}
    report = evaluate_photo_parser(parsers, tmp_path, count=3, textures=2, progress=False, say=lines.append)
    figures = report["figures"]
    assert set(CASES) == {"plain", "wide", "everything", "wide everything", *FACTORS}
    assert figures["red"]["plain"] > 0.9
    assert figures["red"]["hair shade"] < figures["red"]["plain"] + 0.1
    assert figures["bald"]["plain"] == 0
    assert report["passed"]["plain"] is not None
    for title in ("hat alone", "everything, as often as in training", "rendered people, nothing random"):
        assert f"| {title}" in lines[0]
    assert "photos" not in lines[0]
    assert json.loads((tmp_path / "photo_parser.json").read_text())["figures"] == figures
    assert (tmp_path / "photo_parser.png").is_file()


def photo_folder(folder: Path) -> Path:
    """A photo with a red half, its mask at half its size, and a photo without a mask."""
    pixels = np.full((SIZE, 2 * SIZE, 3), 60, np.uint8)
    pixels[:, :SIZE] = (140, 50, 20)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels).save(folder / "b.png")
    mask = np.zeros((SIZE // 2, SIZE), np.uint8)
    mask[:, : SIZE // 2] = 255
    Image.fromarray(mask).save(folder / "a_hair.png")
    return folder


def test_photos_with_masks_are_measured_at_the_size_of_the_mask(tmp_path: Path):
    (record,) = measure_photos(RedHair(), photo_folder(tmp_path))
    assert record["photo"] == "a.png"
    assert record["photos"] > 0.95
    assert "photo masks" not in record

    class Nobody:
        def load(self) -> None: ...

        def __call__(self, photo: Image.Image) -> list[Face]:
            return []

        def refine(self, photo: Image.Image, face: Face) -> Face:
            return face

    (record,) = measure_photos(RedHair(), tmp_path, Nobody())
    assert record["photo masks"] is None


def test_a_folder_without_masks_is_one_sentence(tmp_path: Path):
    with pytest.raises(HairclipError, match="put NAME_hair.png beside NAME.jpg"):
        measure_photos(RedHair(), tmp_path)
    with pytest.raises(HairclipError, match="there is no folder"):
        measure_photos(RedHair(), tmp_path / "none")


def test_hair_scenes_know_where_hair_lies_and_repeat():
    scenes = list(make_hair_scenes(2, seed=3, size=96))
    for scene, again in zip(scenes, make_hair_scenes(2, seed=3, size=96), strict=True):
        assert np.array_equal(np.asarray(scene.photo), np.asarray(again.photo))
        assert scene.alpha.shape == scene.photo.size[::-1]
        assert 0 <= scene.alpha.min() <= scene.alpha.max() <= 1
        hair = np.asarray(scene.photo, np.float32)[scene.alpha > 0.99]
        assert np.abs(hair[:, 0] - 120).mean() < 30  # painted hair has a red of about 120
    assert max(len(scene.others) for scene in make_hair_scenes(6, seed=1, size=48)) == 1


def scene_of(alpha: np.ndarray) -> HairScene:
    marks = np.array([[40, 40], [60, 40], [50, 50], [43, 60], [57, 60]], np.float64)
    return HairScene(Image.new("RGB", alpha.shape[::-1]), alpha.astype(np.float32), marks, ())


def test_figures_of_a_mask():
    alpha = np.zeros((200, 100), np.float32)
    alpha[:180, 20:80] = 1.0
    perfect = measure_alpha((alpha * 255).astype(np.uint8), scene_of(alpha))
    assert perfect == {"iou": 1.0, "iou_beyond": 1.0, "sad": 0.0, "mse": 0.0}
    cut = alpha.copy()
    cut[100:] = 0
    figures = measure_alpha((cut * 255).astype(np.uint8), scene_of(alpha))
    assert figures["iou"] == pytest.approx(100 / 180)
    assert figures["iou_beyond"] == pytest.approx(0.0, abs=0.2)
    assert figures["sad"] == pytest.approx(80 / 180)
    assert figures["mse"] == pytest.approx(1000 * 80 * 60 / alpha.size)
    short = np.where(np.arange(200)[:, None] < 70, alpha, 0)
    short[:20] = 0
    assert measure_alpha((short * 255).astype(np.uint8), scene_of(short))["iou_beyond"] is None


def test_masks_are_measured_and_reported(tmp_path: Path):
    lines: list[str] = []
    report = evaluate_hair_masks(RedHair(), tmp_path, count=1, size=96, progress=False, say=lines.append)
    assert "hair IoU" in lines[0]
    assert len(report["records"]) == 1
    assert json.loads((tmp_path / "hair_masks.json").read_text()) == report
    assert (tmp_path / "hair_masks.png").is_file()

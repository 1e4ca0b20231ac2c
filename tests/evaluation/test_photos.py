"""Scenes and their figures without the renderer: people are painted, so that every answer is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.editing.editor import HairEditor
from hairclip.editing.photo.align import crop_face
from hairclip.editing.photo.faces import Face, FaceFinder
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.evaluation import renders
from hairclip.evaluation.photos import evaluate_photos, measure, measure_seam
from hairclip.evaluation.renders import Drawing
from hairclip.evaluation.scenes import Scene, make_scenes
from hairclip.portraits.spec import STYLE_NAMES, PortraitSpec
from tests.helpers.tiny_networks import tiny_networks

SIZE = 96
MARKS = np.array([[38, 44], [58, 44], [48, 54], [40, 62], [56, 62]], np.float32)


def paint(spec: PortraitSpec, size: int) -> Drawing:
    """A shaded face, clothes below it, and hair above in its color, the deeper the later its style is in the list."""
    image, labels = np.full((size, size, 3), 30, np.uint8), np.zeros((size, size), np.uint8)
    y, x = np.mgrid[0:size, 0:size] / size * 96
    for where, label, color in (
        ((np.abs(x - 48) < 34) & (y > 74), 18, (90, 60, 140)),
        (np.hypot(x - 48, (y - 50) / 1.3) < 22, 1, (210, 160, 130)),
        ((np.abs(x - 48) < 26) & (y > 8) & (y < 14 + STYLE_NAMES.index(spec.hair.style)), 13, (120, 80, 20)),
    ):
        shade = 1.0 + 0.15 * np.sin(x / 9) * np.cos(y / 11)
        image[where] = (np.array(color) * shade[..., None]).clip(0, 255)[where].astype(np.uint8)
        labels[where] = label
    image[labels == 13, 1] = spec.color.name.encode()[0]
    return Drawing(
        image, labels, (labels == 13).astype(np.float32), MARKS * size / 96, np.zeros((*labels.shape, 2), np.int8)
    )


@pytest.fixture
def _painted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renders, "draw", paint)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.usefixtures("_painted")
def test_the_portrait_lies_where_the_scene_says():
    """Cut out along the known square, it is the portrait again, before and after the edit."""
    for scene in make_scenes(3, seed=1, size=SIZE):
        for picture, spec, limit in ((scene.truth, scene.case.truth, 30), (scene.photo, scene.case.source, 26)):
            drawn = paint(spec, SIZE)
            image, labels = drawn.image, drawn.labels
            found = np.asarray(crop_face(picture, scene.square, SIZE))
            inside = labels > 0  # clear of outlines
            for axis in (0, 1):
                for step in (-3, 3):
                    inside &= np.roll(labels, step, axis) == labels
            assert inside.sum() > 1000
            assert psnr(found[inside], image[inside]) > limit
        corners = scene.square.corners
        across, down = (corners[3] - corners[0]) / SIZE, (corners[1] - corners[0]) / SIZE
        marks = corners[0] + MARKS[:, :1] * across + MARKS[:, 1:] * down
        np.testing.assert_allclose(scene.landmarks, marks, atol=1e-6)


@pytest.mark.usefixtures("_painted")
def test_a_scene_and_its_truth_differ_only_in_hair():
    scene = next(make_scenes(1, seed=1, size=SIZE))
    photo, truth = np.asarray(scene.photo, float), np.asarray(scene.truth, float)
    assert np.abs(photo - truth)[scene.old_hair ^ scene.new_hair].mean() > 20
    near = np.asarray(Image.fromarray(scene.hair).resize((60, 60)).resize(scene.photo.size)) > 0
    assert np.abs(photo - truth)[~near & ~scene.hair].mean() < 4  # what JPEG did


@pytest.mark.usefixtures("_painted")
def test_scenes_repeat_and_seeds_differ():
    first, again, other = (next(make_scenes(1, seed=seed, size=SIZE)) for seed in (0, 0, 1))
    assert first.photo.tobytes() == again.photo.tobytes()
    assert first.truth.tobytes() == again.truth.tobytes()
    assert first.photo.tobytes() != other.photo.tobytes()


@pytest.mark.usefixtures("_painted")
def test_figures_of_answers_that_are_known():
    scene = next(make_scenes(1, seed=1, size=SIZE))
    untouched, everywhere = Image.new("L", scene.photo.size), Image.new("L", scene.photo.size, 255)
    same = measure(scene, scene.photo, untouched, square=scene.square)
    assert same["changed_outside_mask"] == same["changed_outside_hair"] == 0.0
    assert same["outside_psnr"] == 100.0
    assert same["outside_ssim"] > 0.9999
    assert same["square_error"] == 0.0
    right = measure(scene, scene.truth, everywhere, square=scene.square)
    assert right["inside_psnr"] == 100.0
    assert right["inside_ssim"] > 0.9999 > same["inside_ssim"]
    assert same["inside_psnr"] < 35
    pixels = np.asarray(scene.photo).copy()
    pixels[2, 3] ^= 1
    tampered = measure(scene, Image.fromarray(pixels), untouched, square=scene.square)
    share = 1 / (scene.photo.width * scene.photo.height)
    assert tampered["changed_outside_mask"] == pytest.approx(share, rel=1e-3)
    assert tampered["changed_outside_hair"] >= share


def test_a_visible_seam_shows_in_its_figure():
    truth = torch.linspace(-0.5, 0.5, 64).expand(1, 3, 64, 64)
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[..., 20:40, 20:40] = True
    assert measure_seam(truth, truth, mask) == pytest.approx(1.0)
    assert measure_seam(truth + 0.1 * mask, truth, mask) > 1.5


class Knowing(FaceFinder):
    """Finds the face of the scene being edited; of every second one, none."""

    def __init__(self) -> None:
        self.scenes: list[Scene] = []

    def __call__(self, photo: Image.Image) -> list[Face]:
        marks = self.scenes.pop(0).landmarks
        return [Face(marks, (*marks.min(0).tolist(), *marks.max(0).tolist()), 1.0)] if len(self.scenes) % 2 else []


@pytest.mark.usefixtures("_painted")
def test_the_evaluation_edits_measures_and_reports(tmp_path: Path):
    finder, lines = Knowing(), []
    finder.scenes = list(make_scenes(2, seed=2))
    editor = PhotoEditor(HairEditor(tiny_networks(), groups=(3, 5)), finder=finder)
    report = evaluate_photos(editor, tmp_path, count=2, seed=2, say=lines.append)
    ways = ["encoder feather", "encoder laplacian", "encoder poisson", "encoder poisson, edit behind"]
    assert list(report["figures"]) == ways
    for way in ways:
        assert report["figures"][way]["changed_outside_mask"] == 0.0
        assert report["figures"][way]["found"] == 0.5
        assert report["figures"][way]["landmark_error"] == pytest.approx(0.0)
        assert report["figures"][way]["square_error"] < 0.2
    assert json.loads((tmp_path / "report.json").read_text())["figures"] == report["figures"]
    assert "changed outside the reported mask" in lines[0]
    with Image.open(tmp_path / "worst.png") as sheet:
        assert sheet.width > 900

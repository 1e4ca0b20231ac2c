"""Where a photo's pixels lie in another picture: known maps are found again."""

import numpy as np
import pytest
from PIL import Image

from hairclip.editing.photo.register import Placement, fit_similarity, register


def scene(seed: int, width: int = 360, height: int = 280) -> Image.Image:
    """Blobs of several sizes."""
    random = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(random.integers(0, 256, size, np.uint8)).resize((width, height), 3), float)
        for size in ((7, 9, 3), (20, 26, 3), (60, 80, 3))
    ]
    return Image.fromarray(np.uint8(np.mean(layers, axis=0)))


def warp(photo: Image.Image, placement: Placement, size: tuple[int, int]) -> Image.Image:
    """The picture in which the photo's pixels lie where the placement says."""
    inverse = np.linalg.inv(np.vstack([placement.matrix, [0, 0, 1]]))[:2].ravel()
    return photo.transform(size, Image.Transform.AFFINE, tuple(inverse), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("scale", "angle", "move"), [(1.0, 0.0, (6.3, -4.7)), (0.8, 0.03, (9.0, 5.0)), (1.25, -0.02, (-20.0, 12.0))]
)
def test_a_known_similarity_is_found_to_a_fifth_of_a_pixel(scale: float, angle: float, move: tuple[float, float]):
    photo = scene(0)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    truth = Placement(np.array([[c, -s, move[0]], [s, c, move[1]]]))
    other = warp(photo, truth, (round(360 * scale), round(280 * scale)))
    marks = np.array([[120, 110], [210, 115], [170, 150], [130, 190], [205, 190]], np.float64)
    guess = fit_similarity(marks, truth.carry(marks) + np.random.default_rng(1).normal(0, 2.0, (5, 2)))
    found, agreement = register(photo, other, [Placement.of_frames(photo.size, other.size), guess])
    corners = np.array([[40, 40], [320, 40], [40, 240], [320, 240]], np.float64)
    assert np.abs(found.carry(corners) - truth.carry(corners)).max() < 0.2 * scale
    assert agreement > 0.9
    assert found.scale == pytest.approx(scale, rel=2e-3)


def test_five_landmarks_give_their_similarity():
    marks = np.array([[10, 10], [40, 12], [25, 30], [14, 44], [38, 45]], np.float64)
    truth = Placement(np.array([[0.6, -0.2, 5.0], [0.2, 0.6, -3.0]]))
    np.testing.assert_allclose(fit_similarity(marks, truth.carry(marks)).matrix, truth.matrix, atol=1e-9)


def test_what_was_changed_there_does_not_pull():
    """A third of the other picture shows something else, half of it where the weight does not tell."""
    photo = scene(0)
    truth = Placement(np.array([[1.0, 0.0, 5.0], [0.0, 1.0, 3.0]]))
    other = warp(photo, truth, photo.size)
    other.paste(scene(5).crop((0, 0, 180, 160)), (100, 40))
    weight = Image.new("L", photo.size, 255)
    weight.paste(0, (95, 37, 185, 197))
    found, _ = register(photo, other, [Placement.of_frames(photo.size, other.size)], photo_weight=weight)
    np.testing.assert_allclose(found.matrix, truth.matrix, atol=0.1)

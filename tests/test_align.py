import numpy as np
import pytest
from PIL import Image

from hairclip.align import crop_face, face_square, paste_back
from hairclip.errors import HairclipError

EYES_MOUTH = np.array([[100, 120], [160, 118], [130, 150], [108, 180], [155, 179]], np.float64)


def gradient(width: int = 320, height: int = 300) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(np.uint8)
    )


def test_the_square_of_the_reference_face():
    square = face_square(EYES_MOUTH)
    expected = [[6.648, 8.520], [13.620, 248.552], [253.652, 241.580], [246.680, 1.548]]
    np.testing.assert_allclose(square.corners, expected, atol=6e-4)
    assert square.size == pytest.approx(240.1333, abs=1e-4)


def test_68_points_give_the_square_of_their_five():
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = EYES_MOUTH[0], EYES_MOUTH[1]
    points[48], points[54] = EYES_MOUTH[3], EYES_MOUTH[4]
    np.testing.assert_allclose(face_square(points).corners, face_square(EYES_MOUTH).corners)


def test_the_crop_shows_what_lies_under_the_square():
    photo = gradient()
    square = face_square(EYES_MOUTH)
    crop = np.asarray(crop_face(photo, square, 64), np.float64)
    middle = square.corners.mean(axis=0)
    expected = np.asarray(photo, np.float64)[round(middle[1]), round(middle[0])]
    np.testing.assert_allclose(crop[31:33, 31:33].mean(axis=(0, 1)), expected, atol=3)


def test_a_crop_beyond_the_photo_is_filled():
    crop = crop_face(gradient(), face_square(EYES_MOUTH - [80, 100]), 64)
    assert crop.size == (64, 64)
    assert np.asarray(crop).std() > 5


def test_a_large_photo_is_reduced_first():
    large = gradient(1280, 1200)
    small, square = crop_face(gradient(), face_square(EYES_MOUTH), 64), face_square(EYES_MOUTH * 4)
    np.testing.assert_allclose(
        np.asarray(crop_face(large, square, 64), np.float64), np.asarray(small, np.float64), atol=6
    )


def test_pasting_back_what_was_cut_changes_nothing_much_and_nothing_at_all_outside():
    photo = gradient()
    square = face_square(EYES_MOUTH)
    back = np.asarray(paste_back(photo, crop_face(photo, square, 256), square), np.float64)
    assert np.abs(back - np.asarray(photo, np.float64)).mean() < 1.0
    untouched = paste_back(photo, Image.new("RGB", (64, 64)), square, Image.new("L", (64, 64), 0))
    assert np.array_equal(np.asarray(untouched), np.asarray(photo))


def test_impossible_landmarks_are_refused():
    with pytest.raises(HairclipError, match="fall together"):
        face_square(np.full((5, 2), 3.0))
    with pytest.raises(ValueError, match="landmarks"):
        face_square(np.zeros((4, 2)))

"""Faces are found wherever and however they lie, and what cannot be edited is told."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.framing import PORTRAITS
from hairclip.editing.photo.align import crop_face
from hairclip.editing.photo.faces import FINDERS, Face, check_face, choose_faces, describe_weaknesses
from hairclip.editing.photo.mtcnn import MtcnnFinder

PORTRAITS_FOLDER = Path(__file__).resolve().parents[3] / "data" / "portraits"
FRONT = np.array([[100, 120], [160, 120], [130, 150], [108, 180], [152, 180]], np.float64)


@pytest.fixture(scope="module")
def finder() -> MtcnnFinder:
    return MtcnnFinder()


def portrait(name: str) -> Image.Image:
    with Image.open(PORTRAITS_FOLDER / f"{name}.png") as opened:
        return opened.convert("RGB")


def face(landmarks: np.ndarray = FRONT, left: float = 0.0) -> Face:
    points = landmarks + np.array([left, 0.0])
    low, high = points.min(axis=0), points.max(axis=0)
    return Face(points, (float(low[0]), float(low[1]), float(high[0]), float(high[1])), 1.0)


def test_faces_are_chosen_by_size_side_and_number():
    faces = [face(left=300), face(FRONT * 1.5, left=500), face()]
    assert choose_faces(faces) == [faces[1]]
    assert choose_faces(faces, "left") == [faces[2]]
    assert choose_faces(faces, "right") == [faces[1]]
    assert choose_faces(faces, "all") == [faces[2], faces[0], faces[1]]
    assert choose_faces(faces, "2") == choose_faces(faces, 2) == [faces[0]]
    for number in (0, "4", -1):
        with pytest.raises(HairclipError, match=f"no face {number} in x.jpg: give 1 to 3"):
            choose_faces(faces, number, "x.jpg")
    with pytest.raises(HairclipError, match="'middle'"):
        choose_faces(faces, "middle")
    with pytest.raises(HairclipError, match=r"no face was found in x\.jpg"):
        choose_faces([], "all", "x.jpg")


def test_faces_that_cannot_be_edited_are_refused_and_doubtful_ones_told():
    check_face(face(), (400, 400))
    assert describe_weaknesses(face(), (400, 400)) == []
    with pytest.raises(HairclipError, match=r"in x\.jpg is too small, its crop has 60 pixels"):
        check_face(face(FRONT / 4), (400, 400), "x.jpg")
    profile, turned = FRONT.copy(), FRONT.copy()
    profile[2], turned[2] = [165, 150], [153, 150]
    with pytest.raises(HairclipError, match="seen from the side"):
        check_face(face(profile), (400, 400))
    (note,) = describe_weaknesses(face(turned), (400, 400))
    assert "turned away" in note
    assert face(turned).turned == pytest.approx(46 / 60)
    rotated = face(turned[:, ::-1] * [1, -1] + [0, 400])  # a turned head stays one however the photo lies
    assert rotated.turned == pytest.approx(46 / 60)
    with pytest.raises(HairclipError, match="cut off"):
        check_face(face(FRONT - [108, 0]), (400, 400))  # an eye beyond the edge
    (note,) = describe_weaknesses(face(FRONT - [60, 0]), (400, 400))
    assert "% of the crop" in note
    assert face(FRONT - [60, 0]).outside((400, 400)) == pytest.approx(0.22, abs=0.02)
    assert face().outside((400, 400)) == 0.0


def test_every_portrait_of_the_bundle_is_found_where_it_is(finder: MtcnnFinder):
    """Its square is the whole picture, to within a few hundredths: it need not be called aligned."""
    for name in ("anna", "ben", "clara", "dora", "emil", "frida"):
        picture = portrait(name)
        (found,) = finder(picture)
        assert found.landmarks.dtype == np.float64
        square = finder.refine(picture, found).square(PORTRAITS)
        assert square.size == pytest.approx(128, rel=0.06)
        np.testing.assert_allclose(square.corners.mean(axis=0), [63.5, 63.5], atol=2)
        check_face(found, picture.size, framing=PORTRAITS)
        assert describe_weaknesses(found, picture.size, framing=PORTRAITS) == []


@pytest.mark.parametrize(("angle", "scale"), [(0, 2.5), (25, 1.5), (-20, 1.2), (90, 2.0), (180, 1.0), (270, 1.3)])
def test_the_crop_does_not_depend_on_how_the_photo_lies(finder: MtcnnFinder, angle: int, scale: float):
    """Landmarks are measured again in the crop, so that copies agree: to 5 of 255 levels in the mean."""

    def scene(angle: int, scale: float) -> Image.Image:
        whole = Image.new("RGB", (400, 400), (70, 110, 100))
        whole.paste(portrait("anna"), (130, 140))
        size = round(400 * scale)
        return whole.resize((size, size), Image.Resampling.BICUBIC).rotate(angle, Image.Resampling.BICUBIC)

    def crop(picture: Image.Image) -> np.ndarray:
        (found,) = finder(picture)
        return np.asarray(crop_face(picture, finder.refine(picture, found).square(), 64), float)

    assert np.abs(crop(scene(angle, scale)) - crop(scene(0, 1.5))).mean() < 5


def test_faces_of_a_large_photo_are_told_apart(finder: MtcnnFinder):
    group = Image.new("RGB", (3000, 2000), (70, 110, 100))
    for name, left, size in (("anna", 300, 640), ("ben", 1100, 900), ("emil", 2200, 512)):
        group.paste(portrait(name).resize((size, size), Image.Resampling.BICUBIC), (left, 500))
    faces = finder(group)
    assert len(faces) == 3
    np.testing.assert_allclose([f.square(PORTRAITS).size for f in faces], [640, 900, 512], rtol=0.1)
    middles = [f.square(PORTRAITS).corners.mean(axis=0)[0] for f in faces]
    np.testing.assert_allclose(middles, [620, 1550, 2456], atol=25)


def test_pictures_without_a_face_have_none(finder: MtcnnFinder):
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    for picture in (Image.new("RGB", (300, 200), "gray"), Image.fromarray(noise), Image.new("RGB", (9, 300))):
        assert finder(picture) == []


def test_finders_are_found_by_name():
    assert isinstance(FINDERS.load("mtcnn")("cpu"), MtcnnFinder)
    with pytest.raises(HairclipError, match="no face finder 'mtcn' .did you mean mtcnn"):
        FINDERS.load("mtcn")

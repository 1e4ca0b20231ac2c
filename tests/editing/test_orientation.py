"""A photo whose file lies on its side is edited like the same photo stored upright, through every entrance."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hairclip.common.image_files import srgb_profile
from hairclip.editing.folder import FolderSettings, edit_folder
from hairclip.editing.photo_editor import PhotoEditor
from tests.editing.test_photo_editor import QUICK, QUICKLY, photo, photo_editor
from tests.helpers.tiny_networks import tiny_networks

ORIENTATION = 0x0112
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF's orientation -> how the camera turned the picture before it stored it."""
ENCODING: dict[str, dict[str, Any]] = {
    "png": {},
    "jpg": {"quality": 100, "subsampling": 0},
    "webp": {"lossless": True},
    "tif": {},
}
LOSSLESS = ("png", "webp", "tif")
PROFILES = {
    "no profile": None,
    "sRGB": srgb_profile(),
    "another profile": srgb_profile().replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be")),
}
UPRIGHT = photo(220, 200)


@pytest.fixture(scope="module")
def editor() -> PhotoEditor:
    return photo_editor(tiny_networks())


def store(folder: Path, number: int, suffix: str = "png", profile: str = "no profile") -> Path:
    """Write the photo as a camera does that was held in orientation `number`."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010F] = number, "A camera"
    turn, path = STORED[number], folder / f"{number}.{suffix}"
    lying = UPRIGHT if turn is None else UPRIGHT.transpose(turn)
    lying.save(path, exif=exif.tobytes(), icc_profile=PROFILES[profile], **ENCODING[suffix])
    return path


def difference(one: Any, other: Any) -> float:
    one, other = (np.asarray(picture, np.float64) for picture in (one, other))
    assert one.shape == other.shape
    return float(np.abs(one - other).max())


@pytest.mark.parametrize("suffix", ENCODING)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_entrance_sees_the_upright_photo(editor: PhotoEditor, tmp_path: Path, suffix: str, profile: str):
    paths = [store(tmp_path, number, suffix, profile) for number in STORED]
    upright = paths[0]
    photos = [editor.cut(upright), editor.cut(upright, aligned=True)]
    reference = editor.ask(hairstyle=str(upright)).hairstyle
    aligned = editor.editor.prepare([upright]).aligned
    # JPEG's blocks lie elsewhere in a turned picture, and the other profile's conversion rounds.
    allowed = 0 if suffix in LOSSLESS else 8
    for path in paths[1:]:
        with Image.open(path) as lazy:
            for source in (path, lazy):
                assert difference(editor.cut(source).crop(32)[0], photos[0].crop(32)[0]) <= allowed
        again = editor.cut(path, aligned=True)
        assert again.photo.size == UPRIGHT.size
        assert difference(again.crop(32)[0], photos[1].crop(32)[0]) <= allowed
        assert difference(editor.ask(hairstyle=str(path)).hairstyle, reference) <= allowed / 127
        assert difference(editor.editor.prepare([path]).aligned, aligned) <= allowed / 127


@pytest.mark.parametrize("aligned", [False, True])
def test_a_lying_photo_is_edited_like_the_upright_one(editor: PhotoEditor, tmp_path: Path, aligned: bool):
    expected = editor.edit(UPRIGHT, hairstyle="afro", aligned=aligned, **QUICK)
    for number in STORED:
        content = store(tmp_path, number).read_bytes()
        result = editor.edit(io.BytesIO(content), hairstyle="afro", aligned=aligned, **QUICK)
        assert difference(result.picture, expected.picture) == 0
        assert result.rectangle == expected.rectangle


def test_the_crop_editor_and_references_see_it_too(editor: PhotoEditor, tmp_path: Path):
    crops = editor.editor
    expected = crops.edit(UPRIGHT, hairstyle=UPRIGHT, color=UPRIGHT, **QUICK).image
    for number in (5, 6):
        path = store(tmp_path, number)
        with Image.open(path) as lazy:
            for source in (path, lazy):
                found = crops.edit(source, hairstyle=source, color=source, **QUICK)
                assert difference(found.image, expected) == 0


def test_a_folder_of_lying_photos_is_edited_like_upright_ones(editor: PhotoEditor, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    for number in STORED:
        store(tmp_path / "photos", number)
    settings = FolderSettings(QUICKLY)
    report = edit_folder(editor, tmp_path / "photos", tmp_path / "out", [editor.ask("afro")], settings)
    assert len(report.written) == len(STORED)
    pictures = [np.asarray(Image.open(path)) for path in report.written]
    for picture in pictures[1:]:
        assert difference(picture, pictures[0]) == 0


@pytest.mark.parametrize("suffix", ENCODING)
def test_what_is_handed_over_can_be_read_once_more(editor: PhotoEditor, tmp_path: Path, suffix: str):
    """Nothing that leaves the decoder tells a second one to turn it or to convert its colors."""
    clear = UPRIGHT.copy()
    clear.putalpha(200)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    (UPRIGHT if suffix == "jpg" else clear).transpose(Image.Transpose.ROTATE_90).save(
        tmp_path / f"a.{suffix}", exif=exif.tobytes(), icc_profile=PROFILES["another profile"], **ENCODING[suffix]
    )
    cut = editor.cut(tmp_path / f"a.{suffix}")
    for picture in (cut.photo.picture, cut.photo.seen, *cut.crop(32)):
        assert picture.mode == "RGB"
        assert picture.info == {}
        assert len(picture.getexif()) == 0
        assert difference(editor.cut(picture, aligned=True).photo.picture, picture) == 0

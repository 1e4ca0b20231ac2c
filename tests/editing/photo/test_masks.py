"""A painted mask has the photo's size and some white; it is turned as its file says."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.editing.photo.files import read_photo
from hairclip.editing.photo.masks import read_mask

PHOTO = read_photo(Image.new("RGB", (60, 40)))


def test_gray_counts_in_part_and_transparent_not_at_all():
    painted = Image.new("L", (60, 40))
    painted.paste(255, (10, 5, 20, 15))
    painted.paste(51, (30, 5, 40, 15))
    mask = read_mask(painted, PHOTO)
    assert mask.shape == (1, 1, 40, 60)
    assert (float(mask[0, 0, 10, 15]), float(mask[0, 0, 10, 35]), float(mask[0, 0, 30, 15])) == (
        1.0,
        pytest.approx(0.2),
        0,
    )
    layered = painted.convert("RGB")
    layered.putalpha(Image.fromarray(np.where(np.arange(60) < 15, 255, 0).astype(np.uint8)[None].repeat(40, 0)))
    assert not read_mask(layered, PHOTO)[..., 15:].any()


def test_a_mask_is_turned_upright_as_its_file_says(tmp_path: Path):
    stored = Image.new("L", (40, 60))
    stored.paste(255, (0, 0, 10, 10))  # upper left as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # the upper left corner is at the right, seen upright
    stored.save(tmp_path / "mask.png", exif=exif)
    mask = read_mask(str(tmp_path / "mask.png"), PHOTO)
    assert float(mask[..., :10, 50:].min()) == 1.0
    assert not mask[..., :50].any()


def test_what_is_no_mask_is_one_sentence(tmp_path: Path):
    Image.new("RGB", (60, 40), "white").save(tmp_path / "me.png")
    photo = read_photo(str(tmp_path / "me.png"))
    (tmp_path / "text.png").write_text("no picture")
    cases = [
        (Image.new("L", (40, 60), 255), r"is 40 x 60 pixels, the photo .* upright 60 x 40: .* on its side"),
        (Image.new("L", (50, 50), 255), "give a mask of that size"),
        (Image.new("L", (60, 40), 90), "shows no white: paint white"),
        (str(tmp_path / "me.png"), "is the photo itself"),
        (str(tmp_path / "text.png"), "cannot be read as an image"),
    ]
    for source, words in cases:
        with pytest.raises(HairclipError, match=words):
            read_mask(source, photo)

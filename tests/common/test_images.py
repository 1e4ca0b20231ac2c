import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.images import (
    check_image_path,
    from_uint8,
    load_image,
    open_image,
    resize_area,
    save_image,
    to_pil,
    to_uint8,
)
from hairclip.editing.photo.files import read_photo, write_photo


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def test_every_kind_of_source_gives_the_same_image(picture, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    expected = from_uint8(picture[None])
    first = np.moveaxis(picture, -1, 0)
    sources = {
        "path": path,
        "text of a path": str(path),
        "PIL": Image.fromarray(picture),
        "bytes": path.read_bytes(),
        "BytesIO": io.BytesIO(path.read_bytes()),
        "uint8": picture,
        "uint8, channels first": first,
        "uint8, a batch of one": picture[None],
        "floats": (picture / 255).astype(np.float32),
        "double floats, channels first": first[None] / 255,
        "opaque RGBA": np.concatenate([picture, np.full_like(picture[..., :1], 255)], -1),
        "tensor": expected[0],
        "tensor, a batch of one": expected,
        "double tensor": expected.double(),
        "uint8 tensor, as torchvision reads": torch.from_numpy(first.copy()),
    }
    with open(path, "rb") as file:
        for name, source in (sources | {"file": file}).items():
            torch.testing.assert_close(load_image(source), expected, rtol=0, atol=0, msg=name)
            assert (np.asarray(read_photo(source).picture) == picture).all(), name
    for gray in (picture[..., 0], picture[..., :1], first[:1], picture[..., 0] / 255):
        torch.testing.assert_close(load_image(gray), expected[:, :1].expand(-1, 3, -1, -1), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "None is no image"),
        ((255, 0, 0), "type tuple is no image"),
        (["bob cut"], "type list is no image"),
        (np.zeros((8, 8, 3)) + 200.0, "floats from 200 to 200"),
        (np.zeros((8, 8, 3)) - 0.5, "floats from -0.5 to -0.5"),
        (np.full((8, 8, 3), np.nan), "floats from nan to nan"),
        (np.zeros((8, 8, 3), np.int64), "array of int64"),
        (np.zeros((8, 8, 3), np.uint16), "array of uint16"),
        (np.zeros((8, 8, 3), bool), "array of bool"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"shape \(2, 8, 8, 3\)"),
        (np.zeros((8, 8, 2), np.uint8), r"shape \(8, 8, 2\)"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
        (np.zeros(8, np.uint8), r"shape \(8,\)"),
        (torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255, "values from .* to 25"),
        (torch.full((3, 8, 8), float("nan")), "values from nan to nan"),
        (torch.full((3, 8, 8), float("inf")), "values from inf to inf"),
        (torch.zeros(2, 3, 8, 8), r"shape \(2, 3, 8, 8\)"),
        (torch.zeros(8, 8, 3), r"shape \(8, 8, 3\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "array of int64"),
    ],
)
def test_what_is_no_image_is_told_with_what_is(source, words):
    with (
        pytest.raises(HairclipError, match=rf"{words}.*: give a path, a PIL image, .* in \[-1, 1\]\.$"),
        open_image(source),
    ):
        pass


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_bytes_that_are_no_image_are_one_sentence(content):
    for source in (content, io.BytesIO(content)):
        with pytest.raises(HairclipError, match="the picture cannot be read as an image"):
            load_image(source)


def test_uint8_round_trip_is_exact(picture):
    np.testing.assert_array_equal(to_uint8(from_uint8(picture[None]))[0], picture)
    np.testing.assert_array_equal(np.asarray(to_pil(from_uint8(picture[None]))), picture)


def test_values_outside_the_range_are_clamped():
    assert to_uint8(torch.full((1, 3, 2, 2), 1.7)).max() == 255


@pytest.mark.parametrize("content", [None, b"not an image"])
def test_unreadable_files_are_user_errors(content, tmp_path):
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HairclipError, match="photo.jpg"):
        load_image(path)


def test_save_refuses_unknown_suffix_and_leaves_nothing(tmp_path, picture):
    with pytest.raises(HairclipError, match="suffix"):
        save_image(from_uint8(picture[None]), tmp_path / "edited.hair")
    assert not list(tmp_path.iterdir())
    save_image(from_uint8(picture[None]), tmp_path / "new" / "edited.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "edited.png")), picture)


def test_pictures_are_read_as_they_are_meant_to_be_seen(tmp_path):
    turned = Image.new("RGB", (40, 20), "red")
    turned.paste("blue", (0, 0, 20, 20))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    image = load_image(tmp_path / "turned.png")
    assert image.shape == (1, 3, 40, 20)
    assert image[0, :, 0, 0].tolist() == [-1, -1, 1]
    assert image[0, :, -1, 0].tolist() == [1, -1, -1]

    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert load_image(tmp_path / "deep.png")[0, 0, 0].tolist() == pytest.approx([-1, 0, 1], abs=0.01)

    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (load_image(tmp_path / "clear.png") == 1).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert (load_image(tmp_path / "palette.png") == 1).all()

    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    red, green, _ = load_image(tmp_path / "print.jpg")[0, :, 0, 0].tolist()
    assert red > 0.8
    assert green < -0.8


@pytest.mark.parametrize("place", ["file/x.png", "folder.png", "x.psd", "x.xyz", "x"])
def test_places_that_cannot_be_written_are_told_beforehand(tmp_path, picture, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.iterdir())
    for refuse in (check_image_path, lambda path: save_image(Image.fromarray(picture), path)):
        with pytest.raises(HairclipError, match=place.split("/")[0].replace(".", r"\.")):
            refuse(tmp_path / place)
    assert sorted(tmp_path.iterdir()) == before


def test_area_resize_keeps_the_mean():
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    small = resize_area(images, 4)
    torch.testing.assert_close(small.mean((2, 3)), images.mean((2, 3)))
    assert resize_area(images, 16) is images
    assert resize_area(small, 8).shape == (2, 3, 8, 8)


def test_a_picture_does_not_replace_the_one_it_is_made_from(tmp_path, picture):
    photo = tmp_path / "photo.png"
    Image.fromarray(picture).save(photo)
    (tmp_path / "link.png").symlink_to(photo)
    os.link(photo, tmp_path / "hard.png")
    for out in ("photo.png", "link.png", "hard.png", "../" + tmp_path.name + "/photo.png"):
        for source in (photo, str(tmp_path / "link.png")):
            with pytest.raises(HairclipError, match="would replace the picture"):
                check_image_path(tmp_path / out, [None, "bob cut", picture, source])
    check_image_path(tmp_path / "other.png", [photo, "bob cut", None])
    read = read_photo(photo)
    with pytest.raises(HairclipError, match="would replace the picture"):
        write_photo(read.picture, tmp_path / "link.png", read)

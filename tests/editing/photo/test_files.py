"""Photos are read as they are meant to be seen, and written the way they came."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from hairclip.common import image_files as decode
from hairclip.common.errors import HairclipError
from hairclip.editing.photo.files import read_photo, write_photo


@pytest.fixture
def picture() -> Image.Image:
    """Smooth, so that lossy formats keep it well; no two corners alike."""
    y, x = np.mgrid[:48, :64]
    return Image.fromarray(np.stack([x * 4, y * 5, 255 - x * 2 - y], -1).astype(np.uint8))


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what turns such pixels upright."""


def difference(one: Image.Image, other: Image.Image) -> int:
    assert one.size == other.size
    return int(np.abs(np.asarray(one.convert("RGB"), int) - np.asarray(other.convert("RGB"), int)).max())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "LA", "1", "I;16", "YCbCr"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_every_mode_is_read_as_rgb(tmp_path: Path, picture: Image.Image, mode: str, suffix: str):
    gray = np.asarray(picture.convert("L"))
    if mode == "I;16":
        source = Image.fromarray(gray.astype(np.uint16) * 257)
    else:
        source = picture.convert(mode)
    try:
        source.save(tmp_path / f"a.{suffix}", **{"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(suffix, {}))
    except (OSError, KeyError):
        pytest.skip(f"{suffix} has no mode {mode}")
    with Image.open(tmp_path / f"a.{suffix}") as written:
        if mode == "I;16" and not written.mode.startswith("I"):
            pytest.skip(f"{suffix} has no mode {mode}")
        try:
            written.load()
        except OSError:  # Pillow 12.3 writes a TIFF of YCbCr that it cannot read
            pytest.skip(f"this Pillow cannot read its own {suffix} of mode {mode}")
    photo = read_photo(tmp_path / f"a.{suffix}")
    assert photo.picture.mode == "RGB"
    expected = Image.fromarray(gray) if mode in ("L", "LA", "I;16") else source.convert("RGB")
    assert difference(photo.picture, expected) <= (12 if suffix == "jpg" else 1)
    assert photo.alpha is None  # nothing of it is transparent


def needs_codec(suffix: str) -> None:
    """Skip a test where nothing writes HEIC or AVIF."""
    kind = {"heic": "HEIF", "avif": "AVIF"}.get(suffix)
    if kind is not None and not decode.has_codec(kind):
        pytest.skip(f"nothing here writes {suffix}")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "heic", "avif"])
@pytest.mark.parametrize("number", range(1, 9))
def test_metadata_is_kept_and_tells_that_the_pixels_are_upright(
    tmp_path: Path, picture: Image.Image, suffix: str, number: int
):
    needs_codec(suffix)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = number, "A camera"
    details = exif.get_ifd(0x8769)
    details[0x9003], details[0xA002], details[0xA003] = "2020:01:02 03:04:05", 10, 20
    turned = number >= 5  # stored as a camera does that was held upright
    picture.save(tmp_path / f"a.{suffix}", exif=exif.tobytes())
    photo = read_photo(tmp_path / f"a.{suffix}")
    assert photo.size == ((48, 64) if turned else (64, 48))
    upright = np.asarray(picture.transpose(TURNS[number]) if number in TURNS else picture, int)
    assert np.abs(np.asarray(photo.picture, int) - upright).max() <= 12  # turned once, and the right way
    for written_suffix in ("png", "jpg", "webp", "tif", *([suffix] if suffix in ("heic", "avif") else [])):
        write_photo(photo.picture, tmp_path / f"b.{written_suffix}", photo)
        with Image.open(tmp_path / f"b.{written_suffix}") as written:
            assert written.size == photo.size
            kept = written.getexif()
            assert kept.get(0x0112, 1) == 1
            assert kept[0x010F] == "A camera"
            assert kept.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
            assert (kept.get_ifd(0x8769)[0xA002], kept.get_ifd(0x8769)[0xA003]) == photo.size


def test_an_orientation_that_only_xmp_tells_is_applied_once(tmp_path: Path, picture: Image.Image):
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    picture.save(tmp_path / "a.jpg", xmp=packet, quality=100, subsampling=0)
    photo = read_photo(tmp_path / "a.jpg")
    assert difference(photo.picture, picture.transpose(Image.Transpose.ROTATE_270)) <= 12
    write_photo(photo.picture, tmp_path / "b.jpg", photo)
    assert read_photo(tmp_path / "b.jpg").size == photo.size == (48, 64)


def test_damaged_exif_is_left_out(tmp_path: Path, picture: Image.Image):
    picture.save(tmp_path / "a.jpg", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + b"\x01" * 30)
    assert read_photo(tmp_path / "a.jpg").size == picture.size


def test_transparency_is_kept_where_the_format_has_it(tmp_path: Path, picture: Image.Image):
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1)))
    clear = picture.copy()
    clear.putalpha(ramp)
    clear.save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert difference(photo.picture, picture) == 0  # colors under transparent pixels are the file's
    assert photo.alpha is not None
    assert np.array_equal(photo.alpha, ramp)
    assert photo.seen.getpixel((0, 20)) == (255, 255, 255)
    for suffix in ("png", "webp"):
        write_photo(photo.picture, tmp_path / f"b.{suffix}", photo)
        again = read_photo(tmp_path / f"b.{suffix}")
        assert again.alpha is not None
        assert np.array_equal(again.alpha, ramp)
        assert difference(again.picture, picture) == 0
    write_photo(photo.picture, tmp_path / "b.jpg", photo)
    assert difference(read_photo(tmp_path / "b.jpg").picture, photo.seen) < 12


def test_a_jpeg_keeps_its_quality(tmp_path: Path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for quality, subsampling in ((30, 2), (95, 0)):
        noise.save(tmp_path / "a.jpg", quality=quality, subsampling=subsampling, progressive=True, dpi=(300, 300))
        photo = read_photo(tmp_path / "a.jpg")
        write_photo(photo.picture, tmp_path / "b.jpg", photo)
        with Image.open(tmp_path / "a.jpg") as before, Image.open(tmp_path / "b.jpg") as after:
            assert before.quantization == after.quantization
            assert before.layer == after.layer
            assert after.info["dpi"] == (300, 300)
            assert after.info["progressive"]
            # Encoding once more with the same tables changes far less than the first time did.
            again = np.abs(np.asarray(before, int) - np.asarray(after, int)).mean()
            first = np.abs(np.asarray(before, int) - np.asarray(noise, int)).mean()
        assert again < 0.25 * first


def test_color_profiles_become_srgb(tmp_path: Path, picture: Image.Image):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(tmp_path / "a.png", icc_profile=srgb)
    photo = read_photo(tmp_path / "a.png")
    assert difference(photo.picture, picture) == 0
    write_photo(photo.picture, tmp_path / "b.png", photo)
    with Image.open(tmp_path / "b.png") as written:
        assert "sRGB" in ImageCms.getProfileDescription(io.BytesIO(written.info["icc_profile"]))
    other = srgb.replace(b"rXYZ", b"____").replace(b"gXYZ", b"rXYZ").replace(b"____", b"gXYZ")  # red is green
    other = other.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    picture.save(tmp_path / "c.png", icc_profile=other)
    red, green, blue = picture.split()
    assert difference(read_photo(tmp_path / "c.png").picture, Image.merge("RGB", (green, red, blue))) <= 3
    for broken in (b"nonsense", srgb[:200]):
        picture.save(tmp_path / "d.png", icc_profile=broken)
        assert difference(read_photo(tmp_path / "d.png").picture, picture) == 0
    picture.convert("L").save(tmp_path / "e.png", icc_profile=srgb)  # a profile of another kind of picture
    assert difference(read_photo(tmp_path / "e.png").picture, picture.convert("L").convert("RGB")) == 0


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("1", (1100, 1000)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(decode, "MAX_PIXELS", 1_000_000)
    with pytest.raises(HairclipError, match="bomb.png has more than 1 megapixels"):
        read_photo(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500_000)  # what Pillow itself refuses
    with pytest.raises(HairclipError, match="bomb.png has more than"):
        read_photo(tmp_path / "bomb.png")


def test_arrays_tensors_and_pictures_are_photos_too(picture: Image.Image):
    from hairclip.common.images import from_uint8

    pixels = np.array(picture)
    for source in (picture, pixels, from_uint8(pixels[None])):
        assert difference(read_photo(source).picture, picture) == 0


def test_files_that_are_no_pictures_are_one_sentence(tmp_path: Path):
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:400])
    for name in ("text.jpg", "half.jpg", "absent.jpg"):
        with pytest.raises(HairclipError, match=name):
            read_photo(tmp_path / name)
    with pytest.raises(HairclipError, match=r"x\.hair"):
        write_photo(Image.new("RGB", (4, 4)), tmp_path / "x.hair")


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_heic_and_avif_keep_colors_profile_and_transparency(tmp_path: Path, picture: Image.Image, suffix: str):
    needs_codec(suffix)
    picture.save(tmp_path / f"a.{suffix}", icc_profile=decode.srgb_profile(), quality=95)
    photo = read_photo(tmp_path / f"a.{suffix}")
    assert photo.format == {"heic": "HEIF", "avif": "AVIF"}[suffix]
    write_photo(photo.picture, tmp_path / f"b.{suffix}", photo)
    with Image.open(tmp_path / f"b.{suffix}") as written:
        assert written.info["icc_profile"] == decode.srgb_profile()
        assert len(written.getexif()) == 0
    assert difference(read_photo(tmp_path / f"b.{suffix}").picture, photo.picture) <= 8
    clear = picture.crop((0, 0, 33, 17))  # odd sides, which the codecs fill up inside
    clear.putalpha(Image.fromarray(np.tile(np.arange(0, 264, 8).clip(0, 255).astype(np.uint8), (17, 1))))
    write_photo(clear, tmp_path / f"c.{suffix}")
    again = read_photo(tmp_path / f"c.{suffix}")
    assert again.alpha is not None
    assert again.size == (33, 17)
    assert np.abs(np.asarray(again.alpha, int) - np.asarray(clear.getchannel("A"), int)).max() <= 8


@pytest.mark.parametrize(("suffix", "kind"), [("heic", "HEIF"), ("avif", "AVIF"), ("HEIF", "HEIF")])
def test_without_the_extra_one_sentence_names_it(
    tmp_path: Path, picture: Image.Image, suffix: str, kind: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.SAVE, kind, raising=False)
    with pytest.raises(HairclipError) as caught:
        write_photo(picture, tmp_path / f"me.{suffix}")
    assert 'pip install "hairclip[heif]", or end it in .jpg or .png.' in str(caught.value)
    brand = {"HEIF": b"heic", "AVIF": b"avif"}[kind]
    (tmp_path / "me.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand)
    with pytest.raises(HairclipError, match=r'me\.jpg is a HEIC or AVIF picture: .*pip install "hairclip\[heif\]"'):
        read_photo(tmp_path / "me.jpg")


def test_pillow_reads_and_writes_avif_alone_where_it_can(
    tmp_path: Path, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
):
    Image.init()
    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    write_photo(picture, tmp_path / "a.avif")
    assert difference(read_photo(tmp_path / "a.avif").picture, picture) <= 12

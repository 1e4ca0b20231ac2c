"""Files that are no pictures, damaged ones and bombs are one sentence, and cost little memory."""

import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.images import load_image

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))


def encoded(kind: str, picture: Image.Image = NOISE, **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def refusal(source: Path | bytes) -> str | None:
    """Return the sentence that refuses a picture, None where it is read."""
    try:
        load_image(source)
    except HairclipError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "MPO"])
def test_every_listed_format_is_read_whatever_its_name(tmp_path: Path, kind: str):
    (tmp_path / "picture").write_bytes(encoded(kind))
    assert load_image(tmp_path / "picture").shape == (1, 3, 24, 32)


@pytest.mark.parametrize("kind", ["PPM", "SGI", "TGA", "PCX", "ICO", "EPS", "DDS"])
def test_other_formats_are_not_tried(tmp_path: Path, kind: str):
    (tmp_path / "picture.jpg").write_bytes(encoded(kind))
    with pytest.raises(HairclipError, match=r"picture\.jpg cannot be read as an image .*: give a JPEG, PNG, WebP"):
        load_image(tmp_path / "picture.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "MPO"])
def test_damaged_files_are_read_or_are_one_sentence(tmp_path: Path, kind: str):
    whole = encoded(kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    random = np.random.default_rng(1)
    for number in range(60):
        content = bytearray(whole)
        for _ in range(1 + number % 4):
            content[random.integers(len(content) if number % 3 else min(100, len(content)))] = random.integers(256)
        damaged = bytes(content[: random.integers(1, len(content))]) if number % 5 == 0 else bytes(content)
        (tmp_path / "a.bin").write_bytes(damaged)
        message = refusal(tmp_path / "a.bin")
        assert message is None or ("a.bin" in message and "\n" not in message)


@pytest.mark.parametrize(
    "error",
    [ValueError("odd"), TypeError(), KeyError(3), RuntimeError("two\nlines"), AssertionError(), struct.error("x")],
)
def test_whatever_decoding_raises_is_one_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception):
    def fail(*_: object) -> None:
        raise error

    source = encoded("PNG")
    monkeypatch.setattr(Image.Image, "load", fail)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(HairclipError, match="cannot be read as an image") as told:
        load_image(source)
    assert "\n" not in str(told.value)


def test_gray_pictures_of_more_than_eight_bits_are_scaled(tmp_path: Path):
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(4, 0)
    eight = load_image((ramp * 255).round().astype(np.uint8))
    for name, deep in {"float": ramp, "16 bits": (ramp * 65535).round().astype(np.uint16)}.items():
        Image.fromarray(deep).save(tmp_path / "deep.tif")
        assert (load_image(tmp_path / "deep.tif") - eight).abs().max() == 0, name
    Image.fromarray((ramp * 65535).round().astype(np.int32)).save(tmp_path / "deep.tif")
    assert (load_image(tmp_path / "deep.tif") - eight).abs().max() == 0
    for wrong in (ramp * 255, ramp - 2, np.where(ramp > 0.5, np.nan, ramp).astype(np.float32)):
        Image.fromarray(wrong).save(tmp_path / "deep.tif")
        with pytest.raises(HairclipError, match=r"deep\.tif holds .*: save it with 0 to 1"):
            load_image(tmp_path / "deep.tif")


def test_only_regular_files_are_read(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    for place in (tmp_path, tmp_path / "pipe.png", "/dev/zero", "/dev/null"):
        with pytest.raises(HairclipError, match="give an image"):
            load_image(place)
    for place in ("a\0b.png", "", tmp_path / "absent.png"):
        with pytest.raises(HairclipError, match="there is no image"):
            load_image(place)


def test_a_heic_picture_names_what_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.SAVE, "HEIF", raising=False)  # another test may have registered it
    with pytest.raises(HairclipError, match=r"a\.jpg is a HEIC or AVIF picture: .*hairclip\[heif\]"):
        load_image(tmp_path / "a.jpg")


def test_heic_and_avif_are_read_where_the_extra_is_installed(tmp_path: Path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 48), (200, 40, 30))).save(tmp_path / "a.heic")
    image = load_image(tmp_path / "a.heic")
    assert image.shape == (1, 3, 48, 64)
    assert np.abs(image[0, :, 20, 20].numpy() * 127.5 + 127.5 - [200, 40, 30]).max() < 6


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_bombs_cost_little_memory_and_are_one_sentence(tmp_path: Path):
    """Each would take more than a gigabyte where it is unpacked."""
    resource = pytest.importorskip("resource")
    png, packed = encoded("PNG"), zlib.compress(bytes(50_000_000), 9)
    text, profile = chunk(b"zTXt", b"a\0\0" + packed) * 30, chunk(b"iCCP", b"a\0\0" + packed)
    tiles = bytearray(encoded("TIFF", compression="tiff_lzw"))
    entries = {322: 40000, 323: 40000}
    (first,) = struct.unpack_from("<I", tiles, 4)
    for place in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", tiles, first)[0], 12):
        tag = struct.unpack_from("<H", tiles, place)[0]
        for old, new in ((278, 323), (273, 324), (279, 325)):  # strips become tiles
            if tag == old:
                struct.pack_into("<H", tiles, place, new)
                if new == 323:
                    struct.pack_into("<HII", tiles, place + 2, 4, 1, entries[323])
        if tag == 284:
            struct.pack_into("<HHII", tiles, place, 322, 4, 1, entries[322])
    many = b"".join(chunk(b"fcTL", bytes(26)) for _ in range(1000))
    bombs = {
        "text": png[:33] + text + png[33:],
        "profile": png[:33] + profile + png[33:],
        "frames": png[:33] + many + png[33:],
        "pixels": encoded("PNG", Image.new("1", (13000, 13000))),
        "tiles": bytes(tiles),
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, content in bombs.items():
        assert "\n" not in (refusal(content) or ""), name
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes on Linux

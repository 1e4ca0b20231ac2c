"""Read picture files: opened safely, turned upright, eight bits, sRGB, transparency apart.

Everything stays a uint8 PIL picture and is copied as little as possible: a photo may have a hundred megapixels.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from hairclip.common.errors import HairclipError
from hairclip.common.files import open_regular

__all__ = [
    "KEPT_SUFFIXES",
    "MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "BinaryFile",
    "decode",
    "has_codec",
    "over_white",
    "picture_file",
    "srgb_profile",
]

MAX_PIXELS = 150_000_000
"""A picture with more is taken for a decompression bomb: a small file that fills the memory."""
_MAX_BYTES = 2**30
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")  # "JPEG" covers a phone's MPO, a JPEG with more behind it
PICTURE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .webp .tif .tiff .bmp .gif .avif .heic .heif .hif".split()  # noqa: SIM905
)
"""Suffixes of the files that are read as pictures, in lower case. The content decides, whatever the name says."""
KEPT_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif"))
"""Suffixes of photos whose edits are written in the same format, in lower case."""
_READABLE = "give a JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF file"
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_BRANDS_OF_BOTH = (b"mif1", b"msf1")
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # tags of TIFF
_LARGE_TILE = 2**22  # pixels


@runtime_checkable
class BinaryFile(Protocol):
    """An open file of bytes, such as `open(path, "rb")` or `io.BytesIO`."""

    def read(self, size: int = -1, /) -> bytes: ...


@contextmanager
def picture_file(source: str | Path | BinaryFile, name: str) -> Iterator[Image.Image]:
    """Open a picture file and load its pixels, as they lie in the file.

    Args:
        source: a path, or a binary file object, which is read from its start.
        name: what messages call it.

    Raises:
        HairclipError: if the file is missing, is not a regular file, is not a picture of a known format, is damaged,
            or has more than `MAX_PIXELS`.
    """
    if not isinstance(source, (str, Path)):
        with _loaded(source, name) as opened:
            yield opened
        return
    with open_regular(source, "image") as file, _loaded(file, name) as opened:
        yield opened


@contextmanager
def _loaded(file: Any, name: str) -> Iterator[Image.Image]:
    """Open and load a picture; errors of what is done with it later are not translated."""
    with _translated_errors(name):
        if not (hasattr(file, "seekable") and file.seekable()):
            file = io.BytesIO(file.read(_MAX_BYTES + 1))
        if file.seek(0, io.SEEK_END) > _MAX_BYTES:
            raise HairclipError(f"{name} has more than {_MAX_BYTES >> 30} GiB: reduce it before editing.")
        opened = Image.open(file, formats=_formats(file, name))
    with opened:
        with _translated_errors(name):
            pixels, tile = opened.width * opened.height, _number(opened, _TILE_WIDTH) * _number(opened, _TILE_LENGTH)
            if pixels > MAX_PIXELS:
                raise Image.DecompressionBombError
            if tile > max(4 * pixels, _LARGE_TILE):  # its memory is claimed before any of it is read
                raise OSError(f"tiles of {tile} pixels")
            opened.load()
        yield opened


def _number(opened: Image.Image, tag: int) -> int:
    """Return a number of a TIFF file's header, 0 where it has none."""
    return int(getattr(opened, "tag_v2", {}).get(tag, 0))


def _formats(file: Any, name: str) -> tuple[str, ...]:
    """Return the formats to try, Pillow's names; HEIC and AVIF only where the file starts like one."""
    file.seek(0)
    start = file.read(64)
    file.seek(0)
    brand = start[8:12]
    if start[4:8] != b"ftyp" or brand not in (*_AVIF_BRANDS, *_HEIF_BRANDS, *_BRANDS_OF_BOTH):
        return _FORMATS
    # The first box (ISO 14496-12, 4.3) ends with the brands that a file is compatible with.
    others = start[16 : int.from_bytes(start[:4], "big")]
    kind = "AVIF" if brand in _AVIF_BRANDS or (brand in _BRANDS_OF_BOTH and b"avif" in others) else "HEIF"
    if not has_codec(kind):
        raise HairclipError(
            f'{name} is a HEIC or AVIF picture: install what reads these with pip install "hairclip[heif]", or save '
            "it as a JPEG."
        )
    return (kind,)


def has_codec(kind: str) -> bool:
    """Return whether pictures of a format can be read and written.

    Pillow has no HEIC of its own, and AVIF since 11.3. The package pillow-heif adds what is missing, where it is
    installed.

    Args:
        kind: Pillow's name of the format, such as "HEIF" or "AVIF".
    """
    Image.init()
    if kind not in Image.SAVE:
        try:
            import pillow_heif
        except ImportError:
            return False
        pillow_heif.register_heif_opener()
        if "AVIF" not in Image.SAVE and hasattr(pillow_heif, "register_avif_opener"):  # older releases have both
            pillow_heif.register_avif_opener()
    return kind in Image.SAVE


@contextmanager
def _translated_errors(name: str) -> Iterator[None]:
    """Turn whatever decoding raises into one sentence: damaged files make Pillow raise nearly every kind of error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of size, which is judged here, and of damaged metadata
            yield
    except HairclipError:
        raise
    except Image.DecompressionBombError:
        limit = MAX_PIXELS // 1_000_000
        raise HairclipError(f"{name} has more than {limit} megapixels: reduce it to fewer before editing.") from None
    except MemoryError:
        raise HairclipError(f"{name} needs more memory than there is: reduce the picture before editing.") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise HairclipError(f"{name} cannot be read as an image ({reason}): {_READABLE}.") from None


def decode(picture: Image.Image, name: str = "the picture") -> tuple[Image.Image, Image.Image | None]:
    """Return a picture of any mode as it is meant to be seen.

    Args:
        picture: pixels as they lie in a file, with the file's metadata in `info`. It is not changed.
        name: what messages call it.

    Returns:
        The colors, mode "RGB": turned as EXIF says, 16 bits scaled to 8, in sRGB. The opacity of each pixel, mode
        "L", or None where all are opaque. Colors under transparent pixels are those of the file. Neither carries
        metadata, so that decoding them again changes nothing.

    Raises:
        HairclipError: if the pixels are damaged, or of a kind that is not understood.
    """
    with _translated_errors(name):
        picture.load()  # before the orientation is read: Pillow turns TIFF pictures itself as it loads them
        turn = _orientation(picture)
        colors, alpha = _eight_bits(picture, name), None
        if colors.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in colors.info:
            colors = colors.convert("RGBA")
            alpha = colors.getchannel("A")
            if alpha.getextrema()[0] == 255:
                alpha = None
            colors = colors.convert("RGB")
        elif colors.mode == "P":
            colors = colors.convert("RGB")
        colors = _to_srgb(colors)
        if colors.mode != "RGB":  # converting copies even where nothing changes
            colors = colors.convert("RGB")
        if colors is picture and (turn != 1 or picture.info or type(picture) is not Image.Image):
            colors = picture.copy()
        for part in (colors, alpha):
            if part is not None and part is not picture:
                part.info = {}
                part.getexif().clear()
                # With nothing but the orientation, damaged metadata cannot make it fail.
                part.getexif()[ExifTags.Base.Orientation] = turn
                ImageOps.exif_transpose(part, in_place=True)
                part.getexif().clear()
        return colors, alpha


def _orientation(picture: Image.Image) -> int:
    """Return EXIF's number for how the picture lies, 1 to 8; 1 is upright, also where EXIF is damaged."""
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata raises whatever its parser meets, and never matters more than pixels
        return 1


def _eight_bits(picture: Image.Image, name: str) -> Image.Image:
    """Return gray pictures of more than eight bits a pixel in mode "L": Pillow would cut off what is over 255."""
    if picture.mode == "F":
        low, high = picture.getextrema()
        if not (isinstance(low, float) and isinstance(high, float) and -0.5 <= low <= high <= 1.5):
            raise HairclipError(f"{name} holds floating-point values from {low} to {high}: save it with 0 to 1.")
        factor = 255.0
    elif picture.mode == "I" or picture.mode.startswith("I;16"):
        factor = 1 / 257
    else:
        return picture
    pixels = np.empty((picture.height, picture.width), np.uint8)
    rows = max(1, 2**22 // picture.width)  # of a few megabytes, because the picture may be large
    for top in range(0, picture.height, rows):
        part = np.asarray(picture.crop((0, top, picture.width, min(top + rows, picture.height))))
        if not np.isfinite(part).all():
            raise HairclipError(f"{name} holds values that are no numbers (NaN): save it with 0 to 1.")
        pixels[top : top + rows] = (part * np.float32(factor)).round().clip(0, 255)
    deep = Image.fromarray(pixels)
    deep.info = {key: picture.info[key] for key in ("icc_profile",) if key in picture.info}
    return deep


def over_white(picture: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """Return the colors of `decode` with transparent parts in front of white."""
    if alpha is None:
        return picture
    return Image.composite(picture, Image.new("RGB", picture.size, "white"), alpha)


@cache
def srgb_profile() -> bytes:
    """Return the color profile of sRGB, always the same bytes: its time of making is set to the year 2000."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = b"".join(number.to_bytes(2, "big") for number in (2000, 1, 1, 0, 0, 0))
    return profile[:24] + made + profile[36:]  # ICC.1:2022, section 7.2.10


def _to_srgb(picture: Image.Image) -> Image.Image:
    """Return a picture's colors by its own profile as sRGB; unchanged where that is sRGB, broken or of another kind."""
    data = picture.info.get("icc_profile")
    if not data:
        return picture
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if "srgb" in ImageCms.getProfileDescription(profile).lower():
            return picture
        converted = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture
    return picture if converted is None else converted

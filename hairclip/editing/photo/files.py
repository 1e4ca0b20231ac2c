"""Read a person's photo as it is meant to be seen, and write it the way it came.

These survive an edit:

- the size, and the transparency where the format has it;
- EXIF, for example camera, date and place. The orientation is left out, because the pixels have been turned upright,
  and so is the thumbnail, which shows the unedited face;
- the resolution (dpi);
- the quantization tables of a JPEG. JPEG, HEIC and AVIF are encoded anew, so untouched pixels come back within their
  quality and not bit for bit. PNG keeps every bit.

These do not: a color profile other than sRGB (the pixels are converted), more than eight bits, XMP (it may hold the
unedited picture), and frames after the first.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, JpegImagePlugin
from torch import Tensor

from hairclip.common.image_files import decode, over_white, srgb_profile
from hairclip.common.images import (
    ImageSource,
    check_image_path,
    image_format,
    image_name,
    open_image,
    save_image,
    to_pil,
)

__all__ = ["Photo", "read_photo", "write_photo"]

_WITH_METADATA = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")
_WITH_ALPHA = ("PNG", "WEBP", "TIFF", "AVIF", "HEIF")
_Tag = ExifTags.Base
_OF_THE_PHOTO = (  # tags
    _Tag.ImageDescription,
    _Tag.Make,
    _Tag.Model,
    _Tag.Software,
    _Tag.DateTime,
    _Tag.Artist,
    _Tag.Copyright,
)


@dataclass(frozen=True)
class Photo:
    """A photo's pixels, and what is needed to write it again.

    Attributes:
        picture: mode "RGB", upright, sRGB, without metadata. Colors under transparent pixels are those of the file.
        alpha: opacity of each pixel, mode "L"; None where all are opaque.
        name: what messages call it: the path, where there is one.
        format: Pillow's name of the file's format, such as "JPEG"; None where it came from no file.
        encoding: how the file was encoded, as options of its format's writer.
        metadata: `exif`, `dpi` and `icc_profile` (always that of sRGB), where the file had them.
    """

    picture: Image.Image
    alpha: Image.Image | None = None
    name: str = "the picture"
    format: str | None = None
    encoding: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def seen(self) -> Image.Image:
        """The picture with transparent parts in front of white. Faces are looked for in it."""
        return over_white(self.picture, self.alpha)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.picture.size


def read_photo(source: ImageSource) -> Photo:
    """Read a photo.

    Args:
        source: see `hairclip.common.images.open_image`.

    Raises:
        HairclipError: if it cannot be read as a picture.
    """
    name = image_name(source)
    with open_image(source) as opened:
        if isinstance(opened, Tensor):
            return Photo(to_pil(opened), name=name)
        picture, alpha = decode(opened, name)
        kind = "JPEG" if opened.format == "MPO" else opened.format  # a phone's JPEG with a second picture behind it
        return Photo(picture, alpha, name, kind, _read_encoding(opened, kind), _read_metadata(opened, picture.size))


def write_photo(picture: Image.Image, path: str | Path, like: Photo | None = None) -> None:
    """Write a picture the way the photo was encoded that it came from. The file appears whole or not at all.

    Args:
        picture: mode "RGB" or "RGBA".
        path: the file to write; its suffix names the format.
        like: the photo whose encoding, metadata and transparency to keep; None for good defaults.

    Raises:
        HairclipError: if it cannot be written there, or would replace the photo that it came from.
    """
    like = Photo(picture) if like is None else like
    check_image_path(path, [like.name])
    written = image_format(path)
    if picture.mode == "RGB" and like.alpha is not None and like.size == picture.size:
        picture = picture.copy()
        picture.putalpha(like.alpha)
    if picture.mode == "RGBA" and written not in _WITH_ALPHA:
        picture = over_white(picture.convert("RGB"), picture.getchannel("A"))
    options = {}
    if written in _WITH_METADATA:
        # Also where there is none: Pillow would take that of the file the picture came from.
        none = None if written == "HEIF" else b""
        options = {"exif": like.metadata.get("exif", none), "icc_profile": like.metadata.get("icc_profile")}
        if written in ("JPEG", "PNG", "TIFF") and "dpi" in like.metadata:
            options["dpi"] = like.metadata["dpi"]
    save_image(picture, path, **_choose_encoding(written, like), **options)


def _choose_encoding(written: str, like: Photo) -> dict[str, Any]:
    """Return the writer's options: the photo's own where the format stays, else such that little is lost."""
    if written == like.format and like.encoding:
        return like.encoding
    if written == "JPEG":
        return {"quality": 95, "subsampling": 0}
    if written == "HEIF":
        return {"quality": 90, "chroma": 444}
    if written == "AVIF":
        return {"quality": 90, "subsampling": "4:4:4"}
    if written == "WEBP":
        return {"lossless": True, "exact": True} if like.format in (None, "PNG", "TIFF", "BMP") else {"quality": 95}
    return {}


def _read_encoding(opened: Image.Image, kind: str | None) -> dict[str, Any]:
    """Return how a JPEG was encoded, as far as writing one alike needs."""
    tables = getattr(opened, "quantization", None)
    if kind != "JPEG" or not tables or len(opened.getbands()) != 3:
        return {}
    encoding: dict[str, Any] = {"qtables": tables}
    sampling = JpegImagePlugin.get_sampling(opened)
    if sampling >= 0:
        encoding["subsampling"] = sampling
    if opened.info.get("progressive") or opened.info.get("progression"):
        encoding["progressive"] = True
    return encoding


def _read_metadata(opened: Image.Image, size: tuple[int, int]) -> dict[str, Any]:
    """Return `exif`, `dpi` and `icc_profile` for the upright, converted picture; what is damaged is left out."""
    metadata: dict[str, Any] = {}
    exif = _read_exif(opened, size)
    if exif is not None:
        metadata["exif"] = exif
    dpi = opened.info.get("dpi")
    if isinstance(dpi, tuple) and len(dpi) == 2 and all(0 < float(value) < 1e5 for value in dpi):
        metadata["dpi"] = tuple(float(value) for value in dpi)
    if opened.info.get("icc_profile"):
        metadata["icc_profile"] = srgb_profile()
    return metadata


def _read_exif(opened: Image.Image, size: tuple[int, int]) -> bytes | None:
    """Return a file's EXIF for the upright picture; None where there is none or it is damaged."""
    try:
        exif = Image.Exif()
        exif.load((_without_layout(opened.getexif()) if opened.format == "TIFF" else opened.getexif()).tobytes())
        exif.pop(_Tag.Orientation, None)
        if len(exif) == 0:
            return None
        if ExifTags.IFD.Exif in exif:
            details = exif.get_ifd(ExifTags.IFD.Exif)
            for tag, value in ((_Tag.ExifImageWidth, size[0]), (_Tag.ExifImageHeight, size[1])):
                if tag in details:
                    details[tag] = value
        return exif.tobytes()
    except Exception:  # damaged metadata raises whatever its parser meets, and never matters more than pixels
        return None


def _without_layout(found: Image.Exif) -> Image.Exif:
    """Return what a TIFF file's first directory tells of the photo, without how the file holds its pixels."""
    exif = Image.Exif()
    for tag in _OF_THE_PHOTO:
        if tag in found:
            exif[tag] = found[tag]
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if directory in found:
            exif.get_ifd(directory).update(found.get_ifd(directory))
    return exif

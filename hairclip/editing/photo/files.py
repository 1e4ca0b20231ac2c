"""A person's photo: read as it is meant to be seen, written the way it came.

What is kept: size, EXIF (without the orientation, which has been applied, and the thumbnail, which shows the unedited
face), resolution, transparency where the format has it, and the quantisation tables of a JPEG. A JPEG is encoded anew,
so that its untouched pixels come back within that quality and not bit for bit; PNG keeps every bit. What is not kept:
a colour profile other than sRGB (the pixels are converted), more than eight bits, XMP (it may embed the unedited
picture), and frames after the first.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, JpegImagePlugin
from torch import Tensor

from hairclip.common.image_files import decode, over_white, picture_file
from hairclip.common.images import ImageSource, check_image_path, save_image, to_pil

__all__ = ["Photo", "read_photo", "write_photo"]

_ORIENTATION, _EXIF_IFD, _WIDTH, _HEIGHT = 0x0112, 0x8769, 0xA002, 0xA003
_WITH_METADATA = ("JPEG", "PNG", "WEBP")
_WITH_ALPHA = ("PNG", "WEBP", "TIFF")


@dataclass(frozen=True)
class Photo:
    """A photo's pixels and what writing it again needs."""

    picture: Image.Image
    """Mode "RGB", upright, sRGB. Colours under transparent pixels are those of the file."""
    alpha: Image.Image | None = None
    """How opaque each pixel is, mode "L"; None where all are."""
    name: str = "the picture"
    """What messages call it: the path, where there is one."""
    format: str | None = None
    """Pillow's name of the file's format, "JPEG" for one."""
    encoding: dict[str, Any] = field(default_factory=dict)
    """How the file was encoded, as its format's writer takes it."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """`exif`, `dpi` and `icc_profile` (always sRGB's), where the file had them."""

    @cached_property
    def seen(self) -> Image.Image:
        """The picture with transparent parts in front of white: what faces are looked for in."""
        return over_white(self.picture, self.alpha)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.picture.size


def read_photo(source: ImageSource) -> Photo:
    """Read a photo.

    Args:
        source: a path, a PIL picture of any mode, a uint8 array (H, W, 3) or (H, W), or a tensor (3, H, W) or
            (1, 3, H, W) in [-1, 1].

    Raises:
        HairclipError: if the file is missing, damaged, not a picture, or too large.
    """
    if isinstance(source, (str, Path)):
        with picture_file(source) as opened:
            return _photo(opened, str(source))
    if isinstance(source, Tensor):
        source = to_pil(source)
    elif isinstance(source, np.ndarray):
        source = Image.fromarray(source)
    return _photo(source, "the picture")


def write_photo(picture: Image.Image, path: str | Path, like: Photo | None = None) -> None:
    """Write a picture in the format that the suffix names, the way the photo it came from was encoded.

    Args:
        picture: mode "RGB" or "RGBA".
        path: the file to write; it appears whole or not at all.
        like: the photo whose encoding, metadata and transparency to keep; None writes good defaults.

    Raises:
        HairclipError: if it cannot be written there.
    """
    check_image_path(path)
    written = Image.registered_extensions()[Path(path).suffix.lower()]
    like = Photo(picture) if like is None else like
    if picture.mode == "RGB" and like.alpha is not None and like.size == picture.size:
        picture = picture.copy()
        picture.putalpha(like.alpha)
    if picture.mode == "RGBA" and written not in _WITH_ALPHA:
        picture = over_white(picture.convert("RGB"), picture.getchannel("A"))
    kept = {"JPEG": ("exif", "dpi"), "PNG": ("exif", "dpi"), "WEBP": ("exif",)}.get(written, ())
    options = {name: like.metadata[name] for name in kept if name in like.metadata}
    if written in _WITH_METADATA:  # also where there is none: Pillow would take that of the file the picture came from
        options["icc_profile"] = like.metadata.get("icc_profile")
    save_image(picture, path, **_encoding(written, like), **options)


def _encoding(written: str, like: Photo) -> dict[str, Any]:
    """The writer's options: the photo's own where the format stays, else such that little is lost."""
    if written == like.format and like.encoding:
        return like.encoding
    if written == "JPEG":
        return {"quality": 95, "subsampling": 0}
    if written == "WEBP":
        return {"lossless": True, "exact": True} if like.format in (None, "PNG", "TIFF", "BMP") else {"quality": 95}
    return {}


def _photo(opened: Image.Image, name: str) -> Photo:
    kind = "JPEG" if opened.format == "MPO" else opened.format  # a phone's JPEG with a second picture behind it
    picture, alpha = decode(opened)
    metadata: dict[str, Any] = {}
    exif = _exif(opened, picture.size) if kind in _WITH_METADATA else None
    if exif is not None:
        metadata["exif"] = exif
    dpi = opened.info.get("dpi")
    if isinstance(dpi, tuple) and len(dpi) == 2 and all(0 < float(value) < 1e5 for value in dpi):
        metadata["dpi"] = tuple(float(value) for value in dpi)
    if opened.info.get("icc_profile"):
        metadata["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return Photo(picture, alpha, name, kind, _encoded(opened, kind), metadata)


def _encoded(opened: Image.Image, kind: str | None) -> dict[str, Any]:
    """How a file was encoded, as far as writing it alike needs."""
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


def _exif(opened: Image.Image, size: tuple[int, int]) -> bytes | None:
    """A file's EXIF for the upright picture; None where there is none or it is damaged."""
    try:
        exif = Image.Exif()
        exif.load(opened.getexif().tobytes())
        if len(exif) == 0:
            return None
        if _ORIENTATION in exif:
            del exif[_ORIENTATION]
        details = exif.get_ifd(_EXIF_IFD)
        for tag, value in ((_WIDTH, size[0]), (_HEIGHT, size[1])):
            if tag in details:
                details[tag] = value
        return exif.tobytes()
    except Exception:  # damaged metadata raises whatever its parser stumbles over, and never matters more than pixels
        return None

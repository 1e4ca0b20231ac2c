"""Picture files to pixels: opened, turned upright, eight bits, sRGB, with transparency set apart.

Everything stays a uint8 PIL picture and is copied as little as possible: a photo may have a hundred megapixels.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from hairclip.common.errors import HairclipError

__all__ = ["MAX_PIXELS", "decode", "over_white", "picture_file"]

MAX_PIXELS = 150_000_000
"""A picture with more is taken for a decompression bomb: a small file that fills the memory."""

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextmanager
def picture_file(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture file, its pixels loaded.

    Raises:
        HairclipError: if the file is missing, is not a picture, is damaged, or has more than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of size, which is judged here, and of damaged metadata
            with Image.open(path) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                opened.load()
                yield opened
    except FileNotFoundError:
        raise HairclipError(f"there is no image at {str(path) or repr('')}: check the path.") from None
    except Image.DecompressionBombError:
        limit = MAX_PIXELS // 1_000_000
        raise HairclipError(f"{path} has more than {limit} megapixels: reduce it to fewer before editing.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, EOFError) as error:  # Pillow's for files that are damaged
        raise HairclipError(f"{path} cannot be read as an image ({error}): give a JPEG, PNG or WebP.") from None


def decode(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A picture of any mode as it is meant to be seen.

    Returns:
        The colours, mode "RGB": turned as EXIF says, 16 bits scaled to 8, in sRGB; and how opaque each pixel is, mode
        "L", or None where all are. Colours under transparent pixels are those of the file.
    """
    turn = _UPRIGHT.get(orientation(picture))
    if turn is not None:
        picture = picture.transpose(turn)
    if picture.mode == "I" or picture.mode.startswith("I;16"):  # Pillow would clip what is over 255
        deep = np.asarray(picture)
        picture = Image.fromarray((deep.clip(0, 65535) / np.float32(257)).round().astype(np.uint8))
    alpha = None
    if picture.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
        if alpha.getextrema()[0] == 255:
            alpha = None
        picture = picture.convert("RGB")
    elif picture.mode == "P":
        picture = picture.convert("RGB")
    picture = _to_srgb(picture)
    if picture.mode != "RGB":  # converting copies even where nothing changes
        try:
            picture = picture.convert("RGB")
        except ValueError:
            raise HairclipError(
                f"a picture's colours are of the kind {picture.mode}, which is not understood: save it as RGB."
            ) from None
    return picture, alpha


def orientation(picture: Image.Image) -> int:
    """EXIF's number for how the picture lies; 1 is upright, also where EXIF is damaged."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata raises whatever its parser stumbles over, and never matters more than pixels
        return 1


def over_white(picture: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """The colours of `decode` with transparent parts in front of white."""
    if alpha is None:
        return picture
    return Image.composite(picture, Image.new("RGB", picture.size, "white"), alpha)


def _to_srgb(picture: Image.Image) -> Image.Image:
    """Colours by the file's own profile as sRGB ones; unchanged where it is sRGB, broken or of another kind."""
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

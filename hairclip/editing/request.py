"""What a person asks an edit for: a hairstyle or a colour, as a text or as a picture that shows it."""

import os
from pathlib import Path
from typing import TypeAlias, TypeGuard

from PIL import Image
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.image_files import PICTURE_SUFFIXES
from hairclip.common.images import ImageSource, load_image

Wish: TypeAlias = ImageSource | None


def as_wish(wish: Wish) -> str | Tensor | None:
    """What a person gives for a hairstyle or a colour, as a text, an image tensor (1, 3, H, W) or None.

    A string that names an existing file, or that looks like a path to one, is a picture; any other string is a text.
    """
    if isinstance(wish, str) and not wish.strip():
        raise HairclipError("the hairstyle or colour is an empty text: name one, give a picture, or leave it out.")
    if is_picture(wish):
        return load_picture(wish)
    return wish.strip() if isinstance(wish, str) else None


def is_picture(wish: Wish) -> TypeGuard[ImageSource]:
    """Whether a wish is a picture, or the path of one, and not a text or None."""
    if not isinstance(wish, str):
        return wish is not None
    suffix = Path(wish).suffix.lower()
    looks_like_file = os.sep in wish or suffix in PICTURE_SUFFIXES or suffix in Image.registered_extensions()
    return looks_like_file or os.path.isfile(wish)  # Path.is_file raises for a text too long for a name


def load_picture(source: ImageSource) -> Tensor:
    """A picture (1, 3, H, W) in which a face could be seen at all."""
    image = load_image(source)
    height, width = image.shape[-2:]
    if min(height, width) < 8 or max(height, width) > 3 * min(height, width):
        name = str(source) if isinstance(source, (str, Path)) else "a picture"
        raise HairclipError(f"{name} is {width} x {height} pixels: give a picture that is cropped to the face.")
    return image


def told(wish: str | Tensor | None) -> str | None:
    """A wish as captions and results name it."""
    return "reference" if isinstance(wish, Tensor) else wish

"""Read the masks that people paint: white counts, black does not, gray counts in part."""

import os
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from hairclip.common.errors import HairclipError
from hairclip.common.images import ImageSource, SoftMasks, image_name
from hairclip.editing.photo.files import Photo, read_photo

__all__ = ["PaintedMasks", "read_mask"]


@dataclass(frozen=True)
class PaintedMasks:
    """Masks that a person painted over the hair of one person in a photo; each is a picture of the photo's size.

    Attributes:
        hair: white is hair, in place of the hair that is found; None finds it.
        add: white is hair, too; None adds nothing.
        remove: white is no hair; None removes nothing.
    """

    hair: ImageSource | None = None
    add: ImageSource | None = None
    remove: ImageSource | None = None

    def __bool__(self) -> bool:
        return not (self.hair is None and self.add is None and self.remove is None)

    def apply(self, found: UInt8[np.ndarray, "height width"], photo: Photo) -> UInt8[np.ndarray, "height width"]:
        """Return the soft mask of the hair, 0 to 255, after what was painted.

        Args:
            found: the hair that was found, of the photo's size.
            photo: the photo.

        Raises:
            HairclipError: if a mask cannot be used, see `read_mask`, or nothing of the hair is left.
        """
        alpha = found if self.hair is None else _to_levels(read_mask(self.hair, photo))
        if self.add is not None:
            alpha = np.maximum(alpha, _to_levels(read_mask(self.add, photo)))
        if self.remove is not None:
            alpha = np.minimum(alpha, 255 - _to_levels(read_mask(self.remove, photo)))
        if not alpha.any():
            raise HairclipError(f"the masks leave no hair in {photo.name}: remove less of it, or add some.")
        return alpha


def _to_levels(mask: SoftMasks) -> UInt8[np.ndarray, "height width"]:
    """Return a soft mask as levels from 0 to 255."""
    return (mask[0, 0] * 255).round().byte().numpy()


def read_mask(source: ImageSource, photo: Photo) -> SoftMasks:
    """Read a mask as (1, 1, height, width) in [0, 1]. It is turned upright as its file says, as the photo is.

    Args:
        source: a picture of the photo's size; transparent pixels count as black.
        photo: the photo that the mask belongs to.

    Raises:
        HairclipError: if it cannot be read, is the photo itself, has another size, or is black all over.
    """
    name = image_name(source)
    if isinstance(source, (str, os.PathLike)) and _is_same_file(source, photo.name):
        raise HairclipError(f"the mask {name} is the photo itself: give a picture that is white where it counts.")
    mask = read_photo(source)
    if mask.size != photo.size:
        turned = " It lies on its side." if mask.size == photo.size[::-1] else ""
        raise HairclipError(
            f"the mask {name} is {mask.size[0]} x {mask.size[1]} pixels, the photo {photo.name} upright "
            f"{photo.size[0]} x {photo.size[1]}: give a mask of that size.{turned}"
        )
    values = np.array(mask.picture.convert("L"), np.float32)
    if mask.alpha is not None:
        values *= np.asarray(mask.alpha, np.float32) / 255
    if values.max() < 128:
        raise HairclipError(f"the mask {name} shows no white: paint white where it counts.")
    return torch.from_numpy(values / 255)[None, None]


def _is_same_file(one: str | os.PathLike[str], other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one of them is no file
        return False

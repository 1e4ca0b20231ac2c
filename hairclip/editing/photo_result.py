"""What a photo becomes on its way through an edit: cut out, inverted, edited."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.editing.inversion.check import describe_poor_inversion
from hairclip.editing.photo.align import FaceSquare, Rectangle
from hairclip.editing.photo.faces import Face
from hairclip.editing.photo.files import Photo, write_photo
from hairclip.editing.result import EditResult, Prepared
from hairclip.pretrained.bundle_files import InversionLimits

__all__ = ["CutPhoto", "OpenPhoto", "PhotoResult"]


@dataclass(frozen=True)
class CutPhoto:
    """A photo whose faces are found and cut out.

    Attributes:
        photo: the photo.
        faces: the chosen faces; empty where the picture itself is the crop.
        squares: where each crop lies in the photo.
        crops: the pictures of the squares.
        notes: what the person should know, one sentence each.
        seconds: stage -> seconds.
    """

    photo: Photo
    faces: list[Face]
    squares: list[FaceSquare]
    crops: list[Image.Image]
    notes: list[str]
    seconds: dict[str, float]


@dataclass(frozen=True)
class OpenPhoto(CutPhoto):
    """A photo whose faces are inverted: many edits can start from here.

    Attributes:
        prepared: the inverted crops, one sample per square.
        limits: method of inversion -> the figures below which an inversion is poor.
    """

    prepared: Prepared
    limits: Mapping[str, InversionLimits]

    def describe_strangers(self, *, blend: bool = True) -> list[str]:
        """Return a sentence for each face that the generator rebuilds as somebody else's.

        Args:
            blend: whether the photo's own face will be kept; the advice depends on it.
        """
        inversion = self.prepared.inversion
        told = [
            describe_poor_inversion(inversion, i, limits=self.limits, name=self.photo.name, blend=blend)
            for i in range(len(self.prepared))
        ]
        return [sentence for sentence in told if sentence is not None]

    def refuse_strangers(self) -> None:
        """Raise a `HairclipError` if the generator's picture, shown without blending, would be somebody else's."""
        for sentence in self.describe_strangers(blend=False):
            raise HairclipError(sentence)


@dataclass(frozen=True)
class PhotoResult:
    """One edit of a photo.

    Attributes:
        picture: the whole photo with the edit in it, mode "RGB", or "RGBA" where the photo was partly transparent.
        mask: weight of the edits in `picture`, mode "L"; where it is 0, the pixel is the photo's.
        rectangle: left, top, right and bottom of the part that changed; None where nothing did.
        opened: what the edit started from.
        edits: the edit of each face.
        seconds: stage -> seconds: models, read, find, align, invert, references, edit, blend, paste. What photos did
            together counts in equal shares.
        notes: what the person should know, one sentence each.
    """

    picture: Image.Image
    mask: Image.Image
    rectangle: Rectangle | None
    opened: OpenPhoto
    edits: list[EditResult]
    seconds: dict[str, float]
    notes: list[str]

    @property
    def photo(self) -> Photo:
        """The unedited photo."""
        return self.opened.photo

    @property
    def faces(self) -> list[Face]:
        """The edited faces, one per edit; empty where the picture itself was the crop."""
        return self.opened.faces

    def save(self, path: str | Path) -> None:
        """Write the photo, encoded as it was where the suffix names the same format."""
        write_photo(self.picture, path, self.photo)

"""What editing a photo goes through and what it gives: cut, opened, asked, edited, pasted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.images import mask_to_pil, to_pil
from hairclip.editing.inversion.check import check_inversion
from hairclip.editing.paste_beyond import carry_on, faded
from hairclip.editing.paste_recolor import recolored
from hairclip.editing.photo.align import FaceSquare, Rectangle, rectangle, spread
from hairclip.editing.photo.faces import Face
from hairclip.editing.photo.files import Photo, write_photo
from hairclip.editing.result import EditResult, Prepared
from hairclip.pretrained.bundle_files import InversionLimits

__all__ = ["Ask", "CutPhoto", "OpenPhoto", "PhotoResult", "pasted"]


@dataclass(frozen=True)
class CutPhoto:
    """A photo read, its faces found and cut out."""

    photo: Photo
    faces: list[Face]
    """The chosen ones; empty where the picture itself is the crop."""
    squares: list[FaceSquare]
    crops: list[Image.Image]
    """One per square."""
    notes: list[str]
    """What a person should know, a sentence each."""
    seconds: dict[str, float]
    """By stage."""


@dataclass(frozen=True)
class OpenPhoto(CutPhoto):
    """And inverted: many edits can start from here."""

    prepared: Prepared
    """One sample per square."""
    limits: Mapping[str, InversionLimits]
    """Method of inversion -> the figures below which an inversion is poor."""

    def poor(self, *, blend: bool = True) -> list[str]:
        """A sentence for each face that the generator does not rebuild as the same person's."""
        inversion = self.prepared.inversion
        told = [
            check_inversion(inversion, i, limits=self.limits, name=self.photo.name, blend=blend)
            for i in range(len(self.prepared))
        ]
        return [sentence for sentence in told if sentence is not None]

    def refuse_stranger(self) -> None:
        """Raise a `HairclipError` if the generator's picture without blending would show someone else."""
        for sentence in self.poor(blend=False):
            raise HairclipError(sentence)


@dataclass(frozen=True)
class Ask:
    """What an edit asks for, references read: each part a text, a crop (1, 3, size, size) or None."""

    hairstyle: str | Tensor | None
    color: str | Tensor | None
    notes: list[str]
    seconds: dict[str, float]


@dataclass(frozen=True)
class PhotoResult:
    """One edit of a photo."""

    picture: Image.Image
    """The whole photo with the edit in it, mode "RGB", or "RGBA" where the photo was partly transparent."""
    mask: Image.Image
    """Weight of the edits in `picture`, mode "L": where it is 0, every pixel is the photo's."""
    rectangle: Rectangle | None
    """Left, top, right and bottom of the part that changed; None where nothing did."""
    opened: OpenPhoto
    """What it started from."""
    edits: list[EditResult]
    """One per face."""
    seconds: dict[str, float]
    """By stage: models, read, find, align, invert, references, edit, blend, paste; a batch's in equal shares."""
    notes: list[str]
    """What a person should know, a sentence each."""

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


def pasted(opened: OpenPhoto, edits: Sequence[EditResult]) -> tuple[Image.Image, Image.Image, Rectangle | None]:
    """A photo with edited crops put back, the weight of the edits in it, and the rectangle in which it changed."""
    picture, opaque = opened.photo.picture.copy(), opened.photo.alpha
    mask = Image.new("L", picture.size)
    places: list[Rectangle] = []
    for number, (edit, square) in enumerate(zip(edits, opened.squares, strict=True)):
        place = rectangle(square, edit.image.shape[-1], picture.size)
        if place is None:
            continue
        if edit.recoloring is None:
            there = spread(mask_to_pil(edit.alpha), square, picture.size, place)
            after = spread(to_pil(faded(edit, square)), square, picture.size, place)
            after = Image.composite(after, picture.crop(place), there)
        else:
            after, there = recolored(opened.photo.picture, picture, square, edit.recoloring, place)
        mask.paste(ImageChops.lighter(mask.crop(place), there), place)
        picture.paste(after, place)
        places.append(place)
        # Where the networks do not know the kind of picture, the parser takes other things for hair: outside the crop
        # nothing is touched then.
        if check_inversion(opened.prepared.inversion, number, limits=opened.limits) is None:
            places += carry_on(opened.photo.picture, picture, mask, square, edit)
        if opaque is not None:  # new hair in front of a transparent background shows
            hair = ImageChops.multiply(there, spread(mask_to_pil(edit.mask.float()), square, picture.size, place))
            opaque = opaque.copy()
            opaque.paste(ImageChops.lighter(opaque.crop(place), hair), place)
    changed = [box for box in (_difference(opened.photo.picture, picture, place) for place in places) if box]
    if opaque is not None:
        picture.putalpha(opaque)
    if not changed:
        return picture, mask, None
    left, top, right, bottom = zip(*changed, strict=True)
    return picture, mask, (min(left), min(top), max(right), max(bottom))


def _difference(first: Image.Image, second: Image.Image, place: Rectangle) -> Rectangle | None:
    """Where two pictures differ within a rectangle."""
    box = ImageChops.difference(first.crop(place), second.crop(place)).getbbox()
    return None if box is None else (place[0] + box[0], place[1] + box[1], place[0] + box[2], place[1] + box[3])

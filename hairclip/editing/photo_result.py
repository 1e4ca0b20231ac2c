"""What a photo becomes on its way through an edit: cut out, inverted, edited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.images import from_pil
from hairclip.common.sheets import draw_sheet, stack_sheets
from hairclip.editing.hair_mask import HairMask
from hairclip.editing.inversion.check import describe_poor_inversion, describe_unknown_person
from hairclip.editing.inversion.invert import Inversion
from hairclip.editing.options import EditOptions
from hairclip.editing.photo.align import FaceSquare, Rectangle, crop_face
from hairclip.editing.photo.faces import Face
from hairclip.editing.photo.files import Photo, write_photo
from hairclip.editing.request import EditRequest
from hairclip.editing.result import EditResult, Prepared, compare
from hairclip.pretrained.bundle_files import InversionLimits

__all__ = ["CutPhoto", "OpenPhoto", "PhotoResult"]


@dataclass(frozen=True)
class CutPhoto:
    """A photo whose faces are found.

    Attributes:
        photo: the photo.
        faces: the chosen faces; empty where the picture itself is the crop.
        squares: where each crop lies in the photo.
        notes: what the person should know, one sentence each.
        seconds: stage -> seconds.
        others: the faces that were not chosen.
        hair: the hair of each chosen person in the whole photo; None until `PhotoEditor.find_hair` has looked for it.
        painted: whether a person painted masks over `hair`.
    """

    photo: Photo
    faces: list[Face]
    squares: list[FaceSquare]
    notes: list[str]
    seconds: dict[str, float]
    others: list[Face] = field(default_factory=list)
    hair: list[HairMask] | None = None
    painted: bool = False

    def crop(self, size: int) -> list[Image.Image]:
        """Return the pictures of the squares, of `size` pixels. A picture that is a crop itself keeps its size."""
        seen = self.photo.seen
        return [seen if square.whole else crop_face(seen, square, size) for square in self.squares]


@dataclass(frozen=True)
class OpenPhoto(CutPhoto):
    """A photo whose faces are inverted: many edits can start from here.

    Attributes:
        prepared: the inverted crops, one sample per square.
        limits: method of inversion -> the figures below which an inversion is poor.
        for_others: the bundle to download for people whom these networks do not know; None for none.
        judged: the inversion by which the networks know a person or not; None takes that of `prepared`.
    """

    prepared: Prepared = field(kw_only=True)
    limits: Mapping[str, InversionLimits] = field(kw_only=True)
    for_others: str | None = field(default=None, kw_only=True)
    judged: Inversion | None = field(default=None, kw_only=True)

    @property
    def is_known(self) -> bool:
        """Whether the networks know the people of all faces."""
        judged = self.judged or self.prepared.inversion
        return all(describe_poor_inversion(judged, i, limits=self.limits) is None for i in range(len(judged)))

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

    def refuse_strangers(self, requests: Sequence[EditRequest], options: EditOptions) -> None:
        """Refuse edits of people whom the networks do not know, unless `options.force` is set.

        A new hairstyle would look unreal on them. Without blending, their face would become somebody else's.

        Args:
            requests: what is asked of the photo.
            options: how the edits are made.

        Raises:
            HairclipError: with one sentence about the first such person.
        """
        if options.force:
            return
        if not options.blend:
            for sentence in self.describe_strangers(blend=False):
                raise HairclipError(sentence)
        for request in requests:
            hairstyle, color = request.names
            if hairstyle is None or options.strength == 0:
                continue
            for number in range(len(self.prepared)):
                told = describe_unknown_person(
                    self.judged or self.prepared.inversion,
                    number,
                    limits=self.limits,
                    hairstyle=hairstyle,
                    color=color,
                    for_others=self.for_others,
                    name=self.photo.name,
                )
                if told is not None:
                    raise HairclipError(told)


@dataclass(frozen=True)
class PhotoResult:
    """One edit of a photo.

    Attributes:
        picture: the whole photo with the edit in it, mode "RGB", or "RGBA" where the photo was partly transparent.
        mask: weight of the edits in `picture`, mode "L"; where it is 0, the pixel is the photo's.
        rectangle: left, top, right and bottom of the part that changed; None where nothing did.
        opened: what the edit started from: an `OpenPhoto`, or a photo whose hair was dyed without any generator.
        edits: the edit of each face; empty where hair was dyed.
        seconds: stage -> seconds: models, read, find, align, invert, references, edit, blend, paste. What photos did
            together counts in equal shares.
        notes: what the person should know, one sentence each.
    """

    picture: Image.Image
    mask: Image.Image
    rectangle: Rectangle | None
    opened: CutPhoto
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

    def compare(self, tile: int = 256) -> Image.Image:
        """Return what each edit started from, what was made on the way, and the edit, each `tile` pixels wide."""
        if self.edits:
            return stack_sheets([compare(edit, tile) for edit in self.edits])
        pictures = (self.photo.seen, self.mask.convert("RGB"), self.picture.convert("RGB"))
        rows = [
            [from_pil(one if square.whole else crop_face(one, square, tile)) for one in pictures]
            for square in self.opened.squares
        ]
        return draw_sheet(rows, columns=["source", "hair", "edit"], tile=tile)

    def save(self, path: str | Path) -> None:
        """Write the photo, encoded as it was where the suffix names the same format."""
        write_photo(self.picture, path, self.photo)

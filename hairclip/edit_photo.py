"""Edit the hair in a whole photo: read, find the face, align, invert, edit, blend, paste back.

```python
from hairclip import PhotoEditor

editor = PhotoEditor.from_bundle("portraits")
result = editor.edit("me.jpg", hairstyle="bob cut", color="red")
result.save("me_red_bob.jpg")  # every pixel outside result.rectangle is the photo's
```
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops
from torch import Tensor

from hairclip.align import FFHQ, PORTRAITS, FaceSquare, Framing, crop_face, rectangle, spread
from hairclip.edit import HairEditor, Method, check_request
from hairclip.edit_result import EditResult, Prepared
from hairclip.errors import HairclipError
from hairclip.faces import Face, FaceChoice, FaceFinder, check_face, choose_faces
from hairclip.images import ImageSource, to_pil
from hairclip.invert import InversionMethod
from hairclip.photo import Photo, read_photo, write_photo
from hairclip.stopwatch import Stopwatch
from hairclip.wishes import Wish, as_wish, is_picture

__all__ = ["CutPhoto", "OpenPhoto", "PhotoEditor", "PhotoResult"]

Rectangle = tuple[int, int, int, int]


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


@dataclass(frozen=True)
class PhotoResult:
    """One edit of a photo."""

    picture: Image.Image
    """The whole photo with the edit in it, mode "RGB", or "RGBA" where the photo was partly transparent."""
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


class PhotoEditor:
    """Edits the hair of faces in photos.

    Args:
        editor: edits crops.
        framing: the crop its networks were trained on; None takes that of the portraits bundle for a generator under
            256 pixels, and FFHQ's else.
        finder: finds faces; None takes MTCNN on the editor's device.
    """

    def __init__(self, editor: HairEditor, *, framing: Framing | None = None, finder: FaceFinder | None = None) -> None:
        self.editor = editor
        self._framing = framing
        self._finder = finder

    @classmethod
    def from_bundle(cls, name: str = "portraits", **options: Any) -> "PhotoEditor":
        """A photo editor of a named bundle; options as of `HairEditor.from_bundle`."""
        return cls(HairEditor.from_bundle(name, **options))

    @property
    def framing(self) -> Framing:
        """How the square lies around a face."""
        if self._framing is None:
            self._framing = PORTRAITS if self.editor.networks.generator.size < 256 else FFHQ
        return self._framing

    @property
    def finder(self) -> FaceFinder:
        """What finds faces."""
        if self._finder is None:
            self._finder = FaceFinder(self.editor.device)
        return self._finder

    def edit(
        self,
        source: ImageSource,
        hairstyle: Wish = None,
        color: Wish = None,
        *,
        face: FaceChoice = "largest",
        aligned: bool = False,
        inversion: InversionMethod = "encoder",
        invert_steps: int = 100,
        strength: float = 1.0,
        **options: Any,
    ) -> PhotoResult:
        """Edit one photo.

        Args:
            source: the photo: a path, PIL picture, uint8 array or tensor.
            hairstyle: a text ("bob cut"), a photo of someone whose hairstyle to take, or None to keep it.
            color: a text ("red"), a photo of someone whose hair colour to take, or None.
            face: which faces: "largest", "left", "right", "all", or a number from 1, from left to right.
            aligned: the picture is already cropped to the face as the networks expect it.
            inversion: "encoder", "optimize" or "pivotal", see `hairclip.invert.invert`.
            invert_steps: steps of its descent.
            strength: 0 gives the inversion, 1 the edit, up to 2 exaggerates.
            options: as of `HairEditor.edit_batch`: seed, method, blend, feather, steps, lr.

        Raises:
            HairclipError: if the photo cannot be read, shows no face that can be edited, or nothing is asked for.
        """
        check_request([hairstyle, color], strength)
        opened = self.open(source, face=face, aligned=aligned, inversion=inversion, invert_steps=invert_steps)
        return self.edit_open([opened], hairstyle, color, strength=strength, **options)[0]

    def open(
        self, source: ImageSource, *, face: FaceChoice = "largest", aligned: bool = False, **inverting: Any
    ) -> OpenPhoto:
        """Read a photo, find and cut out its faces, and invert them: `cut` and `invert`."""
        return self.invert([self.cut(source, face=face, aligned=aligned)], **inverting)[0]

    def cut(self, source: ImageSource, *, face: FaceChoice = "largest", aligned: bool = False) -> CutPhoto:
        """Read a photo, find its faces and cut them out."""
        watch = Stopwatch()
        with watch("read"):
            photo = read_photo(source)
        with watch("models"):
            size = self.editor.networks.generator.size
            if not aligned:
                _ = self.finder.networks
        if aligned:
            return CutPhoto(photo, [], [FaceSquare.of_picture(photo.size)], [photo.seen], [], watch.seconds)
        with watch("find"):
            faces, notes = self.find(photo, face)
            squares = [found.square(self.framing) for found in faces]
        with watch("align"):
            crops = [crop_face(photo.seen, square, size) for square in squares]
        return CutPhoto(photo, faces, squares, crops, notes, watch.seconds)

    def invert(self, cuts: Sequence[CutPhoto], **inverting: Any) -> list[OpenPhoto]:
        """Invert the faces of photos, all in one batch; options as of `HairEditor.prepare`."""
        watch = Stopwatch()
        with watch("models"):
            _ = self.editor.networks.encoder, self.editor.networks.parser, self.editor.identity
        with watch("invert"):
            prepared = self.editor.prepare([crop for cut in cuts for crop in cut.crops], **inverting)
        opened, first = [], 0
        for cut in cuts:
            part = prepared[range(first, first + len(cut.crops))]
            seconds = add_seconds(cut.seconds, watch.seconds, share=len(cut.crops) / len(prepared))
            opened.append(OpenPhoto(**{**vars(cut), "seconds": seconds}, prepared=part))
            first += len(cut.crops)
        return opened

    def find(self, photo: Photo, which: FaceChoice = "largest") -> tuple[list[Face], list[str]]:
        """The chosen faces of a photo that can be edited, and sentences about them."""
        found = self.finder(photo.seen)
        chosen = choose_faces(found, which, photo.name)
        notes = []
        if len(found) > 1 and which == "largest":
            notes.append(f"{photo.name} shows {len(found)} faces: the largest is edited; --face chooses others.")
        faces = [self.finder.centred(photo.seen, face) for face in chosen]
        for face in faces:
            notes += check_face(face, photo.size, photo.name, self.framing)
        return faces, notes

    def wish(self, wish: Wish, notes: list[str] | None = None) -> str | Tensor | None:
        """A text, or the crop of a reference photo (1, 3, size, size)."""
        if not is_picture(wish):
            return as_wish(wish)
        assert wish is not None
        photo = read_photo(wish)
        try:
            faces, _ = self.find(photo)
        except HairclipError as error:
            if notes is not None:
                notes.append(f"the reference {photo.name} is taken as it is, as a crop of a face ({error})")
            return as_wish(photo.seen)
        return as_wish(crop_face(photo.seen, faces[0].square(self.framing), self.editor.networks.generator.size))

    def edit_open(
        self,
        opened: Sequence[OpenPhoto],
        hairstyle: Wish = None,
        color: Wish = None,
        *,
        method: Method = "mapper",
        **options: Any,
    ) -> list[PhotoResult]:
        """Edit opened photos alike, all in one batch; `options` as of `HairEditor.edit_prepared`."""
        watch, notes = Stopwatch(), list[str]()
        with watch("models"):
            _ = self.editor.networks.clip, self.editor.conditions(method)
        with watch("references"):
            pair = self.wish(hairstyle, notes), self.wish(color, notes)
        prepared = Prepared.joined([one.prepared for one in opened])
        edits = self.editor.edit_prepared(prepared, [pair] * len(prepared), method=method, watch=watch, **options)
        results, first = [], 0
        for one in opened:
            count, paste = len(one.squares), Stopwatch()
            mine = edits[first : first + count]
            with paste("paste"):
                picture, changed = pasted(one, mine)
            seconds = add_seconds(one.seconds, watch.seconds, share=count / len(prepared))
            seconds = add_seconds(seconds, paste.seconds)
            results.append(PhotoResult(picture, changed, one, mine, seconds, [*one.notes, *notes]))
            first += count
        return results


def add_seconds(seconds: Mapping[str, float], more: Mapping[str, float], share: float = 1.0) -> dict[str, float]:
    """Times by stage, and a share of others."""
    added = dict(seconds)
    for stage, spent in more.items():
        added[stage] = added.get(stage, 0.0) + spent * share
    return added


def pasted(opened: OpenPhoto, edits: Sequence[EditResult]) -> tuple[Image.Image, Rectangle | None]:
    """A photo with edited crops put back, and the rectangle in which it changed."""
    picture, opaque = opened.photo.picture.copy(), opened.photo.alpha
    changed: list[Rectangle] = []
    for edit, square in zip(edits, opened.squares, strict=True):
        crop, weight = to_pil(edit.foreground), _gray(edit.alpha)
        place = rectangle(square, crop.width, picture.size)
        if place is None:
            continue
        before = picture.crop(place)
        there = spread(weight, square, picture.size, place)
        after = Image.composite(spread(crop, square, picture.size, place), before, there)
        box = ImageChops.difference(before, after).getbbox()
        if box is not None:
            picture.paste(after, place)
            changed.append((place[0] + box[0], place[1] + box[1], place[0] + box[2], place[1] + box[3]))
        if opaque is not None:  # new hair in front of a transparent background shows
            hair = ImageChops.multiply(there, spread(_gray(edit.mask.float()), square, picture.size, place))
            opaque = opaque.copy()
            opaque.paste(ImageChops.lighter(opaque.crop(place), hair), place)
    if opaque is not None:
        picture.putalpha(opaque)
    if not changed:
        return picture, None
    left, top, right, bottom = zip(*changed, strict=True)
    return picture, (min(left), min(top), max(right), max(bottom))


def _gray(weights: Tensor) -> Image.Image:
    """Weights (1, 1, H, W) in [0, 1] as a picture of mode "L"."""
    return Image.fromarray((weights[0, 0].clamp(0, 1) * 255).round().byte().cpu().numpy())

"""Edit the hair in a whole photo: read, find the face, align, invert, edit, blend, paste back.

```python
from hairclip import PhotoEditor

editor = PhotoEditor.from_bundle("portraits")
result = editor.edit("me.jpg", hairstyle="bob cut", color="red")
result.save("me_red_bob.jpg")  # every pixel outside result.rectangle is the photo's
```
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageChops
from torch import Tensor

from hairclip.align import FFHQ, PORTRAITS, FaceSquare, Framing, crop_face, rectangle, spread
from hairclip.edit import HairEditor
from hairclip.edit_result import EditResult, Prepared
from hairclip.errors import HairclipError
from hairclip.faces import Face, FaceChoice, FaceFinder, check_face, choose_faces
from hairclip.images import ImageSource, to_pil
from hairclip.photo import Photo, read_photo, write_photo
from hairclip.wishes import Wish, as_wish, is_picture

__all__ = ["OpenPhoto", "PhotoEditor", "PhotoResult"]

Rectangle = tuple[int, int, int, int]


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


@dataclass(frozen=True)
class OpenPhoto:
    """A photo read, its faces found, cut out and inverted: many edits can start from here."""

    photo: Photo
    faces: list[Face]
    """The chosen ones; empty where the picture itself is the crop."""
    squares: list[FaceSquare]
    crops: list[Image.Image]
    prepared: Prepared
    """One sample per square."""
    notes: list[str]
    """What a person should know, a sentence each."""
    seconds: dict[str, float]


@dataclass(frozen=True)
class PhotoResult:
    """One edit of a photo."""

    picture: Image.Image
    """The whole photo with the edit in it, mode "RGB", or "RGBA" where the photo was partly transparent."""
    photo: Photo
    rectangle: Rectangle | None
    """Left, top, right and bottom of the part that changed; None where nothing did."""
    edits: list[EditResult]
    """One per face."""
    faces: list[Face]
    squares: list[FaceSquare]
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage: models, read, find, align, invert, edit, blend, paste."""
    notes: list[str] = field(default_factory=list)

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
        refine: int = 0,
        **options: Any,
    ) -> PhotoResult:
        """Edit one photo.

        Args:
            source: the photo: a path, PIL picture, uint8 array or tensor.
            hairstyle: a text ("bob cut"), a photo of someone whose hairstyle to take, or None to keep it.
            color: a text ("red"), a photo of someone whose hair colour to take, or None.
            face: which faces: "largest", "left", "right", "all", or a number from 1, from left to right.
            aligned: the picture is already cropped to the face as the networks expect it.
            refine: steps of latent refinement after the encoder.
            options: as of `HairEditor.edit_batch`: strength, seed, method, blend, feather, steps, lr.
        """
        opened = self.open(source, face=face, aligned=aligned, refine=refine)
        return self.edit_open(opened, [(hairstyle, color)], **options)[0]

    def open(
        self, source: ImageSource, *, face: FaceChoice = "largest", aligned: bool = False, refine: int = 0
    ) -> OpenPhoto:
        """Read a photo, find and cut out its faces, and invert them."""
        watch = Stopwatch()
        with watch("read"):
            photo = read_photo(source)
        notes: list[str] = []
        with watch("models"):
            size = self.editor.networks.generator.size
            _ = self.editor.networks.encoder, self.editor.networks.parser
            if not aligned:
                _ = self.finder.networks
        faces: list[Face] = []
        with watch("find"):
            if aligned:
                squares = [FaceSquare.of_picture(photo.size)]
            else:
                faces, told = self.find(photo, face)
                notes += told
                squares = [found.square(self.framing) for found in faces]
        with watch("align"):
            crops = [photo.seen] if aligned else [crop_face(photo.seen, square, size) for square in squares]
        with watch("invert"):
            prepared = self.editor.prepare(crops, refine=refine)
        return OpenPhoto(photo, faces, squares, crops, prepared, notes, watch.seconds)

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
        opened: OpenPhoto,
        wishes: Sequence[tuple[Wish, Wish]],
        *,
        blend: bool = True,
        feather: int | None = None,
        **options: Any,
    ) -> list[PhotoResult]:
        """Edit an opened photo, once per pair of hairstyle and colour."""
        results = []
        for hairstyle, color in wishes:
            watch, notes = Stopwatch(), list(opened.notes)
            with watch("models"):
                _ = self.editor.networks.clip, self.editor.conditions
                if options.get("method", "mapper") == "mapper":
                    _ = self.editor.mapper
            with watch("find"):
                pair = self.wish(hairstyle, notes), self.wish(color, notes)
            with watch("edit"):
                batch, told = self.editor.asked([pair] * len(opened.prepared))
                codes = self.editor.edited_codes(opened.prepared, batch, **options)
                with torch.no_grad():
                    synthesized = self.editor.networks.generator(codes, noise="const")
            with watch("blend"):
                edits = self.editor.blended(
                    opened.prepared, codes, synthesized, blend=blend, feather=feather, asked=told
                )
            with watch("paste"):
                picture, changed = pasted(opened, edits)
            stages = [*opened.seconds, *watch.seconds]
            seconds = {s: opened.seconds.get(s, 0.0) + watch.seconds.get(s, 0.0) for s in dict.fromkeys(stages)}
            results.append(
                PhotoResult(picture, opened.photo, changed, edits, opened.faces, opened.squares, seconds, notes)
            )
        return results


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

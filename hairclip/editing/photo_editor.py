"""Edit the hair in a whole photo: read, find the face, align, invert, edit, blend, paste back.

```python
from hairclip import PhotoEditor

editor = PhotoEditor.from_bundle("portraits")
result = editor.edit("me.jpg", hairstyle="bob cut", color="red")
result.save("me_red_bob.jpg")  # every pixel outside result.rectangle is the photo's
```
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.framing import Framing
from hairclip.common.images import ImageSource, from_pil
from hairclip.common.stopwatch import Stopwatch, add_seconds
from hairclip.editing.editor import HairEditor, Method, changes_color_alone, check_request
from hairclip.editing.inversion.invert import InversionMethod
from hairclip.editing.photo.align import FaceSquare, crop_face
from hairclip.editing.photo.faces import Face, FaceChoice, FaceFinder, check_face, choose_faces
from hairclip.editing.photo.files import Photo, read_photo
from hairclip.editing.photo_result import Ask, CutPhoto, OpenPhoto, PhotoResult, pasted
from hairclip.editing.request import Wish, as_wish, is_picture, told
from hairclip.editing.result import EditResult, Prepared

__all__ = ["PhotoEditor", "PhotoResult"]


class PhotoEditor:
    """Edits the hair of faces in photos.

    Args:
        editor: edits crops.
        framing: the crop that its networks were trained on; None takes what the networks say.
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
        return self.editor.networks.framing if self._framing is None else self._framing

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
            inversion: "encoder", "optimize" or "pivotal", see `hairclip.editing.inversion.invert.invert`.
            invert_steps: steps of its descent.
            strength: 0 gives the inversion, 1 the edit, up to 2 exaggerates.
            options: as of `HairEditor.edit_batch`: seed, method, blend, feather, seam, behind, strands,
                steps, lr.

        Raises:
            HairclipError: if the photo cannot be read, shows no face that can be edited, or nothing is asked for.
        """
        check_request([hairstyle, color], strength)
        ask = self.ask(hairstyle, color)
        opened = self.open(source, face=face, aligned=aligned, inversion=inversion, invert_steps=invert_steps)
        return self.edit_open([opened], ask, strength=strength, **options)[0]

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
            plain = self.editor.networks.plain_background
            crops = [from_pil(crop) for cut in cuts for crop in cut.crops]
            prepared = self.editor.prepare(crops, plain=plain, **inverting)
        opened, first = [], 0
        for cut in cuts:
            part = prepared[range(first, first + len(cut.crops))]
            seconds = add_seconds(cut.seconds, watch.seconds, share=len(cut.crops) / len(prepared))
            limits = self.editor.networks.inversion_limits
            one = OpenPhoto(**{**vars(cut), "seconds": seconds}, prepared=part, limits=limits)
            opened.append(replace(one, notes=[*cut.notes, *one.poor()]))
            first += len(cut.crops)
        return opened

    def find(self, photo: Photo, which: FaceChoice = "largest") -> tuple[list[Face], list[str]]:
        """The chosen faces of a photo, and sentences about them; of all faces, those that can be edited.

        Raises:
            HairclipError: if there is none, or the chosen one cannot be edited.
        """
        found = self.finder(photo.seen)
        chosen = choose_faces(found, which, photo.name)
        notes = []
        if len(found) > 1 and which == "largest":
            notes.append(f"{photo.name} shows {len(found)} faces: the largest is edited; --face chooses others.")
        faces: list[Face] = []
        for rough in chosen:
            face = self.finder.centred(photo.seen, rough)
            try:
                notes += check_face(face, photo.size, photo.name, self.framing)
            except HairclipError as error:
                if not faces and rough is chosen[-1]:  # the only one, or all before it were no better
                    raise
                notes.append(f"left out: {error}")
            else:
                faces.append(face)
        return faces, notes

    def ask(self, hairstyle: Wish = None, color: Wish = None) -> Ask:
        """What to edit, with the faces of reference photos found and cut out as those of photos are."""
        watch, notes = Stopwatch(), list[str]()
        with watch("references"):
            return Ask(self._wish(hairstyle, notes), self._wish(color, notes), notes, watch.seconds)

    def _wish(self, wish: Wish, notes: list[str]) -> str | Tensor | None:
        if not is_picture(wish):
            return as_wish(wish)
        photo = read_photo(wish)
        try:
            faces, _ = self.find(photo)
        except HairclipError:
            notes.append(f"no face to cut out was found in the reference {photo.name}: it is taken as a crop of one.")
            return as_wish(from_pil(photo.seen))
        crop = crop_face(photo.seen, faces[0].square(self.framing), self.editor.networks.generator.size)
        return as_wish(from_pil(crop))

    def edit_open(
        self, opened: Sequence[OpenPhoto], ask: Ask, *, method: Method = "mapper", **options: Any
    ) -> list[PhotoResult]:
        """Edit opened photos alike, all in one batch; `options` as of `HairEditor.edit_prepared`."""
        watch = Stopwatch()
        prepared = Prepared.joined([one.prepared for one in opened])
        with watch("models"):
            _ = self.editor.networks.clip, self.editor.conditions(method)
        wishes = [(ask.hairstyle, ask.color)] * len(prepared)
        edits = self.editor.edit_prepared(prepared, wishes, method=method, watch=watch, **options)
        return self._results(opened, edits, ask, watch)

    def frames(
        self,
        opened: OpenPhoto,
        asks: Sequence[Ask],
        count: int,
        *,
        method: Method = "mapper",
        **options: Any,
    ) -> Iterator[PhotoResult]:
        """An edit that turns into the next in `count` pictures; with one, from the inverted photo into that edit."""
        prepared = opened.prepared
        rendering = {name: options.pop(name) for name in ("blend", "feather", "seam", "behind") if name in options}
        own = options.pop("strands", "photo") == "photo" and all(
            changes_color_alone(ask.hairstyle, ask.color) for ask in asks
        )
        if not rendering.get("blend", True):
            opened.refuse_stranger()
        turns = []
        for ask in asks:
            batch = self.editor.asked([(ask.hairstyle, ask.color)] * len(prepared), method)
            turns.append(self.editor.edited_codes(prepared, batch, method=method, **options))
        if len(turns) == 1:
            turns.insert(0, prepared.inversion.w_plus)
        captions = [(told(asks[-1].hairstyle), told(asks[-1].color))] * len(prepared)
        for position in np.linspace(0.0, len(turns) - 1.0, count):
            before = min(int(position), len(turns) - 2)
            codes = torch.lerp(turns[before], turns[before + 1], float(position) - before)
            watch = Stopwatch()
            edits = self.editor.render(
                prepared, codes, captions, recolor=[own] * len(prepared), watch=watch, **rendering
            )
            yield self._results([opened], edits, asks[-1], watch)[0]

    def _results(
        self, opened: Sequence[OpenPhoto], edits: Sequence[EditResult], ask: Ask, watch: Stopwatch
    ) -> list[PhotoResult]:
        results, first = [], 0
        for one in opened:
            mine = list(edits[first : first + len(one.squares)])
            first += len(mine)
            paste = Stopwatch()
            with paste("paste"):
                picture, mask, changed = pasted(one, mine)
            seconds = add_seconds(one.seconds, ask.seconds, share=1 / len(opened))
            seconds = add_seconds(seconds, watch.seconds, share=len(mine) / len(edits))
            seconds = add_seconds(seconds, paste.seconds)
            results.append(PhotoResult(picture, mask, changed, one, mine, seconds, [*one.notes, *ask.notes]))
        return results

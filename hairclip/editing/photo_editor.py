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
from pathlib import Path

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from hairclip.common.errors import HairclipError
from hairclip.common.framing import Framing
from hairclip.common.images import ImageSource, from_pil
from hairclip.common.stopwatch import Stopwatch, add_seconds
from hairclip.editing.choices import Precision
from hairclip.editing.editor import HairEditor
from hairclip.editing.inversion.cache import InversionCache
from hairclip.editing.methods.method import load_method
from hairclip.editing.options import EditOptions, InversionOptions, InversionSettings, Settings, read_settings
from hairclip.editing.paste import paste_edits
from hairclip.editing.photo.align import FaceSquare, crop_face
from hairclip.editing.photo.faces import (
    FINDERS,
    Face,
    FaceChoice,
    FaceFinder,
    check_face,
    choose_faces,
    describe_weaknesses,
)
from hairclip.editing.photo.files import Photo, read_photo
from hairclip.editing.photo_result import CutPhoto, OpenPhoto, PhotoResult
from hairclip.editing.request import EditRequest, check_requests, is_picture, load_picture
from hairclip.editing.result import EditResult, Prepared

__all__ = ["PhotoEditor", "PhotoResult"]


class PhotoEditor:
    """Edits the hair of faces in photos.

    Args:
        editor: edits crops.
        framing: the crop that the networks were trained on; None takes the networks' own `framing`.
        finder: finds faces: an object, a name of `hairclip.editing.photo.faces.FINDERS`, or `module:attribute`.
    """

    def __init__(
        self, editor: HairEditor, *, framing: Framing | None = None, finder: FaceFinder | str = "mtcnn"
    ) -> None:
        self.editor = editor
        self._framing = framing
        self._finder = finder

    @classmethod
    def from_bundle(
        cls,
        name: str = "portraits",
        *,
        device: str | torch.device | None = None,
        mapper: str | Path | nn.Module | None = None,
        cache: InversionCache | None = None,
        precision: Precision = "float32",
    ) -> "PhotoEditor":
        """Return a photo editor with the networks of a bundle; see `HairEditor.from_bundle`."""
        editor = HairEditor.from_bundle(name, device=device, mapper=mapper, cache=cache, precision=precision)
        return cls(editor)

    @property
    def framing(self) -> Framing:
        """How the square lies around a face."""
        return self.editor.networks.framing if self._framing is None else self._framing

    @property
    def finder(self) -> FaceFinder:
        """What finds faces, made when it is first needed."""
        finder = self._finder
        if isinstance(finder, str):
            finder = FINDERS.load(finder)(self.editor.device)
            self._finder = finder
        return finder

    # ------------------------------------------------------------------ what people call

    def edit(
        self,
        source: ImageSource,
        hairstyle: ImageSource | None = None,
        color: ImageSource | None = None,
        *,
        face: FaceChoice = "largest",
        aligned: bool = False,
        options: EditOptions | None = None,
        inverting: InversionOptions | None = None,
        progress: bool = False,
        **settings: Unpack[Settings],
    ) -> PhotoResult:
        """Edit one photo.

        Args:
            source: the photo: a path, PIL picture, uint8 array or tensor.
            hairstyle: a text ("bob cut"), a photo of somebody whose hairstyle to take, or None to keep it.
            color: a text ("red"), a photo of somebody whose hair color to take, or None to keep it.
            face: which faces: "largest", "left", "right", "all", or a number from 1, counted from the left.
            aligned: the picture is already cropped to the face as the networks expect it.
            options: how the edit is made.
            inverting: how the faces are inverted.
            progress: show progress bars where something takes long.
            settings: single fields of `EditOptions` and `InversionOptions`, such as `strength=0.5`.

        Raises:
            HairclipError: if the photo cannot be read, shows no face that can be edited, or nothing is asked for.
        """
        options, inverting = read_settings(options, inverting, settings)
        watch = Stopwatch()
        request = self.ask(hairstyle, color, watch=watch)
        check_requests([request])
        self.editor.check([request], options)
        opened = self.invert([self.cut(source, face=face, aligned=aligned)], inverting, progress=progress)
        (result,) = self.edit_open(opened, request, options, progress=progress)
        return replace(result, seconds=add_seconds(result.seconds, watch.seconds))

    def open(
        self,
        source: ImageSource,
        *,
        face: FaceChoice = "largest",
        aligned: bool = False,
        inverting: InversionOptions | None = None,
        progress: bool = False,
        **settings: Unpack[InversionSettings],
    ) -> OpenPhoto:
        """Return a photo with its faces found, cut out and inverted, from which many edits can start.

        Args:
            source: the photo, see `edit`.
            face: which faces, see `edit`.
            aligned: the picture is already cropped to the face.
            inverting: how the faces are inverted.
            progress: show progress bars where something takes long.
            settings: single fields of `InversionOptions`, such as `inversion="pivotal"`.
        """
        _, inverting = read_settings(None, inverting, settings)
        self.editor.require("generator", "parser", "encoder")
        return self.invert([self.cut(source, face=face, aligned=aligned)], inverting, progress=progress)[0]

    def ask(
        self,
        hairstyle: ImageSource | None = None,
        color: ImageSource | None = None,
        *,
        text: str | None = None,
        watch: Stopwatch | None = None,
    ) -> EditRequest:
        """Return a request. Reference photos are cropped to the face, as the edited photo is.

        Args:
            hairstyle: a text ("bob cut"), a photo of somebody whose hairstyle to take, or None to keep it.
            color: a text ("red"), a photo of somebody whose hair color to take, or None to keep it.
            text: a text that may name both ("red bob cut").
            watch: counts the seconds.

        Raises:
            HairclipError: if nothing in the texts is understood, or a photo cannot be read.
        """
        notes: list[str] = []
        with (watch or Stopwatch())("references"):
            parts = (hairstyle, color)
            style, shade = (self._cut_reference(part, notes) if is_picture(part) else part for part in parts)
            request = self.editor.ask(style, shade, text=text)
        return replace(request, notes=(*notes, *request.notes))

    def _cut_reference(self, source: ImageSource, notes: list[str]) -> Tensor:
        """Return the face's crop of a reference photo. If no face is found, add a note and return the whole photo."""
        self.editor.require("generator", "clip", "parser")
        photo = read_photo(source)
        try:
            faces, _ = self.find(photo)
        except HairclipError:
            notes.append(f"no face to cut out was found in the reference {photo.name}: it is taken as a crop of one.")
            return load_picture(from_pil(photo.seen))
        crop = crop_face(photo.seen, faces[0].square(self.framing), self.editor.networks.generator.size)
        return load_picture(from_pil(crop))

    # ------------------------------------------------------------------ the steps of an edit

    def cut(self, source: ImageSource, *, face: FaceChoice = "largest", aligned: bool = False) -> CutPhoto:
        """Return a photo with its faces found and cut out; see `edit` for the arguments."""
        watch = Stopwatch()
        with watch("read"):
            photo = read_photo(source)
        with watch("models"):
            size = self.editor.networks.generator.size
            if not aligned:
                self.finder.load()
        if aligned:
            return CutPhoto(photo, [], [FaceSquare.of_picture(photo.size)], [photo.seen], [], watch.seconds)
        with watch("find"):
            faces, notes = self.find(photo, face)
            squares = [found.square(self.framing) for found in faces]
        with watch("align"):
            crops = [crop_face(photo.seen, square, size) for square in squares]
        return CutPhoto(photo, faces, squares, crops, notes, watch.seconds)

    def find(self, photo: Photo, which: FaceChoice = "largest") -> tuple[list[Face], list[str]]:
        """Return the chosen faces of a photo that can be edited, and sentences for the user about them.

        Raises:
            HairclipError: if the photo shows no face, or none of the chosen faces can be edited.
        """
        found = self.finder(photo.seen)
        chosen = choose_faces(found, which, photo.name)
        notes = []
        if len(found) > 1 and which == "largest":
            notes.append(f'{photo.name} shows {len(found)} faces: the largest is edited; face="all" edits all of them.')
        faces: list[Face] = []
        for rough in chosen:
            face = self.finder.refine(photo.seen, rough)
            try:
                check_face(face, photo.size, photo.name, self.framing)
                notes += describe_weaknesses(face, photo.size, photo.name, self.framing)
            except HairclipError as error:
                if not faces and rough is chosen[-1]:  # the only one, or all before it were no better
                    raise
                notes.append(f"left out: {error}")
            else:
                faces.append(face)
        return faces, notes

    def invert(
        self,
        cuts: Sequence[CutPhoto],
        options: InversionOptions | None = None,
        *,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> list[OpenPhoto]:
        """Invert the faces of photos.

        Args:
            cuts: photos whose faces are cut out.
            options: how the faces are inverted.
            batch_size: number of faces that the networks always see at once, see `HairEditor.prepare`; None for all.
            progress: show progress bars.
        """
        watch = Stopwatch()
        with watch("models"):
            _ = self.editor.networks.encoder, self.editor.networks.parser, self.editor.identity
        with watch("invert"):
            crops = [from_pil(crop) for cut in cuts for crop in cut.crops]
            prepared = self.editor.prepare(crops, options, batch_size=batch_size, progress=progress)
        opened, first = [], 0
        for cut in cuts:
            part = prepared[range(first, first + len(cut.crops))]
            seconds = add_seconds(cut.seconds, watch.seconds, share=len(cut.crops) / len(prepared))
            limits = self.editor.networks.inversion_limits
            one = OpenPhoto(**{**vars(cut), "seconds": seconds}, prepared=part, limits=limits)
            opened.append(replace(one, notes=[*cut.notes, *one.describe_strangers()]))
            first += len(cut.crops)
        return opened

    def edit_open(
        self,
        opened: Sequence[OpenPhoto],
        request: EditRequest,
        options: EditOptions | None = None,
        *,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> list[PhotoResult]:
        """Edit opened photos, all with the same request.

        Args:
            opened: photos whose faces are inverted.
            request: the request for every photo.
            options: how the edits are made.
            batch_size: number of faces that the networks always see at once, see `HairEditor.prepare`; None for all.
            progress: show a progress bar where the method takes long.
        """
        options, watch = options or EditOptions(), Stopwatch()
        prepared = Prepared.joined([one.prepared for one in opened])
        with watch("models"):
            _ = self.editor.networks.clip, load_method(options).references(self.editor)
        requests = [request] * len(prepared)
        edits = self.editor.edit_prepared(
            prepared, requests, options, batch_size=batch_size, progress=progress, watch=watch
        )
        return self._paste(opened, edits, request, watch)

    def frames(
        self,
        opened: OpenPhoto,
        requests: Sequence[EditRequest],
        count: int,
        options: EditOptions | None = None,
        *,
        progress: bool = False,
    ) -> Iterator[PhotoResult]:
        """Yield `count` frames that morph from one edit to the next. With a single request, morph from the inversion.

        Args:
            opened: the photo.
            requests: the edits, in the order of the animation.
            count: number of frames, 2 or more.
            options: how the edits are made.
            progress: show a progress bar where the method takes long.
        """
        options = options or EditOptions()
        if not options.blend:
            opened.refuse_strangers()
        for edits in self.editor.frames(opened.prepared, requests, count, options, progress=progress):
            yield self._paste([opened], edits, requests[-1], Stopwatch())[0]

    def _paste(
        self, opened: Sequence[OpenPhoto], edits: Sequence[EditResult], request: EditRequest, watch: Stopwatch
    ) -> list[PhotoResult]:
        """Return the photos with their edits pasted in. `watch` holds the seconds that all edits took together."""
        results, first = [], 0
        for one in opened:
            photo_edits = list(edits[first : first + len(one.squares)])
            first += len(photo_edits)
            paste = Stopwatch()
            with paste("paste"):
                picture, mask, changed = paste_edits(one, photo_edits)
            seconds = add_seconds(one.seconds, watch.seconds, share=len(photo_edits) / len(edits))
            seconds = add_seconds(seconds, paste.seconds)
            notes = list(dict.fromkeys([*one.notes, *request.notes]))
            results.append(PhotoResult(picture, mask, changed, one, photo_edits, seconds, notes))
        return results

"""Edit the hair in a whole photo: read, find the face, align, invert, edit, blend, paste back.

A new color alone takes a shorter way: the hair is found in the whole photo and dyed. No generator takes part.

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

import numpy as np
import torch
from PIL import Image, ImageChops
from torch import Tensor, nn
from typing_extensions import Unpack

from hairclip.common.color import NAMED_RGB
from hairclip.common.errors import HairclipError, check_range
from hairclip.common.framing import Framing
from hairclip.common.images import ImageSource, from_pil, to_pil
from hairclip.common.stopwatch import Stopwatch, add_seconds
from hairclip.editing.blending.matte import replace_hair
from hairclip.editing.choices import Precision
from hairclip.editing.dye import RGB, dye_hair, measure_mean_color
from hairclip.editing.editor import HairEditor
from hairclip.editing.hair_mask import face_square_within, find_hair_mask, wears_hat
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
from hairclip.editing.photo.masks import PaintedMasks
from hairclip.editing.photo_result import CutPhoto, OpenPhoto, PhotoResult
from hairclip.editing.request import EditRequest, check_requests, is_picture, load_picture
from hairclip.editing.result import EditResult, Prepared
from hairclip.editing.zones import make_zones

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
        mask: ImageSource | None = None,
        mask_add: ImageSource | None = None,
        mask_remove: ImageSource | None = None,
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
            mask: a picture of the photo's size, white where hair is, gray where it is in part; None finds the hair.
            mask_add: the same, white where hair is besides what was found.
            mask_remove: the same, white where no hair is.
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
        self.check([request], options)
        cut = self.cut(source, face=face, aligned=aligned, masks=PaintedMasks(mask, mask_add, mask_remove))
        opened = [cut] if self.dyes(request, options) else self.invert([cut], inverting, progress=progress)
        (result,) = self.edit_open(opened, request, options, progress=progress)
        return replace(result, seconds=add_seconds(result.seconds, watch.seconds))

    def open(
        self,
        source: ImageSource,
        *,
        face: FaceChoice = "largest",
        aligned: bool = False,
        masks: PaintedMasks | None = None,
        inverting: InversionOptions | None = None,
        progress: bool = False,
        **settings: Unpack[InversionSettings],
    ) -> OpenPhoto:
        """Return a photo with its faces found, cut out and inverted, from which many edits can start.

        Args:
            source: the photo, see `edit`.
            face: which faces, see `edit`.
            aligned: the picture is already cropped to the face.
            masks: what a person painted over the hair.
            inverting: how the faces are inverted.
            progress: show progress bars where something takes long.
            settings: single fields of `InversionOptions`, such as `inversion="pivotal"`.
        """
        _, inverting = read_settings(None, inverting, settings)
        self.editor.require("generator", "parser", "encoder")
        cut = self.cut(source, face=face, aligned=aligned, masks=masks)
        return self.invert([cut], inverting, progress=progress)[0]

    def ask(
        self,
        hairstyle: ImageSource | None = None,
        color: ImageSource | None = None,
        *,
        text: str | None = None,
        any_color: bool = True,
        watch: Stopwatch | None = None,
    ) -> EditRequest:
        """Return a request. Reference photos are cropped to the face, as the edited photo is.

        Args:
            hairstyle: a text ("bob cut"), a photo of somebody whose hairstyle to take, or None to keep it.
            color: a text ("red"), a photo of somebody whose hair color to take, or None to keep it.
            text: a text that may name both ("red bob cut").
            any_color: whether shades, color codes and colors of a part of the hair are taken too.
            watch: counts the seconds.

        Raises:
            HairclipError: if nothing in the texts is understood, or a photo cannot be read.
        """
        notes: list[str] = []
        with (watch or Stopwatch())("references"):
            parts = (hairstyle, color)
            style, shade = (self._cut_reference(part, notes) if is_picture(part) else part for part in parts)
            request = self.editor.ask(style, shade, text=text, any_color=any_color)
        return replace(request, notes=(*notes, *request.notes))

    def _cut_reference(self, source: ImageSource, notes: list[str]) -> Tensor:
        """Return the face's crop of a reference photo. If no face is found, add a note and return the whole photo."""
        self.editor.require("generator", "clip", "parser")
        photo = read_photo(source)
        try:
            faces, _, _ = self.find(photo)
        except HairclipError:
            notes.append(f"no face to cut out was found in the reference {photo.name}: it is taken as a crop of one.")
            return load_picture(from_pil(photo.seen))
        crop = crop_face(photo.seen, faces[0].square(self.framing), self.editor.networks.generator.size)
        return load_picture(from_pil(crop))

    # ------------------------------------------------------------------ the steps of an edit

    def cut(
        self,
        source: ImageSource,
        *,
        face: FaceChoice = "largest",
        aligned: bool = False,
        masks: PaintedMasks | None = None,
    ) -> CutPhoto:
        """Return a photo with its faces found and cut out; see `edit` for the arguments."""
        cut = self._cut(source, face, aligned)
        if not masks:
            return cut
        if len(cut.squares) > 1:
            raise HairclipError(
                f"masks are for one person, and {len(cut.squares)} were chosen in {cut.photo.name}: choose one by face."
            )
        cut = self.find_hair(cut)
        (hair,) = cut.hair or []
        return replace(cut, hair=[hair.repaint(masks.apply(hair.alpha, cut.photo))], painted=True)

    def _cut(self, source: ImageSource, face: FaceChoice, aligned: bool) -> CutPhoto:
        watch = Stopwatch()
        with watch("read"):
            photo = read_photo(source)
        with watch("models"):
            if not aligned:
                self.finder.load()
        if aligned:
            return CutPhoto(photo, [], [FaceSquare.of_picture(photo.size)], [], watch.seconds)
        with watch("find"):
            faces, others, notes = self.find(photo, face)
            squares = [found.square(self.framing) for found in faces]
        return CutPhoto(photo, faces, squares, notes, watch.seconds, others)

    def find(self, photo: Photo, which: FaceChoice = "largest") -> tuple[list[Face], list[Face], list[str]]:
        """Return the chosen faces of a photo, all other faces, and sentences for the user.

        Raises:
            HairclipError: if the photo shows no face, or not the one that was chosen.
        """
        found = self.finder(photo.seen)
        chosen = choose_faces(found, which, photo.name)
        notes = []
        if len(found) > 1 and which == "largest":
            notes.append(f'{photo.name} shows {len(found)} faces: the largest is edited; face="all" edits all of them.')
        faces = [self.finder.refine(photo.seen, face) for face in chosen]
        # The finder may see one head twice: a face whose middle lies in a chosen one is no other person.
        others = [one for one in found if not any(_is_same(one, face) for face in faces)]
        return faces, others, notes

    def keep_editable(self, cut: CutPhoto) -> CutPhoto:
        """Return a photo without the faces that a generator cannot edit.

        Raises:
            HairclipError: if none of the chosen faces can be edited.
        """
        kept, notes = [], []
        for number, face in enumerate(cut.faces):
            try:
                check_face(face, cut.photo.size, cut.photo.name, self.framing)
                notes += describe_weaknesses(face, cut.photo.size, cut.photo.name, self.framing)
                kept.append(number)
            except HairclipError as error:
                if not kept and number == len(cut.faces) - 1:  # the only one, or all before it were no better
                    raise
                notes.append(f"left out: {error}")
        if not cut.faces:
            return cut
        faces, squares = [cut.faces[i] for i in kept], [cut.squares[i] for i in kept]
        hair = None if cut.hair is None else [cut.hair[i] for i in kept]
        return replace(cut, faces=faces, squares=squares, hair=hair, notes=[*cut.notes, *notes])

    def reframe(self, cut: CutPhoto) -> CutPhoto:
        """Return a photo that another editor cut, with the squares of this editor's framing."""
        return replace(cut, squares=[face.square(self.framing) for face in cut.faces] or cut.squares)

    def find_hair(self, cut: CutPhoto) -> CutPhoto:
        """Return a photo with the hair of each chosen person found in the whole of it."""
        if cut.hair is not None:
            return cut
        watch = Stopwatch()
        with watch("models"):
            parser = self.editor.networks.photo_parser
        with watch("hair"):
            squares = self._squares(cut)
            others = [face.square() for face in cut.others]
            hair = [
                find_hair_mask(cut.photo.seen, square, parser, others=[*squares[:i], *squares[i + 1 :], *others])
                for i, square in enumerate(squares)
            ]
        return replace(cut, hair=hair, seconds=add_seconds(cut.seconds, watch.seconds))

    def _squares(self, cut: CutPhoto) -> list[FaceSquare]:
        """Return FFHQ's square around each chosen face."""
        if cut.faces:
            return [face.square() for face in cut.faces]
        return [face_square_within(square, self.framing) for square in cut.squares]

    def dyes(self, request: EditRequest, options: EditOptions) -> bool:
        """Return whether a request is a new color alone, which the photo's own strands take without any generator."""
        known = isinstance(request.color, Tensor) or request.color in NAMED_RGB or bool(request.colors)
        wanted = options.strands == "photo" and options.blend and options.method == "mapper"
        return request.changes_color_alone and known and wanted

    def check(self, requests: Sequence[EditRequest], options: EditOptions) -> None:
        """Refuse requests that cannot be done; see `HairEditor.check`. Dyeing needs none of the networks."""
        self.editor.check([request for request in requests if not self.dyes(request, options)], options)

    def dye(self, cut: CutPhoto, request: EditRequest, options: EditOptions) -> PhotoResult:
        """Return a photo with the hair of the chosen people dyed.

        Args:
            cut: the photo.
            request: a color alone.
            options: how strong the dye is.

        Raises:
            HairclipError: if none of the chosen people has hair that shows.
        """
        cut, watch, notes = self.find_hair(cut), Stopwatch(), list(cut.notes)
        hair = cut.hair or []
        bare = [sentence for one in hair if (sentence := one.describe_missing_hair(cut.photo.name)) is not None]
        if len(bare) == len(hair):
            raise HairclipError(bare[0])
        notes += bare
        with watch("dye"):
            color = None if request.colors else self._find_color(request)
            picture, mask = cut.photo.picture, Image.new("L", cut.photo.size)
            for one, square in zip(hair, self._squares(cut), strict=True):
                if one.has_hair:
                    zones = (
                        make_zones(cut.photo.picture, request.colors, one, square, seed=options.seed)
                        if color is None
                        else color
                    )
                    picture = dye_hair(picture, one.alpha, zones, options.strength)
                    mask = ImageChops.lighter(mask, Image.fromarray(one.alpha))
            if options.strength == 0:
                mask = Image.new("L", cut.photo.size)
            changed = ImageChops.difference(picture, cut.photo.picture).getbbox()
            if cut.photo.alpha is not None:
                picture.putalpha(cut.photo.alpha)
        seconds = add_seconds(cut.seconds, watch.seconds)
        return PhotoResult(picture, mask, changed, cut, [], seconds, list(dict.fromkeys([*notes, *request.notes])))

    def _find_color(self, request: EditRequest) -> RGB:
        """Return the color of a request: a word's, or that of the hair in a picture."""
        if isinstance(request.color, str):
            return NAMED_RGB[request.color]
        assert request.color is not None
        picture = to_pil(request.color)
        square = face_square_within(FaceSquare.of_picture(picture.size), self.framing)
        hair = find_hair_mask(picture, square, self.editor.networks.photo_parser)
        color = measure_mean_color(picture, hair.alpha) if hair.has_hair else None
        if color is None:
            raise HairclipError("the picture of a hair color shows no hair: give one that does, or a color in words.")
        return color

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
            cuts: photos whose faces are found.
            options: how the faces are inverted.
            batch_size: number of faces that the networks always see at once, see `HairEditor.prepare`; None for all.
            progress: show progress bars.

        Raises:
            HairclipError: if none of the chosen faces of a photo can be edited.
        """
        watch = Stopwatch()
        cuts = [self.keep_editable(cut) for cut in cuts]
        with watch("models"):
            _ = self.editor.networks.encoder, self.editor.networks.parser, self.editor.identity
        with watch("align"):
            crops = [from_pil(crop) for cut in cuts for crop in cut.crop(self.editor.networks.generator.size)]
        with watch("invert"):
            prepared = self.editor.prepare(crops, options, batch_size=batch_size, progress=progress)
            others, judged = getattr(self.editor.networks, "for_others", None), None
            if others is not None and prepared.inversion.method != "encoder":
                # A descent rebuilds a stranger as well as a person whom the generator knows. The encoder does not.
                judged = self.editor.invert(crops, batch_size=batch_size or len(crops))
        opened, first = [], 0
        for cut in cuts:
            samples = range(first, first + len(cut.squares))
            part = prepared[samples]
            seconds = add_seconds(cut.seconds, watch.seconds, share=len(cut.squares) / len(prepared))
            limits = self.editor.networks.inversion_limits
            one = OpenPhoto(
                **{**vars(cut), "seconds": seconds},
                prepared=part,
                limits=limits,
                for_others=others,
                judged=None if judged is None else judged[samples],
            )
            one = replace(one, notes=[*cut.notes, *one.describe_strangers()])
            opened.append(self._correct_labels(one))
            first += len(cut.squares)
        return opened

    def _correct_labels(self, opened: OpenPhoto) -> OpenPhoto:
        """Return a photo whose parsed crops show the painted hair, or only hair that the parser of photos sees too.

        The bundle's parser takes glasses and collars of people whom the networks do not know for hair. Such pixels
        would be replaced by the generator's.
        """
        networks = self.editor.networks
        own = networks.photo_parser is not networks.parser
        if not opened.painted and not (own and opened.describe_strangers()):
            return opened
        found, size = self.find_hair(opened), opened.prepared.labels.shape[-1]
        crops = []
        for hair, square in zip(found.hair or [], opened.squares, strict=True):
            alpha = Image.fromarray(hair.alpha).convert("RGB")
            crop = alpha.resize((size, size)) if square.whole else crop_face(alpha, square, size)
            crops.append(np.asarray(crop.getchannel("R")) > 127)
        shown = torch.from_numpy(np.stack(crops))[:, None].to(opened.prepared.labels.device)
        if not opened.painted:
            shown &= opened.prepared.hair_mask
        labels = replace_hair(opened.prepared.labels, shown)
        return replace(opened, hair=found.hair, prepared=replace(opened.prepared, labels=labels))

    def edit_open(
        self,
        opened: Sequence[CutPhoto],
        request: EditRequest,
        options: EditOptions | None = None,
        *,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> list[PhotoResult]:
        """Edit photos, all with the same request.

        Args:
            opened: photos whose faces are inverted. For a request that `dyes` they need not be.
            request: the request for every photo.
            options: how the edits are made.
            batch_size: number of faces that the networks always see at once, see `HairEditor.prepare`; None for all.
            progress: show a progress bar where the method takes long.
        """
        options, watch = options or EditOptions(), Stopwatch()
        if self.dyes(request, options):
            return [self.dye(one, request, options) for one in opened]
        inverted = _check_inverted(opened)
        for one in inverted:
            self._refuse_hats(one, [request], options)
            one.refuse_strangers([request], options)
        prepared = Prepared.joined([one.prepared for one in inverted])
        with watch("models"):
            _ = self.editor.networks.clip, load_method(options).references(self.editor)
        requests = [request] * len(prepared)
        edits = self.editor.edit_prepared(
            prepared, requests, options, batch_size=batch_size, progress=progress, watch=watch
        )
        results = self._paste(inverted, edits, request, watch)
        return [self._dye_result(result, request, options) for result in results] if request.colors else results

    def _dye_result(self, result: PhotoResult, request: EditRequest, options: EditOptions) -> PhotoResult:
        """Return an edit of the hairstyle whose new hair has the colors that the networks have no word for."""
        opened = result.opened
        seen = replace(opened.photo, picture=result.picture.convert("RGB"))
        cut = CutPhoto(seen, opened.faces, opened.squares, [], {}, opened.others)
        dyed = self.dye(cut, EditRequest(colors=request.colors), replace(options, strength=min(1.0, options.strength)))
        picture = dyed.picture
        if opened.photo.alpha is not None:
            picture.putalpha(opened.photo.alpha)
        box = ImageChops.difference(picture.convert("RGB"), opened.photo.picture.convert("RGB")).getbbox()
        mask = ImageChops.lighter(result.mask, dyed.mask)
        seconds = add_seconds(result.seconds, dyed.seconds)
        notes = list(dict.fromkeys([*result.notes, *dyed.notes]))
        return replace(result, picture=picture, mask=mask, rectangle=box, seconds=seconds, notes=notes)

    def frames(
        self,
        opened: CutPhoto,
        requests: Sequence[EditRequest],
        count: int,
        options: EditOptions | None = None,
        *,
        progress: bool = False,
    ) -> Iterator[PhotoResult]:
        """Yield `count` frames that morph from one edit to the next. With a single request, morph from the inversion.

        Args:
            opened: the photo. Where every request `dyes`, it need not be inverted.
            requests: the edits, in the order of the animation.
            count: number of frames, 2 or more.
            options: how the edits are made.
            progress: show a progress bar where the method takes long.
        """
        options = options or EditOptions()
        if requests and all(self.dyes(request, options) for request in requests):
            yield from self._dye_frames(self.find_hair(opened), requests, count, options)
            return
        (inverted,) = _check_inverted([opened])
        self._refuse_hats(inverted, requests, options)
        inverted.refuse_strangers(requests, options)
        for edits in self.editor.frames(inverted.prepared, requests, count, options, progress=progress):
            yield self._paste([inverted], edits, requests[-1], Stopwatch())[0]

    def _refuse_hats(self, opened: OpenPhoto, requests: Sequence[EditRequest], options: EditOptions) -> None:
        """Refuse a new hairstyle for a person in a hat, unless `options.force` is set or a person painted the hair."""
        styled = any(request.hairstyle is not None for request in requests)
        if options.force or options.strength == 0 or opened.painted or not styled:
            return
        for square in self._squares(opened):
            if wears_hat(opened.photo.seen, square, self.editor.networks.photo_parser):
                raise HairclipError(
                    f"the person in {opened.photo.name} wears a hat, cap or hood that a new hairstyle cannot remove: "
                    "give a photo without it, or force=True to edit it all the same."
                )

    def _dye_frames(
        self, cut: CutPhoto, requests: Sequence[EditRequest], count: int, options: EditOptions
    ) -> Iterator[PhotoResult]:
        """Yield frames from one color to the next; with a single request, from the photo's own color."""
        check_range("count", count, 2)
        stops = [self.dye(cut, request, options) for request in requests]
        for position in np.linspace(0.0, max(1.0, len(requests) - 1.0), count):
            if len(requests) == 1:
                yield self.dye(cut, requests[0], replace(options, strength=float(position) * options.strength))
            else:
                before = min(int(position), len(stops) - 2)
                first, second = stops[before], stops[before + 1]
                picture = Image.blend(first.picture, second.picture, float(position) - before)
                yield replace(second, picture=picture)

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
                picture, mask, changed = paste_edits(one, photo_edits, self.editor.networks.generator)
            seconds = add_seconds(one.seconds, watch.seconds, share=len(photo_edits) / len(edits))
            seconds = add_seconds(seconds, paste.seconds)
            notes = list(dict.fromkeys([*one.notes, *request.notes]))
            results.append(PhotoResult(picture, mask, changed, one, photo_edits, seconds, notes))
        return results


def _check_inverted(opened: Sequence[CutPhoto]) -> list[OpenPhoto]:
    """Return photos that are inverted."""
    inverted = [one for one in opened if isinstance(one, OpenPhoto)]
    if len(inverted) != len(opened):
        raise TypeError("this request needs inverted photos: call PhotoEditor.invert before")
    return inverted


def _is_same(one: Face, other: Face) -> bool:
    """Return whether the middle of one face lies in the box of another."""
    x, y = (one.box[0] + one.box[2]) / 2, (one.box[1] + one.box[3]) / 2
    return other.box[0] <= x <= other.box[2] and other.box[1] <= y <= other.box[3]

"""One person's photo and the edits of it, as the page keeps them. Nothing here knows about the page's toolkit.

```python
session = EditSession(Networks("portraits"))
session.open("me.jpg")
edit = session.edit_words("dark red")
edit.picture  # at most `SHOWN` pixels wide and high
session.write(edit.number, "downloads")  # the photo at its full size, with its metadata
```

The person sees edits of a reduced photo, so that a photo of any size is edited within a second. The full size is made
when it is asked for.
"""

import io
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.files import data_folder
from hairclip.common.images import ImageSource
from hairclip.editing.bundle_choice import AUTO, BundleChooser
from hairclip.editing.methods import METHODS
from hairclip.editing.options import EditOptions
from hairclip.editing.photo.faces import Face
from hairclip.editing.photo.files import Photo, read_photo
from hairclip.editing.photo.masks import PaintedMasks
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.editing.photo_result import CutPhoto, OpenPhoto
from hairclip.editing.request import EditRequest
from hairclip.editing.vocabulary import list_colors, list_hairstyles

__all__ = ["DEFAULT_METHOD", "MAX_BYTES", "MOST_IN_GRID", "SHOWN", "Edit", "EditSession", "Grid", "Networks", "Refusal"]

SHOWN = 1024
"""Longest side in pixels of the photo that the person sees."""
MAX_BYTES = 200 * 2**20
"""Size of the largest file that is taken for a photo."""
MOST_EDITS = 24
"""Edits that one session keeps; older ones are forgotten."""
DEFAULT_METHOD = "mapper"
MOST_IN_GRID = 24
"""Pictures of one grid."""
_LONG_METHODS = ("optimize", "styleclip-optimize", "tedigan-clip")
"""Editing methods that descend for every edit; people do not wait that long."""
_NO_EDITS = ("inversion", "mean-hair")
"""Methods of comparisons, whose pictures nobody asks for."""
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "HEIF": ".heic", "AVIF": ".avif"}
"""Formats that are written as they came; others are written as PNG."""


class Refusal(HairclipError):
    """What a person asks for cannot be done.

    Attributes:
        key: the name of the sentence in the page's words, under `errors`; None where the message is that sentence.
        values: what is filled in.
    """

    def __init__(self, key: str | None, message: str = "", **values: object) -> None:
        super().__init__(message or f"{key} {values or ''}".strip())
        self.key = key
        self.values = values


class Networks:
    """The networks of a page, shared by all sessions. One session uses them at a time.

    Args:
        bundle: a bundle's name or folder. "auto" takes `portraits` or `portraits-256` for rendered people, and `ffhq`
            for real photos where it is fetched.
        device: see `hairclip.editing.HairEditor.from_bundle`.
    """

    def __init__(self, bundle: str = AUTO, *, device: str | None = None) -> None:
        self.lock = threading.RLock()
        self.chooser = (
            None if bundle != AUTO else BundleChooser(lambda name: PhotoEditor.from_bundle(name, device=device))
        )
        self.bundle = "portraits" if bundle == AUTO else bundle
        self._device = device
        self._editor: PhotoEditor | None = None

    @property
    def editor(self) -> PhotoEditor:
        """The editor that finds faces and hair."""
        if self._editor is None:
            self._editor = (
                PhotoEditor.from_bundle(self.bundle, device=self._device)
                if self.chooser is None
                else self.chooser.editor(self.bundle)
            )
        return self._editor

    @property
    def knows_rendered_people_alone(self) -> bool:
        """Whether no network here gives a hairstyle to people in real photos."""
        if self.chooser is not None:
            return not self.chooser.real_is_ready
        return getattr(self.editor.editor.networks, "for_others", None) is not None

    def open(self, cut: CutPhoto) -> tuple[str, PhotoEditor, OpenPhoto]:
        """Return the name of the bundle that knows a photo, its editor, and the opened photo.

        Raises:
            HairclipError: if no generator can edit its face.
        """
        if self.chooser is not None:
            choice = self.chooser.choose(cut)
            return choice.bundle, choice.editor, choice.opened
        (opened,) = self.editor.invert([cut])
        return self.bundle, self.editor, opened

    def warm_up(self) -> None:
        """Load all networks now, so that nobody waits for them."""
        with self.lock:
            session = EditSession(self)
            session.open(data_folder() / "portraits" / "anna.png")
            for name in ("red", None):
                session.edit_names(None if name else session.hairstyles[0], name)


@dataclass(frozen=True)
class _Paint:
    """What a person painted over a photo of `SHOWN` pixels, each of mode "L": white is hair, and white is no hair."""

    add: Image.Image
    remove: Image.Image

    def masks(self, size: tuple[int, int]) -> PaintedMasks:
        """Return the masks for a photo of that width and height."""
        add, remove = (
            None if one.getextrema()[1] == 0 else one.resize(size, Image.Resampling.BILINEAR)
            for one in (self.add, self.remove)
        )
        return PaintedMasks(add=add, remove=remove)


@dataclass(frozen=True)
class Edit:
    """One edit of a session's photo.

    Attributes:
        number: counts from 1.
        picture: the edited photo as it is shown.
        request: what was asked for.
        strength: how strong.
        method: the editing method.
        text: what was written; empty for names and pictures.
        notes: names of sentences in the page's words, under `errors`, or sentences in the language of the text.
    """

    number: int
    picture: Image.Image
    request: EditRequest
    strength: float
    method: str
    text: str
    notes: tuple[str, ...]
    paint: _Paint | None = field(repr=False)


@dataclass(frozen=True)
class Grid:
    """Edits side by side: `pictures[row][column]` has the hairstyle of its row and the color of its column.

    None stands for what is kept.
    """

    hairstyles: list[str | None]
    colors: list[str | None]
    pictures: list[list[Image.Image]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """The number of pictures that the whole grid has."""
        return len(self.hairstyles) * len(self.colors)


class EditSession:
    """What the page keeps of one person.

    Args:
        networks: shared by all sessions.
    """

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self.bundle = networks.bundle
        self.edits: list[Edit] = []
        self.faces = 0
        self.path: Path | None = None
        self._file = b""
        self._photo: Photo | None = None
        self._cut: CutPhoto | None = None
        self._painted: CutPhoto | None = None
        self._paint: _Paint | None = None
        self._editor: PhotoEditor | None = None
        self._opened: OpenPhoto | None = None
        self._refusal: Refusal | None = None
        self._methods: list[str] = []
        self._count = 0
        self.mask_version = 0

    # ------------------------------------------------------------------ the photo

    def open(self, source: ImageSource) -> None:
        """Take a photo, and find the largest face, its hair, and the networks that know it.

        Args:
            source: a path, the bytes of a file, or a picture.

        Raises:
            Refusal: if it cannot be read or shows no face. The session is then empty.
        """
        self.close()
        with self.networks.lock:
            try:
                if isinstance(source, (str, Path)):
                    self.path = Path(source)
                    if self.path.stat().st_size > MAX_BYTES:
                        raise Refusal("too_large")
                    self._file = self.path.read_bytes()
                photo = replace(read_photo(self._file or source), name="the photo")
            except (HairclipError, OSError) as error:
                self._file = b""
                raise error if isinstance(error, Refusal) else Refusal("unreadable", str(error)) from None
            shown = _reduce(photo)
            if shown is photo:
                self._file = b""
                self._photo = photo
            elif not self._file:
                self._photo = photo
            editor = self.networks.editor
            editor.finder.load()
            try:
                faces, others, _ = editor.find(shown)
            except HairclipError as error:
                self._file, self._photo = b"", None
                raise Refusal("no_face", str(error)) from None
            squares = [face.square(editor.framing) for face in faces]
            self._cut = editor.find_hair(CutPhoto(shown, faces, squares, [], {}, others))
            self.mask_version = 1
            self.faces = 1 + len(others)
            self._invert()

    def close(self) -> None:
        """Forget the photo and all edits."""
        self.__init__(self.networks)  # type: ignore[misc]

    def _invert(self) -> None:
        """Open the photo with the networks that know it; `_refusal` tells why no hairstyle can be had."""
        cut = self._current
        try:
            self.bundle, self._editor, self._opened = self.networks.open(cut)
        except HairclipError as error:
            self.bundle, self._editor, self._opened = self.networks.bundle, self.networks.editor, None
            self._refusal = Refusal("unfit", str(error))
            return
        self._refusal = None
        if not self._opened.is_known:
            key = "stranger_command" if self._opened.for_others else "stranger"
            self._refusal = Refusal(key, "the networks do not know this person", bundle=self.bundle)

    @property
    def is_open(self) -> bool:
        """Whether there is a photo."""
        return self._cut is not None

    @property
    def _current(self) -> CutPhoto:
        """The shown photo with its hair, painted masks included."""
        cut = self._painted or self._cut
        if cut is None:
            raise Refusal("no_photo")
        return cut

    @property
    def picture(self) -> Image.Image:
        """The photo as it is shown, mode "RGB"."""
        return self._current.photo.seen

    @property
    def mask(self) -> Image.Image:
        """The mask of the hair, mode "L", of the size of `picture`."""
        (hair,) = self._current.hair or []
        return Image.fromarray(hair.alpha)

    @property
    def style_refusal(self) -> Refusal | None:
        """Why this person can have no new hairstyle; None where they can."""
        return self._refusal

    @property
    def hair_refusal(self) -> Refusal | None:
        """Why this person's hair cannot be dyed; None where it can."""
        (hair,) = self._current.hair or []
        if hair.has_hair:
            return None
        return Refusal("hat" if hair.wears_hat else "no_hair", hair.describe_missing_hair() or "")

    @property
    def hairstyles(self) -> list[str]:
        """The English names of the hairstyles that the networks know."""
        return list_hairstyles(self.bundle)

    @property
    def colors(self) -> list[str]:
        """The English names of the colors that the networks know."""
        return list_colors(self.bundle)

    @property
    def methods(self) -> list[str]:
        """The editing methods that these networks are ready for, `mapper` first; only that one for strangers."""
        if self._refusal is not None or self._editor is None:
            return [DEFAULT_METHOD]
        if not self._methods:
            wanted = [name for name in METHODS if name not in (*_LONG_METHODS, *_NO_EDITS, DEFAULT_METHOD)]
            with self.networks.lock:
                self._methods = [DEFAULT_METHOD, *(name for name in wanted if self._is_ready(self._editor, name))]
        return self._methods

    def _is_ready(self, editor: PhotoEditor, method: str) -> bool:
        """Return whether a method can do one of a hairstyle and a color."""
        for request in (EditRequest(self.hairstyles[0], None), EditRequest(None, self.colors[0])):
            try:
                editor.check([request], EditOptions(method=method))
                return True
            except HairclipError:
                continue
        return False

    # ------------------------------------------------------------------ the mask

    def paint(self, strokes: Image.Image) -> None:
        """Paint over the mask; earlier strokes stay.

        Args:
            strokes: a picture of any size over the whole photo, transparent where nothing was painted. Green adds
                hair and red removes it.

        Raises:
            Refusal: if nothing was painted, or no hair is left.
        """
        cut = self._current
        colors = np.asarray(strokes.convert("RGBA").resize(cut.photo.size, Image.Resampling.BILINEAR))
        solid = colors[..., 3] > 127
        added, removed = solid & (colors[..., 1] > colors[..., 0]), solid & (colors[..., 0] > colors[..., 1])
        if not (added.any() or removed.any()):
            raise Refusal("nothing_painted")
        if self._paint is not None:
            before = [np.asarray(one) > 127 for one in (self._paint.add, self._paint.remove)]
            added, removed = added | (before[0] & ~removed), removed | (before[1] & ~added)
        paint = _Paint(*(Image.fromarray(one.astype(np.uint8) * 255) for one in (added, removed)))
        with self.networks.lock:
            assert self._cut is not None
            self._painted = _repaint(self._cut, paint)
            self._paint = paint
            self.mask_version += 1
            self._invert()

    def unpaint(self) -> None:
        """Take back all that was painted."""
        with self.networks.lock:
            was_painted, self._paint, self._painted = self._paint is not None, None, None
            self.mask_version += 1
            if was_painted:
                self._invert()

    # ------------------------------------------------------------------ edits

    def edit_words(self, text: str, strength: float = 1.0, method: str = DEFAULT_METHOD) -> Edit:
        """Edit the photo as a text says, such as "red bob cut"."""
        editor = self._need_editor()
        if not text.strip():
            raise Refusal("no_words")
        try:
            request = editor.ask(text=text)
        except HairclipError as error:
            raise Refusal(None, str(error)) from None
        return self._edit(request, strength, method, request.notes, text.strip())

    def edit_names(
        self, hairstyle: str | None, color: str | None, strength: float = 1.0, method: str = DEFAULT_METHOD
    ) -> Edit:
        """Edit the photo with a hairstyle of `hairstyles`, a color of `colors`, or both; None keeps what there is."""
        self._need_editor()
        return self._edit(self._name(hairstyle, color), strength, method)

    def edit_pictures(
        self,
        hairstyle: ImageSource | None,
        color: ImageSource | None,
        strength: float = 1.0,
        method: str = DEFAULT_METHOD,
    ) -> Edit:
        """Edit the photo like pictures of people; None keeps what there is.

        Args:
            hairstyle: a picture of somebody who wears the hairstyle.
            color: a picture of somebody with the hair color.
            strength: how strong.
            method: one of `methods`.
        """
        editor = self._need_editor()
        if hairstyle is None and color is None:
            raise Refusal("no_reference")
        if hairstyle is not None and self._refusal is not None:
            raise self._refusal
        try:
            pictures = [None if one is None else _reduce(read_photo(one)).seen for one in (hairstyle, color)]
            with self.networks.lock:
                request = editor.ask(*pictures)
        except HairclipError as error:
            raise Refusal("reference_unreadable", str(error)) from None
        return self._edit(request, strength, method, ("reference_no_face",) if request.notes else ())

    def start_grid(self, hairstyles: Sequence[str], colors: Sequence[str]) -> Grid:
        """Return a grid without pictures, which `fill_grid` makes.

        Args:
            hairstyles: names of `hairstyles`; empty keeps the hairstyle.
            colors: names of `colors`; empty keeps the color.
        """
        self._need_editor()
        if not (hairstyles or colors):
            raise Refusal("no_grid")
        grid = Grid(list(hairstyles) or [None], list(colors) or [None])
        if grid.count > MOST_IN_GRID:
            raise Refusal("too_many", count=grid.count, most=MOST_IN_GRID)
        return grid

    def fill_grid(self, grid: Grid, strength: float = 1.0) -> Iterator[int]:
        """Make the pictures of a grid, cut to the square around the head; yield how many there are after each."""
        box, done = self._head(), 0
        for hairstyle in grid.hairstyles:
            grid.pictures.append([])
            for color in grid.colors:
                picture = self._make(self._name(hairstyle, color), strength)
                grid.pictures[-1].append(picture.crop(box).resize((256, 256), Image.Resampling.LANCZOS))
                done += 1
                yield done

    def find_edit(self, number: int) -> Edit:
        """Return an edit by its number."""
        for edit in self.edits:
            if edit.number == number:
                return edit
        raise Refusal("no_edit")

    def _need_editor(self) -> PhotoEditor:
        if self._cut is None or self._editor is None:
            raise Refusal("no_photo")
        return self._editor

    def _name(self, hairstyle: str | None, color: str | None) -> EditRequest:
        """Return a request for names. Other texts are refused: the library takes them for words or for files."""
        if (hairstyle and hairstyle not in self.hairstyles) or (color and color not in self.colors):
            raise Refusal("nothing_asked")
        return EditRequest(hairstyle or None, color or None)

    def _edit(
        self, request: EditRequest, strength: float, method: str, notes: Sequence[str] = (), text: str = ""
    ) -> Edit:
        """Make an edit and remember it."""
        picture = self._make(request, strength, method)
        self._count += 1
        edit = Edit(self._count, picture, request, strength, method, text, tuple(notes), self._paint)
        self.edits = [*self.edits, edit][-MOST_EDITS:]
        return edit

    def _make(self, request: EditRequest, strength: float, method: str = DEFAULT_METHOD) -> Image.Image:
        """Return the shown photo with an edit.

        Raises:
            Refusal: if it cannot be made.
        """
        editor = self._need_editor()
        if method not in self.methods:
            raise Refusal("no_method", method=method)
        options = EditOptions(strength=strength, method=method)
        if request.is_empty:
            raise Refusal("nothing_asked")
        dyes = editor.dyes(request, options)
        if dyes and self.hair_refusal is not None:
            raise self.hair_refusal
        if request.hairstyle is not None and self._refusal is not None:
            raise self._refusal
        source = self._current if dyes or self._opened is None else self._opened
        with self.networks.lock:
            try:
                editor.check([request], options)
                (result,) = editor.edit_open([source], request, options)
            except HairclipError as error:
                if method != DEFAULT_METHOD:
                    raise Refusal("method", str(error), method=method, reason=str(error)) from None
                if not isinstance(request.color, str) and request.color is not None:
                    raise Refusal("reference_no_hair", str(error)) from None
                raise Refusal(None, str(error)) from None
        return result.picture.convert("RGB")

    def _head(self) -> tuple[int, int, int, int]:
        """Return the upright square around the head, within the shown photo as far as it reaches."""
        corners = self._current.squares[0].corners
        middle, half = corners.mean(axis=0), 0.5 * float(np.ptp(corners, axis=0).max())
        width, height = self.picture.size
        half = min(half, width / 2, height / 2)
        left = int(min(max(0.0, middle[0] - half), width - 2 * half))
        top = int(min(max(0.0, middle[1] - half), height - 2 * half))
        return left, top, left + int(2 * half), top + int(2 * half)

    # ------------------------------------------------------------------ the full size

    def write(self, number: int, folder: str | Path) -> Path:
        """Write the photo at its full size with an edit in it, in its format and with its metadata.

        Args:
            number: of the edit.
            folder: where to write it.

        Returns:
            The file.
        """
        edit, editor = self.find_edit(number), self._need_editor()
        with self.networks.lock:
            photo = self._photo or replace(read_photo(io.BytesIO(self._file)), name="the photo")
            cut = editor.find_hair(self._enlarge(photo))
            if edit.paint is not None:
                cut = _repaint(cut, edit.paint)
            options = EditOptions(strength=edit.strength, method=edit.method, force=True)  # the shown edit was allowed
            if not editor.dyes(edit.request, options):
                (cut,) = editor.invert([cut])
            (result,) = editor.edit_open([cut], edit.request, options)
            words = re.sub(r"[^\w]+", "_", edit.request.label).strip("_")[:40] or "edit"
            path = Path(folder) / f"{words}_{number}{_SUFFIXES.get(photo.format or '', '.png')}"
            result.save(path)
        return path

    def _enlarge(self, photo: Photo) -> CutPhoto:
        """Return the photo at its full size, with the faces that were found in the shown one."""
        assert self._cut is not None
        assert self._editor is not None
        factors = np.array(photo.size) / np.array(self._cut.photo.size)
        faces, others = ([_scale(face, factors) for face in some] for some in (self._cut.faces, self._cut.others))
        return CutPhoto(photo, faces, [face.square(self._editor.framing) for face in faces], [], {}, others)


def _reduce(photo: Photo) -> Photo:
    """Return a photo of at most `SHOWN` pixels; the photo itself where it is no larger."""
    factor = SHOWN / max(photo.size)
    if factor >= 1:
        return photo
    size = (max(1, round(photo.size[0] * factor)), max(1, round(photo.size[1] * factor)))
    picture, alpha = (
        None if one is None else one.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
        for one in (photo.picture, photo.alpha)
    )
    assert picture is not None
    return Photo(picture, alpha, photo.name, photo.format)


def _scale(face: Face, factors: np.ndarray) -> Face:
    """Return a face of a photo whose width and height are multiplied."""
    left, top, right, bottom = face.box
    across, down = factors
    return replace(
        face,
        landmarks=(face.landmarks + 0.5) * factors - 0.5,
        box=(left * across, top * down, right * across, bottom * down),
    )


def _repaint(cut: CutPhoto, paint: _Paint) -> CutPhoto:
    """Return a photo over whose hair a person painted."""
    (hair,) = cut.hair or []
    try:
        alpha = paint.masks(cut.photo.size).apply(hair.alpha, cut.photo)
    except HairclipError as error:
        raise Refusal("mask_empty", str(error)) from None
    return replace(cut, hair=[hair.repaint(alpha)], painted=True)

"""Where the edited pictures come from: an editor of this library, or a folder that another program filled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.files import digest
from hairclip.common.image_files import PICTURE_SUFFIXES, over_white
from hairclip.common.images import Images, from_pil, from_uint8, resize_area, to_uint8
from hairclip.editing.options import EditOptions, InversionOptions
from hairclip.editing.photo.align import FaceSquare, crop_face
from hairclip.editing.photo.files import read_photo
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.editing.photo_result import CutPhoto, OpenPhoto, PhotoResult
from hairclip.evaluation.real.requests import PhotoRequest, name_answers

__all__ = ["Answer", "AnswerSource", "EditorAnswers", "FolderAnswers", "Form", "PhotoCutter", "Start"]

Form: TypeAlias = Literal["raw", "blended", "folder"]
"""The generator's own picture, that picture blended into the photo, or another program's picture."""


@dataclass(frozen=True)
class Answer:
    """An edited picture.

    Attributes:
        form: what picture it is.
        crop: the face, (1, 3, size, size).
        whole: the whole photo, mode "RGB"; None if the answer is a crop.
        mask: pixels that the editor reports as changed, mode "L"; None if it reports none.
        seconds: seconds of the edit; None if they are not known.
    """

    form: Form
    crop: Images
    whole: Image.Image | None = None
    mask: Image.Image | None = None
    seconds: float | None = None


class PhotoCutter:
    """Finds and cuts out the face of photos.

    Args:
        editor: finds faces and says how the square lies around them.
        aligned: the photos are already cropped to the face.
    """

    def __init__(self, editor: PhotoEditor, *, aligned: bool = False) -> None:
        self.editor, self.aligned = editor, aligned
        self.size = editor.editor.networks.generator.size
        self.reference = lru_cache(maxsize=16)(self._reference)

    def cut(self, path: Path) -> CutPhoto:
        """Return a photo with its largest face found.

        Raises:
            HairclipError: if it cannot be read, or shows no face that can be edited.
        """
        return self.editor.cut(path, aligned=self.aligned)

    def crop(self, cut: CutPhoto) -> Images:
        """Return the face of a photo, (1, 3, size, size)."""
        return crop_of(cut.photo.seen, cut.squares[0], self.size)

    def _reference(self, path: Path) -> Images | None:
        """Return the face of a photo, (1, 3, size, size); None if it shows none that can be edited."""
        try:
            return self.crop(self.cut(path))
        except HairclipError:
            return None


@dataclass(frozen=True)
class Start:
    """A photo from which edits start.

    Attributes:
        path: its file.
        cut: its face.
        inversion: what the generator makes of it, (1, 3, size, size); None if that is not known.
        opened: the inverted photo; None where no editor of this library edits it.
    """

    path: Path
    cut: CutPhoto
    inversion: Images | None = None
    opened: OpenPhoto | None = None


@runtime_checkable
class AnswerSource(Protocol):
    """Gives the edited pictures of photos; `name` is the method in the tables."""

    name: str

    def key(self, photo: Path, requests: Sequence[PhotoRequest]) -> str:
        """Return a digest of everything, apart from photos and requests, that the answers depend on."""
        ...

    def start(self, path: Path, cut: CutPhoto) -> Start:
        """Return a photo from which edits start.

        Raises:
            HairclipError: if it cannot be edited, with the reason.
        """
        ...

    def answer(self, start: Start, request: PhotoRequest, reference: Images | None) -> list[Answer]:
        """Return the answers to one request.

        Raises:
            HairclipError: if there is none, with the reason.
        """
        ...


class EditorAnswers:
    """Edits by an editor of this library: raw, and blended into the photo.

    Args:
        editor: the editor.
        options: how it edits; the method names the answers.
        inverting: how it inverts.
    """

    def __init__(self, editor: PhotoEditor, options: EditOptions, inverting: InversionOptions) -> None:
        # A measurement is told the truth about strangers too.
        self.editor, self.options, self.inverting = editor, replace(options, force=True), inverting
        self.name = options.method

    @cached_property
    def _networks(self) -> str:
        return self.editor.editor.digest()

    def key(self, photo: Path, requests: Sequence[PhotoRequest]) -> str:
        """See `AnswerSource.key`."""
        return digest(self._networks, self.options, self.inverting)

    def start(self, path: Path, cut: CutPhoto) -> Start:
        """See `AnswerSource.start`."""
        (opened,) = self.editor.invert([cut], self.inverting)
        return Start(path, cut, rounded(opened.prepared.inversion.images), opened)

    def answer(self, start: Start, request: PhotoRequest, reference: Images | None) -> list[Answer]:
        """See `AnswerSource.answer`."""
        assert start.opened is not None
        style: str | Images | None = request.hairstyle
        shade: str | Images | None = request.color
        if reference is not None:
            style = None if request.kind == "reference-color" else reference
            shade = None if request.kind == "reference-hairstyle" else reference
        asked = self.editor.editor.ask(style, shade)
        self.editor.editor.check([asked], self.options)
        (result,) = self.editor.edit_open([start.opened], asked, self.options)
        seconds = sum(spent for stage, spent in result.seconds.items() if stage not in ("models", "read"))
        # A color alone may be put on the photo's strands without the generator: its picture is then made for "raw".
        edits = result.edits or self.editor.editor.edit_prepared(start.opened.prepared, [asked], self.options)
        raw, whole = edits[0].synthesized, whole_picture(result)
        return [
            Answer("raw", rounded(raw), seconds=seconds if result.edits else None),
            Answer("blended", crop_of(whole, start.cut.squares[0], raw.shape[-1]), whole, result.mask, seconds),
        ]


class FolderAnswers:
    """Pictures that another program made, named PHOTO.KIND.png: anna.text-color.png answers the request of that kind.

    A picture of the photo's size is the whole photo. A square one of another size is the crop of the face, cut as the
    bundle's networks expect it.

    Args:
        folder: the pictures.
        photos: all photos of the evaluation.
        size: height and width of the crops.
    """

    def __init__(self, folder: Path, photos: Sequence[Path], size: int) -> None:
        self.folder, self.size = folder, size
        self.name = folder.name or str(folder)
        self.stems = {path: name_answers(path, photos) for path in photos}
        try:
            self._files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
        except OSError as error:
            raise HairclipError(
                f"the folder of answers {folder} cannot be read ({error.strerror}): check the path."
            ) from None

    def find(self, photo: Path, request: PhotoRequest) -> Path | None:
        """Return the picture that answers a request; None if there is none."""
        named = f"{self.stems[photo]}.{request.kind}"
        suffixes = (".png", *sorted(PICTURE_SUFFIXES))
        return next((self._files[named + suffix] for suffix in suffixes if named + suffix in self._files), None)

    def key(self, photo: Path, requests: Sequence[PhotoRequest]) -> str:
        """See `AnswerSource.key`."""
        return digest([self.find(photo, request) for request in requests])

    def start(self, path: Path, cut: CutPhoto) -> Start:
        """See `AnswerSource.start`. The inversion of the other program is not known."""
        return Start(path, cut)

    def answer(self, start: Start, request: PhotoRequest, reference: Images | None) -> list[Answer]:
        """See `AnswerSource.answer`."""
        path, cut = self.find(start.path, request), start.cut
        if path is None:
            raise HairclipError(f"{self.folder} holds no {self.stems[start.path]}.{request.kind}.png.")
        picture = read_photo(path).seen
        if picture.size == cut.photo.size:
            return [Answer("folder", crop_of(picture, cut.squares[0], self.size), picture)]
        if picture.width != picture.height:
            width, height = cut.photo.size
            raise HairclipError(
                f"{path.name} is {picture.width} x {picture.height} pixels: give the whole photo of {width} x {height} "
                "pixels, or the square crop of the face."
            )
        return [Answer("folder", rounded(resize_area(from_pil(picture), self.size)))]


def whole_picture(result: PhotoResult) -> Image.Image:
    """Return an edited photo with transparent parts in front of white."""
    picture = result.picture
    return over_white(picture.convert("RGB"), picture.getchannel("A") if picture.mode == "RGBA" else None)


def crop_of(picture: Image.Image, square: FaceSquare, size: int) -> Images:
    """Return what a square shows of a picture, (1, 3, size, size), in steps of 8 bits."""
    if square.whole:
        return rounded(resize_area(from_pil(picture), size))
    return from_pil(crop_face(picture, square, size))


def rounded(images: Images) -> Images:
    """Return pictures as a file of 8 bits would hold them, so that answers compare alike wherever they come from."""
    return from_uint8(to_uint8(images))

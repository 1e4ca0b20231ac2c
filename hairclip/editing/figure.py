"""Draw a figure of many edits: each photo, what is asked of it, and its edit, one below the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from hairclip.common.errors import HairclipError
from hairclip.common.image_files import PICTURE_SUFFIXES
from hairclip.common.progress import progress_bar
from hairclip.common.yaml import kind_of, parse_yaml
from hairclip.editing.options import EditOptions
from hairclip.editing.photo.files import read_photo
from hairclip.editing.photo_editor import PhotoEditor

__all__ = ["FigureEdit", "draw_figure", "read_figure"]

_KEYS = ("image", "text", "hairstyle", "color")
_GAP = 4  # pixels
_BETWEEN = 16  # pixels between two rows of edits
_INK = (40, 40, 40)


@dataclass(frozen=True)
class FigureEdit:
    """One edit of a figure.

    Attributes:
        image: the photo.
        text: words that may name hairstyle and color together.
        hairstyle: words, or the path of a reference picture.
        color: the same of a color.
    """

    image: Path
    text: str | None = None
    hairstyle: str | Path | None = None
    color: str | Path | None = None

    @property
    def pictures(self) -> list[Path]:
        """The reference pictures, each once."""
        return list(dict.fromkeys(one for one in (self.hairstyle, self.color) if isinstance(one, Path)))

    @property
    def caption(self) -> str:
        """The request in words; pictures are not in it."""
        words = [self.text, *(one for one in (self.hairstyle, self.color) if isinstance(one, str))]
        return ", ".join(word for word in words if word)


def read_figure(path: Path) -> list[FigureEdit]:
    """Return the edits of a YAML file: a list of mappings with `image`, and with `text`, `hairstyle` or `color`.

    Paths are relative to the file. A hairstyle or a color that ends like a picture's name is a reference picture.

    Raises:
        HairclipError: for the first mistake, with the number of the edit.
    """
    if path.exists() and not path.is_file():  # to read a pipe would never end
        raise HairclipError(f"{path} cannot be read (it is no file): give a YAML file that lists edits.")
    try:
        listed = parse_yaml(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise HairclipError(f"{path} cannot be read ({reason}): give a YAML file that lists edits.") from None
    if not isinstance(listed, list) or not listed:
        raise HairclipError(
            f"{path} holds a {kind_of(listed)}: write a list of edits, such as - {{image: me.jpg, text: red}}."
        )
    return [_read_edit(entry, f"{path}, edit {number}", path.parent) for number, entry in enumerate(listed, 1)]


def _read_edit(entry: Any, where: str, folder: Path) -> FigureEdit:
    if not isinstance(entry, Mapping) or not all(isinstance(value, str) for value in entry.values()):
        raise HairclipError(f"{where}: write a mapping of words, such as {{image: me.jpg, text: red bob cut}}.")
    if unknown := sorted(str(key) for key in entry.keys() - set(_KEYS)):
        raise HairclipError(f"{where}: there is no key '{unknown[0]}': the keys are {', '.join(_KEYS)}.")
    if "image" not in entry or len(entry) == 1:
        raise HairclipError(f"{where}: it needs `image`, and `text`, `hairstyle` or `color`: add what is missing.")

    def word_or_picture(key: str) -> str | Path | None:
        value = entry.get(key)
        return folder / value if value and Path(value).suffix.lower() in PICTURE_SUFFIXES else value

    return FigureEdit(
        folder / entry["image"], entry.get("text"), word_or_picture("hairstyle"), word_or_picture("color")
    )


def draw_figure(
    editor: PhotoEditor,
    edits: Sequence[FigureEdit],
    *,
    aligned: bool = False,
    columns: int = 4,
    tile: int = 256,
    options: EditOptions | None = None,
    progress: bool = False,
) -> Image.Image:
    """Return the figure: the photos of a row, below them the requests, below them the edits.

    Args:
        editor: makes the edits.
        edits: what is shown, row by row.
        aligned: whether the pictures are already cropped to the face.
        columns: edits in a row.
        tile: width and height of each photo, pixels. Requests are half as high.
        options: how the edits are made.
        progress: show a progress bar.

    Raises:
        HairclipError: if a picture cannot be read, or an edit is refused.
    """
    requests = [editor.ask(edit.hairstyle, edit.color, text=edit.text) for edit in edits]  # refuses before it works
    block = 2 * tile + tile // 2 + 2 * _GAP
    rows = -(-len(edits) // columns)
    width = min(columns, len(edits)) * (tile + _GAP) - _GAP
    figure = Image.new("RGB", (width, rows * (block + _BETWEEN) - _BETWEEN), "white")
    pairs = zip(edits, requests, strict=True)
    with progress_bar(pairs, label="drawing", total=len(edits), show=progress) as bar:
        for number, (edit, request) in enumerate(bar):
            row, column = divmod(number, columns)
            left, top = column * (tile + _GAP), row * (block + _BETWEEN)
            opened = editor.open(edit.image, aligned=aligned)
            (result,) = editor.edit_open([opened], request, options)
            figure.paste(_fit(opened.photo.picture, tile), (left, top))
            figure.paste(_draw_request(edit, tile), (left, top + tile + _GAP))
            figure.paste(_fit(result.picture, tile), (left, top + tile + tile // 2 + 2 * _GAP))
    return figure


def _fit(picture: Image.Image, side: int) -> Image.Image:
    return ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.LANCZOS)


def _draw_request(edit: FigureEdit, tile: int) -> Image.Image:
    """Return the reference pictures beside each other, and the words below them."""
    height, size = tile // 2, max(10, tile // 14)
    sheet = Image.new("RGB", (tile, height), "white")
    font, draw = ImageFont.load_default(size), ImageDraw.Draw(sheet)
    below = size + 2 * _GAP if edit.caption and edit.pictures else 0
    side = height - below
    for number, path in enumerate(edit.pictures):
        left = (tile - len(edit.pictures) * (side + _GAP) + _GAP) // 2 + number * (side + _GAP)
        sheet.paste(_fit(read_photo(path).seen, side), (left, 0))
    if edit.caption:
        middle = height - below / 2 if edit.pictures else height / 2
        draw.text((tile / 2, middle), edit.caption, fill=_INK, font=font, anchor="mm")
    return sheet

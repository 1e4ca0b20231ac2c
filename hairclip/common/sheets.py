"""Draw contact sheets: rows of pictures, with words over the columns and beside the rows."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hairclip.common.images import to_pil

__all__ = ["draw_sheet", "stack_sheets"]

_LINE = 13  # pixels
_INK = (40, 40, 40)


def draw_sheet(
    images: Sequence[Sequence[Tensor]],
    *,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    tile: int | None = None,
    gap: int = 4,
) -> Image.Image:
    """Draw pictures side by side on white.

    Args:
        images: rows of images (3, H, W) or (1, 3, H, W) in [-1, 1]. Rows may differ in length.
        columns: a caption over each column; a line break starts a new line.
        rows: a caption left of each row.
        tile: width and height of every picture on the sheet, in pixels; None for the width of the first picture.
        gap: white pixels between pictures.
    """
    pictures = [[to_pil(image) for image in row] for row in images]
    tile = tile or pictures[0][0].width
    font = ImageFont.load_default()
    above = (max(caption.count("\n") for caption in columns) + 1) * _LINE + gap if columns else 0
    lines = [line for caption in rows for line in caption.split("\n")]
    left = int(max(font.getlength(line) for line in lines)) + 2 * gap if lines else 0
    longest = max(len(row) for row in pictures)
    size = (left + longest * (tile + gap) - gap, above + len(pictures) * (tile + gap) - gap)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for c, caption in enumerate(columns):
        draw.text((left + c * (tile + gap) + 2, 1), caption, fill=_INK, font=font, spacing=1)
    for r, row in enumerate(pictures):
        top = above + r * (tile + gap)
        if r < len(rows):
            middle = top + tile // 2 - _LINE // 2 * (rows[r].count("\n") + 1)
            draw.text((gap, middle), rows[r], fill=_INK, font=font, spacing=1)
        for c, picture in enumerate(row):
            if picture.size != (tile, tile):
                picture = picture.resize((tile, tile), Image.Resampling.LANCZOS)
            sheet.paste(picture, (left + c * (tile + gap), top))
    return sheet


def stack_sheets(sheets: Sequence[Image.Image], gap: int = 4) -> Image.Image:
    """Draw sheets below each other on white. A single sheet is returned as it is."""
    if len(sheets) == 1:
        return sheets[0]
    height = sum(sheet.height + gap for sheet in sheets) - gap
    whole = Image.new("RGB", (max(sheet.width for sheet in sheets), height), "white")
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height + gap
    return whole

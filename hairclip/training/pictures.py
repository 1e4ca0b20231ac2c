"""The picture of a validation: source, what was asked, edit, a row per task."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hairclip.common.images import Images, from_pil, resize_area
from hairclip.common.sheets import captioned_sheet
from hairclip.training.references import ReferencePool
from hairclip.training.tasks import Task, Wanted

_LARGEST_TILE = 256


@torch.no_grad()
def edit_grid(
    tasks: Sequence[Task], sources: Images, edits: Images, hairstyles: ReferencePool, colors: ReferencePool
) -> Image.Image:
    """Rows of source | hairstyle wanted | colour wanted | edit; texts are written, what shall stay is left blank.

    Args:
        tasks: one per row.
        sources: ``(rows, 3, H, W)``.
        edits: likewise.
        hairstyles, colors: the reference pictures that the tasks number.
    """
    size = min(_LARGEST_TILE, sources.shape[-1])
    sources, edits = resize_area(sources, size).cpu(), resize_area(edits, size).cpu()
    rows = [
        [source, _tile(task.hairstyle, hairstyles, size), _tile(task.color, colors, size), edit]
        for task, source, edit in zip(tasks, sources, edits)
    ]
    return captioned_sheet(rows, gap=2)


def _tile(wanted: Wanted, references: ReferencePool, size: int) -> Tensor:
    if isinstance(wanted, int):
        return resize_area(references.picture(wanted).cpu(), size)[0]
    tile = Image.new("RGB", (size, size), "white")
    font = ImageFont.load_default(size=max(8, size // 9))
    text = (wanted or "").replace(" ", "\n")
    ImageDraw.Draw(tile).multiline_text(
        (size // 2, size // 2), text, fill="black", font=font, anchor="mm", align="center"
    )
    return from_pil(tile)[0]

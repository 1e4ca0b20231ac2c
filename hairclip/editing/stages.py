"""Write every stage of an edit as a picture, to see where an edit goes wrong."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from hairclip.common.images import save_image

if TYPE_CHECKING:
    from hairclip.editing.photo_result import PhotoResult

__all__ = ["save_stages"]

LARGEST_SIDE = 1600
"""Largest width or height in pixels at which whole photos are written."""


def save_stages(result: "PhotoResult", folder: str | Path) -> None:
    """Write the stages of an edit into a folder, and their numbers as stages.json.

    ``1_photo`` is the photo as it was read. ``2_faces`` shows box, landmarks and square of each edited face. Each face
    has the pictures ``3_aligned`` (the crop), ``4_inverted`` (generated from its codes), ``5_edited`` (generated from
    the edited codes), ``6_hair`` and ``7_edited_hair`` (the hair masks before and after), ``8_weight`` (the weight of
    the edit) and ``9_blended`` (the blended crop). ``10_pasted`` is the edited photo with the changed rectangle.

    Where hair was dyed without any generator, ``6_hair`` is the weight of the dye in the whole photo, and there are no
    other pictures of the face.

    Args:
        result: the edit.
        folder: the folder to write to. It is made if it is missing; pictures with these names are replaced.

    Raises:
        HairclipError: if the folder cannot be written.
    """
    folder = Path(folder)
    opened = result.opened
    save_image(_reduced(opened.photo.seen), folder / "1_photo.png")
    save_image(_faces(result), folder / "2_faces.png")
    for number, edit in enumerate(result.edits, start=1):
        of_face = f"_face{number}" if len(result.edits) > 1 else ""
        pictures = {
            "3_aligned": edit.aligned,
            "4_inverted": edit.inversion,
            "5_edited": edit.synthesized,
            "6_hair": edit.source_mask,
            "7_edited_hair": edit.mask,
            "8_weight": edit.alpha,
            "9_blended": edit.image,
        }
        for name, picture in pictures.items():
            shown = picture if picture.shape[1] == 3 else picture.float().expand(-1, 3, -1, -1) * 2 - 1
            save_image(shown, folder / f"{name}{of_face}.png")
    if not result.edits:
        save_image(_reduced(result.mask.convert("RGB")), folder / "6_hair.png")
    save_image(_pasted(result), folder / "10_pasted.png")
    numbers = {
        "photo": {"name": opened.photo.name, "size": opened.photo.size, "format": opened.photo.format},
        "rectangle": result.rectangle,
        "faces": [
            {
                "landmarks": np.round(face.landmarks, 3).tolist(),
                "box": [round(edge, 2) for edge in face.box],
                "confidence": round(face.confidence, 4),
            }
            for face in opened.faces
        ],
        "squares": [np.round(square.corners, 3).tolist() for square in opened.squares],
        "inversion": [{"psnr": edit.inversion_psnr, "identity": edit.inversion_identity} for edit in result.edits],
        "seconds": {stage: round(spent, 4) for stage, spent in result.seconds.items()},
        "notes": result.notes,
    }
    (folder / "stages.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def _scale(size: tuple[int, int]) -> float:
    return min(1.0, LARGEST_SIDE / max(size))


def _reduced(picture: Image.Image) -> Image.Image:
    scale = _scale(picture.size)
    if scale == 1.0:
        return picture.copy()
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _faces(result: "PhotoResult") -> Image.Image:
    photo = result.opened.photo.seen
    sheet, scale = _reduced(photo), _scale(photo.size)
    draw = ImageDraw.Draw(sheet)
    width = max(1, round(max(sheet.size) / 400))
    for square in result.opened.squares:
        corners = [(float(x * scale), float(y * scale)) for x, y in square.corners]
        draw.line([*corners, corners[0]], fill="yellow", width=width)
        draw.line([corners[0], corners[3]], fill="red", width=width)  # the side that is up
    for face in result.opened.faces:
        draw.rectangle([edge * scale for edge in face.box], outline="lime", width=width)
        for x, y in face.landmarks * scale:
            draw.ellipse([x - 2 * width, y - 2 * width, x + 2 * width, y + 2 * width], fill="cyan")
    return sheet


def _pasted(result: "PhotoResult") -> Image.Image:
    sheet, scale = _reduced(result.picture), _scale(result.picture.size)
    if result.rectangle is not None:
        left, top, right, bottom = (edge * scale for edge in result.rectangle)
        draw = ImageDraw.Draw(sheet)
        draw.rectangle([left - 1, top - 1, right, bottom], outline="cyan", width=1)
    return sheet

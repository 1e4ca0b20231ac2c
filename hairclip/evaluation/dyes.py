"""Measure how near dyed hair comes to colors that no word of the vocabulary names: codes and shades."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from hairclip.common.color import mean_lab, rgb_to_lab
from hairclip.common.framing import FFHQ
from hairclip.common.images import from_pil, load_image, to_pil
from hairclip.common.tables import format_table
from hairclip.conditions.prompts import read_color
from hairclip.editing.dye import RGB, dye_hair, to_oklab
from hairclip.editing.hair_mask import find_hair_mask
from hairclip.editing.photo.align import face_square
from hairclip.editing.photo.faces import FaceFinder, choose_faces
from hairclip.evaluation import renders
from hairclip.evaluation.cases import held_out_people
from hairclip.evaluation.tables import make_folder, write_json
from hairclip.networks.face_parser import FaceParser

__all__ = ["ASKED", "evaluate_dyes", "measure_dye"]

ASKED = (
    "#8b0000", "#2e8b57", "#40e0d0", "#c0c0c0", "#1a1a2e", "rgb(75, 0, 130)",
    "dark brown", "golden brown", "ash blond", "pastel pink", "neon green", "dark purple",
)  # fmt: skip
"""Colors as a person asks for them."""

Alpha: TypeAlias = UInt8[np.ndarray, "height width"]


def evaluate_dyes(
    parser: FaceParser,
    out: Path,
    *,
    count: int = 6,
    seed: int = 0,
    size: int = 256,
    photos: Path | None = None,
    finder: FaceFinder | None = None,
) -> dict[str, Any]:
    """Dye rendered people, and photos, in `ASKED`. Print a table of distances and write `dyes.json` to a folder.

    Args:
        parser: finds the hair.
        out: folder of the report.
        count: number of people of the test split.
        seed: seed of the people.
        size: height and width of the portraits in pixels.
        photos: folder of photos; None measures rendered people alone.
        finder: finds the faces of photos.

    Returns:
        The content of `dyes.json`: one record per picture and color.
    """
    make_folder(out)
    records: list[dict[str, Any]] = []
    for name, picture, alpha in [
        *_draw_people(parser, count, seed, size),
        *(() if photos is None or finder is None else _read_photos(parser, photos, finder)),
    ]:
        for text in ASKED:
            color = read_color(text, any_color=True).colors[0].rgb
            assert color is not None
            records.append({"picture": name, "color": text, **measure_dye(picture, alpha, color)})
    rows = []
    for text in ASKED:
        of_it = [record for record in records if record["color"] == text]
        oklab, lab = ([record[key] for record in of_it] for key in ("oklab", "lab"))
        rows.append([text, f"{np.mean(oklab):.3f}", f"{max(oklab):.3f}", f"{np.mean(lab):.1f}", f"{max(lab):.1f}"])
    print(format_table(["asked", "Oklab, mean", "Oklab, most", "CIE76, mean", "CIE76, most"], rows))
    report = {"count": count, "seed": seed, "records": records}
    write_json(report, out / "dyes.json")
    return report


def measure_dye(picture: Image.Image, alpha: Alpha, color: RGB) -> dict[str, float]:
    """Return the distances "oklab" and "lab" (CIE76) from a color to the mean of the hair that was dyed in it.

    The mean is over pixels that are hair by more than half.
    """
    hair = alpha > 127
    dyed = dye_hair(picture, alpha, color)
    mean = torch.from_numpy(to_oklab(np.asarray(dyed)[hair]).mean(axis=0))
    asked = np.array(color, np.uint8)
    lab = mean_lab(from_pil(dyed), torch.from_numpy(hair)[None, None], "srgb")[0]
    asked_lab = rgb_to_lab(torch.from_numpy(asked).float().view(1, 3, 1, 1) / 127.5 - 1, "srgb").flatten()
    return {
        "oklab": float((mean - torch.from_numpy(to_oklab(asked))).norm()),
        "lab": float((lab - asked_lab).norm()),
    }


def _draw_people(parser: FaceParser, count: int, seed: int, size: int) -> Iterator[tuple[str, Image.Image, Alpha]]:
    """Yield rendered people with hair: name, picture and soft mask."""
    people, found = held_out_people(seed), 0
    while found < count:
        drawing = renders.draw(next(people), size)
        picture = Image.fromarray(drawing.image)
        mask = find_hair_mask(picture, face_square(drawing.landmarks, FFHQ), parser)
        if mask.has_hair:
            found += 1
            yield f"person {found}", picture, mask.alpha


def _read_photos(parser: FaceParser, folder: Path, finder: FaceFinder) -> Iterator[tuple[str, Image.Image, Alpha]]:
    """Yield the photos of a folder that show hair: name, picture and soft mask of the largest face."""
    for path in sorted(folder.glob("*.jpg")):
        photo = to_pil(load_image(path))
        face = finder.refine(photo, choose_faces(finder(photo), "largest", path.name)[0])
        mask = find_hair_mask(photo, face.square(), parser)
        if mask.has_hair:
            yield path.name, photo, mask.alpha

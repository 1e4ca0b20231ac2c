"""Measure the soft hair mask of a whole photo on scenes whose long hair leaves the face's square."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from hairclip.common.framing import PORTRAITS
from hairclip.common.images import from_pil, save_image
from hairclip.common.progress import progress_bar
from hairclip.common.sheets import draw_sheet
from hairclip.editing.hair_mask import find_hair_mask
from hairclip.editing.photo.align import FaceSquare, face_square
from hairclip.evaluation.cases import held_out_people
from hairclip.evaluation.scenes import compress, cut_out, draw_clutter, place, place_square, warp
from hairclip.evaluation.tables import Figure, format_figures, make_folder, mean_of, write_json
from hairclip.networks.face_parser import FaceParser
from hairclip.portraits.spec import Split, sample_hair, stable_seed

__all__ = ["FIGURES", "HairScene", "evaluate_hair_masks", "make_hair_scenes", "measure_alpha"]

LONG_STYLES = ("long straight", "long wavy", "dreadlocks", "ringlets", "hime cut")
FRAME_SCALE = 1.7
"""The render shows this many times the portraits' square, so that long hair ends inside the render."""

FIGURES: tuple[Figure, ...] = (
    Figure("iou", "hair IoU", floor=0.90),
    Figure("iou_beyond", "hair IoU beyond the portraits' square"),
    Figure("sad", "alpha: sum of absolute differences, of the hair's area", "%"),
    Figure("mse", "alpha: mean squared difference in the photo, times 1000"),
)


@dataclass(frozen=True)
class HairScene:
    """A snapshot of a person with long hair.

    Attributes:
        photo: the picture, decoded from JPEG.
        alpha: share of each pixel that the person's hair covers, (height, width) in [0, 1].
        landmarks: eyes, nose and mouth corners of the person in pixels, (5, 2).
        others: landmarks of the other people.
    """

    photo: Image.Image
    alpha: Float[np.ndarray, "height width"]
    landmarks: Float[np.ndarray, "5 2"]
    others: tuple[Float[np.ndarray, "5 2"], ...]

    @property
    def square(self) -> FaceSquare:
        """The portraits' square around the face, which a portrait's editor cuts out."""
        return face_square(self.landmarks, PORTRAITS)


def make_hair_scenes(count: int, seed: int = 0, size: int = 512, split: Split = "test") -> Iterator[HairScene]:
    """Yield scenes of one or two people with long hair.

    Args:
        count: number of scenes.
        seed: seed of people and composition.
        size: height and width of the rendered people in pixels. The photo is up to 1.3 times as wide and high.
        split: the people: "test" for reports, "val" for choosing settings.
    """
    people = held_out_people(seed + 15485863, split)
    for index in range(count):
        random = np.random.default_rng([seed, index, 8])
        width, height = (round(size * float(random.uniform(1.0, 1.3))) for _ in range(2))
        side = float(random.uniform(0.85, 1.1)) * height
        middle = (float(random.uniform(0.35, 0.65)) * width, float(random.uniform(0.42, 0.5)) * height)
        matrix = place_square(size, side, math.radians(float(random.uniform(-15, 15))), middle)
        picture, others = draw_clutter(width, height, random), []
        if random.random() < 0.5:  # somebody behind, smaller
            aside = middle[0] + float(random.choice([-0.45, 0.45])) * side
            behind = place_square(size, 0.7 * side, 0.0, (aside, middle[1] + 0.08 * side))
            other = cut_out(next(people), size)
            picture = place(picture, other, behind)
            others.append(_move(other.landmarks, behind))
        spec = next(people)
        style = LONG_STYLES[index % len(LONG_STYLES)]
        hair = replace(sample_hair(style, stable_seed("long hair", seed, index)), length=float(random.uniform(0, 1)))
        spec = replace(spec, hair=hair, scene=replace(spec.scene, frame_scale=FRAME_SCALE))
        person = cut_out(spec, size)
        alpha = warp(person.hair_alpha[..., None], matrix, (width, height))[..., 0].clip(0, 1)
        yield HairScene(
            photo=compress(place(picture, person, matrix), int(random.integers(82, 97))),
            alpha=alpha,
            landmarks=_move(person.landmarks, matrix),
            others=tuple(others),
        )


def evaluate_hair_masks(
    parser: FaceParser,
    out: str | Path,
    *,
    count: int = 24,
    seed: int = 0,
    size: int = 512,
    split: Split = "test",
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Print a table of figures of `find_hair_mask`, and write `hair_masks.json` and a sheet of pictures to a folder.

    Args:
        parser: the parser that the mask starts from.
        out: folder of the report.
        count: number of scenes.
        seed: seed of the scenes.
        size: height and width of the rendered people in pixels.
        split: the people of the scenes, see `make_hair_scenes`.
        progress: show a progress bar.
        say: receives the lines to print.

    Returns:
        The content of `hair_masks.json`: the means, and the figures of each scene.
    """
    out = Path(out)
    make_folder(out)
    records: list[dict[str, float | None]] = []
    rows: list[list[Tensor]] = []
    scenes = make_hair_scenes(count, seed, size, split)
    for scene in progress_bar(scenes, total=count, label="scenes", show=progress, leave=False):
        square, *others = (face_square(marks) for marks in (scene.landmarks, *scene.others))
        found = find_hair_mask(scene.photo, square, parser, others=others).alpha
        records.append(measure_alpha(found, scene))
        if len(rows) < 8:
            masks = (np.rint(scene.alpha * 255).astype(np.uint8), found)
            pictures = (scene.photo, *(Image.fromarray(mask).convert("RGB") for mask in masks))
            rows.append([from_pil(_square_up(picture))[0] for picture in pictures])
    means = {figure.name: mean_of(records, figure.name) for figure in FIGURES}
    save_image(draw_sheet(rows, columns=("photo", "hair", "mask"), tile=256), out / "hair_masks.png")
    report = {
        "count": count,
        "seed": seed,
        "split": split,
        "figures": means,
        "passed": {figure.name: figure.passes(means[figure.name]) for figure in FIGURES},
        "records": records,
    }
    write_json(report, out / "hair_masks.json")
    say(format_figures(FIGURES, {"mask": means}))
    say(f"{count} scenes; report and pictures in {out}")
    return report


def measure_alpha(found: UInt8[np.ndarray, "height width"], scene: HairScene) -> dict[str, float | None]:
    """Return the figures of one mask; "iou_beyond" is None where the hair stays within the square.

    The differences are those of matting benchmarks (Rhemann et al. 2009), over the whole photo. The sum of absolute
    differences is divided by the true hair's area, so that scenes of all sizes count alike.
    """
    alpha = found.astype(np.float64) / 255
    beyond = ~_inside(scene.square, scene.alpha.shape)
    leaves = float((scene.alpha * beyond).sum()) > 0.02 * float(scene.alpha.sum())
    difference = alpha - scene.alpha
    return {
        "iou": _iou(alpha > 0.5, scene.alpha > 0.5),
        "iou_beyond": _iou((alpha > 0.5) & beyond, (scene.alpha > 0.5) & beyond) if leaves else None,
        "sad": float(np.abs(difference).sum() / max(float(scene.alpha.sum()), 1.0)),
        "mse": 1000 * float(np.square(difference).mean()),
    }


def _iou(found: np.ndarray, truth: np.ndarray) -> float:
    either = int((found | truth).sum())
    return int((found & truth).sum()) / either if either else 1.0


def _inside(square: FaceSquare, shape: tuple[int, ...]) -> np.ndarray:
    """Return which pixels lie within a turned square."""
    corner, down, right = square.corners[0], square.corners[1], square.corners[3]
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    points = np.stack([x, y], axis=-1) - corner
    across, along = (points @ (way - corner) / np.square(way - corner).sum() for way in (right, down))
    return (across >= 0) & (across <= 1) & (along >= 0) & (along <= 1)


def _move(landmarks: np.ndarray, matrix: np.ndarray) -> Float[np.ndarray, "5 2"]:
    """Return landmarks in the scene's pixels; (0, 0) is the center of its first pixel."""
    return landmarks.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2] - 0.5


def _square_up(picture: Image.Image) -> Image.Image:
    """Return the picture on a black square."""
    side = max(picture.size)
    square = Image.new("RGB", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square

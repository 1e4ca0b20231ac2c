"""Evaluate edits of whole photos: edit composed scenes and compare each with its truth."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, Masks, load_image, save_image
from hairclip.common.sheets import draw_sheet
from hairclip.editing.blending.hair import DEFAULT_SEAM
from hairclip.editing.blending.regions import dilate
from hairclip.editing.blending.seams import SEAMS
from hairclip.editing.choices import Behind, InversionMethod, Seam
from hairclip.editing.options import EditOptions
from hairclip.editing.photo.align import FaceSquare, crop_face
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.evaluation.metrics import cosine, masked_psnr, ms_ssim
from hairclip.evaluation.scenes import Scene, make_scenes
from hairclip.evaluation.tables import Figure, format_figures, make_folder, mean_of, write_json

__all__ = ["FIGURES", "Way", "evaluate_photos", "measure", "measure_seam"]

FIGURES: tuple[Figure, ...] = (
    Figure("changed_outside_mask", "pixels changed outside the reported mask", "%", ceiling=0.0),
    Figure("changed_outside_hair", "pixels changed outside the true hair", "%"),
    Figure("outside_psnr", "PSNR to the photo outside the hair", "dB"),
    Figure("outside_ssim", "MS-SSIM to the photo outside the hair"),
    Figure("identity", "identity cosine to the photo"),
    Figure("inside_psnr", "PSNR to the truth inside the hair", "dB"),
    Figure("inside_ssim", "MS-SSIM to the truth inside the hair"),
    Figure("uncovered_psnr", "PSNR to the truth where hair went", "dB"),
    Figure("seam", "gradient at the mask's border, of the truth's"),
    Figure("found", "face found", "%"),
    Figure("landmark_error", "landmark error, of the eye distance", "%"),
    Figure("square_error", "corner error, of the square's side", "%"),
    Figure("seconds", "seconds of edit, blend and paste"),
)


@dataclass(frozen=True)
class Way:
    """One way to edit a scene.

    Attributes:
        inversion: how the face is inverted.
        seam: how the edit is joined to the photo.
        behind: what is seen where hair was.
    """

    inversion: InversionMethod
    seam: Seam
    behind: Behind = "photo"

    @property
    def name(self) -> str:
        """Title of the way in the tables."""
        return f"{self.inversion} {self.seam}" + ("" if self.behind == "photo" else ", edit behind")


def default_ways(inversions: Sequence[InversionMethod]) -> list[Way]:
    """Return every seam with the first inversion, the generator's background behind hair, and the other inversions."""
    first, *others = inversions
    ways = [Way(first, seam) for seam in SEAMS] + [Way(first, "poisson", "edit")]
    return ways + [Way(inversion, DEFAULT_SEAM) for inversion in others]


def evaluate_photos(
    editor: PhotoEditor,
    out: str | Path,
    *,
    count: int = 24,
    seed: int = 0,
    inversions: Sequence[InversionMethod] = ("encoder",),
    inversion_steps: int = 100,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Print a table of figures, and write `report.json` and sheets of pictures to a folder.

    Args:
        editor: the editor to measure.
        out: folder of the report.
        count: number of scenes.
        seed: seed of the scenes.
        inversions: how faces are inverted, one or several.
        inversion_steps: steps of the inversions optimize and pivotal.
        say: receives the lines to print.

    Returns:
        The content of `report.json`: figures per way, and one record per way and scene.
    """
    out = Path(out)
    make_folder(out)  # before the work, not after it
    ways = default_ways(inversions)
    records: dict[str, list[dict[str, Any]]] = {way.name: [] for way in ways}
    shown: list[tuple[Scene, Image.Image, dict[str, Any]]] = []
    for number, scene in enumerate(make_scenes(count, seed)):
        for inversion in inversions:
            its_ways = [way for way in ways if way.inversion == inversion]
            for way, picture, record in edit_scene(editor, scene, its_ways, inversion_steps):
                records[way.name].append({"scene": number, "asked": scene.case.label(), **record})
                if way == ways[0]:
                    shown.append((scene, picture, records[way.name][-1]))
        columns = {
            name: {figure.name: mean_of(rows, figure.name) for figure in FIGURES} for name, rows in records.items()
        }
        report = {"count": number + 1, "seed": seed, "figures": columns, "scenes": records}
        write_json(report, out / "report.json")  # after every scene, so that a run that is cut off is not lost
    found = [entry for entry in shown if entry[2]["found"]]
    worst = sorted(found, key=lambda entry: entry[2]["inside_psnr"] + entry[2]["outside_psnr"] / 2)[:12]
    if found:
        save_image(show_scenes(worst), out / "worst.png")
        save_image(show_scenes(found[:12]), out / "scenes.png")
    say(format_figures(FIGURES, columns))
    say(f"{count} scenes; report and pictures in {out}")
    return report


def edit_scene(
    editor: PhotoEditor, scene: Scene, ways: Sequence[Way], inversion_steps: int
) -> list[tuple[Way, Image.Image, dict[str, Any]]]:
    """Return the edits of one scene in several ways that share an inversion: the way, the picture and its figures."""
    case = scene.case
    try:
        opened = editor.open(scene.photo, inversion=ways[0].inversion, inversion_steps=inversion_steps)
    except HairclipError as error:
        return [(way, scene.photo, {"found": 0.0, "error": str(error)}) for way in ways]
    request = editor.ask(case.hairstyle, case.color)
    answers = []
    for way in ways:
        started = time.monotonic()
        result = editor.edit_open([opened], request, EditOptions(seam=way.seam, behind=way.behind, force=True))[0]
        seconds = time.monotonic() - started
        record = measure(scene, result.picture, result.mask, identity=editor.editor.identity, square=opened.squares[0])
        marks, eyes = opened.faces[0].landmarks, scene.landmarks[:2]
        missed = np.hypot(*(np.asarray(marks) - scene.landmarks).T).mean() / np.hypot(*(eyes[1] - eyes[0]))
        record |= {"found": 1.0, "landmark_error": float(missed), "seconds": seconds}
        answers.append((way, result.picture, record))
    return answers


def measure(
    scene: Scene,
    picture: Image.Image,
    mask: Image.Image,
    *,
    square: FaceSquare,
    identity: Callable[[Images], Tensor] | None = None,
) -> dict[str, Any]:
    """Return the figures of one edited scene.

    Args:
        scene: the scene with its truth.
        picture: the edited photo.
        mask: pixels that the editor reports as changed, mode "L".
        square: where the face was found.
        identity: aligned faces -> embeddings; None leaves the identity cosine out.
    """
    photo, answer, truth = (load_image(one) for one in (scene.photo, picture, scene.truth))
    side = scene.square.size
    hair, old, new = (torch.from_numpy(one)[None, None] for one in (scene.hair, scene.old_hair, scene.new_hair))
    near: Masks = dilate(hair, max(1, round(side / 40)) + max(1, round(side / 128)))
    changed = (answer != photo).any(dim=1, keepdim=True)
    reported = torch.from_numpy(np.asarray(mask) > 0)[None, None]
    error = np.hypot(*(square.corners - scene.square.corners).T).mean() / side
    box = _box(near | reported)
    record: dict[str, Any] = {
        "changed_outside_mask": float((changed & ~reported).sum() / (~reported).sum()),
        "changed_outside_hair": float((changed & ~near).sum() / (~near).sum()),
        "outside_psnr": float(masked_psnr(answer, photo, ~near)),
        "outside_ssim": float(ms_ssim(torch.where(near, photo, answer)[box], photo[box])),
        "inside_psnr": float(masked_psnr(answer, truth, near)),
        "inside_ssim": float(ms_ssim(torch.where(near, answer, truth)[box], truth[box])),
        "seam": measure_seam(answer, truth, torch.from_numpy(np.asarray(mask) > 127)[None, None]),
        "square_error": float(error),
    }
    uncovered = old & ~dilate(new, 2)
    if float(uncovered.sum()) > 0.01 * side * side:
        record["uncovered_psnr"] = float(masked_psnr(answer, truth, uncovered))
    if identity is not None:
        faces = torch.cat([load_image(crop_face(one, scene.square, 128)) for one in (picture, scene.photo)])
        device = next(iter(identity.parameters())).device if isinstance(identity, torch.nn.Module) else "cpu"
        with torch.no_grad():
            vectors = identity(faces.to(device))
        record["identity"] = float(cosine(vectors[:1], vectors[1:]))
    return record


def measure_seam(picture: Images, truth: Images, mask: Masks) -> float:
    """Return the mean gradient along the border of `mask` over that of the truth: 1 is invisible, more is an edge."""
    border = dilate(mask, 2) & dilate(~mask, 2)
    sizes = [_gradient(images)[border].mean() for images in (picture, truth)]
    return float(sizes[0] / sizes[1].clamp_min(1e-6)) if bool(border.any()) else 1.0


def _gradient(images: Images) -> Tensor:
    """Return the magnitude of central differences, averaged over channels, (B, 1, H, W)."""
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return (across.square() + down.square()).sqrt().mean(dim=1, keepdim=True) / 2


def _box(mask: Masks) -> tuple[Any, ...]:
    """Return the slices of the smallest rectangle around a mask that is at least 32 pixels wide and high."""
    slices = []
    for axis in (-2, -1):
        other = -1 if axis == -2 else -2
        length = mask.shape[axis]
        hit = mask[0, 0].any(dim=other).nonzero()
        low, high = (int(hit[0]), int(hit[-1]) + 1) if len(hit) else (0, length)
        high = max(high, min(low + 32, length))
        slices.append(slice(min(low, high - min(32, length)), high))
    return (..., *slices)


def show_scenes(entries: Sequence[tuple[Scene, Image.Image, Mapping[str, Any]]], tile: int = 300) -> Image.Image:
    """Return a sheet with a row per scene: photo, edit and truth around the face."""
    rows, captions = [], []
    for scene, picture, record in entries:
        middle = scene.square.corners.mean(axis=0)
        around = FaceSquare(middle + 1.25 * (_upright(scene.square) - middle))
        rows.append([load_image(crop_face(one, around, tile))[0] for one in (scene.photo, picture, scene.truth)])
        captions.append(
            f"{record['scene']}: {record['asked']}\ninside {record['inside_psnr']:.1f} dB\n"
            f"outside {record['outside_psnr']:.1f} dB\nseam {record['seam']:.2f}"
        )
    return draw_sheet(rows, columns=("photo", "edit", "truth"), rows=captions, tile=tile)


def _upright(square: FaceSquare) -> np.ndarray:
    """Return the corners of an upright square with the middle and the size of the given one."""
    half = square.size / 2
    return square.corners.mean(axis=0) + half * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]], np.float64)

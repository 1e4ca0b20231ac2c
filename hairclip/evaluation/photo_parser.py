"""Measure how well a parser finds hair: on plain renders, under each random factor, and on photos with hair masks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import HAIR
from hairclip.common.images import Images, SoftMasks, load_image, save_image, to_pil
from hairclip.common.progress import progress_bar
from hairclip.common.sheets import draw_sheet
from hairclip.editing.hair_mask import find_hair_mask
from hairclip.editing.photo.faces import FaceFinder, choose_faces
from hairclip.evaluation import renders
from hairclip.evaluation.cases import held_out_people
from hairclip.evaluation.tables import Figure, format_figures, make_folder, mean_of, write_json
from hairclip.networks.face_parser import FaceParser
from hairclip.portraits.captions import BALD
from hairclip.portraits.randomize.person import Person, Picture
from hairclip.portraits.randomize.portrait import FACTORS, randomize_portrait
from hairclip.portraits.randomize.textures import TextureBank
from hairclip.portraits.spec import PortraitSpec, Split, sample_scene

__all__ = ["CASES", "FIGURES", "Case", "evaluate_photo_parser", "hair_share", "measure_photos"]

LEAST_HAIR = 0.01
"""Pictures with hair on a smaller share of their pixels do not count: a hat may cover all of it."""
_TEXTURE_SEED = 7  # other textures than those of the training


@dataclass(frozen=True)
class Case:
    """One way to make test pictures of the same people.

    Attributes:
        title: its line in the table.
        factors: the random factors that are switched on.
        always: whether each of them occurs in every picture, or as often as in training.
        is_wide: whether the people are shown in wide poses, hard light and larger frames.
    """

    title: str
    factors: tuple[str, ...] = ()
    always: bool = True
    is_wide: bool = False


CASES: dict[str, Case] = {
    "plain": Case("rendered people, nothing random"),
    **{name: Case(f"{name} alone", (name,)) for name in FACTORS},
    "everything": Case("everything, as often as in training", tuple(FACTORS), always=False),
    "wide": Case("wide poses, nothing random", is_wide=True),
    "wide everything": Case("wide poses, everything", tuple(FACTORS), always=False, is_wide=True),
}
FIGURES: tuple[Figure, ...] = (
    Figure("plain", CASES["plain"].title, floor=0.95),
    *(Figure(name, case.title) for name, case in CASES.items() if name != "plain"),
    Figure("photos", "photos, the parser alone", floor=0.78, is_optional=True),
    Figure("photo masks", "photos, the mask of an edit", is_optional=True),
)


def evaluate_photo_parser(
    parsers: Mapping[str, FaceParser],
    out: str | Path,
    *,
    count: int = 40,
    seed: int = 0,
    split: Split = "test",
    textures: int = 60,
    photos: Path | None = None,
    finder: FaceFinder | None = None,
    workers: int = 0,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Print a table of the mean hair IoU, and write `photo_parser.json` and a sheet of pictures to a folder.

    Args:
        parsers: title of a column -> parser. The floors apply to the first one.
        out: folder of the report.
        count: number of held-out people in each case.
        seed: seed of the people and of everything random.
        split: the people: "test" for reports, "val" for choosing weights.
        textures: number of textures that backdrops, clothes and hats are cut from.
        photos: folder of photos with masks, see `measure_photos`.
        finder: finds faces, so that the mask of an edit is measured too; None leaves it out.
        workers: processes that render; 0 renders in this process.
        progress: show progress bars.
        say: receives the lines to print.

    Returns:
        The content of `photo_parser.json`: the mean of each case and parser, and the IoU of each picture.
    """
    out = Path(out)
    make_folder(out)
    size = next(iter(parsers.values())).input_size
    people = [_draw_people(count, seed, split, size, is_wide, workers, progress) for is_wide in (False, True)]
    bank = TextureBank(textures, size * 3 // 2, seed=_TEXTURE_SEED, progress=progress)
    records: dict[str, list[dict[str, Any]]] = {title: [] for title in parsers}
    rows: list[list[Tensor]] = []
    for number, (name, case) in enumerate(
        progress_bar(CASES.items(), total=len(CASES), label="cases", show=progress, leave=False)
    ):
        pictures = list(_make_pictures(case, people[case.is_wide], bank, seed, number))
        truth = torch.stack([picture.coverage for picture in pictures]) > 0.5
        images = torch.stack([picture.pixels for picture in pictures]) * 2 - 1
        for title, parser in parsers.items():
            found = torch.cat([hair_share(parser, part) for part in images.split(8)])[:, 0] > 0.5
            ious = {
                index: _iou(found[index], truth[index])
                for index in range(count)
                if float(truth[index].float().mean()) >= LEAST_HAIR
            }
            records[title] += [{"case": name, "person": index, name: iou} for index, iou in ious.items()]
            if name == "everything" and title == next(iter(parsers)):
                rows = [[images[i], _gray(truth[i]), _gray(found[i])] for i in range(min(count, 12))]
    if photos is not None:
        for title, parser in parsers.items():
            records[title] += measure_photos(parser, photos, finder)
    columns = {title: {figure.name: mean_of(rs, figure.name) for figure in FIGURES} for title, rs in records.items()}
    save_image(draw_sheet(rows, columns=("picture", "hair", next(iter(parsers))), tile=192), out / "photo_parser.png")
    first = next(iter(columns.values()))
    report = {
        "count": count,
        "seed": seed,
        "split": split,
        "figures": columns,
        "passed": {figure.name: figure.passes(first[figure.name]) for figure in FIGURES},
        "records": records,
    }
    write_json(report, out / "photo_parser.json")
    say(format_figures(FIGURES, columns))
    say(f"mean hair IoU of {count} people in each case; figures and pictures in {out}")
    return report


def measure_photos(parser: FaceParser, folder: Path, finder: FaceFinder | None = None) -> list[dict[str, Any]]:
    """Return the hair IoU of each photo of a folder that has a mask.

    Args:
        parser: the parser; it sees the whole photo.
        folder: photos such as ``anna.jpg`` with masks such as ``anna_hair.png``, white where hair is, of any size.
        finder: finds faces; None leaves "photo masks" out, the IoU of the mask that an edit would use.

    Raises:
        HairclipError: if no photo of the folder has a mask.
    """
    records = []
    for path, mask_path in _find_photos(folder):
        with Image.open(mask_path) as opened:
            truth = torch.from_numpy(np.asarray(opened.convert("L")) > 127)
        image = load_image(path)
        share = F.interpolate(hair_share(parser, image), size=truth.shape, mode="bilinear", align_corners=False)
        record: dict[str, Any] = {"photo": path.name, "photos": _iou(share[0, 0] > 0.5, truth)}
        if finder is not None:
            record["photo masks"] = _measure_mask(parser, image, truth, finder, path.name)
        records.append(record)
    return records


@torch.no_grad()
def hair_share(parser: FaceParser, images: Images) -> SoftMasks:
    """Return the parser's probability of hair at the size of the images."""
    device = next(parser.parameters()).device
    share = parser.logits(images.to(device)).float().softmax(dim=1)[:, HAIR : HAIR + 1].cpu()
    return F.interpolate(share, size=images.shape[-2:], mode="bilinear", align_corners=False)


def _measure_mask(
    parser: FaceParser, image: Images, truth: Bool[Tensor, "rows columns"], finder: FaceFinder, name: str
) -> float | None:
    """Return the IoU of the mask that an edit of the largest face uses; None where no face is found."""
    photo = to_pil(image)
    faces = finder(photo)
    if not faces:
        return None
    face = choose_faces(faces, "largest", name)[0]
    others = [other.square() for other in faces if other is not face]
    mask = find_hair_mask(photo, finder.refine(photo, face).square(), parser, others=others)
    rows, columns = truth.shape
    alpha = Image.fromarray(mask.alpha).resize((columns, rows), Image.Resampling.BILINEAR)
    return _iou(torch.from_numpy(np.array(alpha)) > 127, truth)


def _find_photos(folder: Path) -> list[tuple[Path, Path]]:
    """Return the photos of a folder that have a mask, each with its mask."""
    if not folder.is_dir():
        raise HairclipError(
            f"there is no folder {folder}: give one that holds photos NAME.jpg and masks NAME_hair.png."
        )
    pairs = [
        (path, mask)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")
        and (mask := path.with_name(f"{path.stem}_hair.png")).is_file()
    ]
    if not pairs:
        raise HairclipError(f"no photo in {folder} has a mask: put NAME_hair.png beside NAME.jpg.")
    return pairs


def _draw_people(
    count: int, seed: int, split: Split, size: int, is_wide: bool, workers: int, progress: bool
) -> list[Person]:
    """Return people of a split who have hair."""
    specs: list[PortraitSpec] = []
    for spec in held_out_people(seed, split):
        if len(specs) == count:
            break
        if spec.hair.style != BALD:
            scene = sample_scene(spec.scene.seed, "wide") if is_wide else spec.scene
            specs.append(replace(spec, scene=scene))
    drawings = renders.draw_all(specs, size, workers=workers, progress=progress)
    return [
        Person.from_render(
            image=drawing.image,
            labels=drawing.labels,
            coverage=drawing.hair_coverage,
            direction=drawing.hair_direction.astype(np.float32) / 127,
            landmarks=drawing.landmarks,
        )
        for drawing in drawings
    ]


def _make_pictures(
    case: Case, people: Sequence[Person], textures: TextureBank, seed: int, number: int
) -> Iterator[Picture]:
    """Yield one picture of each person; the next person may stand behind."""
    for index, person in enumerate(people):
        rng = np.random.default_rng([seed, index, number])
        other = partial(people.__getitem__, (index + 1) % len(people))
        yield randomize_portrait(rng, person, other=other, textures=textures, factors=case.factors, always=case.always)


def _iou(found: Bool[Tensor, "height width"], truth: Bool[Tensor, "height width"]) -> float:
    both, either = int((found & truth).sum()), int((found | truth).sum())
    return both / either if either else 1.0


def _gray(mask: Bool[Tensor, "height width"]) -> Float[Tensor, "3 height width"]:
    return mask.float().expand(3, -1, -1) * 2 - 1

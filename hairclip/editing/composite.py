"""Take hair from a picture that any other editor made of a photo, and leave the rest of the photo as it is.

The edited picture may be shifted, scaled, cropped, stretched, compressed and recolored all over. It is registered to
the photo, its colors are matched, and only hair, what old hair hid and the shadow of the new hair go into the photo.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, ImageSource, Masks, SoftMasks, from_pil, to_pil
from hairclip.editing.blending.colors import match_colors
from hairclip.editing.blending.fill import spread_means
from hairclip.editing.blending.regions import color_distance, dilate, keep_connected, smoothstep, soften
from hairclip.editing.blending.seams import join
from hairclip.editing.blending.shadow import cast_shadow, find_shadow
from hairclip.editing.choices import Seam
from hairclip.editing.hair_mask import find_hair_mask
from hairclip.editing.photo.align import FaceSquare, Rectangle
from hairclip.editing.photo.faces import FaceChoice, FaceFinder, choose_faces
from hairclip.editing.photo.files import Photo, read_photo, write_photo
from hairclip.editing.photo.masks import read_mask
from hairclip.editing.photo.register import Placement, correlate, fit_similarity, measure_detail, register, resample
from hairclip.networks.face_parser import FaceParser

__all__ = ["Composite", "composite_hair", "take_hair"]

LEAST_AGREEMENT = 0.6
"""Least correlation of the detail of both faces at which they count as the same person in the same pose."""
COARSE = 0.7
"""Pixels of the edited picture per pixel of the photo below which its hair looks blurred."""
SMALLEST_SQUARE = 32
"""Least side in pixels of FFHQ's square in the edited picture."""
FACE_SIDE = 96
"""Size in pixels at which the faces are compared."""
WORK_SIDE = 512
"""Longest side in pixels of the copies on which colors and shadows are measured."""
GROWN, FEATHER = 1 / 160, 1 / 48
"""How far the region grows beyond hair, and the width of its ramp, as shares of the side of FFHQ's square."""
SHADOW_REACH = 0.2
"""How far from hair its shadow is looked for, as a share of the same side."""
NEAR, FURTHER = 0.05, 0.25
"""How far from hair missed strands are looked for, of any color and of hair's color, as shares of the same side."""
HAIR_BEGINS = 0.06
"""Share of hair from which on a pixel is replaced whole."""


@dataclass(frozen=True)
class Composite:
    """A photo with the hair of an edited picture.

    Attributes:
        picture: the photo with the hair in it, mode "RGB".
        mask: how much of each pixel was taken from the edited picture or shaded, mode "L"; where it is 0, the pixel is
            the photo's.
        photo: the photo as it was.
        agreement: correlation of the detail of both faces, from -1 to 1.
        notes: what the person should know, one sentence each.
    """

    picture: Image.Image
    mask: Image.Image
    photo: Photo
    agreement: float
    notes: list[str]

    @property
    def changed(self) -> float:
        """Share of the photo's pixels that may have changed."""
        return float(np.count_nonzero(np.asarray(self.mask))) / (self.mask.width * self.mask.height)

    def save(self, path: str | Path) -> None:
        """Write the photo, encoded as it was where the suffix names the same format."""
        write_photo(self.picture, path, self.photo)


@torch.no_grad()
def take_hair(
    source: ImageSource,
    edited: ImageSource,
    *,
    parser: FaceParser,
    finder: FaceFinder,
    face: FaceChoice = "largest",
    mask: ImageSource | None = None,
    seam: Seam = "feather",
    force: bool = False,
) -> Composite:
    """Return a photo with the hair that another editor gave it.

    Args:
        source: the photo.
        edited: what the editor made of it: shifted, scaled, cropped, stretched or recolored, if it likes.
        parser: finds hair; one that knows photos.
        finder: finds faces.
        face: whose hair, where the photo shows several people; one person.
        mask: a picture of the photo's size, white where the edited picture is taken; None finds the hair.
        seam: how the hair is joined to the photo.
        force: take the hair also where the faces do not agree.

    Raises:
        HairclipError: if a picture cannot be read, the photo shows no face, the edited picture shows another person or
            pose, or neither shows hair.
    """
    photo, other = read_photo(source), read_photo(edited)
    region = None if mask is None else read_mask(mask, photo)
    if region is None and photo.seen.size == other.seen.size and photo.seen.tobytes() == other.seen.tobytes():
        same = f"{other.name} equals {photo.name} in every pixel: nothing was taken from it."
        return Composite(photo.picture.copy(), Image.new("L", photo.size), photo, 1.0, [same])
    if face == "all":
        raise HairclipError('face="all" is for edits: choose one person, such as face="left".')
    faces = finder(photo.seen)
    (rough,) = choose_faces(faces, face, photo.name)
    chosen = finder.refine(photo.seen, rough)
    squares = [one.square() for one in (chosen, *(one for one in faces if one is not rough))]
    hair = find_hair_mask(photo.seen, squares[0], parser, others=squares[1:])
    weight = _mark_shared(hair.alpha)
    starts = [Placement.of_frames(photo.size, other.size)]
    starts += [fit_similarity(chosen.landmarks, one.landmarks) for one in finder(other.seen)]
    placement, _ = register(photo.seen, other.seen, starts, photo_weight=weight, other_weight=None)
    # Hair of the edited picture is found where its face must be, and the placement is refined without it.
    edited_hair = _find_edited_hair(other, placement, squares, parser)
    agreement = -1.0
    if edited_hair is not None:
        edited_weight = _mark_shared(edited_hair)
        placement, _ = register(photo.seen, other.seen, [placement], photo_weight=weight, other_weight=edited_weight)
        agreement = _compare_faces(photo.seen, other.seen, placement, weight, edited_weight, chosen.landmarks)
    if edited_hair is None or (agreement < LEAST_AGREEMENT and not force):
        raise HairclipError(
            f"the face in {other.name} does not agree with the one in {photo.name} (likeness "
            f"{max(agreement, 0.0):.2f}, edits of a photo have {LEAST_AGREEMENT:.2f} and more): give an edit with "
            "the same face and pose" + (", or force=True to take its hair." if edited_hair is not None else ".")
        )
    if region is None and not hair.alpha.any() and not edited_hair.any():
        raise HairclipError(
            f"no hair was found in {photo.name} or in {other.name}: give the place of the hair as mask."
        )
    old, new = (torch.from_numpy(one)[None, None].float() / 255 for one in (hair.alpha, edited_hair))
    side = squares[0].size
    picture, changed = composite_hair(photo.picture, other.seen, placement, old, new, side, seam=seam, region=region)
    notes = []
    if agreement < LEAST_AGREEMENT:
        notes.append(f"the faces do not agree (likeness {agreement:.2f}): the hair may lie wrong.")
    if placement.scale < COARSE:
        notes.append(
            f"{other.name} has {placement.scale:.2f} pixels per pixel of the photo: its hair will look less sharp."
        )
    return Composite(picture, changed, photo, agreement, notes)


def _find_edited_hair(
    edited: Photo, placement: Placement, squares: Sequence[FaceSquare], parser: FaceParser
) -> UInt8[np.ndarray, "height width"] | None:
    """Return the hair of the edited picture; None where the face would lie outside it."""
    own, *others = (FaceSquare(placement.carry(square.corners)) for square in squares)
    middle = own.corners.mean(axis=0)
    if not (middle > 0).all() or not (middle < np.array(edited.size)).all() or own.size < SMALLEST_SQUARE:
        return None
    return find_hair_mask(edited.seen, own, parser, others=others).alpha


def _mark_shared(hair: UInt8[np.ndarray, "height width"]) -> Image.Image:
    """Return where a picture shows no hair, 255, mode "L"."""
    return Image.fromarray(np.where(hair > 255 * HAIR_BEGINS, 0, 255).astype(np.uint8))


def _compare_faces(
    photo: Image.Image,
    edited: Image.Image,
    placement: Placement,
    weight: Image.Image,
    edited_weight: Image.Image,
    landmarks: Float[np.ndarray, "5 2"],
) -> float:
    """Return the correlation of the detail of both faces, from -1 to 1, in the square of eyes, nose and mouth."""
    middle = landmarks[[0, 1, 3, 4]].mean(axis=0) + 0.5
    half = 1.1 * float(np.abs(landmarks[[0, 1, 3, 4]] + 0.5 - middle).max())
    scale = 2 * half / FACE_SIDE
    # An upright square of the photo, FACE_SIDE pixels on each side.
    square = Placement(np.array([[scale, 0.0, middle[0] - half], [0.0, scale, middle[1] - half]]))
    there = placement.after(square.matrix)
    planes = []
    for picture, trust, at in ((photo, weight, square), (edited, edited_weight, there)):
        shown = _sample(picture, at, (FACE_SIDE, FACE_SIDE))
        trusted = _sample(trust.convert("RGB"), at, (FACE_SIDE, FACE_SIDE)).getchannel("R")
        planes.append(measure_detail(shown, trusted, shown.size))
    (detail, first), (other, second) = planes
    return correlate(detail, other, first * second)


def _sample(picture: Image.Image, at: Placement, size: tuple[int, int]) -> Image.Image:
    """Return a picture as it lies in a frame of that width and height, black beyond its border."""
    return to_pil(_fit(picture, at, size)[0])


def _fit(picture: Image.Image, at: Placement, size: tuple[int, int]) -> tuple[Images, Masks]:
    """Return a picture in another frame, and which pixels of the frame it reaches.

    Args:
        picture: mode "RGB".
        at: takes points of the frame to points of the picture.
        size: width and height of the frame.
    """
    # Only the part that the frame shows is read, and reduced first where it is finer than the frame.
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], [size[0], size[1]]], np.float64)
    points = corners @ at.matrix[:, :2].T + at.matrix[:, 2]
    low = np.clip(np.floor(points.min(axis=0)).astype(int) - 8, 0, np.array(picture.size) - 1)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + 8, low + 1, picture.size)
    shrink = min(1.0, 1.0 / at.scale)
    part = (high - low).astype(float)
    reduced = np.maximum(1, np.rint(part * shrink)).astype(int)
    box = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    small = picture.resize((int(reduced[0]), int(reduced[1])), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    ratio = np.diag(reduced / part)
    moved = Placement(np.column_stack([ratio @ at.matrix[:, :2], ratio @ (at.matrix[:, 2] - low)]))
    image = from_pil(small)
    shown = resample(image, moved, size, smooth="bicubic").clamp(-1.0, 1.0)
    return shown, resample(torch.ones_like(image[:, :1]), moved, size) > 0.999


@torch.no_grad()
def composite_hair(
    photo: Image.Image,
    edited: Image.Image,
    placement: Placement,
    hair: SoftMasks,
    edited_hair: Float[Tensor, "1 1 _ _"],
    side: float,
    *,
    seam: Seam = "feather",
    region: SoftMasks | None = None,
) -> tuple[Image.Image, Image.Image]:
    """Return the photo with the hair of an edited picture in it, and the weight of what changed.

    Args:
        photo: mode "RGB".
        edited: mode "RGB", of any size.
        placement: where the photo's pixels lie in `edited`.
        hair: hair of the photo, (1, 1, height, width) in [0, 1].
        edited_hair: hair of the edited picture, in its own frame.
        side: side of FFHQ's square around the face, in pixels of the photo.
        seam: how the hair is joined to the photo.
        region: share of each pixel that is taken from the edited picture, of the photo's size, in place of the hair
            that was found; None takes the hair.

    Returns:
        The picture, mode "RGB", and its mask, mode "L". Where the mask is 0, the pixel is the photo's.
    """
    size = photo.size
    new = resample(edited_hair, placement, size)
    core = torch.maximum(hair, new) > HAIR_BEGINS if region is None else region > 0

    # Colors and shadows are smooth: they are measured on small copies.
    ratio = min(1.0, WORK_SIDE / max(size))
    small_size = (max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio)))
    to_photo = np.array([[size[0] / small_size[0], 0.0, 0.0], [0.0, size[1] / small_size[1], 0.0]])
    small = from_pil(photo.resize(small_size, Image.Resampling.BICUBIC, reducing_gap=3.0))
    shown, reached = _fit(edited, placement.after(to_photo), small_size)
    covered = F.adaptive_max_pool2d(core.float(), small_size[::-1]) > 0
    reach = max(2, round(SHADOW_REACH * side * ratio))
    unlike = dilate(covered | ~reached, max(1, reach // 6))
    match = match_colors(small, shown, ~dilate(unlike, reach // 4))
    colored = match.apply(shown)
    factor, shaded = find_shadow(small, colored, covered, ~unlike, reach)
    shaded = torch.where(reached, shaded, torch.zeros_like(shaded))
    if region is None:
        # Masks of hair err. What differs beside hair is a strand that was missed; what equals the photo needs no edit.
        near, further = (max(1, round(share * side * ratio)) for share in (NEAR, FURTHER))
        changed = soften(color_distance(cast_shadow(small, factor, shaded), colored), 1) > max(0.08, 3.0 * match.spread)
        old, new = (F.adaptive_avg_pool2d(one, small_size[::-1]) > 0.8 for one in (hair, new))
        strands = _resemble(small, colored, old) | _resemble(colored, small, new)
        strands = changed & reached & (dilate(covered, near) | (dilate(covered, further) & strands))
        strands = keep_connected(covered, covered | strands) & ~covered
        core = (core & _enlarge(dilate(changed, near), size)) | _enlarge(dilate(strands, 1), size)

    picture, mask = photo.copy(), Image.new("L", size)
    margin = round(side * (GROWN + FEATHER)) + reach / ratio + 2
    box = _find_box(core, margin)
    if box is None:
        return picture, mask
    left, top, right, bottom = box
    inner, shape = (..., slice(top, bottom), slice(left, right)), (right - left, bottom - top)
    at = np.array([[1.0, 0.0, left], [0.0, 1.0, top]])
    from_small = Placement(np.diag(np.array(small_size) / np.array(size)) @ at)
    local, factor, shaded = (resample(one, from_small, shape, beyond="border") for one in (match.local, factor, shaded))
    shown, reached = _fit(edited, placement.after(at), shape)
    before = from_pil(photo.crop(box))
    alpha = _soften(core[inner], reached, side) if region is None else region[inner] * reached
    background = torch.where(shaded > 0, cast_shadow(before, factor, shaded), before)
    joined = join(background, match.apply(shown, local), alpha, seam)
    weight = torch.maximum(alpha, shaded)
    picture.paste(to_pil(torch.where(weight > 0, joined, before)), box[:2])
    levels = torch.where(weight > 0, (weight * 255).round().clamp(1, 255), torch.zeros_like(weight))
    mask.paste(Image.fromarray(levels[0, 0].byte().numpy()), box[:2])
    return picture, mask


def _resemble(one: Images, other: Images, hair: Masks) -> Masks:
    """Return where the first picture has the color that its hair has nearby, and the second picture has another."""
    color = spread_means(one, hair)
    near, far = color_distance(one, color), color_distance(other, color)
    return (near < 0.4) & (near < 0.6 * far) if bool(hair.any()) else torch.zeros_like(hair)


def _enlarge(masks: Bool[Tensor, "1 1 _ _"], size: tuple[int, int]) -> Masks:
    """Return a mask at another width and height."""
    return F.interpolate(masks.float(), size=size[::-1], mode="bilinear", align_corners=False) > 0.5


def _soften(core: Masks, reached: Masks, side: float) -> SoftMasks:
    """Return weights of 1 on the grown core that fall to 0 around it, and towards the edited picture's border."""
    grown, width = side * GROWN, max(1.0, side * FEATHER)
    outwards = distance_transform_edt(~core[0, 0].numpy()) - grown
    weight = 1.0 - np.clip(outwards / (width + 1.0), 0.0, 1.0)
    if not bool(reached.all()):
        weight = np.minimum(weight, np.clip(distance_transform_edt(reached[0, 0].numpy()) / (4 * width), 0.0, 1.0))
    return smoothstep(0.0, 1.0, torch.from_numpy(weight.astype(np.float32))[None, None])


def _find_box(core: Masks, margin: float) -> Rectangle | None:
    """Return the rectangle around a mask with a margin, within the picture; None where the mask is empty."""
    height, width = core.shape[-2:]
    rows, columns = (core[0, 0].any(dim=dim).nonzero() for dim in (1, 0))
    if len(rows) == 0:
        return None
    left, top = (max(0, int(one[0]) - round(margin)) for one in (columns, rows))
    right, bottom = int(columns[-1]) + 1 + round(margin), int(rows[-1]) + 1 + round(margin)
    return left, top, min(width, right), min(height, bottom)

"""Place several colors on hair: roots and tips, halves, highlights and streaks, as weight maps for `dye_hair`.

Length runs from the hairline: it is the shortest way within the hair. So the tips of long hair are its ends, and those
of short hair lie on top of the head. Highlights and streaks follow the photo's own strands: noise is smeared along
their direction (Cabral and Leedom 1993, "Imaging Vector Fields Using Line Integral Convolution").
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage

from hairclip.conditions.hair_colors import ColorPart, Where
from hairclip.editing.dye import Zone
from hairclip.editing.hair_mask import FACE_CLASSES, HairMask
from hairclip.editing.photo.align import FaceSquare

__all__ = ["make_zones"]

_BOX_PIXELS = 240
"""Longest side in pixels of the hair's box, at which the maps are made."""
_LARGEST_MAP = 2048
"""Longest side in pixels of a map of the whole photo."""
_BROWS = -0.15
"""Height of the brows in FFHQ's square, from -1 at the top to 1 at the bottom; the hairline lies above."""
_HIGHLIGHT, _STREAK = (0.7, 45), (3.0, 90)
"""Width and length of a highlight and of a streak, in pixels of the hair's box."""
_UNEVEN = 0.06
"""How far the edge of roots and tips moves from strand to strand, in lengths of the hair."""

Field = Float[np.ndarray, "rows columns"]
WholeMap = Float[np.ndarray, "_ _"]


def make_zones(
    photo: Image.Image, colors: Sequence[ColorPart], mask: HairMask, square: FaceSquare, *, seed: int = 0
) -> list[Zone]:
    """Return the zones of a person's hair that get the colors.

    Args:
        photo: mode "RGB".
        colors: colors with sRGB values. One may go to all of the hair: it fills what the others leave. Without such a
            one, the rest of the hair keeps its own color.
        mask: the person's hair.
        square: FFHQ's square around the face.
        seed: which strands become highlights and streaks.
    """
    if not mask.has_hair or all(part.where == "all" for part in colors):
        return [Zone(part.rgb) for part in colors[:1] if part.rgb is not None]
    places = _measure_places(photo, mask, square)
    wanted = {part.where for part in colors}
    weights = {where: _weigh(where, places, wanted, seed) for where in wanted - {"all"}}
    total = np.sum(list(weights.values()), axis=0)
    over = np.maximum(total, 1.0)
    zones = []
    for part in colors:
        if part.rgb is not None:
            weight = (1.0 - total).clip(0, 1) if part.where == "all" else weights[part.where] / over
            zones.append(Zone(part.rgb, _on_photo(weight.astype(np.float32), mask)))
    return zones


def _measure_places(photo: Image.Image, mask: HairMask, square: FaceSquare) -> Mapping[str, Field]:
    """Return maps over the hair's box.

    They are "across" in FFHQ's square (-1 to 1), "length" (0 to 1), "light" of the photo (0 to 1), and "direction" of
    its strands (radians).
    """
    left, top, right, bottom = mask.box
    scale = min(1.0, _BOX_PIXELS / max(right - left, bottom - top))
    size = (max(2, round((right - left) * scale)), max(2, round((bottom - top) * scale)))
    alpha = np.asarray(Image.fromarray(mask.alpha[top:bottom, left:right]).resize(size, Image.Resampling.BOX))
    x = left + (np.arange(size[0]) + 0.5) * (right - left) / size[0] - 0.5
    y = top + (np.arange(size[1]) + 0.5) * (bottom - top) / size[1] - 0.5
    origin, axes = (
        square.corners[0],
        np.stack([square.corners[3], square.corners[1]], axis=1) - square.corners[0][:, None],
    )
    points = np.stack(np.meshgrid(x, y), axis=-1) - origin
    across, down = np.moveaxis(points @ np.linalg.inv(axes).T * 2.0 - 1.0, -1, 0)
    face = _face_in_box(mask, size)
    seen = photo.convert("L").resize(size, Image.Resampling.BOX, box=mask.box)
    light = np.asarray(seen, np.float32) / 255
    return {
        "across": across,
        "length": _measure_length(alpha > 100, face, down),
        "light": light,
        "direction": _measure_direction(light, alpha / np.float32(255)),
    }


def _measure_direction(light: Field, hair: Field) -> Field:
    """Return the direction of strands in radians: along it, the picture changes least (structure tensor)."""
    x, y = (ndimage.gaussian_filter(light, 1.0, order=order) for order in ((0, 1), (1, 0)))
    xx, xy, yy = (ndimage.gaussian_filter(hair * one, 4.0) for one in (x * x, x * y, y * y))
    return 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2


def _face_in_box(mask: HairMask, size: tuple[int, int]) -> Bool[np.ndarray, "rows columns"]:
    """Return where the hair's box shows the face."""
    rows, columns = mask.classes.shape[1:]
    across, down = columns / (mask.area[2] - mask.area[0]), rows / (mask.area[3] - mask.area[1])
    part = (
        (mask.box[0] - mask.area[0]) * across,
        (mask.box[1] - mask.area[1]) * down,
        (mask.box[2] - mask.area[0]) * across,
        (mask.box[3] - mask.area[1]) * down,
    )
    face = Image.fromarray(mask.classes[FACE_CLASSES].astype(np.float32).sum(axis=0))
    return np.asarray(face.resize(size, Image.Resampling.BILINEAR, box=part)) > 0.5


def _measure_length(
    hair: Bool[np.ndarray, "rows columns"], face: Bool[np.ndarray, "rows columns"], down: Field
) -> Field:
    """Return how far along the hair each pixel lies: 0 at the hairline, 1 at the tips."""
    near = max(2, round(0.03 * max(hair.shape)))
    reached = hair & ndimage.binary_dilation(face, iterations=near) & (down < _BROWS)
    if not reached.any():  # a hat or the border hides the hairline
        reached = hair & (down <= np.quantile(down[hair], 0.05)) if hair.any() else hair
    distance = np.full(hair.shape, -1.0, np.float32)
    distance[reached] = 0.0
    crosses = (ndimage.generate_binary_structure(2, 1), ndimage.generate_binary_structure(2, 2))
    step = 0
    while True:  # squares and crosses in turns: an octagon, which is nearly round
        step += 1
        grown = ndimage.binary_dilation(reached, crosses[step % 2], mask=hair)
        new = grown & ~reached
        if not new.any():
            break
        distance[new] = step
        reached = grown
    lonely = hair & ~reached  # behind the neck or an ear: as far as its neighbors
    if lonely.any() and reached.any():
        nearest = ndimage.distance_transform_edt(~reached, return_distances=False, return_indices=True)
        distance[lonely] = distance[tuple(index[lonely] for index in nearest)]
    longest = float(np.quantile(distance[hair], 0.97)) if hair.any() else 1.0
    outside = ndimage.distance_transform_edt(~hair, return_distances=False, return_indices=True)
    spread = distance[tuple(outside)] if hair.any() else distance
    return (spread / max(longest, 1.0)).clip(0.0, 1.0)


def _weigh(where: Where, places: Mapping[str, Field], wanted: set[Where], seed: int) -> Field:
    """Return the share of a color, (rows, columns) in [0, 1] over the hair's box."""
    across, length = places["across"], places["length"]
    strands = _smear_noise(places, *_HIGHLIGHT, seed)
    uneven = length + _UNEVEN * strands
    if where == "tips":
        is_ombre = "roots" in wanted and "all" not in wanted
        return _rise(uneven, 0.2, 0.8) if is_ombre else _rise(uneven, 0.5, 0.8)
    if where == "roots":
        is_ombre = "tips" in wanted and "all" not in wanted
        return 1.0 - (_rise(uneven, 0.2, 0.8) if is_ombre else _rise(uneven, 0.08, 0.3))
    if where in ("left", "right"):
        right = _rise(across, -0.04, 0.04)
        return right if where == "right" else 1.0 - right
    if where == "highlights":
        return 0.8 * _rise(strands + _local_light(places), 0.2, 1.7)
    return _rise(_smear_noise(places, *_STREAK, seed + 1), 0.9, 1.4)


def _local_light(places: Mapping[str, Field]) -> Field:
    """Return how much lighter a strand is than the hair around it, about -1 to 1: highlights take the lighter ones."""
    apart = places["light"] - ndimage.gaussian_filter(places["light"], 6.0)
    return (apart / max(3.0 * float(apart.std()), 1e-3)).clip(-1.0, 1.0)


def _smear_noise(places: Mapping[str, Field], width: float, length: int, seed: int) -> Field:
    """Return noise of mean 0 and deviation 1 that is alike along a strand.

    Args:
        places: see `_measure_places`.
        width: standard deviation of a strand across, in pixels.
        length: pixels of a strand along which the noise is smeared.
        seed: of the noise.
    """
    direction = places["direction"]
    noise = np.random.default_rng(seed).standard_normal(direction.shape).astype(np.float32)
    noise = ndimage.gaussian_filter(noise, width, mode="wrap")
    cosine, sine = np.cos(direction), np.sin(direction)
    start = np.mgrid[0 : direction.shape[0], 0 : direction.shape[1]].astype(np.float32)
    total = noise.copy()
    for sign in (1.0, -1.0):
        y, x = start
        step_x, step_y = sign * cosine, sign * sine
        for _ in range(length // 4):
            x, y = x + 2.0 * step_x, y + 2.0 * step_y
            total += ndimage.map_coordinates(noise, (y, x), order=1, mode="nearest")
            next_x, next_y = (ndimage.map_coordinates(one, (y, x), order=0, mode="nearest") for one in (cosine, sine))
            along = np.where(next_x * step_x + next_y * step_y < 0, -1.0, 1.0)  # a direction has no sign
            step_x, step_y = along * next_x, along * next_y
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def _rise(values: Field, low: float, high: float) -> Field:
    """Return a smooth step from 0 at `low` to 1 at `high`."""
    t = ((values - low) / (high - low)).clip(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _on_photo(weight: Field, mask: HairMask) -> WholeMap:
    """Return a map over the whole photo from one over the hair's box; outside the box it is 0."""
    height, width = mask.alpha.shape
    left, top, right, bottom = mask.box
    scale = min(1.0, weight.shape[1] / (right - left), _LARGEST_MAP / max(height, width))
    whole = np.zeros((max(1, round(height * scale)), max(1, round(width * scale))), np.float32)
    rows, columns = whole.shape
    x0, x1 = (left * columns // width, -(-right * columns // width))
    y0, y1 = (top * rows // height, -(-bottom * rows // height))
    across, down = weight.shape[1] / (right - left), weight.shape[0] / (bottom - top)
    part = (
        max(0.0, (x0 * width / columns - left) * across),
        max(0.0, (y0 * height / rows - top) * down),
        min(float(weight.shape[1]), (x1 * width / columns - left) * across),
        min(float(weight.shape[0]), (y1 * height / rows - top) * down),
    )
    whole[y0:y1, x0:x1] = np.asarray(
        Image.fromarray(weight).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=part)
    )
    return whole

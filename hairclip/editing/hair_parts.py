"""Weigh parts of a person's hair: roots, tips, one side, highlights.

```python
weight = weigh_part("tips", mask.alpha, face.square())
dyed = dye_hair(photo, mask.alpha, [Zone((228, 134, 168), weight)])
```
"""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage

from hairclip.editing.photo.align import FaceSquare

__all__ = ["HairPart", "measure_length", "weigh_part"]

HairPart: TypeAlias = Literal["all", "roots", "tips", "left", "right", "highlights", "streaks"]
"""A part of the hair. Left and right are those of the picture."""
Weights: TypeAlias = Float[np.ndarray, "rows columns"]

LARGEST = 256
"""Longest side in pixels of the maps. They are smooth, and are enlarged to the photo."""
SCALP = 0.55
"""Reach of the scalp from the middle of the forehead, in sides of FFHQ's square."""
STRANDS = 28
"""Locks of highlights across the width of the head; streaks are half as many."""


def weigh_part(part: HairPart, alpha: UInt8[np.ndarray, "height width"], square: FaceSquare) -> Weights:
    """Return the weight of a part of the hair over the whole photo, in [0, 1], at a reduced size.

    Args:
        part: the part.
        alpha: share of each pixel that is hair, 0 to 255, see `HairMask.alpha`.
        square: FFHQ's square around the person's face.
    """
    length = measure_length(alpha, square)
    across, down = _place(alpha, square, length.shape)
    if part == "roots":
        return 1.0 - _rise(length, 0.12, 0.4)
    if part == "tips":
        return _rise(length, 0.45, 0.8)
    if part in ("left", "right"):
        right = _rise(across, -0.04, 0.04)
        return right if part == "right" else 1.0 - right
    if part == "all":
        return np.ones_like(length)
    # Locks hang from the scalp: seen from the middle of the forehead they lie side by side.
    angle = np.arctan2(across, 0.35 - np.minimum(down, 0.3)) + 0.15 * across
    count = STRANDS if part == "highlights" else STRANDS / 2
    phase = angle / np.pi * count
    lock = np.floor(phase)
    offset = np.sin(12.9898 * lock) * 43758.5453  # a different width for each lock, the same in every run
    width = 0.3 + 0.4 * (offset - np.floor(offset))
    from_middle = np.abs(phase - lock - 0.5) * 2.0
    return (0.85 * _rise(width - from_middle, -0.15, 0.15) * _rise(length, 0.0, 0.15)).astype(np.float32)


def measure_length(alpha: UInt8[np.ndarray, "height width"], square: FaceSquare) -> Weights:
    """Return how far hair lies from the scalp, along the hair: 0 at the roots, 1 at the tips, over the whole photo.

    Args:
        alpha: share of each pixel that is hair, 0 to 255.
        square: FFHQ's square around the person's face.

    Returns:
        The map at a reduced size. Pixels without hair have the length of the nearest hair.
    """
    height, width = alpha.shape
    scale = min(1.0, LARGEST / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    hair = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BOX)) > 64
    if not hair.any():
        return np.zeros(hair.shape, np.float32)
    across, down = _place(alpha, square, hair.shape)
    away = np.hypot(across, down + 0.3)
    reached = hair & (away < SCALP)
    if not reached.any():  # no hair on the scalp: the nearest hair has the roots
        reached = hair & (away <= away[hair].min() + 1e-6)
    steps = np.where(reached, np.maximum(down + 0.3, 0.0) * 0.5 + 0.4 * away, np.inf)
    pixel = 1.0 / max(1e-6, square.size * scale)
    arrived = float(steps[reached].max())
    for _ in range(4 * max(size)):
        grown = ndimage.binary_dilation(reached, mask=hair)
        if grown.sum() == reached.sum():
            break
        arrived += pixel
        steps[grown & ~reached] = arrived
        reached = grown
    known = np.isfinite(steps)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    length = steps[tuple(nearest)]
    low, high = np.quantile(steps[known], [0.02, 0.97])
    smooth = ndimage.gaussian_filter((length - low) / max(float(high - low), 1e-6), 1.5)
    return smooth.clip(0.0, 1.0).astype(np.float32)


def _rise(values: np.ndarray, low: float, high: float) -> Weights:
    """Return 0 below `low`, 1 above `high`, and a cubic with flat ends between."""
    t = ((values - low) / (high - low)).clip(0.0, 1.0)
    return (t * t * (3.0 - 2.0 * t)).astype(np.float32)


def _place(alpha: np.ndarray, square: FaceSquare, shape: tuple[int, ...]) -> tuple[Weights, Weights]:
    """Return how far each pixel of a map lies right of the face's middle and below it, in sides of the square."""
    rows, columns = shape
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    points = np.stack([x * alpha.shape[1] / columns, y * alpha.shape[0] / rows], axis=-1) - 0.5
    apart = points - square.corners.mean(axis=0)
    right, down = square.corners[3] - square.corners[0], square.corners[1] - square.corners[0]
    along = [(apart @ one / float(one @ one)).astype(np.float32) for one in (right, down)]
    return along[0], along[1]

"""Find where a photo's pixels lie in another picture of the same scene: shifted, scaled, turned, cropped or stretched.

A first guess comes from the landmarks of the face, or from the frames of both pictures. A Gauss-Newton descent then
moves it until local detail agrees. Detail is brightness without its local mean and contrast, so a picture that is
recolored all over is registered as well as one that is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from hairclip.common.framing import Points

__all__ = ["Placement", "correlate", "fit_similarity", "measure_detail", "register", "resample"]

LEVELS = (96, 192, 384, 768)
"""Longer side in pixels of the copies on which a placement is refined, from coarse to fine."""
STEPS = 20
"""Most Gauss-Newton steps of a level."""
BLUR = 3.0
"""Standard deviation in pixels of the window whose mean and contrast are taken out."""

Plane = Float[np.ndarray, "height width"]


@dataclass(frozen=True)
class Placement:
    """Where a photo's pixels lie in another picture.

    Attributes:
        matrix: (2, 3), takes a point (x, y, 1) of the photo to (x, y) of the other picture. Coordinates are in pixels
            and count from the outer corner of the top left pixel.
    """

    matrix: Float[np.ndarray, "2 3"]

    @property
    def scale(self) -> float:
        """Pixels of the other picture per pixel of the photo."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    def carry(self, points: Points) -> Points:
        """Return where points of the photo lie in the other picture, both counted from pixel centers."""
        return (points + 0.5) @ self.matrix[:, :2].T + self.matrix[:, 2] - 0.5

    def after(self, change: Float[np.ndarray, "2 3"]) -> "Placement":
        """Return the placement of points that are first moved within the photo by an affine map."""
        linear = self.matrix[:, :2]
        return Placement(np.column_stack([linear @ change[:, :2], linear @ change[:, 2] + self.matrix[:, 2]]))

    @classmethod
    def of_frames(cls, photo: tuple[int, int], other: tuple[int, int]) -> "Placement":
        """Return the placement that takes the whole frame of a photo to that of another picture; width and height."""
        return cls(np.array([[other[0] / photo[0], 0.0, 0.0], [0.0, other[1] / photo[1], 0.0]]))


def fit_similarity(points: Points, others: Points) -> Placement:
    """Return the shift, turn and scale that take points to others with least squares (Umeyama 1991)."""
    middle, other_middle = points.mean(axis=0), others.mean(axis=0)
    x, y = (points - middle).T
    u, v = (others - other_middle).T
    a, b = (x @ u + y @ v), (x @ v - y @ u)
    linear = np.array([[a, -b], [b, a]]) / max(float(x @ x + y @ y), 1e-9)
    return Placement(np.column_stack([linear, other_middle + 0.5 - linear @ (middle + 0.5)]))


def register(
    photo: Image.Image,
    other: Image.Image,
    starts: Sequence[Placement],
    *,
    photo_weight: Image.Image | None = None,
    other_weight: Image.Image | None = None,
) -> tuple[Placement, float]:
    """Return where the photo's pixels lie in another picture.

    Args:
        photo: mode "RGB".
        other: mode "RGB".
        starts: first guesses. Each is refined on the coarsest copies, and the best goes on.
        photo_weight: mode "L", of the photo's size: 255 where the pictures should show the same, such as outside hair;
            None everywhere.
        other_weight: the same of the other picture.

    Returns:
        The placement, and how well local detail agrees, from -1 to 1.
    """
    longest = max(photo.size)
    best, score = starts[0], -2.0
    for number, side in enumerate(LEVELS):
        tried = starts if number == 0 else [best]
        found = [_refine(photo, other, start, min(side, longest), photo_weight, other_weight) for start in tried]
        best, score = max(found, key=lambda one: one[1])
        if side >= longest or side >= longest * best.scale:
            break
    return best, score


def _refine(
    photo: Image.Image,
    other: Image.Image,
    start: Placement,
    side: int,
    photo_weight: Image.Image | None,
    other_weight: Image.Image | None,
) -> tuple[Placement, float]:
    """Return a placement after Gauss-Newton steps on copies of at most `side` pixels, and the agreement there."""
    ratio = side / max(photo.size)
    size = (max(1, round(photo.width * ratio)), max(1, round(photo.height * ratio)))
    shrink = ratio / start.scale
    other_size = (max(1, round(other.width * shrink)), max(1, round(other.height * shrink)))
    detail, weight = measure_detail(photo, photo_weight, size)
    other_detail, other_share = measure_detail(other, other_weight, other_size)
    fields = torch.from_numpy(np.stack([other_detail, other_share]))[None]
    before = np.diag([photo.width / size[0], photo.height / size[1]])
    after = np.diag([other_size[0] / other.width, other_size[1] / other.height])
    small = Placement(np.column_stack([after @ start.matrix[:, :2] @ before, after @ start.matrix[:, 2]]))
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    middle, half = np.array(size) / 2, max(size) / 2
    x, y = (x - middle[0]) / half, (y - middle[1]) / half
    gradient = np.gradient(detail)
    for _ in range(STEPS):
        moved, share = (one.numpy() for one in resample(fields, small, size)[0])
        trust = weight * share
        moved_gradient = np.gradient(moved)
        # The mean of both gradients converges like a second-order method (Malis 2004).
        down, across = ((one + two) / 2 for one, two in zip(gradient, moved_gradient, strict=True))
        error = detail - moved
        trust = trust / (1.0 + (error / 0.7) ** 2) ** 2  # what was changed there counts little
        columns = np.stack([across * x + down * y, down * x - across * y, across, down])
        weighted = (columns * trust).reshape(4, -1)
        normal = weighted @ columns.reshape(4, -1).T + 1e-6 * np.eye(4)
        grow, turn, right, below = np.linalg.solve(normal, weighted @ error.ravel())
        # Growth and turn are in pixels at a distance of `half` from the middle.
        linear = np.array([[1 + grow / half, -turn / half], [turn / half, 1 + grow / half]])
        shift = np.array([right, below]) + middle - linear @ middle
        small = small.after(np.column_stack([linear, shift]))
        if max(abs(grow), abs(turn), abs(right), abs(below)) < 0.01:
            break
    moved, share = (one.numpy() for one in resample(fields, small, size)[0])
    score = correlate(detail, moved, weight * share)
    back = np.linalg.inv(after)
    whole = Placement(np.column_stack([back @ small.matrix[:, :2] @ np.linalg.inv(before), back @ small.matrix[:, 2]]))
    return whole, score


def correlate(one: Plane, other: Plane, weight: Plane) -> float:
    """Return the correlation of two planes under a weight; 0 where nothing counts."""
    total = float(weight.sum())
    if total <= 0:
        return 0.0
    one, other = (plane - (plane * weight).sum() / total for plane in (one, other))
    power = float((one**2 * weight).sum()) * float((other**2 * weight).sum())
    return float((one * other * weight).sum()) / max(power, 1e-12) ** 0.5


def measure_detail(picture: Image.Image, weight: Image.Image | None, size: tuple[int, int]) -> tuple[Plane, Plane]:
    """Return the local detail of a copy of a picture, about in [-2, 2], and the weight of each pixel in [0, 1]."""
    small = picture.convert("L").resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    brightness = np.asarray(small, np.float32) / 255
    trust = np.ones_like(brightness)
    if weight is not None:  # pixels that are half hair do not count
        trust = np.clip(np.asarray(weight.resize(size, Image.Resampling.BOX), np.float32) / 127.5 - 1, 0, 1)

    def mean(plane: Plane) -> Plane:
        return gaussian_filter(plane * trust, BLUR) / np.maximum(gaussian_filter(trust, BLUR), 1e-3)

    centered = brightness - mean(brightness)
    # The constant keeps grain of flat walls small.
    detail = centered / np.sqrt(mean(centered**2) + 0.02**2)
    return detail.astype(np.float32) * (trust > 0), trust


def resample(
    fields: Float[torch.Tensor, "1 channels _ _"],
    placement: Placement,
    size: tuple[int, int],
    *,
    smooth: Literal["bilinear", "bicubic"] = "bilinear",
    beyond: Literal["zeros", "border"] = "zeros",
) -> Float[torch.Tensor, "1 channels _ _"]:
    """Return fields of the other picture as they lie in the photo.

    Args:
        fields: (1, C, H, W).
        placement: takes points of the photo to points of the fields.
        size: width and height of the photo.
        smooth: how values between pixels are interpolated.
        beyond: what lies beyond the border of the fields: zeros, or their outermost values.
    """
    width, height = size
    x = torch.arange(width, dtype=torch.float64) + 0.5
    y = torch.arange(height, dtype=torch.float64) + 0.5
    matrix = torch.from_numpy(placement.matrix)
    at = matrix[:, 0] * x[None, :, None] + matrix[:, 1] * y[:, None, None] + matrix[:, 2]
    grid = 2 * at / torch.tensor([fields.shape[-1], fields.shape[-2]]) - 1
    return F.grid_sample(fields, grid[None].to(fields.dtype), mode=smooth, padding_mode=beyond, align_corners=False)

"""A picture with its labels, and a rendered person with what is needed to change and move them."""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from hairclip.common.face_labels import BACKGROUND, HAIR
from hairclip.portraits.randomize.dice import Color, Field, Pixels

__all__ = ["LabelMap", "Person", "Picture", "cover", "soften"]

LabelMap = Int64[Tensor, "height width"]
P = TypeVar("P", bound="Picture")


@dataclass(frozen=True)
class Picture:
    """A picture and where its hair is.

    Attributes:
        pixels: sRGB in [0, 1]; while light is added, also brighter.
        labels: ids of CelebAMask-HQ.
        coverage: share of each pixel that hair covers, in [0, 1].
    """

    pixels: Pixels
    labels: LabelMap
    coverage: Field

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.pixels.shape[-1]


@dataclass(frozen=True)
class Person(Picture):
    """A rendered person.

    Attributes:
        alpha: share of each pixel that the person covers, hair, hat and glasses included, in [0, 1].
        direction: mean of (cos 2a, sin 2a) of the strands, see `portraits.drawing.raster.Buffers`.
        landmarks: eyes, nose and mouth corners in pixels (x, y).
    """

    alpha: Field
    direction: Float[Tensor, "2 height width"]
    landmarks: Float[np.ndarray, "5 2"]

    @classmethod
    def from_render(
        cls,
        image: UInt8[np.ndarray, "size size 3"],
        labels: UInt8[np.ndarray, "size size"],
        coverage: Float[np.ndarray, "size size"],
        direction: Float[np.ndarray, "size size 2"],
        landmarks: Float[np.ndarray, "5 2"],
    ) -> "Person":
        """Return the person of a rendered portrait, see `portraits.render.Portrait`."""
        ids, hair = torch.from_numpy(labels.astype(np.int64)), torch.from_numpy(np.ascontiguousarray(coverage)).float()
        return cls(
            pixels=torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1).contiguous(),
            labels=ids,
            coverage=hair,
            alpha=_cut_out(ids, hair),
            direction=torch.from_numpy(np.ascontiguousarray(direction)).float().permute(2, 0, 1).contiguous(),
            landmarks=landmarks,
        )

    @property
    def eyes(self) -> Float[np.ndarray, " 2"]:
        """The middle of both eyes."""
        return self.landmarks[:2].mean(0)

    @property
    def mouth(self) -> Float[np.ndarray, " 2"]:
        """The middle of the mouth."""
        return self.landmarks[3:].mean(0)

    @property
    def face_length(self) -> float:
        """Pixels from the eyes to the mouth."""
        return float(np.linalg.norm(self.mouth - self.eyes))


def cover(picture: P, mask: Field, color: Pixels | Color, label: int) -> P:
    """Lay something over a picture: colors, labels and the coverage by hair change together.

    Args:
        picture: what is covered; a person's alpha grows by the mask.
        mask: share of each pixel that is covered, in [0, 1].
        color: color of what covers, in [0, 1].
        label: its id.
    """
    covered = replace(
        picture,
        pixels=picture.pixels + mask * (color - picture.pixels),
        labels=torch.where(mask > 0.5, label, picture.labels),
        coverage=picture.coverage * (1 - mask),
    )
    if isinstance(covered, Person):
        covered = replace(covered, alpha=torch.maximum(covered.alpha, mask))
    return covered


def soften(mask: Bool[Tensor, "height width"]) -> Field:
    """Return a mask whose outline is soft within a pixel."""
    return F.avg_pool2d(mask.float()[None, None], 3, 1, 1, count_include_pad=False)[0, 0]


def _cut_out(labels: LabelMap, coverage: Field) -> Field:
    """Return the share of each pixel that the person covers: the renderer tells it of hair alone.

    Hair near the background covers what the renderer says, and farther inside all of its pixel: behind it is the head.
    """
    body = (labels != BACKGROUND) & (labels != HAIR)
    outline = 0.5 * soften(body)
    background = (labels == BACKGROUND).float()[None, None]
    near_background = (6 * F.avg_pool2d(background, 9, 1, 4, count_include_pad=False)[0, 0]).clamp(0, 1)
    alpha = torch.maximum(coverage, torch.where(body, 1.0, torch.maximum(outline, 1 - near_background)))
    return torch.where(labels == BACKGROUND, torch.maximum(coverage, outline), alpha)

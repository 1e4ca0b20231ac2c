"""Move a person within the picture, and set them before a backdrop and other people."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hairclip.common.face_labels import BACKGROUND, HAIR, MIRRORED
from hairclip.portraits.randomize.dice import Dice, Pixels
from hairclip.portraits.randomize.person import Person, Picture
from hairclip.portraits.randomize.warp import Warp

__all__ = ["STILL", "Camera", "compose", "draw_camera", "draw_placement"]


@dataclass(frozen=True)
class Camera:
    """Where each pixel of a new picture comes from.

    Attributes:
        matrix: from the new picture's coordinates to the old one's, both in [-1, 1], as `torch.affine_grid` takes it.
        warps: what then moves the old coordinates, in this order.
    """

    matrix: Float[Tensor, "2 3"]
    warps: tuple[Warp, ...] = ()

    @property
    def mirrors(self) -> bool:
        """Whether left and right change places."""
        return bool(torch.linalg.det(self.matrix[:, :2]) < 0)

    def grid(self, size: int) -> Float[Tensor, "1 size size 2"]:
        """Return the old coordinates of each new pixel."""
        grid = F.affine_grid(self.matrix[None], [1, 1, size, size], align_corners=False)
        for warp in self.warps:
            grid = warp(grid)
        return grid


STILL = Camera(torch.eye(2, 3))
"""Leaves everything where it is."""


def draw_camera(dice: Dice, person: Person) -> Camera:
    """Return a camera that is nearer or farther, tilted, aimed beside the face; half of them mirror."""
    zoom = math.exp(dice.uniform(math.log(0.8), math.log(1.9)))
    tilt = dice.normal(0, 0.22) if dice.happens(0.7) else dice.uniform(-0.8, 0.8)
    face = (person.eyes + person.mouth) / 2 / person.size * 2 - 1
    x, y = face * dice.uniform(0, 1) + dice.rng.normal(0, 0.18, 2)
    mirror = -1.0 if dice.happens(0.5) else 1.0
    cos, sin = math.cos(tilt) / zoom, math.sin(tilt) / zoom
    return Camera(torch.tensor([[cos * mirror, -sin, x], [sin * mirror, cos, y]], dtype=torch.float32))


def draw_placement(dice: Dice) -> Camera:
    """Return a camera that puts a second person beside the first, larger or smaller."""
    zoom = dice.uniform(0.7, 1.6)
    aside = dice.pick((-1, 1)) * dice.uniform(0.6, 1.3) / zoom
    return Camera(torch.tensor([[1 / zoom, 0, aside], [0, 1 / zoom, dice.normal(0, 0.25)]], dtype=torch.float32))


def compose(
    person: Person,
    *,
    camera: Camera | None = None,
    backdrop: Pixels | None = None,
    other: tuple[Person, Camera] | None = None,
) -> Picture:
    """Return the picture of a person; labels and coverage move with the pixels.

    Args:
        person: who is seen.
        camera: how they are framed; None leaves them where they are.
        backdrop: what is behind them; None keeps the render's, which is mirrored beyond its border.
        other: somebody else behind them, and how they are placed.
    """
    if camera is None and backdrop is None and other is None:
        return Picture(person.pixels, person.labels, person.coverage)
    front = _Layer.move(person, camera or STILL)
    if backdrop is None:
        behind = _reflect(person, camera or STILL, front)
    else:
        behind = Picture(backdrop, torch.zeros_like(person.labels), torch.zeros_like(person.coverage))
    if other is not None:
        behind = _Layer.move(*other).over(behind)
    return front.over(behind)


@dataclass(frozen=True)
class _Layer:
    """A moved person without the backdrop; beyond the border of the render there is nobody.

    Attributes:
        colors: pixels times alpha.
        alpha: share of each pixel that the person covers.
        coverage: share that their hair covers.
        labels: ids, background where the person is not.
    """

    colors: Pixels
    alpha: Tensor
    coverage: Tensor
    labels: Tensor

    @classmethod
    def move(cls, person: Person, camera: Camera) -> "_Layer":
        grid = camera.grid(person.size)
        inside = (grid.abs() <= 1).all(-1)[0]
        stack = torch.cat([person.pixels * person.alpha, person.alpha[None], person.coverage[None]])
        moved = F.grid_sample(stack[None], grid, padding_mode="zeros", align_corners=False)[0] * inside
        labels = torch.where(inside, _move_labels(person, camera, "zeros"), BACKGROUND)
        return cls(moved[:3], moved[3], moved[4], labels)

    def over(self, behind: Picture) -> Picture:
        """Return this person in front of a picture."""
        clear = 1 - self.alpha
        coverage = (self.coverage + clear * behind.coverage).clamp(0, 1)
        labels = torch.where(self.labels == BACKGROUND, behind.labels, self.labels)
        # Nearest neighbors leave labels of hair where no hair is left.
        labels = torch.where((labels == HAIR) & (coverage < 0.3), BACKGROUND, labels)
        return Picture(self.colors + clear * behind.pixels, labels, coverage)


def _reflect(person: Person, camera: Camera, front: _Layer) -> Picture:
    """Return the moved render, mirrored beyond its border, without labels and hair where the person will be."""
    grid = camera.grid(person.size)
    stack = torch.cat([person.pixels, person.coverage[None]])
    moved = F.grid_sample(stack[None], grid, padding_mode="reflection", align_corners=False)[0]
    empty = front.alpha == 0
    labels = torch.where(empty, _move_labels(person, camera, "reflection"), BACKGROUND)
    return Picture(moved[:3], labels, moved[3] * empty)


def _move_labels(person: Person, camera: Camera, padding: str) -> Tensor:
    labels = torch.tensor(MIRRORED)[person.labels] if camera.mirrors else person.labels
    grid = camera.grid(person.size)
    moved = F.grid_sample(labels[None, None].float(), grid, mode="nearest", padding_mode=padding, align_corners=False)
    return moved[0, 0].long()

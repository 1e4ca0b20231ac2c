"""Compose snapshots with a known truth: rendered people in larger pictures, before and after an edit.

A scene shows a held-out person, turned and scaled, in front of clutter and beside other people, and goes through JPEG.
Its truth is the same scene with the person rendered in other hair. All of it follows from one seed.
"""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch.nn import functional as F

from hairclip.editing.blending.fill import fill_smoothly
from hairclip.editing.blending.regions import dilate
from hairclip.editing.photo.align import FaceSquare
from hairclip.evaluation import renders
from hairclip.evaluation.cases import EditCase, held_out_people, make_cases
from hairclip.portraits.spec import PortraitSpec

__all__ = [
    "Cutout",
    "Scene",
    "compress",
    "cut_out",
    "draw_clutter",
    "make_scene",
    "make_scenes",
    "place",
    "place_square",
    "warp",
]

Pixels: TypeAlias = Float[np.ndarray, "height width channels"]
Affine: TypeAlias = Float[np.ndarray, "2 3"]
BELOW = 0.35
"""The last row of a portrait is repeated for this share of its height, so that no body ends in the air."""


@dataclass(frozen=True)
class Cutout:
    """A rendered person without the backdrop.

    Attributes:
        color: (height, width, 3) in [0, 255], continued outwards under transparent pixels.
        alpha: share of each pixel that the person covers, (height, width) in [0, 1].
        hair: pixels of hair, (height, width).
        hair_alpha: share of each pixel that hair covers, (height, width) in [0, 1].
        landmarks: eyes, nose and mouth corners in pixels, (5, 2).
    """

    color: Float[np.ndarray, "height width 3"]
    alpha: Float[np.ndarray, "height width"]
    hair: Bool[np.ndarray, "height width"]
    hair_alpha: Float[np.ndarray, "height width"]
    landmarks: Float[np.ndarray, "5 2"]


@dataclass(frozen=True)
class Scene:
    """A snapshot and what its edit should be.

    Attributes:
        photo: the picture to edit, decoded from JPEG.
        truth: the same picture with the requested hair, without JPEG.
        hair: hair of the person in `photo` or in `truth`, (height, width).
        old_hair: hair of the person in `photo`.
        new_hair: hair of the person in `truth`.
        square: where the rendered portrait lies in the photo.
        landmarks: eyes, nose and mouth corners of the person in pixels of the photo, (5, 2).
        case: the request.
        people: number of people in the photo.
    """

    photo: Image.Image
    truth: Image.Image
    hair: Bool[np.ndarray, "height width"]
    old_hair: Bool[np.ndarray, "height width"]
    new_hair: Bool[np.ndarray, "height width"]
    square: FaceSquare
    landmarks: Float[np.ndarray, "5 2"]
    case: EditCase
    people: int


def make_scenes(count: int, seed: int = 0, size: int = 256) -> Iterator[Scene]:
    """Yield scenes with one to three people each. The largest person is the one to edit.

    Args:
        count: number of scenes.
        seed: seed of people, requests and composition.
        size: height and width of the rendered portraits in pixels.
    """
    cases = make_cases(count, seed + 7919)  # not the people of `make_cases` with the same seed
    others = held_out_people(seed + 104729)
    for index, case in enumerate(cases):
        random = np.random.default_rng([seed, index, 4])
        yield make_scene(case, [next(others) for _ in range(int(random.integers(3)))], random, size)


def make_scene(case: EditCase, others: Sequence[PortraitSpec], random: np.random.Generator, size: int = 256) -> Scene:
    """Return one scene of about 900 x 700 pixels."""
    width, height = (int(random.integers(low, high)) for low, high in ((760, 1000), (600, 800)))
    backdrop = draw_clutter(width, height, random)
    side = float(random.uniform(0.48, 0.7)) * height
    at = (float(random.uniform(0.3, 0.7)) * width, float(random.uniform(0.42, 0.56)) * height)
    matrix = place_square(size, side, math.radians(float(random.uniform(-22, 22))), at)
    lower_left = False
    for other in others:  # behind the person, smaller, on alternate sides
        lower_left = not lower_left
        x = at[0] + (-1 if lower_left else 1) * side * float(random.uniform(0.75, 0.95))
        turn = math.radians(float(random.uniform(-15, 15)))
        their_matrix = place_square(size, side * float(random.uniform(0.5, 0.75)), turn, (x, at[1] + 0.1 * side))
        backdrop = place(backdrop, cut_out(other, size), their_matrix)
    before, after = cut_out(case.source, size), cut_out(case.truth, size)
    photo, truth = (place(backdrop, person, matrix) for person in (before, after))
    old, new = (
        warp(np.asarray(person.hair, np.float32)[..., None], matrix, (width, height))[..., 0] > 0.5
        for person in (before, after)
    )
    corners = np.array([[0, 0], [0, size], [size, size], [size, 0]], np.float64)
    marks = np.asarray(before.landmarks, np.float64)
    return Scene(
        photo=compress(photo, int(random.integers(82, 97))),
        truth=_to_picture(truth),
        hair=old | new,
        old_hair=old,
        new_hair=new,
        square=FaceSquare(corners @ matrix[:, :2].T + matrix[:, 2] - 0.5),
        landmarks=marks @ matrix[:, :2].T + matrix[:, 2] - 0.5,
        case=case,
        people=1 + len(others),
    )


def place_square(size: int, side: float, turn: float, middle: tuple[float, float]) -> Affine:
    """Return the matrix from a portrait's pixels to the scene's. (0, 0) is the corner of the first pixel in both."""
    scale = side / size
    rotation = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return np.concatenate([rotation, (np.array(middle) - rotation @ np.full(2, size / 2))[:, None]], axis=1)


def place(picture: Pixels, person: Cutout, matrix: Affine) -> Pixels:
    """Return the picture with the person laid over it."""
    size = picture.shape[1], picture.shape[0]
    layer = np.concatenate([person.color * person.alpha[..., None], 255.0 * person.alpha[..., None]], axis=-1)
    # Premultiplied: nothing leaks in from under transparent parts.
    warped = warp(layer.astype(np.float32), matrix, size)
    return warped[..., :3] + picture * (1.0 - warped[..., 3:] / 255.0)


def warp(layer: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return each channel of (H, W, C) resampled into a scene of (width, height), 0 outside the layer."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    channels = []
    for channel in np.moveaxis(np.asarray(layer, np.float32), -1, 0):
        framed = Image.fromarray(np.pad(channel, 2))  # a clear rim, so that edges fade within a pixel
        moved = inverse.copy()
        moved[:, 2] += 2
        warped = framed.transform(size, Image.Transform.AFFINE, tuple(moved.ravel()), Image.Resampling.BICUBIC)
        channels.append(np.asarray(warped).clip(0, 255))
    return np.stack(channels, axis=-1)


def draw_clutter(width: int, height: int, random: np.random.Generator) -> Pixels:
    """Return a background of a gradient, large soft and hard shapes, stripes, and noise of several scales."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    corners = random.uniform(30, 225, (4, 3))
    u, v = (x / width)[..., None], (y / height)[..., None]
    picture = (corners[0] * (1 - u) + corners[1] * u) * (1 - v) + (corners[2] * (1 - u) + corners[3] * u) * v
    for _ in range(int(random.integers(4, 12))):
        radius = float(random.uniform(0.05, 0.3)) * height
        middle_x, middle_y = random.uniform(0, width), random.uniform(0, height)
        across, down = (x - middle_x) / radius, (y - middle_y) / (radius * random.uniform(0.5, 2.0))
        distance = np.hypot(across, down) if random.random() < 0.5 else np.maximum(np.abs(across), np.abs(down))
        soft = radius * float(random.choice([0.02, 0.3]))
        weight = ((1 - distance) * radius / soft).clip(0, 1)[..., None] * random.uniform(0.3, 0.9)
        picture = picture + weight * (random.uniform(20, 235, 3) - picture)
    if random.random() < 0.4:
        turn, wavelength = random.uniform(0, math.pi), float(random.uniform(12, 60))
        stripes = np.sin((x * math.cos(turn) + y * math.sin(turn)) * 2 * math.pi / wavelength)
        picture = picture + stripes[..., None] * random.uniform(3, 15)
    for octave in (4, 16, 64):
        noise = random.normal(0, 5.0, (height // octave + 2, width // octave + 2)).astype(np.float32)
        smooth = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        picture = picture + np.asarray(smooth)[..., None]
    grain = random.normal(0, float(random.uniform(0.5, 3.0)), (height, width, 3))
    return (picture + grain).clip(0, 255).astype(np.float32)


def _to_picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


def compress(pixels: Pixels, quality: int) -> Image.Image:
    """Return the picture after JPEG of this quality."""
    stored = io.BytesIO()
    _to_picture(pixels).save(stored, "JPEG", quality=quality)
    with Image.open(stored) as opened:
        return opened.convert("RGB")


# ------------------------------------------------------------------ people


def cut_out(spec: PortraitSpec, size: int = 256) -> Cutout:
    """Return a rendered person without the backdrop. The body goes on below the frame."""
    drawing = renders.draw(spec, size)
    labels, hair, coverage = drawing.labels, drawing.hair, drawing.hair_coverage
    person = torch.from_numpy((labels != 0) & ~hair)[None, None].float()
    body = F.avg_pool2d(F.pad(person, (1, 1, 1, 1), mode="replicate"), 3, stride=1)[0, 0].numpy()
    alpha = np.maximum(np.minimum(body, np.where(labels != 0, 1.0, body)), coverage)
    alpha = np.where(hair, np.maximum(alpha, coverage), alpha).clip(0, 1)
    # Pixels on the outline hold some backdrop: they take the color of the person next to them.
    solid = ~dilate(torch.from_numpy(alpha < 0.99)[None, None], 1)
    solid = solid | torch.from_numpy(alpha >= 0.999)[None, None] & torch.from_numpy(hair)[None, None]
    pixels = torch.from_numpy(drawing.image).permute(2, 0, 1)[None].float()
    filled = fill_smoothly(pixels * solid, solid.float())[0].permute(1, 2, 0).numpy()
    below = round(BELOW * size)
    fields = (filled, alpha, hair, coverage)
    longer = [np.concatenate([field, np.repeat(field[-1:], below, axis=0)]) for field in fields]
    return Cutout(
        color=longer[0],
        alpha=longer[1].astype(np.float32),
        hair=longer[2].astype(bool),
        hair_alpha=longer[3].astype(np.float32),
        landmarks=drawing.landmarks,
    )

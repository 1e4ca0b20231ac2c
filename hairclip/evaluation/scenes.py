"""Snapshots of which everything is known: rendered people composed into larger pictures, before and after the edit.

A scene shows a held-out person somewhere, turned and scaled, before clutter and beside other people, and is stored as
a JPEG. Its truth is the same scene with the person rendered in other hair. All of it follows from one seed.
"""

import hashlib
import io
import json
import math
import os
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
from hairclip.evaluation.cases import HAIR_LABEL, EditCase, cache_folder, held_out_people, make_cases
from hairclip.portraits.spec import PortraitSpec

__all__ = ["Cutout", "Scene", "cut_out", "make_scene", "make_scenes", "place"]

Pixels: TypeAlias = Float[np.ndarray, "height width channels"]
Affine: TypeAlias = Float[np.ndarray, "2 3"]
BELOW = 0.35  # the portrait's last row of pixels goes on for this share of its height: bodies do not end in the air


@dataclass(frozen=True)
class Cutout:
    """A rendered person without the backdrop."""

    color: Float[np.ndarray, "height width 3"]
    """[0, 255]; continued outwards under transparent pixels."""
    alpha: Float[np.ndarray, "height width"]
    """How much of each pixel is the person, [0, 1]."""
    hair: Bool[np.ndarray, "height width"]
    landmarks: Float[np.ndarray, "5 2"]


@dataclass(frozen=True)
class Scene:
    """A snapshot and what the edit should make of it."""

    photo: Image.Image
    """What is given to the editor, decoded from JPEG."""
    truth: Image.Image
    """The same with the asked hair, not compressed."""
    hair: Bool[np.ndarray, "height width"]
    """Hair of the person in `photo` or in `truth`."""
    old_hair: Bool[np.ndarray, "height width"]
    """Hair of the person in `photo`."""
    new_hair: Bool[np.ndarray, "height width"]
    """Hair of the person in `truth`."""
    square: FaceSquare
    """Where the rendered portrait lies."""
    landmarks: Float[np.ndarray, "5 2"]
    """Eyes, nose and mouth corners of the person in pixels of the photo."""
    case: EditCase
    people: int


def make_scenes(count: int, seed: int = 0, size: int = 256) -> Iterator[Scene]:
    """Scenes with one to three people each, of whom one, the largest, is to be edited; portraits are `size` pixels."""
    cases = make_cases(count, seed + 7919)  # not the people of `make_cases` with the same seed
    others = held_out_people(seed + 104729)
    for index, case in enumerate(cases):
        random = np.random.default_rng([seed, index, 4])
        yield make_scene(case, [next(others) for _ in range(int(random.integers(3)))], random, size)


def make_scene(case: EditCase, others: Sequence[PortraitSpec], random: np.random.Generator, size: int = 256) -> Scene:
    """Compose one scene of about 900 x 700 pixels."""
    width, height = (int(random.integers(low, high)) for low, high in ((760, 1000), (600, 800)))
    backdrop = clutter(width, height, random)
    side = float(random.uniform(0.48, 0.7)) * height
    at = (float(random.uniform(0.3, 0.7)) * width, float(random.uniform(0.42, 0.56)) * height)
    matrix = _placement(size, side, math.radians(float(random.uniform(-22, 22))), at)
    lower_left = False
    for other in others:  # behind the person, smaller, on alternate sides
        lower_left = not lower_left
        x = at[0] + (-1 if lower_left else 1) * side * float(random.uniform(0.75, 0.95))
        turn = math.radians(float(random.uniform(-15, 15)))
        their = _placement(size, side * float(random.uniform(0.5, 0.75)), turn, (x, at[1] + 0.1 * side))
        backdrop = place(backdrop, cut_out(other, size), their)
    before, after = cut_out(case.source, size), cut_out(case.truth, size)
    photo, truth = (place(backdrop, person, matrix) for person in (before, after))
    old, new = (
        _warp(np.asarray(person.hair, np.float32)[..., None], matrix, (width, height))[..., 0] > 0.5
        for person in (before, after)
    )
    corners = np.array([[0, 0], [0, size], [size, size], [size, 0]], np.float64)
    marks = np.asarray(before.landmarks, np.float64)
    return Scene(
        photo=_through_jpeg(photo, int(random.integers(82, 97))),
        truth=_picture(truth),
        hair=old | new,
        old_hair=old,
        new_hair=new,
        square=FaceSquare(corners @ matrix[:, :2].T + matrix[:, 2] - 0.5),
        landmarks=marks @ matrix[:, :2].T + matrix[:, 2] - 0.5,
        case=case,
        people=1 + len(others),
    )


def _placement(size: int, side: float, turn: float, middle: tuple[float, float]) -> Affine:
    """From pixels of a portrait to pixels of the scene, both counted from the corner of the first pixel."""
    scale = side / size
    rotation = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return np.concatenate([rotation, (np.array(middle) - rotation @ np.full(2, size / 2))[:, None]], axis=1)


def place(picture: Pixels, person: Cutout, matrix: Affine) -> Pixels:
    """Lay a person over a picture."""
    size = picture.shape[1], picture.shape[0]
    layer = np.concatenate([person.color * person.alpha[..., None], 255.0 * person.alpha[..., None]], axis=-1)
    # Premultiplied: nothing leaks in from under transparent parts.
    warped = _warp(layer.astype(np.float32), matrix, size)
    return warped[..., :3] + picture * (1.0 - warped[..., 3:] / 255.0)


def _warp(layer: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample each channel of (H, W, C) into a scene of (width, height), zero outside."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    channels = []
    for channel in np.moveaxis(np.asarray(layer, np.float32), -1, 0):
        framed = Image.fromarray(np.pad(channel, 2))  # a clear rim, so that edges fade within a pixel
        moved = inverse.copy()
        moved[:, 2] += 2
        warped = framed.transform(size, Image.Transform.AFFINE, tuple(moved.ravel()), Image.Resampling.BICUBIC)
        channels.append(np.asarray(warped).clip(0, 255))
    return np.stack(channels, axis=-1)


def clutter(width: int, height: int, random: np.random.Generator) -> Pixels:
    """A background: a gradient, large soft and hard shapes, stripes and noise of several scales."""
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


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


def _through_jpeg(pixels: Pixels, quality: int) -> Image.Image:
    stored = io.BytesIO()
    _picture(pixels).save(stored, "JPEG", quality=quality)
    with Image.open(stored) as opened:
        return opened.convert("RGB")


# ------------------------------------------------------------------ people


def cut_out(spec: PortraitSpec, size: int = 256) -> Cutout:
    """Render a person and take the backdrop away; the body goes on below the frame."""
    image, labels, coverage, landmarks = _rendered(spec, size)
    hair = labels == HAIR_LABEL
    person = torch.from_numpy((labels != 0) & ~hair)[None, None].float()
    body = F.avg_pool2d(F.pad(person, (1, 1, 1, 1), mode="replicate"), 3, stride=1)[0, 0].numpy()
    alpha = np.maximum(np.minimum(body, np.where(labels != 0, 1.0, body)), coverage)
    alpha = np.where(hair, np.maximum(alpha, coverage), alpha).clip(0, 1)
    # Pixels on the outline hold some backdrop: they take the colour of the person next to them.
    solid = ~dilate(torch.from_numpy(alpha < 0.99)[None, None], 1)
    solid = solid | torch.from_numpy(alpha >= 0.999)[None, None] & torch.from_numpy(hair)[None, None]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    filled = fill_smoothly(pixels * solid, solid.float())[0].permute(1, 2, 0).numpy()
    below = round(BELOW * size)
    longer = [np.concatenate([field, np.repeat(field[-1:], below, axis=0)]) for field in (filled, alpha, hair)]
    return Cutout(longer[0], longer[1].astype(np.float32), longer[2].astype(bool), landmarks)


def _rendered(spec: PortraitSpec, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image, labels, hair coverage and landmarks of one portrait, rendered once on this machine."""
    key = hashlib.sha256(json.dumps([spec.to_dict(), size, "scene"], sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder() / "scenes" / f"{key}.npz"
    try:
        with np.load(path) as stored:
            return stored["image"], stored["labels"], stored["coverage"], stored["landmarks"]
    except (OSError, ValueError, KeyError, EOFError):
        pass
    from hairclip.portraits.render import render_portrait

    portrait = render_portrait(spec, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{key}.{os.getpid()}.npz")
    np.savez_compressed(
        partial,
        image=portrait.image,
        labels=portrait.labels,
        coverage=portrait.hair_coverage,
        landmarks=portrait.landmarks,
    )
    partial.replace(path)
    return portrait.image, portrait.labels, portrait.hair_coverage, portrait.landmarks

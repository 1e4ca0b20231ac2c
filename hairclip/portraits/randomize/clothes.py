"""Dress a person: clothes of any texture, hats, caps, headbands, scarves and glasses."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from hairclip.common.face_labels import BACKGROUND, CELEBAMASK_CLASSES, HAIR
from hairclip.portraits.randomize.dice import Dice
from hairclip.portraits.randomize.noise import fractal_noise, pixel_grid
from hairclip.portraits.randomize.person import Person, cover, soften
from hairclip.portraits.randomize.shapes import Canvas

__all__ = ["put_on_collar", "put_on_glasses", "put_on_hat", "put_on_scarf", "retexture_clothes"]

CLOTH, HAT, GLASSES = (CELEBAMASK_CLASSES.index(name) for name in ("cloth", "hat", "eye_g"))
_OFF_FACE = [BACKGROUND, HAIR, *(CELEBAMASK_CLASSES.index(name) for name in ("neck", "neck_l", "cloth", "hat"))]


def retexture_clothes(dice: Dice, person: Person) -> Person:
    """Make the clothes of another texture; their folds stay."""
    cloth = person.labels == CLOTH
    if not bool(cloth.any()):
        return person
    light = person.pixels.mean(0)
    folds = light / light[cloth].mean().clamp_min(0.05)
    return replace(person, pixels=torch.where(cloth, (dice.texture(person.size) * folds).clamp(0, 1), person.pixels))


def put_on_glasses(dice: Dice, person: Person) -> Person:
    """Put on glasses, clear or dark, behind the hair that hangs before them."""
    rings, lenses = Canvas(person.size), Canvas(person.size)
    eyes = [(float(x), float(y)) for x, y in person.landmarks[:2]]
    distance = float(np.hypot(eyes[1][0] - eyes[0][0], eyes[1][1] - eyes[0][1]))
    width = distance * dice.uniform(0.3, 0.45)
    height, line = width * dice.uniform(0.6, 1.05), dice.whole(1, 5)
    is_round = dice.happens(0.5)
    for side, (x, y) in zip((-1, 1), eyes, strict=True):
        box = [x - width, y - height, x + width, y + height]
        frame = rings.draw.ellipse if is_round else rings.draw.rectangle
        frame(box, outline=255, width=line)
        (lenses.draw.ellipse if is_round else lenses.draw.rectangle)(box, fill=255)
        temple = [x + side * width, y, x + side * width * 2.2, y - 0.05 * distance]
        rings.draw.line(temple, fill=255, width=line)
    rings.draw.line([*eyes[0], *eyes[1]], fill=255, width=line)
    before_hair = 1 - person.coverage
    darkness = dice.uniform(0, 0.95) if dice.happens(0.4) else dice.uniform(0, 0.15)
    lens, ring = lenses.mask() * before_hair, rings.mask() * before_hair
    pixels = person.pixels + lens * darkness * (0.3 * dice.color() - person.pixels)
    tinted = replace(person, pixels=pixels, labels=torch.where(lens > 0.5, GLASSES, person.labels))
    return cover(tinted, ring, dice.color(), GLASSES)


def put_on_hat(dice: Dice, person: Person) -> Person:
    """Put on a hat, with or without a brim, or a headband."""
    across, above = _head_axes(person)
    length = person.face_length
    low, wide, high = (length * dice.uniform(*span) for span in ((0.35, 0.75), (1.0, 1.35), (1.0, 1.7)))
    bent = low + 0.1 * across.abs() * dice.uniform(-0.5, 1)
    hat: Bool[Tensor, "height width"] = (
        (across / wide).square() + ((above - low).clamp_min(0) / high).square() < 1
    ) & (above > bent)
    if dice.happens(0.5):
        brim_width, brim_height = wide * dice.uniform(1.05, 1.7), length * dice.uniform(0.12, 0.3)
        hat = hat | ((across / brim_width).square() + ((above - low) / brim_height).square() < 1)
    if dice.happens(0.25):
        hat = hat & (above < low + length * dice.uniform(0.15, 0.4))
    roundness = torch.exp(-0.4 * (across / wide).square() * dice.uniform(0, 2))
    folds = torch.exp(0.15 * fractal_noise(dice, person.size, 2, 3))
    return cover(person, soften(hat), (dice.texture(person.size) * roundness * folds).clamp(0, 1), HAT)


def put_on_collar(dice: Dice, person: Person) -> Person:
    """Put collars, lapels or a hood beside the neck; hair hangs before them, or into them."""
    canvas, length = Canvas(person.size), person.face_length
    middle, mouth = (float(value) for value in person.mouth)
    top = mouth + length * dice.uniform(0.35, 1.1)
    for side in (-1, 1):
        inner = middle + side * length * dice.uniform(0.35, 0.75)
        outer = middle + side * length * dice.uniform(0.8, 1.5)
        points = [
            (inner, top + length * dice.uniform(-0.1, 0.25)),
            (outer, top + length * dice.uniform(-0.15, 0.35)),
            (outer + side * length * dice.uniform(-0.2, 0.6), top + length * dice.uniform(0.8, 2)),
            (middle + side * length * dice.uniform(0, 0.5), top + length * dice.uniform(0.6, 1.6)),
        ]
        canvas.draw.polygon(points, fill=255)
    collar = canvas.mask(dice.uniform(0.5, 1.5)) * torch.isin(person.labels, torch.tensor(_OFF_FACE))
    if dice.happens(0.6):
        collar = collar * (1 - person.coverage)
    if dice.happens(0.6):
        cloth = dice.texture(person.size) * torch.exp(0.25 * fractal_noise(dice, person.size, 3, 3))
    else:
        cloth = dice.color() * torch.exp(0.2 * fractal_noise(dice, person.size, 3, 3))
    return cover(person, collar, cloth.clamp(0, 1), CLOTH)


def put_on_scarf(dice: Dice, person: Person) -> Person:
    """Put a scarf around the neck, over hair that hangs there."""
    x, y = pixel_grid(person.size)
    length, (middle, mouth) = person.face_length, (float(value) for value in person.mouth)
    top = mouth + length * dice.uniform(0.9, 1.3)
    wide, high = length * dice.uniform(0.9, 1.6), length * dice.uniform(0.3, 0.6)
    scarf = ((x - middle) / wide).square() + ((y - top) / high).square() < 1
    folds = torch.exp(0.2 * fractal_noise(dice, person.size, 3, 3))
    return cover(person, soften(scarf), (dice.texture(person.size) * folds).clamp(0, 1), CLOTH)


def _head_axes(person: Person) -> tuple[Tensor, Tensor]:
    """Return, in pixels from the middle of the eyes, how far each pixel lies across the face and up the forehead."""
    up = (person.eyes - person.mouth) / person.face_length
    x, y = pixel_grid(person.size)
    x, y = x - float(person.eyes[0]), y - float(person.eyes[1])
    return -x * float(up[1]) + y * float(up[0]), x * float(up[0]) + y * float(up[1])

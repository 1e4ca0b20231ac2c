"""Change the light of a picture: uneven light, shadows with sharp or soft edges, stage lights."""

from dataclasses import replace

import torch

from hairclip.portraits.randomize.dice import Dice
from hairclip.portraits.randomize.noise import smooth_noise, unit_grid
from hairclip.portraits.randomize.person import Picture
from hairclip.portraits.randomize.shapes import Canvas

__all__ = ["add_stage_light", "cast_shadow", "light_unevenly"]


def light_unevenly(dice: Dice, picture: Picture) -> Picture:
    """Brighten and darken parts smoothly."""
    light = smooth_noise(dice, picture.size, dice.pick((2, 3, 4))) * dice.uniform(0, 0.5)
    return replace(picture, pixels=picture.pixels * torch.exp(light))


def cast_shadow(dice: Dice, picture: Picture) -> Picture:
    """Cast the shadow of something with four corners, from sharp to soft."""
    canvas = Canvas(picture.size)
    corners = [tuple(value * picture.size for value in dice.point(-0.3, 1.3)) for _ in range(4)]
    canvas.draw.polygon(corners, fill=255)
    shadow = canvas.mask(dice.uniform(0.5, 6)) * dice.uniform(0.2, 0.75)
    return replace(picture, pixels=picture.pixels * (1 - shadow))


def add_stage_light(dice: Dice, picture: Picture) -> Picture:
    """Brighten or darken a round part, each color channel by an amount of its own."""
    (x, y), (middle_x, middle_y) = unit_grid(picture.size), dice.point(-1, 1)
    spot = torch.exp(-((x - middle_x).square() + (y - middle_y).square()) / dice.uniform(0.1, 1.5))
    color = torch.tensor([dice.uniform(-0.6, 1.2) for _ in range(3)])[:, None, None]
    return replace(picture, pixels=picture.pixels * (1 + spot * color))

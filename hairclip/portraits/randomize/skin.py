"""Change the look of a person's skin: its tone, and a beard, which is skin to the labels."""

from dataclasses import replace

import torch

from hairclip.common.face_labels import CELEBAMASK_CLASSES
from hairclip.portraits.randomize.dice import Dice
from hairclip.portraits.randomize.noise import fractal_noise, pixel_grid, smooth_noise
from hairclip.portraits.randomize.person import Person

__all__ = ["grow_beard", "tint_skin"]

_SKIN = CELEBAMASK_CLASSES.index("skin")
_FACE = [
    CELEBAMASK_CLASSES.index(name)
    for name in (
        "skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip", "l_lip", "neck",
    )
]  # fmt: skip


def tint_skin(dice: Dice, person: Person) -> Person:
    """Give face and neck another tone, and spots."""
    face = torch.isin(person.labels, torch.tensor(_FACE))
    spots = fractal_noise(dice, person.size, dice.pick((2, 8, 32)), 5, 0.9) * dice.uniform(0, 0.12)
    tone = 1 + dice.white_noise(3, 1, 1) * 0.07
    return replace(person, pixels=torch.where(face, person.pixels * tone * torch.exp(spots), person.pixels))


def grow_beard(dice: Dice, person: Person) -> Person:
    """Draw stubble or a beard around the mouth; it stays skin, because no edit of hair is meant for it."""
    length, (_, y) = person.face_length, pixel_grid(person.size)
    top = person.mouth[1] - length * dice.uniform(0.1, 0.35)
    bottom = person.mouth[1] + length * dice.uniform(0.5, 1.0)
    within = torch.sigmoid((y - top) / (0.08 * length)) * torch.sigmoid((bottom - y) / (0.06 * length))
    density = torch.sigmoid(smooth_noise(dice, person.size, person.size // 3) * 2 + dice.uniform(-1.5, 2))
    mask = within * density * (person.labels == _SKIN)
    color = dice.hair_color(0.4, 1.1, darkest=0.0)
    return replace(person, pixels=person.pixels + mask * (color - person.pixels) * dice.uniform(0.2, 0.95))

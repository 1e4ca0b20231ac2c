"""Change the look of a person's hair: its color, its strands, its shade. Its outline stays."""

from dataclasses import replace

import torch

from hairclip.portraits.randomize.dice import Dice
from hairclip.portraits.randomize.noise import fractal_noise, hair_noise, smooth_noise, streaks
from hairclip.portraits.randomize.person import Person

__all__ = ["add_strands", "recolor_hair", "shade_hair"]


def recolor_hair(dice: Dice, person: Person) -> Person:
    """Give the hair a natural color, some with other tips or highlights."""
    hair = person.coverage > 0.5
    if not bool(hair.any()):
        return person
    light = person.pixels.mean(0)
    level = (light / light[hair].mean().clamp_min(0.02)).clamp(0, 4) ** dice.uniform(0.5, 1.3)
    sheen = dice.uniform(0, 0.12) * (level - 1).clamp_min(0)
    colored = (dice.hair_color(0.5, 1.4, 0.04) * level + sheen).clamp(0, 1)
    pixels = person.pixels + person.coverage * (colored - person.pixels)
    if dice.happens(0.3):
        if dice.happens(0.5):
            height = torch.linspace(0, 1, person.size)[:, None].expand(person.size, person.size)
            share = torch.sigmoid((height - dice.uniform(0.2, 0.8)) * dice.uniform(4, 20))
        else:
            share = torch.sigmoid(hair_noise(dice, person.size) * 3 - 2)
        other = dice.hair_color(1, 1) * level
        pixels = pixels + person.coverage * share * (other - pixels) * dice.uniform(0.3, 1)
    return replace(person, pixels=pixels)


def add_strands(dice: Dice, person: Person) -> Person:
    """Draw strands along the rendered ones, by line integral convolution, some of them with glints."""
    if not bool((person.coverage > 0.5).any()):
        return person
    angle = 0.5 * torch.atan2(person.direction[1], person.direction[0])
    angle = angle + smooth_noise(dice, person.size, dice.whole(3, 30)) * dice.uniform(0, 0.5)
    strands = streaks(dice, torch.stack([angle.cos(), angle.sin()]), dice.whole(8, 40))
    pixels = person.pixels * torch.exp(person.coverage * strands * dice.uniform(0.05, 0.5))
    if dice.happens(0.5):
        glints = torch.relu(strands - 1) * dice.uniform(0, 0.25)
        pixels = pixels + person.coverage * glints * dice.color()
    return replace(person, pixels=pixels)


def shade_hair(dice: Dice, person: Person) -> Person:
    """Lay light and shadow over the hair."""
    shade = fractal_noise(dice, person.size, 3, 4) * dice.uniform(0, 0.5)
    return replace(person, pixels=person.pixels * torch.exp(person.coverage * shade))

"""Make pictures of something: cloth, walls, foliage, clutter, hair. Backdrops, clothes and hats are cut out of them."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from hairclip.common.progress import progress_bar
from hairclip.portraits.randomize.dice import Dice, Pixels
from hairclip.portraits.randomize.noise import fractal_noise, hair_noise, smooth_noise, unit_grid

__all__ = ["TextureBank", "make_texture"]

_MOST_LAYERS = 2
"""How many cluttered pictures may lie on each other."""


def make_texture(rng: np.random.Generator, size: int) -> Pixels:
    """Return a random texture in [0, 1], some of them out of focus, unevenly lit or dark."""
    dice = Dice(rng, make_texture)
    picture = _paint(dice, size, layers=0)
    if dice.happens(0.55):
        picture = _defocus(picture, dice.pick((1, 2, 4, 8, 12)))
    if dice.happens(0.5):
        picture = picture * (1 + 0.3 * smooth_noise(dice, size, 3))
    if dice.happens(0.3):
        picture = picture * dice.uniform(0.05, 0.5)
    return picture.clamp(0, 1)


class TextureBank:
    """Textures that are made once. Cutting one out of the bank takes a hundredth of the time of making it."""

    def __init__(self, count: int = 400, size: int = 384, seed: int = 123, *, progress: bool = False) -> None:
        """Make the textures.

        Args:
            count: how many.
            size: their height and width in pixels, the most that can be cut out.
            seed: seed of all of them.
            progress: whether to show a progress bar.
        """
        bar = progress_bar(range(count), label="textures", show=progress, leave=False)
        made = [make_texture(np.random.default_rng([seed, index]), size) for index in bar]
        self._textures: UInt8[Tensor, "count 3 size size"] = torch.stack(
            [texture.mul(255).round().byte() for texture in made]
        )

    def __call__(self, rng: np.random.Generator, size: int) -> Pixels:
        """Return a cut of a texture, turned, mirrored and in other colors."""
        dice = Dice(rng, make_texture)
        texture = self._textures[dice.whole(0, len(self._textures))]
        y, x = (dice.whole(0, texture.shape[-1] - size + 1) for _ in range(2))
        cut = texture[:, y : y + size, x : x + size].float() / 255
        if dice.happens(0.5):
            cut = cut.flip(-1)
        if dice.happens(0.5):
            cut = cut.rot90(dice.whole(1, 4), (1, 2))
        if dice.happens(0.5):
            cut = cut[torch.from_numpy(rng.permutation(3))]
        return (cut * dice.tint(0.25) * dice.factor(0.4)).clamp(0, 1)


def _paint(dice: Dice, size: int, layers: int) -> Pixels:
    kind = dice.uniform(0, 1)
    if kind < 0.2:
        return _clouds(dice, size)
    if kind < 0.32:
        return _gradient(dice, size)
    if kind < 0.45:
        return _stripes(dice, size)
    if kind < 0.6:
        return _hair(dice, size)
    if kind < 0.68:
        return dice.color() + dice.uniform(0, 0.05) * fractal_noise(dice, size, 8, 5, 0.9)
    return _clutter(dice, size, layers)


def _clouds(dice: Dice, size: int) -> Pixels:
    first, second, third = (dice.color() for _ in range(3))
    large = fractal_noise(dice, size, dice.whole(1, 8), 6, dice.uniform(0.4, 0.85)) * dice.uniform(0.5, 3)
    small = fractal_noise(dice, size, dice.whole(1, 8), 4) * 2
    return first + (second - first) * torch.sigmoid(large) + (third - first) * torch.sigmoid(small) * 0.5


def _gradient(dice: Dice, size: int) -> Pixels:
    first, second = dice.color(), dice.color()
    x, y = unit_grid(size)
    angle = dice.uniform(0, 2 * math.pi)
    along = (x * math.cos(angle) + y * math.sin(angle)) * dice.uniform(0.2, 1) + dice.uniform(0, 1)
    return first + (second - first) * along.clamp(0, 1)


def _stripes(dice: Dice, size: int) -> Pixels:
    """Return stripes, or checks, a little bent."""
    first, second = dice.color(), dice.color()
    x, y = unit_grid(size)
    angle, frequency = dice.uniform(0, 2 * math.pi), dice.uniform(2, 40)
    bend = smooth_noise(dice, size, 4) * dice.uniform(0, 0.15)
    wave = torch.sin((x * math.cos(angle) + y * math.sin(angle) + bend) * frequency)
    if dice.happens(0.4):
        wave = wave * torch.sin((x * math.sin(angle) - y * math.cos(angle) + bend) * frequency)
    return first + (second - first) * torch.sigmoid(wave * dice.uniform(1, 10))


def _hair(dice: Dice, size: int) -> Pixels:
    """Return streaks in a hair color: what looks like hair is not always hair."""
    strands = hair_noise(dice, size) * dice.uniform(0.1, 0.45)
    shade = fractal_noise(dice, size, 2, 3) * dice.uniform(0, 0.5)
    return dice.hair_color(0.5, 1.4, darkest=0.0) * torch.exp(strands + shade)


def _clutter(dice: Dice, size: int, layers: int) -> Pixels:
    """Return shapes and letters before another texture."""
    ground = _paint(dice, size, layers + 1) if layers < _MOST_LAYERS else dice.color().expand(3, size, size)
    pixels = ground.clamp(0, 1).mul(255).byte().permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for _ in range(dice.whole(2, 30)):
        _draw_thing(dice, draw, size)
    return torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)


def _draw_thing(dice: Dice, draw: ImageDraw.ImageDraw, size: int) -> None:
    x, y = (value * size for value in dice.point(-0.2, 1.1))
    width, height = (value * size for value in dice.point(0.02, 0.6))
    color = tuple(int(value * 255) for value in dice.color().flatten().tolist())
    kind = dice.uniform(0, 1)
    if kind < 0.3:
        draw.rectangle([x, y, x + width, y + height], fill=color)
    elif kind < 0.55:
        draw.ellipse([x, y, x + width, y + height], fill=color)
    elif kind < 0.75:
        end = [value * size for value in dice.point(-0.2, 1.2)]
        draw.line([x, y, *end], fill=color, width=dice.whole(1, 14))
    elif kind < 0.9:
        corners = [tuple(value * size for value in dice.point(-0.1, 1.1)) for _ in range(dice.whole(3, 7))]
        draw.polygon(corners, fill=color)
    else:
        letters = "".join(chr(dice.whole(65, 90)) for _ in range(6))
        draw.text((x, y), letters, fill=color, font_size=dice.whole(10, 60))


def _defocus(picture: Pixels, cell: int) -> Pixels:
    """Return the picture without detail below `cell` pixels."""
    if cell == 1:
        return picture
    coarse = F.avg_pool2d(picture[None], cell, ceil_mode=True)
    return F.interpolate(coarse, size=picture.shape[-2:], mode="bicubic", align_corners=False)[0]

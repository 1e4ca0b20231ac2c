"""Painted people of flat colors, and a parser that knows them by these colors."""

import numpy as np
import torch
from PIL import Image, ImageDraw

from hairclip.common.face_labels import CELEBAMASK_CLASSES
from hairclip.common.images import resize_area
from hairclip.editing.photo.align import FaceSquare
from hairclip.networks.face_parser import FaceParser

COLORS = {"background": (40, 60, 160), "skin": (220, 170, 140), "hair": (90, 40, 20), "hat": (30, 160, 60)}


class ColorParser(FaceParser):
    """Knows classes by their color alone, a little unsure."""

    def __init__(self) -> None:
        super().__init__(128)
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def logits(self, images):
        pixels = resize_area(images, self.input_size)
        logits = torch.full((len(images), len(CELEBAMASK_CLASSES), *pixels.shape[-2:]), -20.0)
        for name, color in COLORS.items():
            apart = pixels - torch.tensor(color).view(1, 3, 1, 1) / 127.5 + 1
            logits[:, CELEBAMASK_CLASSES.index(name)] = -4.0 * apart.square().sum(dim=1).sqrt()
        return logits


def square_at(x: float, y: float, side: float) -> FaceSquare:
    half = side / 2
    return FaceSquare(
        np.array([[x - half, y - half], [x - half, y + half], [x + half, y + half], [x + half, y - half]])
    )


def draw_person(draw: ImageDraw.ImageDraw, x: int, y: int, side: int, *, hair: bool = True, hat: bool = False) -> None:
    """Draw a face of FFHQ's square `side`, with hair down to 1.4 sides below the middle of the face."""
    if hair:
        draw.ellipse((x - 0.42 * side, y - 0.48 * side, x + 0.42 * side, y + 0.4 * side), fill=COLORS["hair"])
        draw.rectangle((x - 0.42 * side, y, x - 0.28 * side, y + 1.4 * side), fill=COLORS["hair"])
    draw.ellipse((x - 0.28 * side, y - 0.3 * side, x + 0.28 * side, y + 0.4 * side), fill=COLORS["skin"])
    if hat:
        draw.rectangle((x - 0.45 * side, y - 0.6 * side, x + 0.45 * side, y - 0.15 * side), fill=COLORS["hat"])


def paint(width: int = 600, height: int = 800) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    photo = Image.new("RGB", (width, height), COLORS["background"])
    return photo, ImageDraw.Draw(photo)

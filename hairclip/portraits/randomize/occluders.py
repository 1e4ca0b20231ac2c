"""Put things and hands in front of a picture."""

import math

from hairclip.common.face_labels import BACKGROUND
from hairclip.portraits.randomize.dice import Dice
from hairclip.portraits.randomize.person import Picture, cover
from hairclip.portraits.randomize.shapes import Canvas

__all__ = ["put_in_front", "raise_hand"]


def put_in_front(dice: Dice, picture: Picture) -> Picture:
    """Put one to three shapes in front, of any texture or of the color of skin."""
    size, canvas = picture.size, Canvas(picture.size)
    for _ in range(dice.whole(1, 4)):
        x, y = (value * size for value in dice.point(0, 1))
        radius = dice.uniform(0.05, 0.2) * size
        if dice.happens(0.5):
            canvas.draw.ellipse([x - radius, y - radius * dice.uniform(0.4, 1.5), x + radius, y + radius], fill=255)
        else:
            end = [value * size for value in dice.point(0, 1)]
            canvas.draw.line([x, y, *end], fill=255, width=max(1, int(radius / 2)))
    color = dice.skin_color(0.7, 1.1) if dice.happens(0.6) else dice.texture(size)
    return cover(picture, canvas.mask(dice.uniform(0.5, 2)), color, BACKGROUND)


def raise_hand(dice: Dice, picture: Picture) -> Picture:
    """Put a hand of two to four fingers in front, darker towards its outline."""
    size, canvas = picture.size, Canvas(picture.size)
    x, y = (value * size for value in dice.point(0.1, 0.9))
    angle, width = dice.uniform(0, 2 * math.pi), dice.uniform(0.03, 0.06) * size
    along, aside = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    for finger in range(dice.whole(2, 5)):
        root_x, root_y = (p + way * finger * width * 1.05 for p, way in zip((x, y), aside, strict=True))
        length = width * dice.uniform(3, 5)
        tip_x = root_x + math.cos(angle + finger * 0.06) * length
        tip_y = root_y + math.sin(angle + finger * 0.06) * length
        canvas.draw.line([root_x, root_y, tip_x, tip_y], fill=255, width=max(1, int(width)))
        _draw_disk(canvas, tip_x, tip_y, width / 2)
    palm = [p - 1.6 * width * a + 1.5 * width * b for p, a, b in zip((x, y), along, aside, strict=True)]
    _draw_disk(canvas, palm[0], palm[1], width * 2.4)
    color = dice.skin_color(0.8, 1.1) * (0.45 + 0.55 * canvas.mask(width * 0.4))
    return cover(picture, canvas.mask(1), color, BACKGROUND)


def _draw_disk(canvas: Canvas, x: float, y: float, radius: float) -> None:
    canvas.draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)

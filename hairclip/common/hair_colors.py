"""The twelve hair colors of HairCLIP as sRGB. It stands apart, because it is read without loading PyTorch."""

from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["NAMED_RGB", "Rgb"]

Rgb: TypeAlias = tuple[int, int, int]
"""A color in sRGB, each part 0 to 255."""

NAMED_RGB: Mapping[str, Rgb] = {
    "purple": (118, 62, 158),
    "red": (168, 38, 40),
    "orange": (214, 116, 40),
    "yellow": (232, 208, 64),
    "green": (58, 142, 78),
    "blue": (48, 84, 176),
    "gray": (142, 142, 146),
    "brown": (96, 64, 44),
    "black": (28, 25, 26),
    "white": (228, 226, 222),
    "blond": (206, 174, 120),
    "pink": (228, 134, 168),
}
"""The colors as a hairdresser's chart shows them in daylight."""

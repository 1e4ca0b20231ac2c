"""The tables people are made of: hairstyles, hair colors, skins, eyes, backgrounds, clothes and face shapes.

Colors are linear RGB.
"""

from __future__ import annotations

Rgb = tuple[float, float, float]
"""Red, green and blue of linear light, in [0, 1]."""

BALD = "bald"
"""The style without hair."""

# HairCLIP's names (its list of 44 hairstyles), and three plain ones.
STYLE_NAMES = (
    "afro", "bob cut", "bowl cut", "caesar cut", "cornrows", "crew cut", "crown braid", "dreadlocks", "finger waves",
    "hi-top fade", "hime cut", "mohawk", "perm", "pixie cut", "ringlets", "slicked-back", "spiky hair", "undercut",
    "updo", "long straight", "long wavy", BALD,
)  # fmt: skip

# HairCLIP's 12 colors: (linear RGB, jitter of hue in turns, of saturation, of brightness in stops).
COLORS: dict[str, tuple[Rgb, tuple[float, float, float]]] = {
    "purple": ((0.26, 0.06, 0.42), (0.025, 0.10, 0.35)),
    "red": ((0.50, 0.018, 0.024), (0.008, 0.02, 0.30)),
    "orange": ((0.72, 0.20, 0.015), (0.010, 0.05, 0.18)),
    "yellow": ((0.84, 0.62, 0.035), (0.008, 0.06, 0.14)),
    "green": ((0.05, 0.36, 0.09), (0.030, 0.12, 0.35)),
    "blue": ((0.03, 0.12, 0.52), (0.022, 0.10, 0.35)),
    "gray": ((0.24, 0.24, 0.25), (0.0, 0.10, 0.22)),
    "brown": ((0.130, 0.056, 0.024), (0.010, 0.08, 0.32)),
    "black": ((0.014, 0.012, 0.012), (0.030, 0.10, 0.30)),
    "white": ((0.86, 0.85, 0.83), (0.020, 0.02, 0.08)),
    "blond": ((0.60, 0.42, 0.20), (0.008, 0.06, 0.20)),
    "pink": ((0.86, 0.25, 0.42), (0.015, 0.08, 0.16)),
}
COLOR_NAMES = tuple(COLORS)
NATURAL_COLORS = ("black", "brown", "blond")

SKIN_TONES: tuple[Rgb, ...] = (
    (0.72, 0.46, 0.36), (0.64, 0.38, 0.27), (0.52, 0.29, 0.19),
    (0.38, 0.195, 0.115), (0.24, 0.12, 0.07), (0.15, 0.072, 0.045),
)  # fmt: skip
LIGHT_EYES: tuple[Rgb, ...] = (
    (0.10, 0.05, 0.02), (0.20, 0.11, 0.04), (0.12, 0.20, 0.10), (0.14, 0.26, 0.42), (0.25, 0.30, 0.32),
)  # fmt: skip
DARK_EYES: tuple[Rgb, ...] = ((0.06, 0.03, 0.015), (0.12, 0.06, 0.025))

BACKGROUNDS = ("gradient", "bokeh", "two-tone", "window", "vignette")
CLOTHES = ("crew-neck", "v-neck", "collar", "turtleneck", "scoop")

# Morph targets of the face, "name negative positive": each person gets N(0, spread) of each, mirrored to both sides.
WIDE_AXES = """
head-angle in out|head-scale-horiz decr incr|l-eye-bag decr incr|l-eye-corner1 down up|l-eye-corner2 down up|
l-eye-epicanthus in out|l-eye-eyefold concave convex|l-eye-eyefold down up|l-eye-height1 decr incr|
l-eye-height2 decr incr|l-eye-height3 decr incr|l-eye-scale decr incr|nose-compression compress uncompress|
nose-curve concave convex|nose-flaring decr incr|nose-greek decr incr|nose-hump decr incr|
nose-nostrils-width decr incr|nose-point-width decr incr|nose-scale-depth decr incr|nose-scale-horiz decr incr|
nose-scale-vert decr incr|nose-volume decr incr|nose-width1 decr incr|nose-width2 decr incr|nose-width3 decr incr|
l-cheek-bones decr incr|l-cheek-inner decr incr|l-cheek-volume decr incr|chin-bones decr incr|chin-cleft decr incr|
chin-height decr incr|chin-width decr incr|forehead-temple decr incr|l-ear-lobe decr incr|l-ear-scale decr incr|
l-ear-scale-vert decr incr|eyebrows-angle down up|neck-scale-horiz decr incr|neck-scale-depth decr incr
"""
NARROW_AXES = """
head-age decr incr|head-fat decr incr|head-scale-depth decr incr|head-back-scale-depth decr incr|l-eye-trans in out|
l-eye-trans down up|l-eye-push1 in out|nose-base down up|nose-point down up|nose-trans down up|
nose-trans backward forward|mouth-cupidsbow decr incr|mouth-lowerlip-height decr incr|mouth-lowerlip-volume decr incr|
mouth-philtrum-volume decr incr|mouth-scale-horiz decr incr|mouth-scale-vert decr incr|mouth-trans down up|
mouth-upperlip-height decr incr|mouth-upperlip-volume decr incr|chin-jaw-drop decr incr|chin-prognathism decr incr|
chin-prominent decr incr|forehead-nubian decr incr|forehead-trans backward forward|l-ear-wing decr incr|
l-ear-rot backward forward|eyebrows-trans down up|neck-double decr incr
"""
FACE_OUTLINES = ("head-round", "head-oval", "head-square", "head-rectangular", "head-diamond", "head-triangular")

"""Give hair a new color without any generator: its strands, shading and highlights stay the photo's.

All is computed in Oklab (Ottosson 2020, "A perceptual color space for image processing"). More light on a surface
multiplies its three coordinates by one factor. A dyed strand therefore keeps hue and saturation of the dye in light and
in shade, and it turns pale only where the hair shines.

Hair gets a lightness as a colorist gives it: bleached or darkened as a whole, with about the contrast that hair of the
new lightness has. On the way to a lighter color it passes brown, orange and yellow.

```python
mask = find_hair_mask(photo, face.square(), parser)
dyed = dye_hair(photo, mask.alpha, (168, 38, 40))
tips = dye_hair(photo, mask.alpha, make_zones(photo, [ColorPart("pink", (228, 134, 168), "tips")], mask, face.square()))
```
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage

from hairclip.common.errors import HairclipError, check_range
from hairclip.editing.photo.align import Rectangle, strips

__all__ = ["RGB", "Zone", "dye_hair", "measure_mean_color", "to_oklab"]

RGB: TypeAlias = tuple[int, int, int]
"""A color in sRGB, each part 0 to 255."""
Pixels: TypeAlias = Float[np.ndarray, "... 3"]
Field: TypeAlias = Float[np.ndarray, "height width"]

LARGEST_SMOOTH = 320
"""Longest side in pixels at which the smooth color of the hair is measured."""
MOST_SAMPLED = 40_000
"""Pixels of hair from which its lightness is measured."""
SOLID = 0.9
"""Least share of hair in a pixel from which the hair's lightness is measured."""
LEAST_CONTRAST, MOST_CONTRAST = 0.65, 1.9
"""Range of the factor by which contrasts of lightness change. A larger one would show noise of dark hair."""
EVENED = 0.35
"""Share of the slow changes of lightness that a dye evens out; the rest is light and shade."""
LIGHTEST = 0.84
"""Largest mean lightness of dyed hair. Above it there is no room for strands."""
SHINE = 0.6
"""Share of the dye's saturation that goes where hair shines most."""
GLOW = 0.3
"""Share of the brightness that is kept where a pixel at the rim would become brighter than both itself and the dye."""
DIM_WHITE = 0.85
"""Oklab lightness of the brightest parts of a photo below which it counts as taken in dim light."""

# Oklab, from linear sRGB to the response of cones and on to lightness, green-red and blue-yellow.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    np.float32,
)
_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    np.float32,
)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_FROM_OKLAB, _FROM_CONES = np.linalg.inv(_TO_OKLAB), np.linalg.inv(_TO_CONES)
_LIGHT = np.arange(256, dtype=np.float32) / 255
_DECODED = np.where(_LIGHT > 0.04045, ((_LIGHT + 0.055) / 1.055) ** 2.4, _LIGHT / 12.92).astype(np.float32)
_ENCODING_STEPS = 4096
_CODED_ROOTS = np.linspace(0.0, 1.0, _ENCODING_STEPS + 1, dtype=np.float32) ** 2
_ENCODED = np.where(_CODED_ROOTS > 0.0031308, 1.055 * _CODED_ROOTS ** (1 / 2.4) - 0.055, 12.92 * _CODED_ROOTS).astype(
    np.float32
)

# Oklab of hair as bleach lifts it: black, brown, orange, yellow, pale yellow.
_BLEACHED_L = np.array([0.0, 0.2, 0.38, 0.58, 0.78, 0.92, 1.0], np.float32)
_BLEACHED_A = np.array([0.0, 0.01, 0.035, 0.055, 0.02, 0.0, 0.0], np.float32)
_BLEACHED_B = np.array([0.0, 0.01, 0.05, 0.095, 0.11, 0.06, 0.0], np.float32)


@dataclass(frozen=True)
class Zone:
    """A color and where it goes.

    Attributes:
        color: sRGB, each part 0 to 255.
        weight: share of the color, (rows, columns) in [0, 1] over the whole photo at any size; None for all hair. Where
            the weights of all zones sum to less than 1, the hair keeps some of its own color.
    """

    color: RGB
    weight: Field | None = None


def dye_hair(
    photo: Image.Image,
    alpha: UInt8[np.ndarray, "height width"],
    color: RGB | Sequence[Zone],
    strength: float = 1.0,
) -> Image.Image:
    """Return a photo with dyed hair. Pixels without hair keep their values bit for bit.

    Args:
        photo: mode "RGB".
        alpha: share of each pixel that is hair, 0 to 255, see `HairMask.alpha`.
        color: sRGB of the new color, each part 0 to 255, or several zones. At strength 1 the mean color of the hair
            is within 0.05 of it in Oklab; neon colors, which a screen shows at one lightness alone, within 0.1. The
            mean of very light hair has a lightness of 0.84, so that its strands
            show; in a photo taken in dim light all colors are darker.
        strength: 0 keeps the photo bit for bit, 1 is the new color, up to 2 exaggerates it.

    Raises:
        HairclipError: if a color or the strength is out of range, or the mask has another size than the photo.
    """
    check_range("strength", strength, 0.0, 2.0)
    zones = [Zone(color)] if isinstance(color, tuple) else list(color)
    for zone in zones:
        if len(zone.color) != 3 or not all(0 <= part <= 255 for part in zone.color):
            raise HairclipError(f"the color {zone.color} is no sRGB color: give three numbers from 0 to 255.")
    if alpha.shape != (photo.height, photo.width):
        raise HairclipError(
            f"the mask has {alpha.shape[1]} x {alpha.shape[0]} pixels, the photo {photo.width} x {photo.height}: "
            "give a mask of the photo's size."
        )
    dyed = photo.copy()
    box = _find_box(alpha)
    if strength == 0 or box is None or not zones:
        return dyed
    hair = _measure_hair(photo, alpha, box)
    dim = min(1.0, hair.white / DIM_WHITE)
    curves = [_Curve.fit(hair, dim * to_oklab(np.array(zone.color, np.uint8)), strength) for zone in zones]
    for strip in strips(box):
        pixels = np.array(photo.crop(strip))
        share = alpha[strip[1] : strip[3], strip[0] : strip[2]]
        there = share > 0
        if not there.any():
            continue
        smooth = np.stack([_place_field(field, hair.box, strip)[there] for field in hair.smooth], axis=-1)
        weights = [
            None if zone.weight is None else _place_field(zone.weight, (0, 0, *photo.size), strip) for zone in zones
        ]
        maps = [None if weight is None else weight[there] for weight in weights]
        pixels[there] = _dye_pixels(pixels[there], share[there], smooth, curves, maps)
        dyed.paste(Image.fromarray(pixels), strip[:2])
    return dyed


def measure_mean_color(photo: Image.Image, alpha: UInt8[np.ndarray, "height width"]) -> RGB | None:
    """Return the mean color of hair in sRGB, taken in Oklab; None without hair.

    Args:
        photo: mode "RGB".
        alpha: share of each pixel that is hair, 0 to 255.
    """
    box = _find_box(alpha)
    if box is None:
        return None
    hair = _measure_hair(photo, alpha, box)
    red, green, blue = (round(float(part)) for part in _to_srgb(hair.mean[None])[0] * 255)
    return red, green, blue


# ------------------------------------------------------------------ the hair as it is


@dataclass(frozen=True)
class _Hair:
    """What is measured of hair before it is dyed. Colors are Oklab.

    Attributes:
        box: the rectangle of the photo that `smooth` covers.
        smooth: lightness, green-red and blue-yellow of the hair nearby, then the lightness of the hair further around;
            four maps (rows, columns).
        samples: lightness of pixels of hair, and the lightness around them, (N, 2).
        mean: the mean color, (3,).
        white: lightness of the brightest parts of the photo.
    """

    box: Rectangle
    smooth: list[Field]
    samples: Float[np.ndarray, "samples 2"]
    mean: Float[np.ndarray, "3"]
    white: float


def _find_box(alpha: UInt8[np.ndarray, "height width"]) -> Rectangle | None:
    """Return the rectangle that holds all hair; None without hair."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _measure_hair(photo: Image.Image, alpha: UInt8[np.ndarray, "height width"], box: Rectangle) -> _Hair:
    width, height = box[2] - box[0], box[3] - box[1]
    scale = min(1.0, LARGEST_SMOOTH / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = photo.resize(size, Image.Resampling.BOX, box=box)
    share = Image.fromarray(alpha[box[1] : box[3], box[0] : box[2]]).resize(size, Image.Resampling.BOX)
    colors, covered = to_oklab(np.asarray(small)), np.asarray(share, np.float32) / 255
    solid = covered**4  # pixels that are hair alone count; where there are none, the best there are
    near, far = max(1.0, 0.012 * max(size)), max(2.0, 0.1 * max(size))
    smooth = [_spread(colors[..., i], solid, near) for i in range(3)]
    smooth.append(_spread(colors[..., 0], solid, far))
    weight = solid / solid.sum()
    mean = (colors * weight[..., None]).sum(axis=(0, 1))
    # Lightness is measured at the photo's own detail: a reduced photo has less contrast.
    step = max(1, int(np.sqrt(width * height / MOST_SAMPLED)))
    within = alpha[box[1] : box[3] : step, box[0] : box[2] : step]
    chosen = within >= min(255 * SOLID, float(within.max()))
    pixels = np.asarray(photo.crop(box))[::step, ::step][chosen]
    around = _place_field(smooth[3], box, box)[::step, ::step][chosen]
    samples = np.stack([to_oklab(pixels)[:, 0], around], axis=-1)
    thumbnail = photo.copy()
    thumbnail.thumbnail((128, 128), Image.Resampling.BOX)
    white = float(np.quantile(to_oklab(np.asarray(thumbnail))[..., 0], 0.98))
    return _Hair(box, smooth, samples, mean, white)


def _spread(values: Field, weight: Field, sigma: float) -> Field:
    """Return the local means of `values` by weight, continued where the weight is 0."""
    total, mass = np.zeros_like(values), np.zeros_like(values)
    for reach in (sigma, 4 * sigma, 16 * sigma):  # a wider mean counts where a narrower one has nothing to go by
        inside, blurred = _blur(weight, reach), _blur(values * weight, reach)
        now = (1.0 - mass) * (inside / (inside + 0.01))
        total += now * blurred / np.maximum(inside, 1e-6)
        mass += now
    mean = float((values * weight).sum() / max(float(weight.sum()), 1e-6))
    return (total + (1.0 - mass) * mean).astype(np.float32)


def _blur(field: Field, sigma: float) -> Field:
    """Return a field blurred by a standard deviation of about `sigma`: two box filters, fast at any width."""
    width = 2 * round(1.2 * sigma) + 1
    once = ndimage.uniform_filter(field, width, mode="constant")
    return ndimage.uniform_filter(once, width, mode="constant")


def _place_field(field: Field, of: Rectangle, strip: Rectangle) -> Float[np.ndarray, "rows columns"]:
    """Return a part of a map over the rectangle `of`, at the photo's resolution.

    Args:
        field: the map, of any size.
        of: the rectangle of the photo that it covers.
        strip: the rectangle of the photo to return.
    """
    rows, columns = field.shape
    across, down = columns / (of[2] - of[0]), rows / (of[3] - of[1])
    part = (
        (strip[0] - of[0]) * across,
        (strip[1] - of[1]) * down,
        (strip[2] - of[0]) * across,
        (strip[3] - of[1]) * down,
    )
    size = (strip[2] - strip[0], strip[3] - strip[1])
    return np.asarray(Image.fromarray(field.astype(np.float32)).resize(size, Image.Resampling.BILINEAR, box=part))


# ------------------------------------------------------------------ the hair as it becomes


@dataclass(frozen=True)
class _Curve:
    """How a color takes the place of the hair's own.

    Attributes:
        old: mean lightness of the hair.
        contrast: factor of the differences of lightness.
        shift: lightness of hair of the mean lightness.
        spread: standard deviation of the hair's lightness.
        tint: green-red and blue-yellow of the dye per lightness, (2,).
        strength: of the dye.
        own: mean color of the hair, (3,).
    """

    old: float
    contrast: float
    shift: float
    spread: float
    tint: Float[np.ndarray, "2"]
    strength: float
    own: Float[np.ndarray, "3"]

    @classmethod
    def fit(cls, hair: _Hair, color: Float[np.ndarray, "3"], strength: float) -> "_Curve":
        """Return the curve that gives hair a mean color in Oklab."""
        lightness, around = hair.samples.T
        old = float(lightness.mean())
        evened = lightness - EVENED * (around - old)
        low, high = np.quantile(evened, [0.1, 0.9])
        spread = max(float(high - low) / 2.56, 0.005)
        usual = 0.055 + 0.055 * float(color[0])
        contrast = float(np.clip((usual / spread) ** 0.7, LEAST_CONTRAST, MOST_CONTRAST))
        tint = color[1:] / max(float(color[0]), 0.05)
        wanted = min(float(color[0]), LIGHTEST)
        curve = cls(old, contrast, wanted, spread, tint, strength, hair.mean)
        for _ in range(4):  # the ends of the scale bend the curve: its mean is brought to the color's
            shifted = curve.shift + wanted - float(curve.lighten(lightness, around).mean())
            curve = cls(old, contrast, shifted, spread, tint, strength, hair.mean)
        return curve

    def lighten(self, lightness: np.ndarray, around: np.ndarray) -> np.ndarray:
        """Return the dyed lightness of hair, at strength 1."""
        apart = (lightness - EVENED * (around - self.old) - self.old) / self.spread
        apart = np.where(apart > 1.5, 1.5 + np.log1p(np.maximum(apart - 1.5, 0)), apart)  # shine is no second color
        raw = self.shift + self.contrast * self.spread * apart
        # Soft ends: no shadow becomes a hole, and no highlight a white spot.
        raw = np.where(raw > 0.9, 0.9 + 0.1 * np.tanh((raw - 0.9) / 0.1), raw)
        return np.where(raw < 0.12, 0.12 * np.exp((np.minimum(raw, 0.12) - 0.12) / 0.12), raw)

    def dye(self, colors: Pixels, around: np.ndarray) -> Pixels:
        """Return dyed hair, (N, 3), from its own color (N, 3) and the lightness of the hair around."""
        lightness = colors[:, 0]
        new = self.lighten(lightness, around)
        shine = np.clip((lightness - self.old) / self.spread / 3.0 - 0.35, 0.0, 1.0)
        saturation = new * (1.0 - SHINE * shine)
        target = np.stack([new, self.tint[0] * saturation, self.tint[1] * saturation], axis=-1)
        if self.strength == 1.0:
            return target
        mixed = colors + self.strength * (target - colors)
        if self.strength < 1.0:
            lift = max(0.0, self.shift - self.old)
            way = 4.0 * self.strength * (1.0 - self.strength) * min(1.0, 2.0 * lift)
            for channel, bleached in ((1, _BLEACHED_A), (2, _BLEACHED_B)):
                tone = np.interp(mixed[:, 0], _BLEACHED_L, bleached).astype(np.float32)
                mixed[:, channel] += 0.6 * way * (tone - mixed[:, channel])
        return mixed


def _dye_pixels(
    pixels: UInt8[np.ndarray, "count 3"],
    alpha: UInt8[np.ndarray, " count"],
    smooth: Float[np.ndarray, "count 4"],
    curves: Sequence[_Curve],
    weights: Sequence[np.ndarray | None],
) -> UInt8[np.ndarray, "count 3"]:
    """Return pixels with dyed hair.

    A pixel that is partly hair changes by what the hair nearby changes, times its share of hair: what shines through
    stays as it is.
    """
    share = alpha.astype(np.float32) / 255
    whole = ((share - 0.5) / 0.45).clip(0, 1)[:, None]
    colors = smooth[:, :3] + whole * (to_oklab(pixels) - smooth[:, :3])
    total = np.zeros_like(colors)
    given = np.zeros(len(colors), np.float32)
    for curve, weight in zip(curves, weights, strict=True):
        part = np.ones_like(share) if weight is None else weight.clip(0, 1)
        total += part[:, None] * curve.dye(colors, smooth[:, 3])
        given += part
    over = np.maximum(given, 1.0)[:, None]
    dyed = total / over + (1.0 - given / over[:, 0]).clip(0, 1)[:, None] * colors
    after = _to_srgb(dyed)
    change = share[:, None] * (after - _to_srgb(colors))
    own = pixels.astype(np.float32) / 255
    # Bright skin that counts as partly dark hair would glow: past the brighter of both, little is added.
    room = np.maximum(own @ _LUMA, after @ _LUMA) - own @ _LUMA
    more = change @ _LUMA
    kept = np.where(more > room, (room + GLOW * (more - room)) / np.maximum(more, 1e-6), 1.0)
    mixed = own + np.where(whole < 1.0, kept[:, None], 1.0) * change
    return np.rint(mixed.clip(0, 1) * 255).astype(np.uint8)


def to_oklab(pixels: UInt8[np.ndarray, "... 3"]) -> Pixels:
    """Return the Oklab color of sRGB pixels, 0 to 255."""
    return np.cbrt(_DECODED[pixels] @ _TO_CONES.T) @ _TO_OKLAB.T


def _to_srgb(colors: Pixels) -> Pixels:
    """Return Oklab colors as sRGB in [0, 1]. Colors that a screen cannot show lose saturation, not hue or luminance."""
    linear = (colors @ _FROM_OKLAB.T.astype(np.float32)) ** 3 @ _FROM_CONES.T.astype(np.float32)
    gray = (colors[..., :1].clip(0, 1)) ** 3
    apart = linear - gray
    highest, lowest = apart.max(axis=-1, keepdims=True), apart.min(axis=-1, keepdims=True)
    fits = np.minimum((1.0 - gray) / np.maximum(highest, 1e-6), gray / np.maximum(-lowest, 1e-6)).clip(0, 1)
    linear = (gray + fits * apart).clip(0, 1)
    return _ENCODED[np.rint(np.sqrt(linear) * _ENCODING_STEPS).astype(np.int16)]

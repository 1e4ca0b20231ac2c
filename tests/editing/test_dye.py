"""Hair in a new color: what stays, what changes, and how far."""

import numpy as np
import pytest
from PIL import Image

from hairclip.common.color import NAMED_RGB
from hairclip.common.errors import HairclipError
from hairclip.conditions.prompts import read_color
from hairclip.editing.dye import Zone, dye_hair, measure_mean_color
from hairclip.evaluation.dyes import ASKED, measure_dye


def hair_photo(color: tuple[int, int, int], size: int = 96, seed: int = 0) -> tuple[Image.Image, np.ndarray]:
    """Return a photo whose middle is hair of strands in light and shade, and its mask with a soft rim."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size]
    strands = ndimage_blur(random.normal(0, 1, size))[None, :] * 0.5
    light = np.exp(strands + 0.4 * np.sin(y / size * 6) + random.normal(0, 0.05, (size, size)))
    hair = (np.array(color) / 255)[None, None] * light[..., None]
    backdrop = random.uniform(0.2, 0.9, (size, size, 3))
    away = np.hypot(x - size / 2, y - size / 2)
    alpha = ((size * 0.35 - away) / 4).clip(0, 1)
    mixed = alpha[..., None] * hair + (1 - alpha[..., None]) * backdrop
    photo = Image.fromarray(np.rint(mixed.clip(0, 1) * 255).astype(np.uint8))
    return photo, np.rint(alpha * 255).astype(np.uint8)


def ndimage_blur(values: np.ndarray) -> np.ndarray:
    return np.convolve(values, np.ones(3) / 3, mode="same") * 1.7


def oklab(color: tuple[int, int, int]) -> np.ndarray:
    light = np.array(color) / 255
    linear = np.where(light > 0.04045, ((light + 0.055) / 1.055) ** 2.4, light / 12.92)
    to_cones = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
    to_lab = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
    return np.array(to_lab) @ np.cbrt(np.array(to_cones) @ linear)


def luma(photo: Image.Image) -> np.ndarray:
    return np.asarray(photo.convert("L"), np.float64)


OWN = {"black": (30, 26, 25), "brown": (90, 62, 45), "blond": (190, 160, 110), "white": (220, 218, 215)}


def test_at_strength_0_and_without_hair_the_photo_stays_bit_for_bit():
    photo, alpha = hair_photo(OWN["brown"])
    assert dye_hair(photo, alpha, NAMED_RGB["red"], 0.0).tobytes() == photo.tobytes()
    assert dye_hair(photo, np.zeros_like(alpha), NAMED_RGB["red"]).tobytes() == photo.tobytes()


def test_outside_the_mask_the_photo_stays_bit_for_bit():
    photo, alpha = hair_photo(OWN["brown"])
    dyed = dye_hair(photo, alpha, NAMED_RGB["blue"])
    changed = (np.asarray(dyed) != np.asarray(photo)).any(axis=-1)
    assert changed[alpha > 0].mean() > 0.9
    assert not changed[alpha == 0].any()


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("word", NAMED_RGB)
def test_the_mean_color_is_the_one_asked_for(own: str, word: str):
    photo, alpha = hair_photo(OWN[own])
    mean = measure_mean_color(dye_hair(photo, alpha, NAMED_RGB[word]), alpha)
    assert mean is not None
    asked = oklab(NAMED_RGB[word])
    asked[0] = min(asked[0], 0.84)
    assert np.linalg.norm(oklab(mean) - asked) < 0.05


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("text", ASKED)
def test_codes_and_shades_that_no_word_names_are_reached(own: str, text: str):
    photo, alpha = hair_photo(OWN[own])
    apart = measure_dye(photo, alpha, read_color(text, any_color=True).colors[0].rgb)
    at_the_edge = text == "neon green"  # lighter and darker strands of it have less saturation on a screen
    assert apart["oklab"] < (0.1 if at_the_edge else 0.03)
    assert apart["lab"] < (40 if at_the_edge else 10)


def test_strength_goes_evenly_from_the_photo_to_the_color():
    photo, alpha = hair_photo(OWN["black"])
    dyed = [dye_hair(photo, alpha, NAMED_RGB["blond"], strength) for strength in np.linspace(0, 1, 9)]
    inside = alpha == 255
    brightness = [luma(one)[inside].mean() for one in dyed]
    steps = np.diff(brightness)
    assert (steps > 0).all()
    assert steps.max() < 4 * steps.mean()


def test_half_way_from_black_to_blond_hair_is_warm_as_bleached_hair_is():
    photo, alpha = hair_photo(OWN["black"])
    red, _, blue = measure_mean_color(dye_hair(photo, alpha, NAMED_RGB["blond"], 0.5), alpha) or (0, 0, 0)
    between = [(a + b) / 2 for a, b in zip(OWN["black"], NAMED_RGB["blond"], strict=True)]
    assert red - blue > 1.3 * (between[0] - between[2])


@pytest.mark.parametrize(
    ("own", "word"), [("black", "blond"), ("black", "white"), ("blond", "black"), ("white", "red")]
)
def test_strands_stay_where_they_are(own: str, word: str):
    photo, alpha = hair_photo(OWN[own])
    inside = alpha == 255
    before, after = (luma(one)[inside] for one in (photo, dye_hair(photo, alpha, NAMED_RGB[word])))
    assert np.corrcoef(before, after)[0, 1] > 0.85
    assert after.std() > 4  # of 255: no paint


def test_gray_hair_has_no_hue_and_a_gray_photo_dyed_gray_stays_gray():
    for own in ("brown", "white"):
        photo, alpha = hair_photo(OWN[own])
        dyed = np.asarray(dye_hair(photo, alpha, (140, 140, 140)), int)[alpha == 255]
        assert np.ptp(dyed, axis=-1).max() <= 2
    monochrome = hair_photo(OWN["brown"])[0].convert("L").convert("RGB")
    assert np.ptp(np.asarray(dye_hair(monochrome, alpha, (140, 140, 140)), int), axis=-1).max() <= 2


def test_a_monochrome_photo_takes_a_color():
    photo, alpha = hair_photo(OWN["brown"])
    dyed = dye_hair(photo.convert("L").convert("RGB"), alpha, NAMED_RGB["red"])
    red, green, _ = measure_mean_color(dyed, alpha) or (0, 0, 0)
    assert red > green + 80


def test_shine_stays_pale():
    photo, alpha = hair_photo(OWN["black"])
    pixels = np.array(photo)
    pixels[40:44, 30:66] = (190, 190, 195)
    dyed = np.asarray(dye_hair(Image.fromarray(pixels), alpha, NAMED_RGB["red"]), float)
    shine, rest = dyed[40:44, 34:62].mean(axis=(0, 1)), dyed[50:60, 34:62].mean(axis=(0, 1))
    assert shine.mean() > rest.mean() + 20
    assert shine.min() / shine.max() > 1.5 * rest.min() / rest.max()


def test_what_shines_through_strands_stays():
    """A pixel that is half hair, half a blue wall changes by half of what the hair changes."""
    pixels = np.full((64, 64, 3), (40, 30, 26), np.uint8)
    pixels[:, :20] = (60, 90, 200)
    pixels[:, 20:22] = (50, 60, 113)
    alpha = np.full((64, 64), 255, np.uint8)
    alpha[:, :20], alpha[:, 20:22] = 0, 128
    dyed = np.asarray(dye_hair(Image.fromarray(pixels), alpha, NAMED_RGB["blond"]), float)
    whole, half = (dyed[32, x] - pixels[32, x] for x in (40, 21))
    assert np.abs(half - whole / 2).max() < 6


def test_zones_take_their_colors_and_the_rest_stays():
    photo, alpha = hair_photo(OWN["brown"])
    below = np.repeat([[0.0], [1.0]], 2, axis=1)
    below = np.asarray(Image.fromarray(below.astype(np.float32)).resize((96, 96), Image.Resampling.NEAREST))
    dyed = dye_hair(photo, alpha, [Zone(NAMED_RGB["pink"], below)])
    assert np.array_equal(np.asarray(dyed)[:46], np.asarray(photo)[:46])
    two = dye_hair(photo, alpha, [Zone(NAMED_RGB["blue"], 1 - below), Zone(NAMED_RGB["red"], below)])
    upper, lower = alpha.copy(), alpha.copy()
    upper[46:], lower[:50] = 0, 0
    for part, word in ((upper, "blue"), (lower, "red")):
        mean = measure_mean_color(two, part)
        assert mean is not None
        assert np.linalg.norm(oklab(mean) - oklab(NAMED_RGB[word])) < 0.1


def test_mistakes_are_one_sentence():
    photo, alpha = hair_photo(OWN["brown"])
    with pytest.raises(HairclipError, match="three numbers from 0 to 255"):
        dye_hair(photo, alpha, (300, 0, 0))
    with pytest.raises(HairclipError, match="strength"):
        dye_hair(photo, alpha, (30, 0, 0), 3.0)
    with pytest.raises(HairclipError, match="10 x 96 pixels"):
        dye_hair(photo, alpha[:, :10], (30, 0, 0))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_tiny_photos_are_dyed(size: int):
    photo = Image.new("RGB", (size, size), (60, 40, 30))
    dyed = dye_hair(photo, np.full((size, size), 255, np.uint8), NAMED_RGB["red"])
    assert np.asarray(dyed).shape == (size, size, 3)
    assert dyed.tobytes() != photo.tobytes()

"""Change what a camera makes of a scene: exposure, colors, sharpness, noise, and the compression of the file."""

import io
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from hairclip.portraits.randomize.dice import Dice, Pixels
from hairclip.portraits.randomize.person import Picture

__all__ = [
    "add_noise",
    "balance_white",
    "blur",
    "compress",
    "contrast",
    "expose",
    "lower_resolution",
    "make_monochrome",
    "saturate",
]

_BRIGHTEST = 4.0  # how many times as bright as white a pixel may be before exposure
_GRAY = (0.3, 0.59, 0.11)


def balance_white(dice: Dice, picture: Picture) -> Picture:
    """Tint the picture as a wrong white balance does."""
    return replace(picture, pixels=picture.pixels.clamp(0, 1) * dice.tint(0.12))


def expose(dice: Dice, picture: Picture) -> Picture:
    """Change brightness and gamma."""
    gamma, gain = dice.factor(0.25), dice.factor(0.28, mean=0.05)
    return replace(picture, pixels=picture.pixels.clamp(1e-4, _BRIGHTEST) ** gamma * gain)


def contrast(dice: Dice, picture: Picture) -> Picture:
    """Change the contrast around middle gray."""
    return replace(picture, pixels=(picture.pixels - 0.5) * dice.factor(0.2) + 0.5)


def saturate(dice: Dice, picture: Picture) -> Picture:
    """Change the saturation."""
    gray = _gray(picture.pixels)
    return replace(picture, pixels=gray + (picture.pixels - gray) * dice.factor(0.3))


def make_monochrome(dice: Dice, picture: Picture) -> Picture:
    """Remove all colors, and tint the gray a little."""
    tint = 1 + dice.white_noise(3, 1, 1) * 0.04
    return replace(picture, pixels=_gray(picture.pixels).expand(3, -1, -1) * tint)


def blur(dice: Dice, picture: Picture) -> Picture:
    """Blur by one or two pixels."""
    width = dice.pick((3, 5))
    padded = F.pad(picture.pixels[None], (width // 2,) * 4, mode="replicate")
    return replace(picture, pixels=torch.lerp(picture.pixels, F.avg_pool2d(padded, width, 1)[0], 0.9))


def lower_resolution(dice: Dice, picture: Picture) -> Picture:
    """Shrink the picture and enlarge it again, which loses detail."""
    small = max(32, int(picture.size * dice.uniform(0.3, 0.9)))
    shrunk = F.interpolate(picture.pixels[None], size=(small, small), mode="area")
    return replace(picture, pixels=F.interpolate(shrunk, size=(picture.size,) * 2, mode="bilinear")[0])


def add_noise(dice: Dice, picture: Picture) -> Picture:
    """Add noise, more where it is bright."""
    pixels = picture.pixels.clamp(0, 1)
    strength = dice.uniform(0, 0.06) * (0.5 + pixels.sqrt())
    return replace(picture, pixels=pixels + dice.white_noise(*pixels.shape) * strength)


def compress(dice: Dice, picture: Picture) -> Picture:
    """Write the picture as JPEG and read it again."""
    array = picture.pixels.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
    stored = io.BytesIO()
    Image.fromarray(array).save(stored, "JPEG", quality=dice.whole(25, 95))
    with Image.open(stored) as opened:
        pixels = torch.from_numpy(np.asarray(opened, np.float32) / 255).permute(2, 0, 1)
    return replace(picture, pixels=pixels)


def _gray(pixels: Pixels) -> Pixels:
    return (pixels * torch.tensor(_GRAY)[:, None, None]).sum(0, keepdim=True).expand(3, -1, -1)

"""Convert RGB to Lab as HairCLIP's color losses define it, measure the color of hair, and name it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.files import open_regular, write_atomic
from hairclip.common.hair_colors import NAMED_RGB
from hairclip.common.images import Images, Masks, constant

Gamma: TypeAlias = Literal["none", "srgb"]
LabImages: TypeAlias = Float[Tensor, "batch 3 height width"]
LabColors: TypeAlias = Float[Tensor, "batch 3"]

# Linear RGB to XYZ (ITU-R BT.709 primaries, D65); each row is divided by its sum below, so white is (1, 1, 1).
_RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_LINEAR_BELOW = 0.008856  # CIE 1976: the cube root becomes a straight line under this luminance


def rgb_to_lab(images: Images, gamma: Gamma = "none") -> LabImages:
    """Return CIE L*a*b* of every pixel: L in about [0, 100], a and b in about [-110, 110].

    Args:
        images: RGB in [-1, 1]. Values outside are not clamped, so that they have a gradient, too.
        gamma: "none" takes the gamma-encoded values for linear light, as the losses of HairCLIP do (section 3.3).
            "srgb" decodes them first, as Lab is defined.
    """
    rgb = (images + 1) / 2
    if gamma == "srgb":
        rgb = torch.where(rgb > 0.04045, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    elif gamma != "none":
        raise ValueError(f"gamma is 'none' or 'srgb', not {gamma!r}")
    matrix = constant(_RGB_TO_XYZ, like=rgb)
    xyz = torch.einsum("ij,bjhw->bihw", matrix / matrix.sum(dim=1, keepdim=True), rgb)
    # Clamped inside `where` too: the root's slope at 0 is infinite and would make the other branch's gradient NaN.
    root = xyz.clamp(min=_LINEAR_BELOW) ** (1 / 3)
    f = torch.where(xyz > _LINEAR_BELOW, root, 7.787 * xyz + 0.137931)
    fx, fy, fz = f.unbind(dim=1)
    y = xyz[:, 1]
    lightness = torch.where(y > _LINEAR_BELOW, 116 * fy - 16, 903.3 * y)
    return torch.stack([lightness, 500 * (fx - fy), 200 * (fy - fz)], dim=1)


def lab_to_rgb(lab: LabImages) -> Images:
    """Return RGB whose `rgb_to_lab` is `lab`, both with `gamma="none"`. Colors that no screen shows leave [-1, 1]."""
    lightness, a, b = lab.unbind(dim=1)
    fy = (lightness + 16) / 116
    f = torch.stack([fy + a / 500, fy, fy - b / 200], dim=1)
    xyz = torch.where(f > _LINEAR_BELOW ** (1 / 3), f**3, (f - 0.137931) / 7.787)
    matrix = constant(_RGB_TO_XYZ, like=lab)
    inverse = torch.linalg.inv(matrix / matrix.sum(dim=1, keepdim=True))
    return 2 * torch.einsum("ij,bjhw->bihw", inverse, xyz) - 1


def mean_lab(images: Images, masks: Masks, gamma: Gamma = "none") -> LabColors:
    """Return the mean Lab color inside each mask, (B, 3); (0, 0, 0) for an empty mask."""
    lab = torch.where(masks, rgb_to_lab(images, gamma), 0.0)
    return lab.sum(dim=(2, 3)) / masks.sum(dim=(2, 3)).clamp(min=1)


def luma(images: Images) -> Float[Tensor, "batch 1 height width"]:
    """Return the brightness of gamma-encoded RGB (ITU-R BT.601), in the range of the images."""
    weights = constant((0.299, 0.587, 0.114), like=images)
    return (images * weights.view(3, 1, 1)).sum(dim=1, keepdim=True)


def gray_hair(images: Images, masks: Masks) -> Images:
    """Return hair without its color: `luma` with mean 0 and standard deviation 0.2 inside the mask, 0 outside."""
    brightness = luma(images)
    count = masks.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    centered = (brightness - (brightness * masks).sum(dim=(2, 3), keepdim=True) / count) * masks
    deviation = (centered.square().sum(dim=(2, 3), keepdim=True) / count).clamp_min(0.03**2).sqrt()
    return (0.2 * centered / deviation).clamp(-1, 1).expand(-1, 3, -1, -1)


def flat_hair_color(images: Images, masks: Masks) -> Images:
    """Return the color of hair without its shape: images of its mean RGB everywhere, 0 for an empty mask."""
    count = masks.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return ((images * masks).sum(dim=(2, 3), keepdim=True) / count).expand_as(images)


def _lab_of_named() -> dict[str, tuple[float, float, float]]:
    pixels = torch.tensor(list(NAMED_RGB.values()), dtype=torch.float64) / 127.5 - 1
    rows = rgb_to_lab(pixels.float()[:, :, None, None])[:, :, 0, 0].tolist()
    return {name: (row[0], row[1], row[2]) for name, row in zip(NAMED_RGB, rows)}


NamedColors: TypeAlias = Mapping[str, tuple[float, float, float]]
NAMED_COLORS: NamedColors = _lab_of_named()
"""Name -> Lab of the twelve colors with `gamma="none"`, which is the default of `mean_lab`."""


def nearest_color(lab: LabColors, named: NamedColors = NAMED_COLORS) -> list[str]:
    """Return the name of the color nearest to each row of `lab`, by Euclidean distance (CIE 1976)."""
    names = list(named)
    table = torch.tensor([named[name] for name in names], dtype=torch.float64)
    distances = (lab.detach().cpu().double()[:, None] - table).norm(dim=2)
    return [names[index] for index in distances.argmin(dim=1).tolist()]


def load_named_colors(path: str | Path) -> NamedColors:
    """Return a table of named colors from a file, JSON such as `{"red": [L, a, b], ...}`.

    Raises:
        HairclipError: if there is no such file, or it holds no such table.
    """
    with open_regular(path, "color table") as file:
        content = file.read(2**20)
    try:
        table = json.loads(content.decode())
        named = {str(name): (float(row[0]), float(row[1]), float(row[2])) for name, row in table.items()}
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise HairclipError(f'{path} is no color table ({error}): write JSON like {{"red": [40, 30, 20]}}.') from None
    if not named:
        raise HairclipError(f'{path} names no color: write JSON such as {{"red": [40, 30, 20]}}.')
    return named


def save_named_colors(named: NamedColors, path: str | Path) -> None:
    """Write a table of named colors for `load_named_colors`. The file appears whole or not at all."""
    rows = {name: [round(value, 3) for value in row] for name, row in named.items()}
    write_atomic(path, json.dumps(rows, indent=1) + "\n")

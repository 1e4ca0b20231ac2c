"""Measure the mean hair of each hairstyle, and the mean color of each color word, on labeled pictures."""

import torch
from torch.nn import functional as F

from hairclip.common.color import mean_lab, rgb_to_lab
from hairclip.networks.hair_priors import HairPriors
from hairclip.portraits.fit.labeled_pictures import LabeledPictures

__all__ = ["measure_hair_priors"]

_LEAST_HAIR = 0.02
"""Share of hair from which on a picture counts for the mean of its color: bald heads have a color, too."""


@torch.no_grad()
def measure_hair_priors(pictures: LabeledPictures, *, size: int = 64, batch: int = 64) -> HairPriors:
    """Return the priors of all hairstyles and colors that the pictures show.

    Args:
        pictures: N labeled pictures.
        size: height and width of the mean pictures.
        batch: pictures that are read together.
    """
    priors = HairPriors(sorted(set(pictures.hairstyles)), sorted(set(pictures.colors)), size)
    shown = torch.zeros(len(priors.hairstyles))
    counted = torch.zeros(len(priors.colors), 1)
    covered = torch.zeros_like(priors.shape)
    for first in range(0, len(pictures), batch):
        part = slice(first, first + batch)
        images, hair = pictures.images(part), pictures.hair(part)
        lab = mean_lab(images, hair)
        light = (rgb_to_lab(images)[:, :1] - lab[:, :1, None, None]) * hair
        styles = torch.tensor([priors.hairstyles.index(name) for name in pictures.hairstyles[part]])
        colors = torch.tensor([priors.colors.index(name) for name in pictures.colors[part]])
        shown.index_add_(0, styles, torch.ones(len(styles)))
        covered.index_add_(0, styles, F.interpolate(hair.float(), size=(size, size), mode="area"))
        priors.light.index_add_(0, styles, F.interpolate(light, size=(size, size), mode="area"))
        enough = (hair.float().mean(dim=(1, 2, 3)) > _LEAST_HAIR).float()[:, None]
        counted.index_add_(0, colors, enough)
        priors.lab.index_add_(0, colors, lab * enough)
    priors.light /= covered.clamp_min(1.0)
    priors.shape += covered / shown[:, None, None, None]
    priors.lab /= counted.clamp_min(1.0)
    return priors.eval()

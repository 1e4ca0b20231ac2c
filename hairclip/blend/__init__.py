"""From the generator's picture back to the photo: whose pixels are seen where."""

from hairclip.blend.fill import fill_smoothly, membrane
from hairclip.blend.hair import DEFAULT_BLEND, Behind, Blended, blend_hair
from hairclip.blend.layers import uncover
from hairclip.blend.matte import HairMatte, hair_matte
from hairclip.blend.methods import BLENDS, Blend, composite, join, laplacian_blend, poisson_blend
from hairclip.blend.recolor import Recoloring, find_recoloring
from hairclip.blend.regions import alpha_from_masks, dilate, erode

__all__ = [
    "BLENDS",
    "DEFAULT_BLEND",
    "Behind",
    "Blend",
    "Blended",
    "HairMatte",
    "Recoloring",
    "alpha_from_masks",
    "blend_hair",
    "composite",
    "dilate",
    "erode",
    "fill_smoothly",
    "find_recoloring",
    "hair_matte",
    "join",
    "laplacian_blend",
    "membrane",
    "poisson_blend",
    "uncover",
]

"""From the generator's picture back to the photo: whose pixels are seen where."""

from hairclip.editing.blending.fill import fill_smoothly, membrane
from hairclip.editing.blending.hair import DEFAULT_BLEND, Behind, Blended, blend_hair
from hairclip.editing.blending.layers import uncover
from hairclip.editing.blending.matte import HairMatte, hair_matte
from hairclip.editing.blending.methods import BLENDS, Blend, composite, join, laplacian_blend, poisson_blend
from hairclip.editing.blending.recolor import Recoloring, find_recoloring
from hairclip.editing.blending.regions import alpha_from_masks, dilate, erode

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

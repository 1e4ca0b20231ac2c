"""The ways to edit codes, one a file. To add one, write its file and a line here."""

from typing import Any

from hairclip.common.names import NameTable

__all__ = ["METHODS"]

METHODS: NameTable[Any] = NameTable(
    "editing method",
    {
        "mapper": "hairclip.editing.methods.hair_mapper:HairMapperMethod",
        "optimize": "hairclip.editing.methods.latent_descent:LatentDescent",
        "styleclip-optimize": "hairclip.editing.methods.styleclip_optimize:StyleClipOptimize",
        "vq": "hairclip.editing.methods.vq:VectorQuantized",
        "diffusion": "hairclip.editing.methods.diffusion:Diffusion",
        "mean-hair": "hairclip.editing.methods.mean_hair:MeanHair",
        "styleclip-mapper": "hairclip.editing.methods.styleclip_mapper:StyleClipMapper",
        "styleclip-global": "hairclip.editing.methods.styleclip_global:StyleClipGlobal",
        "tedigan": "hairclip.editing.methods.tedigan:TediGan",
        "tedigan-clip": "hairclip.editing.methods.tedigan_clip:TediGanClip",
        "difference": "hairclip.editing.methods.difference:Difference",
        "inversion": "hairclip.editing.methods.inversion_floor:InversionFloor",
    },
)
"""Name of a method -> its class, an `hairclip.editing.methods.method.EditingMethod`."""

"""Find the class of a network by its name: one of hairclip's, or a user's own as ``module:Class``."""

from typing import TYPE_CHECKING

from hairclip.common.errors import HairclipError
from hairclip.common.names import NameTable

if TYPE_CHECKING:  # names of classes are checked where torch is not imported yet
    from torch import nn

__all__ = ["CLASSES", "class_in_file"]

_PLACES: dict[str, dict[str, str]] = {
    "generator": {"Generator": "stylegan2"},
    "clip": {"Clip": "clip", "TowersClip": "clip", "CocaClip": "clip"},
    "parser": {"UNetParser": "face_parser", "BiSeNet": "face_parser"},
    "identity": {"IdentityEncoder": "ir_se", "FacenetEncoder": "facenet"},
    "encoder": {"E4EEncoder": "e4e", "PcaEncoder": "pca_encoder"},
    "mapper": {"HairMapper": "mapper"},
    "judge": {"HairstyleClassifier": "classifier"},
    "hair_priors": {"HairPriors": "hair_priors"},
    "codec": {"Codec": "codec"},
    "token_transformer": {"TokenTransformer": "token_transformer"},
    "denoiser": {"HairPainter": "denoiser"},
    "style_mappers": {"StyleMappers": "style_mappers"},
    "directions": {"StyleDirections": "style_directions"},
    "text_encoder": {"TextEncoder": "text_encoder"},
}

CLASSES: "dict[str, NameTable[type[nn.Module]]]" = {
    kind: NameTable(f"{kind} class", {name: f"hairclip.networks.{module}:{name}" for name, module in places.items()})
    for kind, places in _PLACES.items()
}
"""Kind of network -> its classes by name, the default first; each is imported when it is first asked for."""


def class_in_file(kind: str, name: str) -> "type[nn.Module]":
    """Return the class that a weight file names; a file cannot name a class outside hairclip, so nothing of it runs.

    Args:
        kind: the kind of network.
        name: the name of its class; empty for the kind's default.

    Raises:
        HairclipError: if hairclip has no such class.
    """
    table = CLASSES.get(kind)
    if table is None or (name and name not in table):
        raise HairclipError(f"it is a {kind[:40]} of the unknown class {name[:80]!r}: update hairclip")
    return table.load(name or next(iter(table)))

"""What a method costs before its first edit: training, and work for each new text."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["COSTS", "Cost"]


@dataclass(frozen=True)
class Cost:
    """Processor seconds before the first edit of one method. None where nobody has measured them.

    Attributes:
        training: once for all texts: what the training of the method's own networks takes.
        per_text: for each new text, training included.
        parts: parts of the bundle that were trained for the method, besides those that the method names itself.
    """

    training: float | None = None
    per_text: float | None = None
    parts: tuple[str, ...] = ()


COSTS: Mapping[str, Cost] = {
    "inversion": Cost(0.0, 0.0),
    "mean-hair": Cost(None, None),
    "mapper": Cost(600.0, 0.0),
    "optimize": Cost(0.0, 0.0),
    "styleclip-optimize": Cost(0.0, 0.0),
    "styleclip-mapper": Cost(0.0, 17.0, ("style_mappers",)),
    "styleclip-global": Cost(2690.0, 0.0, ("directions",)),
    "tedigan": Cost(10.0, 0.0, ("text_encoder",)),
    "tedigan-clip": Cost(0.0, 0.0),
    "difference": Cost(10.0, 0.0, ("text_encoder",)),
    "diffusion": Cost(2130.0, 0.0, ("denoiser",)),
    "vq": Cost(853, 0.0, ("codec", "token_transformer")),
}
"""Method -> its cost for the shipped networks. A descent for each edit counts among the seconds of an edit."""

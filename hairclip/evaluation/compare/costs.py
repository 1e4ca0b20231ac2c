"""What a method costs before its first edit: training, and work for each new text."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["COSTS", "Cost"]


@dataclass(frozen=True)
class Cost:
    """Processor seconds before the first edit. None where nobody has measured them.

    Attributes:
        training: once for all texts: what the training command of the method's own networks takes.
        per_text: for each new text, training included.
    """

    training: float | None = None
    per_text: float | None = None


COSTS: Mapping[str, Cost] = {
    "inversion": Cost(0.0, 0.0),
    "mapper": Cost(600.0, 0.0),
    "optimize": Cost(0.0, 0.0),
    "styleclip-optimize": Cost(0.0, 0.0),
}
"""Method -> its cost for the shipped networks. A descent for each edit counts among the seconds of an edit."""

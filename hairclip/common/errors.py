"""The one exception for mistakes of a user, and the check of a number's range."""

import math
from numbers import Integral, Real
from typing import Any

__all__ = ["HairclipError", "check_range"]


class HairclipError(Exception):
    """A user's mistake in one sentence: what is wrong, where, and what to do.

    The command line prints the message after `hairclip: error:` and exits with code 2. Mistakes of a programmer (wrong
    types, impossible shapes) stay ordinary Python exceptions with a traceback.
    """


def check_range(name: str, value: Any, least: float, most: float | None = None) -> None:
    """Refuse a number outside a range.

    Args:
        name: what the user calls the number: an argument, or an option of the command line.
        value: the number.
        least: the smallest number allowed. A whole number (`1`, not `1.0`) allows whole numbers only.
        most: the largest number allowed; None for the largest that fits 64 bits.

    Raises:
        HairclipError: if `value` is outside, not finite, or no number of that kind.
    """
    whole = isinstance(least, int)
    upper = 2**63 - 1 if most is None else most
    fits = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if fits and math.isfinite(value) and least <= value <= upper:
        return
    told = f"{value:g}" if isinstance(value, float) else repr(value)
    kind = "a whole number" if whole else "a number"
    if most is not None:
        advice = f"{kind} from {least:g} to {most:g}"
    elif fits and value > upper:
        advice = "a smaller number"
    else:
        advice = f"{kind}, {least:g} or more" if not fits else f"{least:g} or more"
    raise HairclipError(f"{name} {told}: give {advice}.")

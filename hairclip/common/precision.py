"""Compute in float32 whatever torch's default type is, or on purpose with fewer bits."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from hairclip.common.errors import HairclipError

__all__ = ["check_precision", "in_float32", "mixed_precision"]

P = ParamSpec("P")
T = TypeVar("T")


def in_float32(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function such that new tensors and networks inside it are float32 by default.

    A notebook may have called `torch.set_default_dtype(torch.float64)`; its default comes back when the function ends.
    """

    @wraps(function)
    def computed(*arguments: P.args, **settings: P.kwargs) -> T:
        default = torch.get_default_dtype()
        if default is torch.float32:
            return function(*arguments, **settings)
        torch.set_default_dtype(torch.float32)
        try:
            return function(*arguments, **settings)
        finally:
            torch.set_default_dtype(default)

    return computed


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that does not exist, or that a device does not have.

    Raises:
        HairclipError: with one sentence that names those that it has.
    """
    known = ["float32", "bfloat16", *([] if device.type == "cpu" else ["float16"])]
    if precision not in known:
        raise HairclipError(f"precision {precision!r}: choose {', '.join(known[:-1])} or {known[-1]} on {device}.")


def mixed_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which matrix products and convolutions of a device have this precision, such as "bfloat16".

    What needs more bits stays float32.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))

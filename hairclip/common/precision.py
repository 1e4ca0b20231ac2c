"""Compute in float32, whatever torch's default type is."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

__all__ = ["in_float32"]

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

"""A reader of pickles that can only build harmless things.

A pickle is a program: it names functions and classes, which reading it imports and calls. Here every name is looked up
in a short table of stand-ins, and any other name is refused before anything happens.
"""

import io
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hairclip.common.errors import HairclipError


class Stateful:
    """Stand-in that keeps the state which a pickle gives it, and does nothing with it."""

    def __init__(self, *args: Any) -> None:
        self.state: Mapping[str, Any] = {}


class Inert:
    """Stand-in for values no weight depends on: takes whatever it is given and forgets it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...


def forbidden(path: object, name: str) -> HairclipError:
    """The refusal of a file that names something to run."""
    return HairclipError(f"{path} asks to run {name}, which a weight file must not: do not trust this file.")


class SafeUnpickler(pickle._Unpickler):
    """Python's own unpickler, in its Python version (whose memory is bounded by the file), with a table of names.

    Args:
        file: where the pickle begins; it is left behind its end.
        path: for the refusal.
        allowed: "module.name" -> what stands in for it.
    """

    dispatch: ClassVar[Any] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]  # the original's

    def __init__(self, file: io.BufferedIOBase, path: object, allowed: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__(file)
        self.path = path
        self.allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins"}.get(module, module)
        found = self.allowed.get(f"{module}.{name}") or self.allowed.get(f"{module.split('.')[0]}.*")
        if found is None:
            raise forbidden(self.path, f"{module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to another file")

    def load_build(self) -> None:
        # The original sets attributes on anything, functions and classes of this program included.
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Stateful) and isinstance(state, Mapping):
            target.state = state

    dispatch[pickle.BUILD[0]] = load_build


@dataclass(frozen=True)
class RawStorage:
    """Bytes and the type of the numbers in them, as torch's own storages name the two."""

    _untyped_storage: torch.UntypedStorage
    dtype: torch.dtype


def rebuild_tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A tensor on a storage, refusing to look beyond it or to repeat it."""
    last = offset + sum((length - 1) * step for length, step in zip(size, stride))
    held = storage._untyped_storage.nbytes() // storage.dtype.itemsize
    if len(size) != len(stride) or min(offset, *size, *stride, 0) < 0 or (0 not in size and last >= held):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    if math.prod(size) > held:
        raise pickle.UnpicklingError("a tensor repeats its storage")
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, size, stride)


def rebuild_parameter(data: Tensor, *_: Any) -> Tensor:
    """A parameter, as a plain tensor."""
    return data

"""Stand-ins for the plain containers and values that trainers save beside tensors.

rosinality's trainer saves its arguments as `argparse.Namespace`; others save paths, sizes, types, numpy numbers and
arrays. They are rebuilt as dictionaries, texts, numbers and tensors. No class of the file is imported.
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hairclip.pretrained.readers.safe_pickle import Inert, Stateful

_NUMBERS = "biufc"  # numpy's kinds of bool, int, unsigned, float and complex


class _Namespace(Stateful):
    """`argparse.Namespace` and `types.SimpleNamespace`; becomes a dictionary."""


class _NumpyType(Stateful):
    """`numpy.dtype`; `state` tells the order of bytes."""

    def __init__(self, name: object = "", *_: Any) -> None:
        self.name = str(name)

    def dtype(self) -> np.dtype[Any]:
        found = np.dtype(self.name)
        if found.kind not in _NUMBERS:
            raise TypeError(f"it holds numpy numbers of the type {self.name[:20]!r}")
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "="
        return found.newbyteorder(">") if order == ">" else found


class _NumpyArray(Stateful):
    """`numpy.ndarray`; `state` is (version, shape, type, Fortran's order or not, bytes or list of objects)."""

    def value(self) -> Any:
        _, shape, kind, fortran, data = self.state
        if isinstance(data, list):  # an array of objects, here one dictionary or several arrays
            return data[0] if len(data) == 1 else data
        return _array(data, kind, shape, "F" if fortran else "C")


class _NumpyBuffer:
    """An array as pickle's protocol 5 writes it."""

    def __init__(self, data: Any, kind: Any, shape: Any, order: str = "C") -> None:
        self.arguments = data, kind, shape, order

    def value(self) -> Tensor:
        return _array(*self.arguments)


def _array(data: Any, kind: Any, shape: Any, order: str) -> Tensor:
    array = np.frombuffer(data, kind.dtype()).reshape(tuple(shape), order="F" if order == "F" else "C")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=True))


def _numpy_scalar(kind: Any, data: Any = b"") -> Any:
    return np.frombuffer(data, kind.dtype())[0].item()


def _posix_path(*parts: Any) -> str:
    return str(PurePosixPath(*map(str, parts)))


def _windows_path(*parts: Any) -> str:
    return str(PureWindowsPath(*map(str, parts)))


def _bytes(text: Any = "", *_: Any) -> bytes:
    return text.encode("latin1") if isinstance(text, str) else b""


_TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64")

PLAIN: dict[str, Any] = {
    "argparse.Namespace": _Namespace,
    "types.SimpleNamespace": _Namespace,
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": lambda *_: {},
    "collections.Counter": lambda counts=(), *_: dict(counts),
    "dnnlib.util.EasyDict": type("EasyDict", (dict,), {}),
    "easydict.EasyDict": type("EasyDict", (dict,), {}),
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.bytes": _bytes,
    "_codecs.encode": _bytes,  # how protocol 2 writes bytes
    # What a defaultdict makes new entries with is not needed.
    **{f"builtins.{name}": Inert for name in ("list", "dict", "int", "float", "str", "bool", "complex", "range")},
    "torch.Size": lambda size=(), *_: tuple(size),
    "torch.device": lambda kind="cpu", *_: str(kind),
    **{f"torch.{name}": name for name in _TYPES},
    **{
        f"pathlib.{place}{name}": _windows_path if "Windows" in name else _posix_path
        for place in ("", "_local.")
        for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "Path", "PurePath")
    },
    "numpy.dtype": _NumpyType,
    "numpy.ndarray": Inert,
    **{
        f"numpy.{core}.{name}": stand_in
        for core in ("core", "_core")
        for name, stand_in in {
            "multiarray.scalar": _numpy_scalar,
            "multiarray._reconstruct": _NumpyArray,
            "numeric._frombuffer": _NumpyBuffer,
        }.items()
    },
}
"""Full name -> stand-in, for `SafeUnpickler`."""


def as_plain(value: Any) -> Any:
    """Return what a `SafeUnpickler` built, with stand-ins replaced by dictionaries, tensors, texts and numbers.

    Args:
        value: anything that the table `PLAIN` can build; other objects are returned as they are.
    """
    return _plain(value, {})


def _plain(value: Any, made: dict[int, tuple[Any, Any]]) -> Any:
    """See `as_plain`; `made` is id -> (container, its copy): containers that hold themselves end."""
    if id(value) in made:
        return made[id(value)][1]
    if isinstance(value, (_NumpyArray, _NumpyBuffer)):
        inner = value.value()
        made[id(value)] = value, inner if isinstance(inner, Tensor) else _plain(inner, made)
        return made[id(value)][1]
    if isinstance(value, (_Namespace, Mapping)):
        entries = (value.state or {}) if isinstance(value, _Namespace) else value
        plain: dict[Any, Any] = {}
        made[id(value)] = value, plain
        plain.update({key: _plain(inner, made) for key, inner in entries.items()})
        return plain
    if isinstance(value, list):
        items: list[Any] = []
        made[id(value)] = value, items
        items.extend(_plain(inner, made) for inner in value)
        return items
    if isinstance(value, tuple):
        return tuple(_plain(inner, made) for inner in value)
    return None if isinstance(value, (Inert, _NumpyType)) else value

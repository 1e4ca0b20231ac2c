"""Read pickles without running anything: every name in the file is replaced by a stand-in or refused.

A pickle is a program: it names functions and classes, which Python's own reader imports and calls. `SafeUnpickler`
looks every name up in a short table of stand-ins and refuses any other name before anything happens.
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

_DANGEROUS = {
    "__builtin__", "builtins", "asyncio", "bdb", "cProfile", "cloudpickle", "code", "codeop", "commands",
    "ctypes", "dill", "http", "httplib", "importlib", "joblib", "marshal", "multiprocessing", "nt", "operator",
    "os", "pdb", "pickle", "pip", "pkgutil", "posix", "profile", "pty", "pydoc", "requests", "runpy", "shelve",
    "shutil", "signal", "smtplib", "socket", "ssl", "subprocess", "sys", "timeit", "urllib", "urllib2", "venv",
    "webbrowser"
}  # fmt: skip
"""Top-level modules with functions that run programs or other code, or reach files and the network."""
_SHOWN = 80  # letters of a name from the file that an error shows


class Stateful:
    """Stand-in that keeps the state which a pickle gives it, and does nothing with it."""

    state: Any = None  # NEWOBJ calls no constructor

    def __init__(self, *args: Any) -> None: ...


class Inert:
    """Stand-in for a value that no weight depends on: takes any arguments and forgets them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...


def refusal(path: object, name: str) -> HairclipError:
    """Return the error for a file that names something unknown, `name` being "module.function or class"."""
    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
    if name.split(".")[0] in _DANGEROUS or name.startswith(("torch.hub.", "torch.utils.", "numpy.testing.")):
        return HairclipError(f"{path} asks to run {shown}, which a weight file must not: do not trust this file.")
    return HairclipError(
        f"{path} holds an object of {shown}, which hairclip does not know and does not run: save only the tensors with "
        "the program that wrote it, as torch.save(network.state_dict(), PATH), and give that file."
    )


class SafeUnpickler(pickle._Unpickler):
    """Python's own unpickler with a table of names, in the version written in Python, whose memory the file bounds.

    Args:
        file: where the pickle begins; afterwards the position is behind the pickle.
        path: the file's path, for errors.
        allowed: "module.name" -> its stand-in; "module.*" stands for every other name of the top-level module.
    """

    dispatch: ClassVar[Any] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]  # the original's

    def __init__(self, file: io.BufferedIOBase, path: object, allowed: Mapping[str, Any]) -> None:
        super().__init__(file)
        self.path = path
        self.allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins"}.get(module, module)
        found = self.allowed.get(f"{module}.{name}") or self.allowed.get(f"{module.split('.')[0]}.*")
        if found is None:
            if module.startswith("dnnlib.tflib"):
                raise HairclipError(
                    f"{self.path} is a TensorFlow pickle of NVIDIA: give the PyTorch one (stylegan2-ada-pytorch)."
                )
            raise refusal(self.path, f"{module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to another file")

    def load_build(self) -> None:
        # The original sets attributes on anything, functions and classes of this program included.
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Stateful):
            target.state = state

    dispatch[pickle.BUILD[0]] = load_build


@dataclass(frozen=True)
class RawStorage:
    """Bytes and the type of the numbers in them, with the attributes of torch's own storages.

    Attributes:
        _untyped_storage: the bytes.
        dtype: the type of the numbers.
    """

    _untyped_storage: torch.UntypedStorage
    dtype: torch.dtype


def rebuild_tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """Return a tensor that shares the memory of a storage.

    Raises:
        pickle.UnpicklingError: if the tensor would read beyond the storage or use a number of it more than once.
    """
    last = offset + sum((length - 1) * step for length, step in zip(size, stride))
    held = storage._untyped_storage.nbytes() // storage.dtype.itemsize
    if len(size) != len(stride) or min(offset, *size, *stride, 0) < 0 or (0 not in size and last >= held):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    if math.prod(size) > held:
        raise pickle.UnpicklingError("a tensor repeats its storage")
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, size, stride)


def rebuild_parameter(data: Tensor, *_: Any) -> Tensor:
    """Return the tensor of a parameter."""
    return data


REBUILD: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
}
"""The functions by which torch's pickles name tensors and parameters, and their stand-ins."""

"""Reads the pickles of NVIDIA's StyleGAN2 (stylegan2-ada-pytorch, stylegan3) as tensors, and runs nothing in them.

Such a file carries the source text of its network classes, which the official loader executes. Here every name the
pickle asks for is looked up in a short table of harmless stand-ins; any other name is refused, and the source text
stays a string.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from hairclip.errors import HairclipError

__all__ = ["NvidiaNetwork", "is_pickle", "read_nvidia_pickle"]


@dataclass(frozen=True)
class NvidiaNetwork:
    """One network of the file."""

    class_name: str
    """What it was called when saved, for example "Generator"."""
    tensors: dict[str, Tensor]
    """Parameters and buffers under their dotted names, float32 where floating point."""


def is_pickle(path: str | Path) -> bool:
    """Whether a file begins like a bare pickle: not a zip archive and not safetensors."""
    with Path(path).open("rb") as file:
        head = file.read(2)
    return len(head) == 2 and head[0] == 0x80 and head[1] in range(2, 6)


def read_nvidia_pickle(path: str | Path) -> dict[str, NvidiaNetwork]:
    """The networks of a pickle by their names in it: "G_ema", and "G" and "D" where they were kept.

    Raises:
        HairclipError: if the file is missing, is not such a pickle, or asks for anything but tensors.
    """
    try:
        with Path(path).open("rb") as file:
            content = _Reader(file, str(path)).load()
    except HairclipError:
        raise
    except FileNotFoundError:
        raise HairclipError(f"there is no file at {path}: check the path.") from None
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise HairclipError(f"{path} cannot be read as an NVIDIA pickle ({reason}): copy or fetch it again.") from None
    networks = {}
    if isinstance(content, Mapping):
        networks = {str(name): _network(value) for name, value in content.items() if isinstance(value, _Persistent)}
    if not networks:
        raise HairclipError(f"{path} holds no NVIDIA network: give a stylegan2-ada-pytorch pickle, such as ffhq.pkl.")
    return networks


class _Persistent:
    """Stand-in for an object with embedded source: keeps its class name and state, never looks at the source."""

    def __init__(self, meta: Any) -> None:
        if not isinstance(meta, Mapping):
            raise pickle.UnpicklingError("a persistent object without a description")
        self.class_name = str(meta.get("class_name", ""))
        state = meta.get("state")
        self.state: Mapping[str, Any] = state if isinstance(state, Mapping) else {}


class _Inert:
    """Stand-in for values no weight depends on, such as NumPy scalars: takes whatever it is given and forgets it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _Dict(dict[Any, Any]):
    """Stand-in for dnnlib's dictionary with attributes."""


def _storage(data: bytes) -> Any:
    # Inside, a storage is a file of its own in torch's old format. torch's own safe reader takes it.
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    last = offset + sum((length - 1) * step for length, step in zip(size, stride))
    held = storage._untyped_storage.nbytes() // storage.dtype.itemsize
    if min(offset, *size, *stride, 0) < 0 or (0 not in size and last >= held):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, size, stride)


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


_ALLOWED: dict[str, Callable[..., Any]] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _Persistent,
    "dnnlib.util.EasyDict": _Dict,
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.storage._load_from_bytes": _storage,
    "numpy.core.multiarray.scalar": _Inert,
    "numpy._core.multiarray.scalar": _Inert,
    "numpy.dtype": _Inert,
}


class _Reader(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: str) -> None:
        super().__init__(file)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins"}.get(module, module)
        found = _ALLOWED.get(f"{module}.{name}")
        if found is not None:
            return found
        if module.startswith("dnnlib.tflib"):
            raise HairclipError(
                f"{self.path} is a TensorFlow pickle of NVIDIA: give the PyTorch one (stylegan2-ada-pytorch)."
            )
        raise HairclipError(
            f"{self.path} asks to run {module}.{name}, which a weight file must not: do not trust this file."
        )

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to another file")


def _network(network: _Persistent) -> NvidiaNetwork:
    tensors: dict[str, Tensor] = {}

    def collect(module: _Persistent, prefix: str) -> None:
        for table in ("_parameters", "_buffers"):
            for name, tensor in module.state.get(table, {}).items():
                if isinstance(tensor, Tensor):
                    tensors[f"{prefix}{name}"] = tensor.float() if tensor.is_floating_point() else tensor
        for name, child in module.state.get("_modules", {}).items():
            if isinstance(child, _Persistent):
                collect(child, f"{prefix}{name}.")

    collect(network, "")
    return NvidiaNetwork(network.class_name, tensors)

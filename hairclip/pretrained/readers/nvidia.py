"""Reads the pickles of NVIDIA's StyleGAN2 (stylegan2-ada-pytorch, stylegan3) as tensors, and runs nothing in them.

Such a file carries the source text of its network classes, which the official loader executes. Here the source text
stays a string, and every name that the pickle asks for is a stand-in (`hairclip.pretrained.readers.safe_pickle`).
"""

import io
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.pretrained.readers.safe_pickle import Inert, SafeUnpickler, rebuild_parameter, rebuild_tensor

__all__ = ["NvidiaNetwork", "is_pickle", "read_nvidia_pickle"]


@dataclass(frozen=True)
class NvidiaNetwork:
    """One network of the file."""

    class_name: str
    """What it was called when saved, for example "Generator"."""
    tensors: dict[str, Tensor]
    """Parameters and buffers under their dotted names."""


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
            content = _Reader(file, path, _ALLOWED).load()
        networks = {}
        if isinstance(content, Mapping):
            networks = {str(name): _network(value) for name, value in content.items() if isinstance(value, _Persistent)}
    except HairclipError:
        raise
    except FileNotFoundError:
        raise HairclipError(f"there is no file at {path}: check the path.") from None
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise HairclipError(f"{path} cannot be read as an NVIDIA pickle ({reason}): copy or fetch it again.") from None
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

    def table(self, name: str) -> Mapping[str, Any]:
        """One of torch's tables of a module: its parameters, buffers or modules."""
        found = self.state.get(name)
        return found if isinstance(found, Mapping) else {}


class _Dict(dict[Any, Any]):
    """Stand-in for dnnlib's dictionary with attributes."""


def _storage(data: bytes) -> Any:
    # Inside, a storage is a file of its own in torch's old format. torch's own safe reader takes it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protocols it does not know: then it fails, or the storage is fine
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


_ALLOWED: dict[str, Callable[..., Any]] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _Persistent,
    "dnnlib.util.EasyDict": _Dict,
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch.storage._load_from_bytes": _storage,
    "numpy.core.multiarray.scalar": Inert,
    "numpy._core.multiarray.scalar": Inert,
    "numpy.dtype": Inert,
}


class _Reader(SafeUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("dnnlib.tflib"):
            raise HairclipError(
                f"{self.path} is a TensorFlow pickle of NVIDIA: give the PyTorch one (stylegan2-ada-pytorch)."
            )
        return super().find_class(module, name)


def _network(network: _Persistent) -> NvidiaNetwork:
    tensors: dict[str, Tensor] = {}
    waiting: list[tuple[str, _Persistent]] = [("", network)]
    seen = {id(network)}
    while waiting:
        prefix, module = waiting.pop()
        for table in ("_parameters", "_buffers"):
            own = module.table(table).items()
            tensors |= {f"{prefix}{name}": tensor for name, tensor in own if isinstance(tensor, Tensor)}
        for name, child in module.table("_modules").items():
            if isinstance(child, _Persistent) and id(child) not in seen:
                seen.add(id(child))
                waiting.append((f"{prefix}{name}.", child))
    return NvidiaNetwork(network.class_name, tensors)

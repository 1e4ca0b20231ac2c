"""Read NVIDIA's networks (stylegan2-ada-pytorch, stylegan3, PTI) as tensors, and run nothing of the file.

Such a file carries the source text of its network classes, which the official loader executes. Here the source text
stays a string, and every name in the pickle is replaced by a stand-in (`hairclip.pretrained.readers.safe_pickle`).
"""

import io
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.pretrained.readers.plain_values import PLAIN, as_plain
from hairclip.pretrained.readers.safe_pickle import REBUILD, SafeUnpickler

__all__ = ["PERSISTENT", "NvidiaNetwork", "find_networks", "is_pickle", "read_nvidia_pickle", "read_pickle"]


@dataclass(frozen=True)
class NvidiaNetwork:
    """One network of the file.

    Attributes:
        class_name: its class when it was saved, for example "Generator".
        tensors: parameters and buffers under their dotted names.
        conv_clamp: the largest absolute value that its layers let through, None where they clamp nothing.
    """

    class_name: str
    tensors: dict[str, Tensor]
    conv_clamp: float | None = None


class _Persistent:
    """Stand-in for an object with embedded source: keeps its class name and state, never looks at the source."""

    def __init__(self, meta: Any) -> None:
        if not isinstance(meta, Mapping):
            raise pickle.UnpicklingError("a persistent object without a description")
        self.class_name = str(meta.get("class_name", ""))
        state = meta.get("state")
        self.state: Mapping[str, Any] = state if isinstance(state, Mapping) else {}

    def table(self, name: str) -> Mapping[str, Any]:
        """Return one of torch's tables of a module: "_parameters", "_buffers" or "_modules"."""
        found = self.state.get(name)
        return found if isinstance(found, Mapping) else {}


def _load_storage(data: bytes) -> Any:
    # Inside a bare pickle, a storage is a file of its own in torch's old format. torch's own safe reader takes it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protocols it does not know: then it fails, or the storage is fine
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


PERSISTENT: dict[str, Callable[..., Any]] = {"torch_utils.persistence._reconstruct_persistent_obj": _Persistent}
"""Full name -> stand-in of NVIDIA's objects, for `SafeUnpickler`."""


def is_pickle(path: str | Path) -> bool:
    """Return whether a file begins like a bare pickle: not a zip archive and not safetensors."""
    with Path(path).open("rb") as file:
        head = file.read(2)
    return len(head) == 2 and head[0] == 0x80 and head[1] in range(2, 6)


def read_pickle(path: Path) -> Any:
    """Return what a bare pickle holds: containers, tensors, plain values, and stand-ins for NVIDIA's networks.

    Raises:
        HairclipError: if the file is missing or damaged, or names anything else.
    """
    allowed = {**PLAIN, **REBUILD, **PERSISTENT, "torch.storage._load_from_bytes": _load_storage}
    try:
        with path.open("rb") as file:
            return as_plain(SafeUnpickler(file, path, allowed).load())
    except HairclipError:
        raise
    except FileNotFoundError:
        raise HairclipError(f"there is no file at {path}: check the path.") from None
    except Exception as error:  # a damaged pickle can raise anything
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise HairclipError(f"{path} cannot be read as an NVIDIA pickle ({reason}): copy or fetch it again.") from None


def find_networks(content: Any) -> dict[str, NvidiaNetwork]:
    """Return NVIDIA's networks in the content of a pickle by their names there; PTI saves one alone, called "G_ema"."""
    if isinstance(content, _Persistent):
        content = {"G_ema": content}
    entries = content.items() if isinstance(content, Mapping) else ()
    return {str(name): _network(value) for name, value in entries if isinstance(value, _Persistent)}


def read_nvidia_pickle(path: str | Path) -> dict[str, NvidiaNetwork]:
    """Return the networks of a pickle by their names in it: "G_ema", and "G" and "D" where they were kept.

    Raises:
        HairclipError: if the file is missing, is not such a pickle, or names anything but tensors and plain values.
    """
    networks = find_networks(read_pickle(Path(path)))
    if not networks:
        raise HairclipError(f"{path} holds no NVIDIA network: give a stylegan2-ada-pytorch pickle, such as ffhq.pkl.")
    return networks


def _network(network: _Persistent) -> NvidiaNetwork:
    tensors: dict[str, Tensor] = {}
    clamps: set[float] = set()
    waiting: list[tuple[str, _Persistent]] = [("", network)]
    seen = {id(network)}
    while waiting:
        prefix, module = waiting.pop()
        if isinstance(clamp := module.state.get("conv_clamp"), (int, float)):
            clamps.add(float(clamp))
        for table in ("_parameters", "_buffers"):
            own = module.table(table).items()
            tensors |= {f"{prefix}{name}": tensor for name, tensor in own if isinstance(tensor, Tensor)}
        for name, child in module.table("_modules").items():
            if isinstance(child, _Persistent) and id(child) not in seen:
                seen.add(id(child))
                waiting.append((f"{prefix}{name}.", child))
    # Layers of one network share one limit; of several, the smallest is the one that changes pictures.
    return NvidiaNetwork(network.class_name, tensors, min(clamps, default=None))

"""Reading and writing weight files, without ever executing anything in them.

safetensors for what this library writes; torch files with ``weights_only=True``; NVIDIA's pickles by the reader in
`hairclip.nvidia_pickle`. Every damaged or unsuitable file is a `HairclipError` that names it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hairclip.errors import HairclipError
from hairclip.nvidia_pickle import is_pickle, read_nvidia_pickle

#: How torch files from before the zip format begin: a pickled number.
_TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def is_safetensors(path: Path) -> bool:
    """Whether a file begins like safetensors: the length of a JSON header, then the header."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise HairclipError(f"{path} cannot be opened ({error.strerror}): check its permissions.") from None


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise HairclipError(f"{path} cannot be read as safetensors ({error}): copy or fetch it again.") from None


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors, floating point ones as float32."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: as_float32(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except (SafetensorError, OSError) as error:
        raise HairclipError(f"{path} cannot be read as safetensors ({error}): copy or fetch it again.") from None


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file that appears whole or not at all; missing folders are made."""
    _write_whole(path, lambda partial: safetensors.torch.save_file(dict(tensors), partial, dict(metadata)))


def write_torch(path: Path, content: Any) -> None:
    """Write a torch file, for code that reads no other; it appears whole or not at all."""

    def save(partial: Path) -> None:
        try:
            torch.save(content, partial)
        except RuntimeError as error:  # how torch tells of a full disk
            raise OSError(str(error).split("\n")[0]) from None

    _write_whole(path, save)


def _write_whole(path: Path, write: Callable[[Path], None]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(partial)
            partial.chmod(0o644)  # safetensors makes files that only their owner reads
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise HairclipError(f"cannot write {path} ({error}): choose another place.") from None


def read_torch(path: Path) -> Any:
    """What a torch file of plain tensors and containers holds; of NVIDIA's pickles the tensors of ``G_ema``."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        if reason.startswith("Weights only"):  # torch goes on to advise loading it unsafely
            reason = "it is damaged, or holds more than plain tensors"
    if is_pickle(path) and not path.read_bytes().startswith(_TORCH_LEGACY):
        networks = read_nvidia_pickle(path)
        if "G_ema" not in networks:
            raise HairclipError(f"{path} holds {', '.join(networks)}, but no G_ema: give a whole StyleGAN2 pickle.")
        return networks["G_ema"].tensors
    raise HairclipError(
        f"{path} cannot be read as a weight file ({reason}): give safetensors or a torch file of tensors."
    )


def as_float32(tensor: Tensor) -> Tensor:
    """Floating point of any width as float32, other types as they are."""
    return tensor.float() if tensor.is_floating_point() else tensor

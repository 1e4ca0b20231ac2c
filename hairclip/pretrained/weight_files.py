"""Read and write weight files: one file to its tensors and values, and back. Nothing in a file is ever executed.

This library writes safetensors. torch files are read with `weights_only=True`; NVIDIA's pickles, TorchScript archives
and files with plain values of other classes are read by `hairclip.pretrained.readers`. The content tells what a file
is, never its name. Every damaged or unsuitable file is a `HairclipError` that names it.
"""

import codecs
import json
import math
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.files import open_atomic
from hairclip.pretrained.readers.nvidia import find_networks, is_pickle, read_pickle
from hairclip.pretrained.readers.torch_archives import (
    TORCH_LEGACY,
    is_torchscript,
    map_legacy,
    read_plain_archive,
    read_torchscript,
    unpacked_size,
)

_NUMPY = b"\x93NUMPY"  # how .npy begins
_MOST_UNPACKED = 10**10  # bytes that a compressed .npz may unfold to: 250,000 codes of a 1024 px generator
_SLACK = 1_000_000  # bytes by which tensors may exceed twice their file: some small ones share their numbers


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins like safetensors: the length of a JSON header, then the header."""
    return _head(path, 9)[8:] == b"{"


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise HairclipError(f"{path} cannot be read as safetensors ({error}): copy or fetch it again.") from None


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return metadata and tensors of a safetensors file; the tensors are memory-mapped, in the file's precision."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise HairclipError(f"{path} cannot be read as safetensors ({error}): copy or fetch it again.") from None


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that appears whole or not at all; missing folders are made.

    Equal tensors and metadata give equal bytes: safetensors itself writes the metadata in random order.
    """
    content = safetensors.torch.save(dict(tensors), dict(metadata))
    end = 8 + int.from_bytes(content[:8], "little")
    with open_atomic(path) as file:
        file.write(_begin_safetensors(json.loads(content[8:end])))
        file.write(memoryview(content)[end:])


def write_safetensors_blocks(
    path: Path, name: str, shape: Sequence[int], blocks: Iterable[Tensor], metadata: Mapping[str, str]
) -> None:
    """Write one float32 tensor that need not fit the memory. The file is the one that `write_safetensors` writes.

    Args:
        path: the file to write.
        name: the tensor's name.
        shape: the tensor's shape.
        blocks: the tensor cut along its first axis, in order.
        metadata: texts beside the tensor.
    """
    size = 4 * math.prod(shape)
    tensor = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, size]}
    with open_atomic(path) as file:
        file.write(_begin_safetensors({"__metadata__": dict(metadata), name: tensor}))
        for block in blocks:
            size -= file.write(np.ascontiguousarray(block.numpy(), "<f4").data)
        if size:
            raise ValueError(f"the blocks of {name} have {-size:+} bytes more than its shape {tuple(shape)}")


def _begin_safetensors(header: dict[str, Any]) -> bytes:
    """Return how a safetensors file with this header begins; its tensors follow."""
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text


def write_torch(path: Path, content: Any) -> None:
    """Write a torch file, for code that reads no other format; it appears whole or not at all."""
    with open_atomic(path) as file:
        torch.save(content, file)


def read_torch(path: Path) -> Any:
    """Return what a torch file of tensors and plain values holds, in the file's precision.

    NumPy's files become a tensor (.npy) or a dictionary of tensors (.npz), NVIDIA's networks ``{"G_ema": tensors,
    "conv_clamp": float or None}``, TorchScript archives the tensors of their module. Files in the zip format are
    memory-mapped.

    Raises:
        HairclipError: if the file is damaged, is something else, or names anything but tensors and plain values.
    """
    head = _head(path, 4096)
    if (told := describe_other(head)) is not None:
        raise HairclipError(f"{path} is {told}.")
    if head.startswith(_NUMPY):
        content = _read_numpy(path)
    elif head.startswith(b"PK"):
        content = _read_archive(path)
    elif head.startswith(TORCH_LEGACY) or not is_pickle(path):
        content = _read_legacy(path)
    else:
        content = read_pickle(path)
    content = _with_networks(path, content)
    _check_tensors(content, path)
    return content


def map_torch(path: Path) -> Any:
    """Return what `read_torch` does, memory-mapped in both of torch's formats: for files larger than memory."""
    if not _head(path, len(TORCH_LEGACY)).startswith(TORCH_LEGACY):
        return read_torch(path)
    content = _read_own_way(path, map_legacy)
    _check_tensors(content, path)
    return content


def why_unreadable(error: Exception) -> str:
    """Return what torch says of a file that it cannot read, without its advice to load the file unsafely."""
    reason = str(error).strip().split("\n")[0].rstrip(".")[:150] or type(error).__name__
    return "it is damaged, or holds more than plain tensors" if "Weights only" in reason else reason


def as_float32(tensor: Tensor) -> Tensor:
    """Return floating-point tensors of any precision as float32, other tensors as they are."""
    return tensor.float() if tensor.is_floating_point() else tensor


def all_finite(tensor: Tensor) -> bool:
    """Return whether a floating-point tensor holds neither NaN nor infinity."""
    if not tensor.numel():
        return True
    # Ten times as fast as isfinite: NaN is both the least and the greatest number.
    return all(bool(end.isfinite()) for end in torch.aminmax(as_float32(tensor)))


def describe_layout(path: Path) -> str:
    """Return the name of a weight file's container, for people."""
    head = _head(path, 64)
    if is_safetensors(path):
        return "safetensors"
    if head.startswith(_NUMPY):
        return "NumPy array"
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith(".npy") for name in archive.namelist()):
                return "NumPy arrays"
            return "TorchScript archive" if is_torchscript(archive) else "torch zip format"
    return "torch legacy format" if head.startswith(TORCH_LEGACY) else "NVIDIA pickle"


def _head(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise HairclipError(f"{path} cannot be opened ({error.strerror}): check its permissions.") from None


def describe_other(head: bytes) -> str | None:
    """Return what a file with these first bytes is, in words, if it cannot hold weights; else None."""
    if not head:
        return "empty: copy or fetch it again"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")) or (start.startswith(b"<") and b"<html" in start):
        return "a web page, not weights: open its link in a browser, download the file itself, and give that"
    if start.startswith(b"version https://git-lfs"):
        return "only a Git LFS pointer to the weights: run `git lfs pull` and give the file again"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut off
    except UnicodeDecodeError:
        return None
    if not any(byte < 9 or 13 < byte < 32 for byte in head):
        return "text, not weights: give safetensors or a torch file of tensors"
    return None


def _read_archive(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names, size = archive.namelist(), unpacked_size(archive)
            if names and all(name.endswith(".npy") for name in names) and size < _MOST_UNPACKED:
                return _read_numpy(path)
            if size > path.stat().st_size:  # it could unfold to any size
                raise HairclipError(f"{path} is a compressed archive, not a weight file: unpack it and give the file.")
            if not any(name.endswith("data.pkl") for name in names):
                raise HairclipError(f"{path} is a zip archive without weights: unpack it and give the file inside.")
            script = is_torchscript(archive)
    except zipfile.BadZipFile:
        raise HairclipError(f"{path} is a damaged torch file, probably cut off: copy or fetch it again.") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise _unreadable(path, error) from None
    if script:
        return _read_own_way(path, read_torchscript)
    try:
        return _torch_load(path, mmap=True)
    except pickle.UnpicklingError:  # damaged, or with values of classes that torch does not know
        return _read_own_way(path, read_plain_archive)
    except Exception as error:  # a damaged archive can raise anything
        raise _unreadable(path, error) from None


def _read_numpy(path: Path) -> Tensor | dict[str, Tensor]:
    try:
        content = np.load(path, mmap_mode="c", allow_pickle=False)
        if isinstance(content, np.ndarray):
            return _as_tensor(content)
        with content:
            return {name: _as_tensor(content[name]) for name in content.files}
    except Exception as error:  # a damaged file can raise anything
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise HairclipError(
                f"{path} holds Python objects, which are not read: save one array of numbers."
            ) from None
        raise _unreadable(path, error) from None


def _as_tensor(array: Any) -> Tensor:
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _read_legacy(path: Path) -> Any:
    try:
        return _torch_load(path, mmap=False)
    except pickle.UnpicklingError as error:
        if not _head(path, len(TORCH_LEGACY)).startswith(TORCH_LEGACY):
            raise _unreadable(path, error) from None
        return _read_own_way(path, map_legacy)
    except Exception as error:  # a damaged pickle can raise anything
        raise _unreadable(path, error) from None


def _torch_load(path: Path, mmap: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def _read_own_way(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except HairclipError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> HairclipError:
    return HairclipError(
        f"{path} cannot be read as a weight file ({why_unreadable(error)}): give an undamaged file of safetensors or "
        "torch."
    )


def _with_networks(path: Path, content: Any) -> Any:
    """Return the content with NVIDIA's G_ema as tensors, where the file holds NVIDIA's networks."""
    networks = find_networks(content)
    if not networks:
        return content
    if "G_ema" not in networks:
        raise HairclipError(f"{path} holds {', '.join(networks)}, but no G_ema: give a whole StyleGAN2 pickle.")
    return {"G_ema": networks["G_ema"].tensors, "conv_clamp": networks["G_ema"].conv_clamp}


def _check_tensors(content: Any, path: Path) -> None:
    """Refuse what could grow when used: tensors that repeat few numbers endlessly, and exotic kinds of tensor."""
    waiting, seen, total = [content], set(), 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
            if not plain or value.is_nested or type(value) not in (Tensor, torch.nn.Parameter):
                raise HairclipError(f"{path} holds tensors that are not plain numbers: give an ordinary weight file.")
            total += value.numel() * value.itemsize
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, Mapping) else value
    if total > 2 * path.stat().st_size + _SLACK:
        raise HairclipError(f"{path} unfolds to {total / 1e6:,.0f} MB, far more than it holds: do not trust this file.")

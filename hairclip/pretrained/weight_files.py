"""Reading and writing weight files, without ever executing anything in them.

safetensors for what this library writes; torch files with ``weights_only=True``; NVIDIA's pickles and TorchScript
archives by readers of our own. What a file is, its content says, never its name. Every damaged or unsuitable file is a
`HairclipError` that names it.
"""

import codecs
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.pretrained.readers.nvidia import is_pickle, read_nvidia_pickle
from hairclip.pretrained.readers.safe_pickle import forbidden
from hairclip.pretrained.readers.torch_archives import TORCH_LEGACY, is_torchscript, map_legacy, read_torchscript

_SLACK = 1_000_000  # bytes by which tensors may exceed twice their file: small ones that share their numbers


def is_safetensors(path: Path) -> bool:
    """Whether a file begins like safetensors: the length of a JSON header, then the header."""
    return _head(path, 9)[8:] == b"{"


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise HairclipError(f"{path} cannot be read as safetensors ({error}): copy or fetch it again.") from None


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors, these memory-mapped and in the file's precision."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
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
    """What a torch file of plain tensors and containers holds, in the file's precision.

    Of NVIDIA's pickles it is the tensors of ``G_ema``, of TorchScript archives those of the module. Files in the zip
    format are memory-mapped.
    """
    head = _head(path, 4096)
    if (told := _not_weights(head)) is not None:
        raise HairclipError(f"{path} is {told}.")
    if head.startswith(b"PK"):
        content = _read_archive(path)
    elif head.startswith(TORCH_LEGACY) or not is_pickle(path):
        content = _torch_load(path, mmap=False)
    else:
        networks = read_nvidia_pickle(path)
        if "G_ema" not in networks:
            raise HairclipError(f"{path} holds {', '.join(networks)}, but no G_ema: give a whole StyleGAN2 pickle.")
        content = networks["G_ema"].tensors
    _check_tensors(content, path)
    return content


def map_torch(path: Path) -> Any:
    """What `read_torch` gives, memory-mapped whatever the format: for files larger than memory."""
    if not _head(path, len(TORCH_LEGACY)).startswith(TORCH_LEGACY):
        return read_torch(path)
    try:
        content = map_legacy(path)
    except HairclipError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise _unreadable(path, error) from None
    _check_tensors(content, path)
    return content


def why_unreadable(error: Exception) -> str:
    """What torch says of a file it cannot read, without its advice to load the file unsafely."""
    reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return "it is damaged, or holds more than plain tensors" if "Weights only" in reason else reason


def as_float32(tensor: Tensor) -> Tensor:
    """Floating point of any width as float32, other types as they are."""
    return tensor.float() if tensor.is_floating_point() else tensor


def describe_layout(path: Path) -> str:
    """The container of a weight file, in words."""
    head = _head(path, 64)
    if is_safetensors(path):
        return "safetensors"
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            return "TorchScript archive" if is_torchscript(archive) else "torch zip format"
    return "torch legacy format" if head.startswith(TORCH_LEGACY) else "NVIDIA pickle"


def _head(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise HairclipError(f"{path} cannot be opened ({error.strerror}): check its permissions.") from None


def _not_weights(head: bytes) -> str | None:
    """What a file is whose first bytes are these, where that cannot be weights."""
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
            # torch stores its entries as they are: a compressed one could unfold to any size
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise HairclipError(f"{path} is a compressed archive, not a weight file: unpack it and give the file.")
            if not any(name.endswith("data.pkl") for name in archive.namelist()):
                raise HairclipError(f"{path} is a zip archive without weights: unpack it and give the file inside.")
            script = is_torchscript(archive)
        return read_torchscript(path) if script else _torch_load(path, mmap=True)
    except HairclipError:
        raise
    except zipfile.BadZipFile:
        raise HairclipError(f"{path} is a damaged torch file, probably cut off: copy or fetch it again.") from None
    except Exception as error:  # a damaged archive can raise anything
        raise _unreadable(path, error) from None


def _torch_load(path: Path, mmap: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # a damaged pickle can raise anything
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> HairclipError:
    if (asked := re.search(r"(?i)unsupported (?:class|(?:global:? )+)([\w.]+)", str(error))) is not None:
        return forbidden(path, asked[1])
    return HairclipError(
        f"{path} cannot be read as a weight file ({why_unreadable(error)}): give an undamaged file of safetensors or "
        "torch."
    )


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

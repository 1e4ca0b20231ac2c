"""Read three kinds of torch files that `torch.load(weights_only=True, mmap=True)` refuses or does not memory-map.

- TorchScript archives (OpenAI's `ViT-B-32.pt`) hold code beside the tensors, and torch can only load them by loading
  that code. Here their tensors are read alone.
- Archives with plain values of classes that torch does not know, for example rosinality's `argparse.Namespace`, or with
  NVIDIA's networks, as PTI saves them.
- Files from before the zip format, which torch cannot memory-map. Here the tensor of a large latent set is.

Nothing in a file is executed.
"""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hairclip.pretrained.readers.nvidia import PERSISTENT
from hairclip.pretrained.readers.plain_values import PLAIN, as_plain
from hairclip.pretrained.readers.safe_pickle import REBUILD, Inert, RawStorage, SafeUnpickler, Stateful

TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch files from before the zip format begin: a pickled number."""

_STORAGES: dict[str, torch.dtype] = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}


class _StorageType:
    """Stand-in for one of torch's classes of storages."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, *args: Any) -> Any:
        raise pickle.UnpicklingError("a storage outside the archive")


_TENSORS: dict[str, Any] = {
    **PLAIN,
    **REBUILD,
    **PERSISTENT,
    **{name: _StorageType(dtype) for name, dtype in _STORAGES.items()},
}


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """Return whether a torch archive holds code."""
    return any("/code/" in name for name in archive.namelist())


def unpacked_size(archive: zipfile.ZipFile) -> int:
    """Return how many bytes the records unpack to, without code.

    torch stores the records that hold tensors as they are. It compresses the code of TorchScript archives, which is
    not read.
    """
    return sum(entry.file_size for entry in archive.infolist() if "/code/" not in f"/{entry.filename}")


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a TorchScript archive under their dotted names, as its `state_dict()` would.

    Raises:
        HairclipError: if the archive names anything but tensors and its own classes.
        Exception: anything, if it is damaged.
    """
    lists = {f"torch.jit._pickle.build_{kind}list": Inert for kind in ("int", "double", "bool", "tensor")}
    root = _read_records(
        path, {"torch.jit._pickle.restore_type_tag": lambda value, _: value, **lists, "__torch__.*": Stateful}
    )
    tensors: dict[str, Tensor] = {}
    waiting = [("", root)]
    seen: set[int] = set()
    while waiting:
        prefix, node = waiting.pop()
        if isinstance(node, Tensor):
            tensors[prefix] = node
        elif isinstance(node, Stateful) and isinstance(node.state, dict) and id(node) not in seen:
            seen.add(id(node))
            waiting += [(f"{prefix}.{key}".lstrip("."), value) for key, value in node.state.items()]
    return tensors


def read_plain_archive(path: Path) -> Any:
    """Return what a torch archive of tensors, plain values and NVIDIA's networks holds.

    Raises:
        HairclipError: if the archive names anything else.
        Exception: anything, if it is damaged.
    """
    return as_plain(_read_records(path, {}))


def _read_records(path: Path, more: dict[str, Any]) -> Any:
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1)
        file = io.BytesIO(archive.read(name))
        return _ArchiveReader(file, path, archive, name.removesuffix(".pkl"), {**_TENSORS, **more}).load()


class _ArchiveReader(SafeUnpickler):
    """Reads the pickle of a torch archive, and each storage that it refers to from the archive's folder `folder`."""

    def __init__(
        self, file: io.BufferedIOBase, path: Path, archive: zipfile.ZipFile, folder: str, allowed: dict[str, Any]
    ) -> None:
        super().__init__(file, path, allowed)
        self.archive, self.folder = archive, folder
        self.storages: dict[str, RawStorage] = {}

    def persistent_load(self, pid: Any) -> Any:
        kind, storage_type, key, _, count = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise pickle.UnpicklingError("it refers to another file")
        if key not in self.storages:
            data = bytearray(self.archive.read(f"{self.folder}/{key}"))
            if len(data) != count * storage_type.dtype.itemsize:
                raise pickle.UnpicklingError("a storage of another size than announced")
            untyped = torch.frombuffer(data, dtype=torch.uint8).untyped_storage() if data else torch.UntypedStorage(0)
            self.storages[key] = RawStorage(untyped, storage_type.dtype)
        return self.storages[key]


def map_legacy(path: Path) -> Any:
    """Return what a torch file from before the zip format holds, tensors memory-mapped; changes stay in memory.

    Raises:
        HairclipError: if the file names anything but tensors, plain values and NVIDIA's networks.
        Exception: anything, if it is damaged.
    """
    with path.open("rb") as file:
        for _ in range(3):  # the magic number, the protocol's version, the machine's endianness
            SafeUnpickler(file, path, {}).load()
        start = file.tell()
        # Where the numbers lie is told behind the tensors that refer to them: read these twice.
        announced = _LegacyReader(file, path, {**_TENSORS, **dict.fromkeys(REBUILD, Inert)})
        announced.load()
        mapped = torch.UntypedStorage.from_file(str(path), False, os.fstat(file.fileno()).st_size)
        storages: dict[str, RawStorage] = {}
        for key in SafeUnpickler(file, path, {}).load():
            count, size = struct.unpack("<q", file.read(8))[0], announced.storages[key].dtype.itemsize
            begin = file.tell()
            if count < 0 or begin + count * size > mapped.nbytes():
                raise pickle.UnpicklingError("it ends too early")
            storages[key] = RawStorage(mapped[begin : begin + count * size], announced.storages[key].dtype)
            file.seek(count * size, os.SEEK_CUR)
        file.seek(start)
        reader = _LegacyReader(file, path, _TENSORS)
        reader.storages = storages
        return as_plain(reader.load())


class _LegacyReader(SafeUnpickler):
    def __init__(self, file: io.BufferedIOBase, path: Path, allowed: dict[str, Any]) -> None:
        super().__init__(file, path, allowed)
        self.storages: dict[str, RawStorage] = {}

    def persistent_load(self, pid: Any) -> Any:
        kind, storage_type, key, _, _, view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType) or view is not None:
            raise pickle.UnpicklingError("it refers to another file")
        return self.storages.setdefault(key, RawStorage(torch.UntypedStorage(0), storage_type.dtype))

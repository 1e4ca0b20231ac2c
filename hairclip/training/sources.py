"""What was computed of the source pictures, kept in memory or in a folder, up to a budget.

A store that is full takes nothing more in: what it lacks is computed again whenever it is asked for.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from hairclip.common.errors import HairclipError
from hairclip.losses.hair_edit import SourceFeatures
from hairclip.training.latents import LatentSet

_FORMAT = 1
_HASHED_CODES = 1024


class SourceMemory(dict[int, SourceFeatures]):
    """Features of one source each, by its number, in host memory.

    Args:
        budget: bytes to stay under; None for as much as there is.
    """

    def __init__(self, budget: int | None = None) -> None:
        super().__init__()
        self.budget, self.used = budget, 0

    def __setitem__(self, number: int, features: SourceFeatures) -> None:
        size = sum(getattr(features, part.name).nbytes for part in fields(SourceFeatures))
        if number not in self and (self.budget is None or self.used + size <= self.budget):
            super().__setitem__(number, features)
            self.used += size


class SourceFolder:
    """Features of one source each, by its number, in a file that is memory-mapped; runs and processes share it.

    Records have one size and stand at their number's place in a sparse file; an index holds a checksum for each that
    is there, so that what was cut off while it was written is computed again.

    Args:
        folder: holds one folder per key.
        key: of everything that the features depend on, see `features_key`.
        count: how many sources there are.
        budget: bytes to stay under; None for as much as fits on the disk.
    """

    def __init__(self, folder: str | Path, key: str, count: int, budget: int | None = None) -> None:
        self.folder, self.count, self.budget = Path(folder) / key, count, budget
        self._layout: list[_Part] = []
        self._seen: set[int] = set()
        self._is_full = False
        with self._told():
            self.folder.mkdir(parents=True, exist_ok=True)
            if (self.folder / "layout.json").is_file():
                self._open()

    def get(self, number: int) -> SourceFeatures | None:
        """The features of a source, None where they are not there."""
        if not self._layout or not self._index[number]:
            return None
        record = self._records[number]
        if number not in self._seen:
            if _checksum(record.tobytes()) != self._index[number]:
                self._index[number] = 0  # to be written again
                return None
            self._seen.add(number)
        parts, start = {}, 0
        for part in self._layout:
            # copied: torch refuses arrays that cannot be written, and a tensor shall not hold the file open
            values = record[start : start + part.size].view(part.dtype).reshape(part.shape).copy()
            parts[part.name] = torch.from_numpy(values)
            start += part.size
        return SourceFeatures(**parts)

    def __setitem__(self, number: int, features: SourceFeatures) -> None:
        arrays = {part.name: getattr(features, part.name).cpu().numpy() for part in fields(SourceFeatures)}
        with self._told():
            if not self._layout:
                self._create([_Part(name, array.shape, array.dtype.str) for name, array in arrays.items()])
            if self._is_full or self._index[number]:
                return
            held = int(np.count_nonzero(self._index)) + 1
            if self.budget is not None and held * self._record > self.budget:
                self._is_full = True
                return
            record = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
            try:
                with (self.folder / "records.bin").open("r+b", buffering=0) as file:
                    file.seek(number * self._record)
                    written = file.write(record)
            except OSError:  # the disk is full, or a quota: as if it were the budget
                written = 0
            self._is_full = written != len(record)
            if not self._is_full:
                self._index[number] = _checksum(record)
                self._seen.add(number)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._index)) if self._layout else 0

    def _create(self, layout: "list[_Part]") -> None:
        with FileLock(self.folder / "lock"):
            path = self.folder / "layout.json"
            if not path.is_file():
                with (self.folder / "records.bin").open("wb") as file:
                    file.truncate(self.count * sum(part.size for part in layout))
                (self.folder / "index.bin").write_bytes(bytes(4 * self.count))
                partial = path.with_suffix(".partial")
                partial.write_text(json.dumps(layout), encoding="utf-8")
                partial.replace(path)  # last: whoever sees it finds the other two whole
        self._open()

    def _open(self) -> None:
        records, index = self.folder / "records.bin", self.folder / "index.bin"
        try:
            rows = json.loads((self.folder / "layout.json").read_text(encoding="utf-8"))
            layout = [_Part(str(name), tuple(shape), str(dtype)) for name, shape, dtype in rows]
            self._record = sum(part.size for part in layout)
            self._records: np.memmap[Any, Any] = np.memmap(records, np.uint8, "r", shape=(self.count, self._record))
            self._index: np.memmap[Any, Any] = np.memmap(index, np.uint32, "r+", shape=(self.count,))
        except (ValueError, TypeError) as error:
            raise HairclipError(f"data.cache_folder: {self.folder} is damaged ({error}): remove it.") from None
        self._layout = layout

    def _told(self) -> "Told":
        return Told(self.folder)


class _Part(NamedTuple):
    """One tensor of a record."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Told:
    """Turns what a file system raises into one sentence."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise HairclipError(
                f"data.cache_folder: {self.folder} cannot be used ({error.strerror or error}): choose another one."
            ) from None


def features_key(networks: Sequence[nn.Module], settings: Mapping[str, Any], latents: LatentSet | None = None) -> str:
    """A digest of all that the features of pictures follow from: weights, settings, and codes where they show these."""
    digest = hashlib.sha256(json.dumps([_FORMAT, dict(settings)], sort_keys=True).encode())
    for network in networks:
        digest.update(json.dumps([type(network).__name__, getattr(network, "config", None)]).encode())
        for name, tensor in network.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    if latents is None:
        return digest.hexdigest()[:32]
    for first in range(0, len(latents), _HASHED_CODES):
        codes = latents[range(first, min(first + _HASHED_CODES, len(latents)))]
        digest.update(codes.contiguous().numpy().data)
    return digest.hexdigest()[:32]


def _checksum(record: bytes) -> int:
    return zlib.crc32(record) or 1  # 0 means that there is none

"""Keep what was computed of the source pictures, in memory or in a folder, up to a budget.

A store that is full takes nothing more in. What it lacks is computed again whenever it is needed.
"""

import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from hairclip.common.errors import HairclipError
from hairclip.common.files import digest, write_atomic
from hairclip.losses.hair_edit import SourceFeatures
from hairclip.training.latents import LatentSet

__all__ = ["SourceFolder", "SourceMemory", "Sources", "features_key", "usable_folder"]

_FORMAT = 2
_NAMES = tuple(part.name for part in fields(SourceFeatures))


class SourceMemory(dict[int, SourceFeatures]):
    """Features of one source each, by the number of its code, in host memory.

    Args:
        budget: bytes to stay under; None for as much as there is.
    """

    def __init__(self, budget: int | None = None) -> None:
        super().__init__()
        self.budget, self.used = budget, 0

    def __setitem__(self, number: int, features: SourceFeatures) -> None:
        size = sum(getattr(features, name).nbytes for name in _NAMES)
        if number not in self and (self.budget is None or self.used + size <= self.budget):
            super().__setitem__(number, features)
            self.used += size


class SourceFolder:
    """Features of one source each, by the number of its code, in a memory-mapped file that runs and processes share.

    Records have one size and stand at their number's place in a sparse file. An index holds a checksum for each record
    that is there: a record that was cut off while it was written is computed again. Damaged files are built anew.

    Args:
        folder: holds one folder per key.
        key: a digest of everything that the features depend on, see `features_key`.
        count: number of sources.
        budget: bytes to stay under; None for as much as fits on the disk.

    Raises:
        HairclipError: if the folder cannot be made or read.
    """

    def __init__(self, folder: str | Path, key: str, count: int, budget: int | None = None) -> None:
        self.folder, self.count, self.budget = Path(folder) / key, count, budget
        self._layout: list[_Part] = []
        self._seen: set[int] = set()
        self._is_full = False
        with usable_folder(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._open()

    def get(self, number: int) -> SourceFeatures | None:
        """Return the features of a source, None where they are not there."""
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
        arrays = {name: getattr(features, name).cpu().numpy() for name in _NAMES}
        if not self._layout and not self._is_full:
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
        """Make the three files, unless another process was faster; a full disk is as if the budget were spent."""
        try:
            with FileLock(self.folder / "lock"):
                self._open()
                if self._layout:
                    return
                records = self.folder / "records.bin"
                records.unlink(missing_ok=True)  # another process may have the damaged one open
                with records.open("wb") as file:
                    file.truncate(self.count * sum(part.size for part in layout))
                write_atomic(self.folder / "index.bin", bytes(4 * self.count))
                write_atomic(
                    self.folder / "layout.json", json.dumps(layout)
                )  # last: who sees it finds the others whole
                self._open()
        except (OSError, HairclipError):
            self._is_full = True
            for name in ("layout.json", "index.bin", "records.bin"):
                with suppress(OSError):
                    (self.folder / name).unlink(missing_ok=True)

    def _open(self) -> None:
        """Map the files of an earlier run, if they are there and fit."""
        layout = _read_layout(self.folder / "layout.json")
        record = sum(part.size for part in layout)
        sizes = {"records.bin": self.count * record, "index.bin": 4 * self.count}
        paths = {name: self.folder / name for name in sizes}
        if layout and all(path.is_file() and path.stat().st_size == sizes[name] for name, path in paths.items()):
            self._record = record
            self._records: np.memmap[Any, Any] = np.memmap(
                paths["records.bin"], np.uint8, "r", shape=(self.count, record)
            )
            self._index: np.memmap[Any, Any] = np.memmap(paths["index.bin"], np.uint32, "r+", shape=(self.count,))
            self._layout = layout


Sources: TypeAlias = SourceMemory | SourceFolder
"""Where features are looked up by the number of their code."""


class _Part(NamedTuple):
    """One tensor of a record."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def _read_layout(path: Path) -> list[_Part]:
    """Return the layout of the records; an empty list where there is none, or a damaged one."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        layout = [_Part(str(name), tuple(map(int, shape)), np.dtype(str(dtype)).str) for name, shape, dtype in rows]
    except (OSError, ValueError, TypeError, RecursionError):
        return []
    fits = [part.name for part in layout] == list(_NAMES) and all(
        np.dtype(part.dtype).kind in "fbiu" and 0 < part.size < 2**40 and min(part.shape, default=1) > 0
        for part in layout
    )
    return layout if fits else []


@contextmanager
def usable_folder(folder: Path) -> Iterator[None]:
    """Turn what the file system raises about a cache folder into one sentence."""
    try:
        yield
    except OSError as error:
        raise HairclipError(
            f"data.cache_folder: {folder} cannot be used ({error.strerror or error}): choose another one."
        ) from None


def features_key(networks: Sequence[nn.Module], settings: Mapping[str, Any], latents: LatentSet | None = None) -> str:
    """Return a digest of all that the features of pictures depend on, 32 hexadecimal digits.

    Args:
        networks: the networks that compute them.
        settings: how they are computed.
        latents: the codes that the pictures show; None where a picture has a digest of its own.
    """
    return digest(_FORMAT, dict(settings), list(networks), None if latents is None else latents.digest())[:32]


def _checksum(record: bytes) -> int:
    return zlib.crc32(record) or 1  # 0 means that there is none

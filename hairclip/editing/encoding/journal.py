"""Keep the codes of a folder while it is encoded, so that a run that was killed goes on where it was.

A journal is a folder beside the file that is made. Each process of each run adds two files of its own to it, which no
other process writes: `TOKEN.codes` holds codes one after the other, and `TOKEN.jsonl` one line per photo. A line is
written after its code. What a kill cuts off is therefore a line without an end, or a code without a line, and both are
passed over.
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.files import write_atomic

__all__ = ["Journal", "Record", "stamp"]

_RECIPE = "recipe.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one photo.

    Attributes:
        photo: digest of the photo's content.
        stamp: size and time of the photo's file, see `stamp`; None where only the content counts.
        psnr: peak signal-to-noise ratio of the inversion in dB.
        identity: cosine of the identity embeddings of crop and inversion.
        notes: what the person should know, one sentence each.
        failed: why the photo has no code, one sentence; None where it has one.
        row: place of its code in the file of codes.
        source: which file of codes, a number that `Journal.read_code` understands.
    """

    photo: str
    stamp: str | None = None
    psnr: float | None = None
    identity: float | None = None
    notes: tuple[str, ...] = ()
    failed: str | None = None
    row: int = -1
    source: int = -1


def stamp(path: Path) -> str:
    """Return size and modification time of a file, or why it has none. While they stay, so does its content."""
    try:
        status = path.stat()
    except OSError as error:
        return f"error {error.errno}"
    return f"{status.st_size} {status.st_mtime_ns}"


class Journal:
    """The journal of one file of codes.

    Args:
        out: the file that is made.
        shape: shape of one code, (n_latent, w_dim).
        recipe: everything that the codes follow from except the photos, fit for JSON.

    Attributes:
        records: name of a photo -> what became of it, in the runs before this one. A photo that changed may have
            several records.

    Raises:
        HairclipError: if the codes so far were made by another recipe, or the folder cannot be written.
    """

    def __init__(self, out: Path, shape: tuple[int, int], recipe: Mapping[str, Any]) -> None:
        self.folder = out.with_name(f"{out.name}.parts")
        self.shape = shape
        self.recipe = dict(recipe)
        self.records: dict[str, list[Record]] = {}
        self._sources: list[Callable[[int], Tensor]] = []
        self._codes: IO[bytes] | None = None
        self._lines: IO[bytes] | None = None

    @property
    def exists(self) -> bool:
        """Whether a run has begun and not ended."""
        return (self.folder / _RECIPE).is_file()

    def begin(self) -> None:
        """Make the folder if it is not there.

        Raises:
            HairclipError: if its codes were made by another recipe.
        """
        path = self.folder / _RECIPE
        if not self.exists:
            write_atomic(path, json.dumps(self.recipe, indent=1) + "\n")
            return
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            begun = None
        check_recipe(begun, self.recipe, str(self.folder))

    def read(self) -> None:
        """Read the records of all runs so far, in place of those that were read before."""
        self.records, self._sources = {}, []
        for path in sorted(self.folder.glob("*.jsonl")):
            codes = path.with_suffix(".codes")
            count = codes.stat().st_size // self._bytes if codes.is_file() else 0
            source = self._add_source(partial(self._read_row, codes))
            with path.open("rb") as lines:
                for line in lines:
                    try:
                        values = json.loads(line)
                        name, notes = values.pop("name"), tuple(values.pop("notes"))
                        record = Record(**values, notes=notes, source=source)
                        is_whole = record.failed is not None or 0 <= record.row < count
                    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                        continue  # a kill cut it off
                    if is_whole:
                        self.records.setdefault(name, []).append(record)

    def adopt(self, records: Iterable[tuple[str, Record]], codes: Tensor) -> None:
        """Take over finished codes, such as those of the file that an earlier run wrote.

        Args:
            records: name and record of each photo; `row` counts in `codes`.
            codes: (N, n_latent, w_dim), memory-mapped.
        """
        source = self._add_source(lambda row: codes[row].float())
        for name, record in records:
            self.records.setdefault(name, []).append(replace(record, source=source))

    def add(self, rows: Iterable[tuple[str, Record, Tensor | None]]) -> None:
        """Write down what became of photos.

        Args:
            rows: for each photo the name, the record without its place, and the code (n_latent, w_dim), None where the
                photo failed.

        Raises:
            HairclipError: if the folder cannot be written, for example because the disk is full.
        """
        try:
            if self._codes is None or self._lines is None:
                path = self.folder / secrets.token_hex(8)
                self._codes = path.with_suffix(".codes").open("xb")
                self._lines = path.with_suffix(".jsonl").open("xb")
            lines = []
            for name, record, code in rows:
                if code is not None:
                    record = replace(record, row=self._codes.tell() // self._bytes)
                    self._codes.write(np.ascontiguousarray(code.numpy(), "<f4").tobytes())
                values = asdict(record)
                del values["source"]
                lines.append(json.dumps({"name": name, **values}) + "\n")
            self._codes.flush()
            os.fsync(self._codes.fileno())  # also when the power fails, no line may stand without its code
            self._lines.write("".join(lines).encode())
            self._lines.flush()
        except OSError as error:
            raise HairclipError(
                f"cannot write {self.folder} ({error.strerror or error}): make room there and start again, which goes "
                "on from here, or choose another file to write."
            ) from None

    def find(self, name: str, path: Path, content: str | None = None) -> Record | None:
        """Return what became of a photo in its present state, None where that is not known.

        Args:
            name: the photo's name.
            path: the photo.
            content: digest of its content; None compares size and time only.
        """
        known = self.records.get(name)
        if not known:
            return None
        present = stamp(path) if content is None else None
        same = [one for one in known if (one.photo == content if present is None else one.stamp == present)]
        same.sort(key=lambda record: record.failed is not None)
        return same[0] if same else None

    def read_code(self, record: Record) -> Tensor:
        """Return the code of a photo, (n_latent, w_dim) float32."""
        return self._sources[record.source](record.row)

    def close(self) -> None:
        """Close the files of this process."""
        for file in (self._codes, self._lines):
            if file is not None:
                file.close()
        self._codes = self._lines = None

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _bytes(self) -> int:
        return 4 * self.shape[0] * self.shape[1]

    def _add_source(self, read: Callable[[int], Tensor]) -> int:
        self._sources.append(read)
        return len(self._sources) - 1

    def _read_row(self, path: Path, row: int) -> Tensor:
        with path.open("rb") as file:
            file.seek(row * self._bytes)
            content = bytearray(file.read(self._bytes))
        return torch.frombuffer(content, dtype=torch.float32).view(self.shape)


def check_recipe(begun: Any, recipe: Mapping[str, Any], where: str) -> None:
    """Refuse to mix codes that were made in two ways.

    Args:
        begun: the recipe of the codes that are there.
        recipe: the recipe of the codes to add.
        where: what messages call the codes that are there.

    Raises:
        HairclipError: if the recipes differ.
    """
    if not isinstance(begun, dict):
        raise HairclipError(f"{where} tells not how its codes were made: remove it, or choose another file to write.")
    differ = [key.replace("_", " ") for key in {**begun, **recipe} if begun.get(key) != recipe.get(key)]
    if differ:
        raise HairclipError(
            f"{where} holds codes that were made otherwise ({', '.join(differ)}): remove it to encode all photos anew, "
            "or choose another file to write."
        )

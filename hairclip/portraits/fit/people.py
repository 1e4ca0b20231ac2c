"""Draw single rendered people from a folder of quads that may be larger than memory."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hairclip.common.errors import HairclipError
from hairclip.portraits.randomize.dice import Pixels
from hairclip.portraits.randomize.person import Person

__all__ = ["RenderedPeople", "Swapped"]

_ARRAYS = ("images", "labels", "coverage", "direction", "landmarks")


@dataclass(frozen=True)
class Swapped:
    """A person, and the two pictures whose codes are joined to draw it.

    Attributes:
        person: who is to be drawn.
        shape: (3, S, S) in [0, 1], the same person, perhaps in another hair color.
        color: (3, S, S), a head of hair in the person's hair color, perhaps another one.
    """

    person: Person
    shape: Pixels
    color: Pixels


@dataclass(frozen=True)
class _StoredArray:
    """Where an array lies in a file. It is mapped anew each time, so that processes share it without a copy."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    def row(self, index: tuple[int, ...]) -> np.ndarray:
        """Return a copy of one row."""
        return np.array(np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[index])


class RenderedPeople:
    """The portraits of a folder that the command `render-portraits --quads` wrote.

    Attributes:
        size: height and width of the pictures in pixels.
    """

    def __init__(self, folder: Path) -> None:
        """Find the pictures; none is read yet.

        Raises:
            HairclipError: if there are none, a file is damaged, or one was written without coverage and direction.
        """
        self._shards = [_find_arrays(path) for path in sorted(folder.glob("*.npz"))]
        if not self._shards:
            raise HairclipError(
                f"no rendered quads in {folder}: render some with `python -m hairclip render-portraits --quads` first."
            )
        sizes = {shard["images"].shape[3] for shard in self._shards}
        if len(sizes) > 1:
            raise HairclipError(f"{folder} holds pictures of several sizes {sorted(sizes)}: keep one of them.")
        self.size = sizes.pop()
        self._counts = np.array([shard["images"].shape[0] for shard in self._shards])

    def __len__(self) -> int:
        return 4 * int(self._counts.sum())

    def draw(self, rng: np.random.Generator) -> Person:
        """Return a random person."""
        return self._person(*self._place(rng))

    def draw_swapped(self, rng: np.random.Generator, share: float) -> Swapped:
        """Return a random person, for a share of the draws with its shape and its hair color in two other pictures.

        A bald head lends no color.
        """
        shard, row, head, color = self._place(rng)
        person = self._person(shard, row, head, color)
        if rng.random() >= share or not self._shards[shard]["coverage"].row((row, 1 - head)).any():
            return Swapped(person, person.pixels, person.pixels)
        return Swapped(person, self._pixels(shard, row, head, 1 - color), self._pixels(shard, row, 1 - head, color))

    def _place(self, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Return shard, row, head and color of a random portrait."""
        quad, head, color = int(rng.integers(self._counts.sum())), int(rng.integers(2)), int(rng.integers(2))
        number = int(np.searchsorted(np.cumsum(self._counts), quad, side="right"))
        return number, quad - int(self._counts[:number].sum()), head, color

    def _pixels(self, shard: int, row: int, head: int, color: int) -> Pixels:
        image = self._shards[shard]["images"].row((row, head, color))
        return torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1).contiguous()

    def _person(self, number: int, row: int, head: int, color: int) -> Person:
        shard = self._shards[number]
        return Person.from_render(
            image=shard["images"].row((row, head, color)),
            labels=shard["labels"].row((row, head, color)),
            coverage=shard["coverage"].row((row, head)).astype(np.float32) / 255,
            direction=shard["direction"].row((row, head)).astype(np.float32) / 127,
            landmarks=shard["landmarks"].row((row, head)),
        )


def _find_arrays(path: Path) -> dict[str, _StoredArray]:
    """Return where the arrays of an uncompressed npz file lie."""
    found = {}
    try:
        with path.open("rb") as raw, zipfile.ZipFile(raw) as archive:
            names = set(archive.namelist())
            missing = [name for name in _ARRAYS if f"{name}.npy" not in names]
            if missing:
                raise HairclipError(
                    f"{path} was rendered without {' and '.join(missing)}: render quads into an empty folder."
                )
            for name in _ARRAYS:
                info = archive.getinfo(f"{name}.npy")
                with archive.open(info) as member:
                    np.lib.format.read_magic(member)
                    shape, _, dtype = np.lib.format.read_array_header_1_0(member)
                    header = member.tell()
                raw.seek(info.header_offset + 26)  # the lengths of name and extra field of zip's local header
                name_length, extra_length = np.frombuffer(raw.read(4), "<u2").tolist()
                found[name] = _StoredArray(
                    path, dtype, shape, info.header_offset + 30 + name_length + extra_length + header
                )
    except HairclipError:
        raise
    except Exception as error:  # a damaged archive raises almost anything
        raise HairclipError(f"{path} holds no quads ({type(error).__name__}): delete it and render again.") from error
    return found

"""Provide reference pictures for training: made of other people's codes, or read from folders.

Each picture is encoded alone when it is first drawn, and remembered by its content. Its encoding therefore
never depends on its batch. A picture that lies in two folders, or that an earlier run encoded, is not encoded again.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from filelock import FileLock

from hairclip.common.errors import HairclipError
from hairclip.common.files import digest
from hairclip.common.image_files import PICTURE_SUFFIXES
from hairclip.common.images import Images, load_image
from hairclip.conditions.encoder import ConditionEncoder, Reference
from hairclip.conditions.prompts import color_prompt
from hairclip.networks.stylegan2 import Generator
from hairclip.portraits.vocabulary import BALD
from hairclip.pretrained.weight_files import read_safetensors, write_safetensors
from hairclip.training.latents import LatentSet
from hairclip.training.sources import usable_folder

__all__ = [
    "ReferenceFolder",
    "ReferencePool",
    "ReferenceStore",
    "folder_references",
    "join_references",
    "synthesized_references",
]

_READERS = 8  # threads that read pictures for their digests

# ------------------------------------------------------------------------------------------ encoded references


class ReferenceFolder:
    """Encoded references, one small file each, which later runs and other processes find.

    A full disk takes nothing more in. A damaged file counts as absent: its picture is encoded again.

    Args:
        folder: holds one folder per key.
        key: a digest of everything that the encoding depends on, see `hairclip.training.sources.features_key`.

    Raises:
        HairclipError: if the folder cannot be made.
    """

    def __init__(self, folder: str | Path, key: str) -> None:
        self.folder = Path(folder) / "references" / key
        self._is_full = False
        with usable_folder(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, content: str) -> Reference | None:
        """Return the reference with this digest of its picture, None where it is not there."""
        path = self._path(content)
        with suppress(HairclipError, TypeError):
            if path.is_file():
                # cloned: a tensor shall not hold its file open
                reference = Reference(**{name: tensor.clone() for name, tensor in read_safetensors(path)[1].items()})
                return reference if _is_whole(reference) else None
        return None

    def __setitem__(self, content: str, reference: Reference) -> None:
        if self._is_full:
            return
        tensors = {part.name: getattr(reference, part.name).cpu().clone() for part in fields(Reference)}
        try:
            with FileLock(self.folder / "lock"):
                write_safetensors(self._path(content), tensors, {})
        except (HairclipError, OSError):
            self._is_full = True

    def _path(self, content: str) -> Path:
        return self.folder / f"{content}.safetensors"


ReferenceStore: TypeAlias = dict[str, Reference] | ReferenceFolder
"""Where encoded references are looked up by the digest of their picture: in memory for this run, or in a folder."""


def _is_whole(reference: Reference) -> bool:
    """Return whether the tensors of a reference have the shapes and the numbers that an encoder gives."""
    tensors = [getattr(reference, part.name) for part in fields(Reference)]
    return (
        reference.hairstyle.ndim == 1
        and reference.hairstyle.shape == reference.color.shape
        and (reference.lab.shape, reference.hair_share.shape) == ((3,), ())
        and all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in tensors)
    )


# ------------------------------------------------------------------------------------------ pools


@dataclass
class ReferencePool:
    """A numbered set of reference pictures.

    Attributes:
        count: number of pictures.
        picture: number -> picture (1, 3, H, W), RGB in [-1, 1].
        content: number -> digest of what the picture shows.
        encoder: encodes them.
        of_word: name of a color or a hairstyle -> numbers of the pictures that show it.
        store: the references that are encoded already; pools may share it.
        files: digest of the content of all files and of `of_word`; empty where the pictures are made of codes.
        free: number of pictures, the first ones, that are drawn whatever they show; 0 means all.
    """

    count: int
    picture: Callable[[int], Images]
    content: Callable[[int], str]
    encoder: ConditionEncoder
    of_word: Mapping[str, Sequence[int]] = field(default_factory=dict)
    store: ReferenceStore = field(default_factory=dict, repr=False)
    free: int = 0
    files: str = ""
    _encoded: dict[int, Reference] = field(default_factory=dict, repr=False)
    _hair: dict[int, float] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Reference:
        """Return the encoded reference with this number."""
        if number not in self._encoded:
            content = self.content(number)
            known = self.store.get(content)
            if known is None or len(known.hairstyle) != self.encoder.clip.width:
                known = self.encoder.references(self.picture(number))[0]
                self.store[content] = known
            self._encoded[number] = known
        return self._encoded[number]

    def hair_share(self, number: int) -> float:
        """Return the fraction of that picture's pixels that are hair; a device is asked for it once."""
        if number not in self._hair:
            self._hair[number] = float(self[number].hair_share)
        return self._hair[number]


def synthesized_references(
    latents: LatentSet,
    generator: Generator,
    encoder: ConditionEncoder,
    store: ReferenceStore,
    *,
    count: int,
    seed: int,
) -> ReferencePool:
    """Return a pool of at most `count` pictures that the generator makes of codes drawn from `latents`."""
    order = np.random.default_rng([seed, 1]).permutation(len(latents))[:count].tolist()
    device = next(generator.parameters()).device

    @torch.no_grad()
    def picture(number: int) -> Images:
        return generator(latents[[order[number]]].to(device), noise="const")

    of_word: dict[str, list[int]] = {}
    for number, index in enumerate(order):
        is_bald = latents.hairstyles is not None and latents.hairstyles[index] == BALD
        if latents.colors is not None and not is_bald:
            of_word.setdefault(latents.colors[index], []).append(number)

    def content(number: int) -> str:
        # The weights of the generator belong to the store's key.
        return digest(latents[[order[number]]])[:32]

    return ReferencePool(len(order), picture, content, encoder, of_word, store)


def folder_references(
    folder: str | None,
    encoder: ConditionEncoder,
    store: ReferenceStore,
    *,
    count: int,
    seed: int,
    word_folders: str | None = None,
    words: Sequence[str] = (),
    folder_of: Callable[[str], str] = color_prompt,
) -> ReferencePool:
    """Return a pool of pictures from folders.

    Args:
        folder: folder of pictures of any hair; None for none.
        encoder: encodes them.
        store: references that are encoded already.
        count: largest number of pictures from one folder.
        seed: chooses and orders them.
        word_folders: folder that holds a folder per word, as `python -m hairclip references` writes it; None for none.
        words: names of colors or of hairstyles.
        folder_of: word -> name of its folder: `color_prompt` gives "red hair", `hairstyle_prompt` "afro hairstyle".

    Raises:
        HairclipError: if a folder cannot be read or holds no picture.
    """
    files = _pictures(folder, count=count, seed=seed) if folder is not None else []
    free = len(files)
    of_word: dict[str, list[int]] = {}
    for word in words if word_folders is not None else ():
        pictures = _pictures(str(Path(word_folders or "") / folder_of(word)), count=count, seed=seed)
        of_word[word] = list(range(len(files), len(files) + len(pictures)))
        files += pictures
    with ThreadPoolExecutor(_READERS) as readers:
        try:
            contents = list(readers.map(digest, files))
        except OSError as error:
            raise HairclipError(f"the reference picture {error.filename} cannot be read ({error.strerror}).") from None
    return ReferencePool(
        len(files),
        lambda number: load_image(files[number]),
        lambda number: contents[number][:32],
        encoder,
        of_word,
        store,
        free=free,
        files=digest(contents, of_word),
    )


def join_references(free: ReferencePool, of_words: ReferencePool) -> ReferencePool:
    """Return one pool: the pictures of `free` are drawn whatever they show, those of `of_words` by their words."""
    count = len(free)

    def place(number: int) -> tuple[ReferencePool, int]:
        return (free, number) if number < count else (of_words, number - count)

    def picture(number: int) -> Images:
        pool, there = place(number)
        return pool.picture(there)

    def content(number: int) -> str:
        pool, there = place(number)
        return pool.content(there)

    of_word = {word: [count + number for number in numbers] for word, numbers in of_words.of_word.items()}
    files = digest(free.files, of_words.files)
    return ReferencePool(
        count + len(of_words), picture, content, free.encoder, of_word, free.store, free=count, files=files
    )


def _pictures(folder: str, *, count: int, seed: int) -> list[Path]:
    """Return at most `count` pictures of a folder, in an order that follows from the seed."""
    try:
        files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    except OSError as error:
        raise HairclipError(f"the folder of reference pictures {folder} cannot be read ({error.strerror}).") from None
    if not files:
        raise HairclipError(f"the folder of reference pictures {folder} holds no picture: give another one.")
    order = np.random.default_rng([seed, 2]).permutation(len(files))[:count]
    return [files[i] for i in order]

"""Reference pictures for training: synthesised from other people's codes, or read from folders.

Each is encoded when first drawn, alone, and remembered by its content: what a reference gives never depends on the
batch it came in, and a picture that lies in two folders, or was encoded by an earlier run, is not encoded again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from hairclip.common.errors import HairclipError
from hairclip.common.image_files import PICTURE_SUFFIXES
from hairclip.common.images import Images, load_image
from hairclip.conditions.encoder import ConditionEncoder, Reference
from hairclip.conditions.prompts import color_prompt
from hairclip.networks.stylegan2 import Generator
from hairclip.portraits.vocabulary import BALD
from hairclip.training.latents import LatentSet
from hairclip.training.reference_store import ReferenceStore, content_of_code, content_of_file


@dataclass
class ReferencePool:
    """A numbered set of reference pictures.

    Attributes:
        count: how many there are.
        picture: number -> picture ``(1, 3, H, W)``.
        content: number -> digest of what the picture shows.
        encoder: encodes them.
        of_color: colour name -> numbers of the pictures labelled so.
        store: what is encoded already, by content; pools may share it.
        free: number of pictures, the first ones, that are drawn whatever color they show; 0 means all.
    """

    count: int
    picture: Callable[[int], Images]
    content: Callable[[int], str]
    encoder: ConditionEncoder
    of_color: Mapping[str, Sequence[int]] = field(default_factory=dict)
    store: ReferenceStore = field(default_factory=dict, repr=False)
    free: int = 0
    _encoded: dict[int, Reference] = field(default_factory=dict, repr=False)
    _hair: dict[int, float] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Reference:
        """The encoded reference of this number."""
        if number not in self._encoded:
            content = self.content(number)
            known = self.store.get(content)
            if known is None:
                known = self.encoder.references(self.picture(number))[0]
                self.store[content] = known
            self._encoded[number] = known
        return self._encoded[number]

    def hair_share(self, number: int) -> float:
        """Fraction of that picture's pixels that are hair; a device is asked for it once."""
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
    """At most `count` pictures that the generator makes of codes drawn from `latents`."""
    order = np.random.default_rng([seed, 1]).permutation(len(latents))[:count].tolist()
    device = next(generator.parameters()).device

    @torch.no_grad()
    def picture(number: int) -> Images:
        return generator(latents[[order[number]]].to(device), noise="const")

    of_color: dict[str, list[int]] = {}
    for number, index in enumerate(order):
        is_bald = latents.hairstyles is not None and latents.hairstyles[index] == BALD
        if latents.colors is not None and not is_bald:
            of_color.setdefault(latents.colors[index], []).append(number)
    return ReferencePool(
        len(order), picture, lambda number: content_of_code(latents[[order[number]]]), encoder, of_color, store
    )


def folder_references(
    folder: str | None,
    encoder: ConditionEncoder,
    store: ReferenceStore,
    *,
    count: int,
    seed: int,
    color_folders: str | None = None,
    colors: Sequence[str] = (),
) -> ReferencePool:
    """At most `count` pictures of a folder, and per colour as many of ``color_folders/<colour> hair/``."""
    files = _pictures(folder, count=count, seed=seed) if folder is not None else []
    free = len(files)
    of_color: dict[str, list[int]] = {}
    for color in colors if color_folders is not None else ():
        found = _pictures(str(Path(color_folders or "") / color_prompt(color)), count=count, seed=seed)
        of_color[color] = list(range(len(files), len(files) + len(found)))
        files += found
    return ReferencePool(
        len(files),
        lambda number: load_image(files[number]),
        lambda number: content_of_file(files[number]),
        encoder,
        of_color,
        store,
        free=free,
    )


def _pictures(folder: str, *, count: int, seed: int) -> list[Path]:
    try:
        files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    except OSError as error:
        raise HairclipError(f"the folder of reference pictures {folder} cannot be read ({error.strerror}).") from None
    if not files:
        raise HairclipError(f"the folder of reference pictures {folder} holds no picture: give another one.")
    order = np.random.default_rng([seed, 2]).permutation(len(files))[:count]
    return [files[i] for i in order]

"""Load the W+ codes that training edits, with the labels of the people they show, or draw codes from the generator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from hairclip.common.errors import HairclipError
from hairclip.common.files import digest
from hairclip.common.images import WPlus
from hairclip.pretrained.loaders import Source, load_latent_labels, open_latents
from hairclip.training.sampled_codes import SAMPLED, SampledCodes, Stream

Names = tuple[str, ...] | None
"""A name per code, None where the file has no labels of that kind."""

_LABELS = ("hairstyle", "color", "split")
_BLOCK = 1024  # codes that are read at once for a digest


@dataclass(frozen=True)
class LatentSet:
    """W+ codes on the CPU. A code is read, or drawn, when it is used: those of a file are memory-mapped.

    Attributes:
        codes: (M, n_latent, w_dim), in any floating-point precision; or codes that are drawn from the generator.
        hairstyles: the hairstyle of each code.
        colors: the hair color of each code.
        splits: "train", "val" or "test" of each code.
        rows: which of `codes` are in the set, in which order; None for all.
    """

    codes: WPlus | SampledCodes
    hairstyles: Names = None
    colors: Names = None
    splits: Names = None
    rows: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.codes) if self.rows is None else len(self.rows)

    def __getitem__(self, indices: Sequence[int]) -> WPlus:
        """Return the codes with these numbers, (B, n_latent, w_dim) float32."""
        return self.codes[torch.tensor(self._rows(indices), dtype=torch.long)].float()

    def split(self, name: str) -> "LatentSet":
        """Return the codes of one split; the set is empty where no code has that label."""
        chosen = [i for i, split in enumerate(self.splits or ()) if split == name]
        return self.subset(chosen)

    def subset(self, chosen: Sequence[int]) -> "LatentSet":
        """Return the set of the codes with these numbers, in that order; no code is copied."""

        def pick(names: Names) -> Names:
            return None if names is None else tuple(names[i] for i in chosen)

        return LatentSet(
            self.codes, pick(self.hairstyles), pick(self.colors), pick(self.splits), tuple(self._rows(chosen))
        )

    def digest(self) -> str:
        """Return a digest of the codes, in their order, and of their labels."""
        if isinstance(self.codes, SampledCodes):
            return digest(self.codes.digest(), self.rows)
        blocks = (range(first, min(first + _BLOCK, len(self))) for first in range(0, len(self), _BLOCK))
        return digest([digest(self[block]) for block in blocks], self.hairstyles, self.colors, self.splits)

    def _rows(self, indices: Sequence[int]) -> list[int]:
        return [int(i) for i in indices] if self.rows is None else [self.rows[i] for i in indices]


def load_latent_set(name_or_path: Source) -> LatentSet:
    """Load codes and labels of a file.

    This library's files hold the labels as JSON, `{"hairstyle": [...], "color": [...], "split": [...]}` with one name
    per code; each list may be missing. A torch file such as `train_faces.pt` has no labels.

    Raises:
        HairclipError: if the labels do not fit the codes.
    """
    codes, labels = open_latents(name_or_path), load_latent_labels(name_or_path)
    if labels is None:
        return LatentSet(codes)
    if isinstance(labels, list) and all(isinstance(row, dict) for row in labels):  # one dictionary per code
        labels = {key: [row.get(key) for row in labels] for key in _LABELS}
    columns: dict[str, Names] = {}
    for key in _LABELS:
        names = labels.get(key) if isinstance(labels, dict) else 0
        if names is not None and (not isinstance(names, list) or len(names) != len(codes)):
            number = len(names) if isinstance(names, list) else "no list of"
            raise HairclipError(
                f"{name_or_path} has {len(codes)} codes but {number} labels named '{key}': write it again."
            )
        columns[key] = None if names is None else tuple(str(name) for name in names)
    return LatentSet(codes, hairstyles=columns["hairstyle"], colors=columns["color"], splits=columns["split"])


def training_and_validation(
    latents: Source, validation: Source | None, draw: Callable[[Stream], SampledCodes] | None = None
) -> tuple[LatentSet, LatentSet]:
    """Load the codes to train on and the held-out ones: two files, or the `train` and `val` splits of one.

    Args:
        latents: a name or a file, or "sampled" for codes that `draw` gives.
        validation: the same for the held-out codes; None takes the split of `latents`, or draws them as it does.
        draw: "train" or "val" -> codes drawn from the generator; needed for "sampled" alone.

    Raises:
        HairclipError: if there are no codes of one of the two, or if they are of different generators.
    """
    if validation is None and latents == SAMPLED:
        validation = SAMPLED
    if latents == SAMPLED:
        assert draw is not None
        everything = training = LatentSet(draw("train"))
    else:
        everything = load_latent_set(latents)
        training = everything.split("train") if everything.splits or validation is None else everything
    if validation is None:
        held_out = everything.split("val")
    elif validation == SAMPLED:
        assert draw is not None
        held_out = LatentSet(draw("val"))
    else:
        held_out = load_latent_set(validation)
        held_out = held_out.split("val") if held_out.splits and "val" in held_out.splits else held_out
    if not len(training) or not len(held_out):
        raise HairclipError(
            f"{latents} labels {len(training)} codes as train and {len(held_out)} as val, and training needs both: "
            "set data.validation_latents to a second file."
        )
    if training.codes.shape[1:] != held_out.codes.shape[1:]:
        raise HairclipError(
            f"{latents} holds codes of {tuple(training.codes.shape[1:])}, but {validation} of "
            f"{tuple(held_out.codes.shape[1:])}: give two files of one generator."
        )
    return training, held_out

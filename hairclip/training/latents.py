"""The W+ codes that training edits, with what is known of the people they show."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hairclip.common.errors import HairclipError
from hairclip.common.images import WPlus
from hairclip.pretrained.loaders import Source, load_latent_labels, open_latents

Names = tuple[str, ...] | None


@dataclass(frozen=True)
class LatentSet:
    """W+ codes on the CPU. A file's codes stay in the file, memory-mapped, and are read as they are asked for.

    Attributes:
        codes: ``(M, n_latent, w_dim)``, in any floating-point precision.
        hairstyles: name of each code's hairstyle, None where the file has no labels.
        colors: likewise of the hair colour.
        splits: "train", "val" or "test" of each code, likewise.
        rows: which of `codes` are in the set, in which order; None for all.
    """

    codes: WPlus
    hairstyles: Names = None
    colors: Names = None
    splits: Names = None
    rows: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.codes) if self.rows is None else len(self.rows)

    def __getitem__(self, indices: Sequence[int]) -> WPlus:
        """Some codes of the set, ``(B, n_latent, w_dim)`` float32."""
        return self.codes[torch.tensor(self._rows(indices), dtype=torch.long)].float()

    def split(self, name: str) -> "LatentSet":
        """The codes of one split; empty where nothing is labelled so."""
        chosen = [i for i, split in enumerate(self.splits or ()) if split == name]
        return self.subset(chosen)

    def subset(self, chosen: Sequence[int]) -> "LatentSet":
        """The codes of these numbers, in that order; none are copied."""

        def pick(names: Names) -> Names:
            return None if names is None else tuple(names[i] for i in chosen)

        return LatentSet(
            self.codes, pick(self.hairstyles), pick(self.colors), pick(self.splits), tuple(self._rows(chosen))
        )

    def _rows(self, indices: Sequence[int]) -> list[int]:
        return [int(i) for i in indices] if self.rows is None else [self.rows[i] for i in indices]


def load_latent_set(name_or_path: Source) -> LatentSet:
    """Codes and labels of a file.

    Own files carry the labels as JSON, ``{"hairstyle": [...], "color": [...], "split": [...]}`` with one name per code;
    each list may be missing. A torch file such as ``train_faces.pt`` has no labels.
    """
    codes, labels = open_latents(name_or_path), load_latent_labels(name_or_path)
    if labels is None:
        return LatentSet(codes)
    if isinstance(labels, list):  # one dictionary per code
        labels = {key: [row.get(key) for row in labels] for key in ("hairstyle", "color", "split")}
    columns: dict[str, Names] = {}
    for key in ("hairstyle", "color", "split"):
        names = labels.get(key)
        if names is not None and len(names) != len(codes):
            raise HairclipError(
                f"{name_or_path} has {len(codes)} codes but {len(names)} labels named '{key}': write it again."
            )
        columns[key] = None if names is None else tuple(str(name) for name in names)
    return LatentSet(codes, hairstyles=columns["hairstyle"], colors=columns["color"], splits=columns["split"])


def training_and_validation(latents: Source, validation: Source | None) -> tuple[LatentSet, LatentSet]:
    """The codes to train on and those held out: two files, or the ``train`` and ``val`` splits of one."""
    everything = load_latent_set(latents)
    if validation is not None:
        training = everything.split("train") if everything.splits else everything
        held_out = load_latent_set(validation)
        held_out = held_out.split("val") if held_out.splits and "val" in held_out.splits else held_out
    else:
        training, held_out = everything.split("train"), everything.split("val")
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

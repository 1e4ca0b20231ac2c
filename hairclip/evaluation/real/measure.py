"""The figures of one edit of a real photo: what it kept, and whether it is what was requested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.evaluation.metrics import cosine, lpips, masked_psnr, masked_ssim, rank_of
from hairclip.evaluation.real.judges import Judges, Seen
from hairclip.evaluation.real.requests import PhotoRequest

__all__ = ["Figures", "Words", "compare_pictures", "judge_request", "measure_whole_photo"]

Figures: TypeAlias = dict[str, float]
"""Name of a figure -> its value. A figure that does not apply is missing."""


@dataclass(frozen=True)
class Words:
    """The words among which a requested one is ranked, with CLIP's embedding of each.

    Attributes:
        hairstyles: all hairstyles that can be requested.
        colors: all colors that can be requested.
        hairstyle_embeddings: one row per hairstyle.
        color_embeddings: one row per color.
    """

    hairstyles: tuple[str, ...]
    colors: tuple[str, ...]
    hairstyle_embeddings: Float[Tensor, "hairstyles clip"]
    color_embeddings: Float[Tensor, "colors clip"]

    @classmethod
    @torch.no_grad()
    def encode(cls, judges: Judges, hairstyles: Sequence[str], colors: Sequence[str]) -> "Words":
        """Return words with their embeddings by the CLIP that judges."""
        rows = [
            judges.clip.encode_text([hairstyle_prompt(word) for word in hairstyles]),
            judges.clip.encode_text([color_prompt(word) for word in colors]),
        ]
        return cls(tuple(hairstyles), tuple(colors), *rows)


@torch.no_grad()
def compare_pictures(judges: Judges, answer: Seen, other: Seen) -> Figures:
    """Return what an edit kept of an unedited picture, which is the photo or its inversion."""
    outside = ~(answer.hair | other.hair)
    figures = {
        "ids": cosine(answer.identity, other.identity),
        "psnr": masked_psnr(answer.image, other.image, outside),
        "ssim": masked_ssim(answer.image, other.image, outside),
        "lpips": lpips(answer.image, other.image),
        "perceptual": judges.perceptual.between(answer.features, other.features),
    }
    if not bool(outside.any()):
        figures |= {"psnr": None, "ssim": None}  # there is nothing to compare
    return {name: float(value) for name, value in figures.items() if value is not None}


@torch.no_grad()
def judge_request(answer: Seen, request: PhotoRequest, words: Words, reference: Seen | None) -> Figures:
    """Return how well an edit is what was requested.

    Args:
        answer: the edit.
        request: what was requested.
        words: the words that a requested one is ranked among.
        reference: the crop of `request.reference`; None where the request is a text.
    """
    figures: Figures = {}
    asked = (
        ("hairstyle", request.hairstyle, words.hairstyles, words.hairstyle_embeddings),
        ("color", request.color, words.colors, words.color_embeddings),
    )
    for part, word, names, embeddings in asked:
        if word is not None:
            number = names.index(word)
            figures[f"clip_{part}"] = float(cosine(answer.clip, embeddings[number][None]))
            wanted = torch.tensor([number], device=embeddings.device)
            figures[f"rank_{part}"] = float(rank_of(wanted, answer.clip, embeddings))
    if reference is not None and bool(reference.hair.any()) and bool(answer.hair.any()):
        if request.kind != "reference-color":
            figures["clip_image"] = float(cosine(answer.hair_clip, reference.hair_clip))
        if request.kind != "reference-hairstyle":
            figures["acd"] = float((answer.lab - reference.lab).norm())
            figures["acd_of_loss"] = float((answer.lab_of_loss - reference.lab_of_loss).norm())
    return figures


def measure_whole_photo(photo: Image.Image, picture: Image.Image, mask: Image.Image | None) -> Figures:
    """Return how much of a whole photo changed.

    Args:
        photo: the photo, mode "RGB".
        picture: the edited photo, of the same size and mode.
        mask: the pixels that the editor reports as changed, mode "L"; None if it reports none.
    """
    changed = (np.asarray(photo) != np.asarray(picture)).any(axis=-1)
    figures = {"changed": float(changed.mean())}
    if mask is not None:
        outside = np.asarray(mask) == 0
        figures["changed_outside_mask"] = float((changed & outside).sum() / max(1, outside.sum()))
    return figures


def rate(figures: Mapping[str, Any], words: Words) -> float:
    """Return how bad an edit is: 1 - IDS, plus the place of each requested word in [0, 1], plus ACD / 100.

    Args:
        figures: what is known of the edit, its figures among them. A figure that is missing adds nothing.
        words: the words among which the requested ones were ranked.
    """
    lost = 1.0 - figures.get("ids", 1.0)
    lost += (figures.get("rank_hairstyle", 1.0) - 1.0) / max(1, len(words.hairstyles) - 1)
    lost += (figures.get("rank_color", 1.0) - 1.0) / max(1, len(words.colors) - 1)
    return lost + figures.get("acd", 0.0) / 100.0

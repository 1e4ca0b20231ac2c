"""The terms of the loss (Wei et al. 2022, section 3.3), one function each.

A term reads a `Judged` batch and returns one number per sample, ``(B,)``, so that one batch can hold every kind of
request. It is 0 for a sample to which it does not apply. A function decorated with `term` is found by its name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.color import LabColors
from hairclip.common.images import Embeddings, Flags, Scores
from hairclip.losses.judge import Judged

__all__ = ["TERMS", "Term", "TermFunction", "where_asked"]

Rows = Float[Tensor, "batch width"]
TermFunction: TypeAlias = Callable[[Judged], Scores]


@dataclass(frozen=True)
class Term:
    """A term of this library.

    Attributes:
        function: computes it.
        weight: its default weight, HairCLIP's (section 4.1): weight of the family times weight in the family.
        key: name of its weight in the configuration; terms may share one.
    """

    function: TermFunction
    weight: float
    key: str


TERMS: dict[str, Term] = {}
"""The terms by name, in the order in which they are computed and added up."""


def term(weight: float, *, key: str | None = None) -> Callable[[TermFunction], TermFunction]:
    """Enter the decorated function into `TERMS` under its own name.

    Args:
        weight: default weight; with 0 the term is left out until a configuration gives it a weight.
        key: name of the weight in the configuration; None is the function's name.
    """

    def enter(function: TermFunction) -> TermFunction:
        TERMS[function.__name__] = Term(function, weight, key or function.__name__)
        return function

    return enter


# ------------------------------------------------------------------------------------------ attribute preservation


@term(weight=0.3)
def identity(judged: Judged) -> Scores:
    """Return 1 - inner product of the identity embeddings before and after the edit, in [0, 2]."""
    return 1 - (judged.identity * judged.source.identity).sum(dim=1)


# ------------------------------------------------------------------------------------------------ text manipulation


@term(weight=2.0, key="text")
def text_hairstyle(judged: Judged) -> Scores:
    """Return 1 - cosine of CLIP's embeddings of the whole edited picture and of the hairstyle's text."""
    return cosine_distance(judged.picture_embedding, judged.batch.condition.hairstyle, judged.hairstyle_as_text)


@term(weight=2.0, key="text")
def text_color(judged: Judged) -> Scores:
    """Return 1 - cosine of CLIP's embeddings of the whole edited picture and of the color's text."""
    return cosine_distance(judged.picture_embedding, judged.batch.condition.color, judged.color_as_text)


@term(weight=0.0, key="contrast")
def contrast_hairstyle(judged: Judged) -> Scores:
    """Return how far CLIP's choice among all hairstyles is from the wanted one, see `contrast`. Not in HairCLIP."""
    wanted, judge = judged.batch.condition.hairstyle, judged.judge
    return contrast(judged.picture_embedding, wanted, judge.hairstyle_words, judge.scale, judged.hairstyle_as_text)


@term(weight=0.0, key="contrast")
def contrast_color(judged: Judged) -> Scores:
    """Return how far CLIP's choice among all colors is from the wanted one, see `contrast`. Not in HairCLIP."""
    wanted, judge = judged.batch.condition.color, judged.judge
    return contrast(judged.picture_embedding, wanted, judge.color_words, judge.scale, judged.color_as_text)


# ----------------------------------------------------------------------------------------------- image manipulation


@term(weight=5.0)
def image_hairstyle(judged: Judged) -> Scores:
    """Return 1 - cosine of CLIP's embeddings of the edited hair and of the reference's hair."""
    return cosine_distance(judged.hair_embedding, judged.batch.condition.hairstyle, judged.batch.hairstyle_is_image)


@term(weight=0.02)
def image_color(judged: Judged) -> Scores:
    """Return the mean absolute difference of the mean Lab colors of the edited and the reference's hair."""
    return color_distance(judged.mean_lab, judged.batch.reference_lab, judged.batch.color_is_image)


# ------------------------------------------------------------------------------------------ attribute preservation


@term(weight=0.02)
def maintain_color(judged: Judged) -> Scores:
    """Return the difference of the mean Lab hair colors before and after an edit of the hairstyle alone."""
    condition = judged.batch.condition
    return color_distance(judged.mean_lab, judged.source.mean_lab, condition.has_hairstyle & ~condition.has_color)


@term(weight=1.0)
def background(judged: Judged) -> Scores:
    """Return the mean squared difference of the pictures where neither shows hair.

    The mean is over all pixels and channels. Pixels under hair count as equal.
    """
    outside = ~judged.hair_mask & ~judged.source.hair_mask
    difference = torch.where(outside, judged.edited - judged.source.images, torch.zeros_like(judged.edited))
    return difference.square().mean(dim=(1, 2, 3))


@term(weight=0.8)
def latent(judged: Judged) -> Scores:
    """Return the mean squared change of the code."""
    return (judged.w_hat - judged.w_plus).square().mean(dim=(1, 2))


# --------------------------------------------------------------------------------------------------------- formulas


def where_asked(applies: Flags, values: Scores) -> Scores:
    """Return `values` where a term applies, elsewhere exactly 0 with a gradient of exactly 0."""
    return torch.where(applies, values, torch.zeros_like(values))


def wanted_rows(applies: Flags, targets: Rows) -> Rows:
    """Return `targets` where a term applies, elsewhere ones.

    An absent target is replaced before anything is computed with it: 0 times NaN would still be NaN, also in gradients.
    """
    return torch.where(applies[:, None], targets, torch.ones_like(targets))


def cosine_distance(embeddings: Embeddings, targets: Embeddings, applies: Flags) -> Scores:
    """Return 1 - cosine, in [0, 2], where a term applies, elsewhere 0."""
    return where_asked(applies, 1 - F.cosine_similarity(embeddings, wanted_rows(applies, targets), dim=1))


def color_distance(colors: LabColors, targets: LabColors, applies: Flags) -> Scores:
    """Return the mean absolute difference of Lab colors, in Lab units, where a term applies, elsewhere 0."""
    return where_asked(applies, (colors - wanted_rows(applies, targets)).abs().mean(dim=1))


def contrast(
    edited: Embeddings, wanted: Embeddings, words: Float[Tensor, "words embedding"], scale: float, applies: Flags
) -> Scores:
    """Return the divergence of two zero-shot classifications by CLIP: of the wanted word and of the edited picture.

    The cosine to a text also grows with what the text shares with all other texts. CLIP was trained to tell captions
    apart (Radford et al. 2021, section 2.3), and this term uses that: each embedding gives a probability for each word,
    and the value is the Kullback-Leibler divergence of the picture's probabilities from the wanted ones, in nats.

    Args:
        edited: embeddings of the edited pictures, ``(B, width)``.
        wanted: embeddings of the wanted texts or references, ``(B, width)``. Rows that do not apply are ignored.
        words: embeddings of all words, ``(words, width)``.
        scale: CLIP's logit scale, the inverse of its temperature.
        applies: whether the term applies to a sample, ``(B,)``.
    """
    words = F.normalize(words, dim=1)
    seen, target = (
        (scale * F.normalize(embeddings, dim=1) @ words.T).log_softmax(dim=1)
        for embeddings in (edited, wanted_rows(applies, wanted))
    )
    return where_asked(applies, (target.exp() * (target - seen)).sum(dim=1))

"""Per-sample terms that count only where their flag is set."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.images import Embeddings, Flags, Scores

Rows = Float[Tensor, "batch width"]


def where_asked(applies: Flags, values: Scores) -> Scores:
    """`values` where the term applies, elsewhere exactly 0 with a gradient of exactly 0."""
    return torch.where(applies, values, torch.zeros_like(values))


def asked_rows(applies: Flags, targets: Rows) -> Rows:
    """`targets` where the term applies, elsewhere ones.

    An absent target is replaced before it is computed with, so that what stands in its place reaches neither the value
    nor the gradient: 0 times a NaN would still be one.
    """
    return torch.where(applies[:, None], targets, torch.ones_like(targets))


def cosine_distance(embeddings: Embeddings, targets: Embeddings, applies: Flags) -> Scores:
    """1 - cosine, in [0, 2], where the term applies; 0 elsewhere."""
    return where_asked(applies, 1 - F.cosine_similarity(embeddings, asked_rows(applies, targets), dim=1))

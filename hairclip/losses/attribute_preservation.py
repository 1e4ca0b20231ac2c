"""Attribute preservation loss: who it is, the hair colour, the background and the code that shall stay."""

import torch

from hairclip.common.color import LabColors
from hairclip.common.images import Embeddings, Flags, Images, Masks, Scores, WPlus
from hairclip.losses.image_manipulation import hair_color_loss


def identity_loss(edited: Embeddings, source: Embeddings) -> Scores:
    """1 - inner product of L2-normalised identity embeddings, ``(B, width)`` each (HairCLIP section 3.3)."""
    return 1 - (edited * source).sum(dim=1)


def maintain_color_loss(edited: LabColors, source: LabColors, applies: Flags) -> Scores:
    """The colour loss between the edited and the source hair: a new hairstyle alone keeps its colour.

    Args:
        edited: mean Lab of the edited hair, ``(B, 3)``.
        source: mean Lab of the hair before the edit.
        applies: whether a hairstyle is asked for and no colour.
    """
    return hair_color_loss(edited, source, applies)


def background_loss(edited: Images, source: Images, edited_hair: Masks, source_hair: Masks) -> Scores:
    """Mean squared difference outside both hair masks (HairCLIP section 3.3).

    The mean is over all pixels and channels, those under hair counting as equal.
    """
    background = ~edited_hair & ~source_hair
    difference = torch.where(background, edited - source, torch.zeros_like(edited))
    return difference.square().mean(dim=(1, 2, 3))


def latent_loss(w_hat: WPlus, w_plus: WPlus) -> Scores:
    """Mean squared length of the step in W+ (HairCLIP section 3.3)."""
    return (w_hat - w_plus).square().mean(dim=(1, 2))

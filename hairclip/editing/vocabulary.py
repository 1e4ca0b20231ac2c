"""List the words that a bundle's networks know."""

from hairclip.conditions.prompts import COLORS, HAIRSTYLES, in_vocabulary_order
from hairclip.pretrained.bundle_files import Source
from hairclip.pretrained.saved_bundle import load_any_bundle

__all__ = ["list_colors", "list_hairstyles"]


def list_hairstyles(bundle: Source = "portraits") -> list[str]:
    """Return the hairstyles that a bundle's networks know, in HairCLIP's order.

    Args:
        bundle: a name or path as of `hairclip.pretrained.load_bundle`, or ``hf-hub:user/name``.
    """
    return in_vocabulary_order(load_any_bundle(bundle).known_words().hairstyles, HAIRSTYLES)


def list_colors(bundle: Source = "portraits") -> list[str]:
    """Return the hair colors that a bundle's networks know, in HairCLIP's order.

    Args:
        bundle: a name or path as of `hairclip.pretrained.load_bundle`, or ``hf-hub:user/name``.
    """
    return in_vocabulary_order(load_any_bundle(bundle).known_words().colors, COLORS)

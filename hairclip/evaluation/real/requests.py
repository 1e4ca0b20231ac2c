"""The requests of the protocol: for every photo each kind of edit once, drawn from a seed and the photo's name.

A photo's requests depend on no other photo, but for the references, which are other photos of the folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from hairclip.common.files import digest

__all__ = ["KINDS", "Kind", "PhotoRequest", "choose_photos", "make_requests", "name_answers", "order_references"]

Kind: TypeAlias = Literal[
    "text-hairstyle", "text-color", "text-both", "reference-hairstyle", "reference-color", "reference-both"
]
"""What an edit changes, and how it is asked for. "reference-both" takes hairstyle and color of one reference."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class PhotoRequest:
    """What is asked of one photo.

    Attributes:
        kind: the kind of request.
        hairstyle: a word; None for no text.
        color: a word; None for no text.
        reference: the photo whose hair is wanted; None where the request is a text, or where there is no such photo.
    """

    kind: Kind
    hairstyle: str | None = None
    color: str | None = None
    reference: Path | None = None

    @property
    def is_reference(self) -> bool:
        """Whether the hair of another photo is requested."""
        return self.kind.startswith("reference")

    @property
    def label(self) -> str:
        """The request as a caption."""
        words = [word for word in (self.color, self.hairstyle) if word]
        wanted = self.kind.partition("-")[2]
        return " ".join(words) if self.reference is None else f"{wanted} of {self.reference.name}"


def choose_photos(photos: Sequence[Path], count: int | None, seed: int = 0) -> list[Path]:
    """Return `count` of the photos, drawn from the seed and their names, in the order of the names; None takes all."""
    drawn = sorted(photos, key=lambda path: digest(seed, path.name))
    return sorted(drawn[:count], key=lambda path: path.name)


def make_requests(
    photo: Path,
    *,
    hairstyles: Sequence[str],
    colors: Sequence[str],
    reference: Path | None,
    kinds: Sequence[Kind] = KINDS,
    seed: int = 0,
) -> list[PhotoRequest]:
    """Return one request of each kind.

    Args:
        photo: the photo; its name counts, not its folder.
        hairstyles: the words to draw from.
        colors: the words to draw from.
        reference: the photo whose hair is wanted; None if there is none.
        kinds: the kinds to return. The words of a kind do not depend on the other kinds.
        seed: seed of the words.
    """
    random = np.random.default_rng(int(digest(seed, photo.name)[:16], 16))
    words = [(hairstyles[int(random.integers(len(hairstyles)))], colors[int(random.integers(len(colors)))])]
    words += [(hairstyles[int(random.integers(len(hairstyles)))], colors[int(random.integers(len(colors)))])]
    made: dict[Kind, PhotoRequest] = {
        "text-hairstyle": PhotoRequest("text-hairstyle", hairstyle=words[0][0]),
        "text-color": PhotoRequest("text-color", color=words[0][1]),
        "text-both": PhotoRequest("text-both", hairstyle=words[1][0], color=words[1][1]),
    }
    return [made.get(kind) or PhotoRequest(kind, reference=reference) for kind in kinds]


def order_references(photo: Path, photos: Sequence[Path], seed: int = 0) -> list[Path]:
    """Return the other photos in the order in which they are tried as the reference of a photo."""
    return sorted((path for path in photos if path != photo), key=lambda path: digest(seed, photo.name, path.name))


def name_answers(photo: Path, photos: Sequence[Path]) -> str:
    """Return how the answers to a photo are called before ".KIND.png": by its stem, or its name if two share a stem."""
    return photo.name if sum(path.stem == photo.stem for path in photos) > 1 else photo.stem

"""The wishes on the command line: texts split into hairstyle and colour, words that nobody knows told."""

import argparse
from dataclasses import dataclass

from hairclip.common.errors import HairclipError

__all__ = ["NamedWish", "listed", "read_wishes"]


@dataclass(frozen=True)
class NamedWish:
    """A hairstyle and a colour, each words, the path of a picture, or None, and what to call their edit."""

    hairstyle: str | None
    color: str | None
    label: str


def read_wishes(options: argparse.Namespace) -> list[NamedWish]:
    """What --text, --edits, --hairstyle and --color ask for, one per edit; prints how texts were understood.

    --hairstyle and --color go before what a text says, and alone make one edit.

    Raises:
        HairclipError: if a text names neither a hairstyle nor a colour, or the file cannot be read.
    """
    from hairclip.conditions.prompts import split_prompt
    from hairclip.pretrained.loaders import BUNDLES

    hairstyle, color = options.hairstyle, options.color
    _tell_unknown(hairstyle, color, several=options.grid)
    texts = [*options.text, *(_lines(options.edits) if options.edits is not None else [])]
    if not texts:
        named = " ".join(word for word in (color, hairstyle) if word)
        return [NamedWish(hairstyle, color, named)]
    styles = listed(None, options.bundle, "hairstyle") if options.bundle in BUNDLES else []
    known = [style for style in styles if style is not None] or None
    wishes = []
    for text in texts:
        parsed = split_prompt(text, known=known)
        print(parsed.message)
        wishes.append(NamedWish(hairstyle or parsed.hairstyle, color or parsed.color, text))
    return wishes


def _lines(path: str) -> list[str]:
    """The texts of a file; empty lines and those that start with # are left out."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise HairclipError(f"--edits {path} cannot be read ({reason}): give a file with one edit per line.") from None
    texts = [line for line in lines if line and not line.startswith("#")]
    if not texts:
        raise HairclipError(f"--edits {path} names no edit: write one per line, such as 'red bob cut'.")
    return texts


def listed(words: str | None, bundle: str, label: str) -> list[str | None]:
    """The rows or columns of a grid: what stays, then the words given, or all that label the bundle's latents."""
    from hairclip.conditions.prompts import COLORS, HAIRSTYLES
    from hairclip.pretrained.loaders import BUNDLES, load_latent_labels

    everything = list(HAIRSTYLES if label == "hairstyle" else COLORS)
    if words is not None:
        named = [word.strip() for word in words.split(",") if word.strip()]
        if not named:
            raise HairclipError(f"--{label} {words!r} names nothing: list words, comma between them, or leave it out.")
        return [None, *named]
    if BUNDLES.get(bundle, {}).get("latents", "").startswith(f"{bundle}/"):  # embedded: others have no labels
        labels = load_latent_labels(BUNDLES[bundle]["latents"])
        present = set((labels or {}).get(label) or everything)
        everything = [name for name in everything if name in present] + sorted(present - set(everything))
    return [None, *everything]


def _tell_unknown(hairstyle: str | None, color: str | None, *, several: bool) -> None:
    """Print which words of --hairstyle and --color no network was trained on: they may be mistyped."""
    from hairclip.conditions.prompts import unknown_word
    from hairclip.editing.editor import as_wish
    from hairclip.editing.request import is_picture

    for words, is_color in ((hairstyle, False), (color, True)):
        for word in (words.split(",") if several else [words]) if words is not None else []:
            if several and not word.strip():
                continue
            wish = None if is_picture(word) else as_wish(word)
            note = unknown_word(wish, "color" if is_color else "hairstyle") if isinstance(wish, str) else None
            if note is not None:
                print(note)

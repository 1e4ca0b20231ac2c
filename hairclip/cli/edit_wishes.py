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
    from hairclip.conditions.prompts import check_understood, read_request
    from hairclip.editing.vocabulary import list_hairstyles

    hairstyle, color = options.hairstyle, options.color
    if not options.grid:
        hairstyle, color = _understood(hairstyle, color)
    texts = [*options.text, *(_lines(options.edits) if options.edits is not None else [])]
    if not texts:
        named = " ".join(word for word in (color, hairstyle) if word)
        return [NamedWish(hairstyle, color, named)]
    known = list_hairstyles(options.bundle)
    wishes = []
    for text in texts:
        reading = read_request(text, hairstyles=known)
        check_understood(reading)
        print("; ".join([reading.summary, *reading.notes]))
        wishes.append(NamedWish(hairstyle or reading.hairstyle, color or reading.color, text))
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
    from hairclip.editing.vocabulary import list_colors, list_hairstyles

    if words is not None:
        named = [word.strip() for word in words.split(",") if word.strip()]
        if not named:
            raise HairclipError(f"--{label} {words!r} names nothing: list words, comma between them, or leave it out.")
        return [None, *named]
    return [None, *(list_hairstyles if label == "hairstyle" else list_colors)(bundle)]


def _understood(hairstyle: str | None, color: str | None) -> tuple[str | None, str | None]:
    """Read the words of --hairstyle and --color; pictures stay as they are. Prints what should be known."""
    from hairclip.conditions.prompts import Reading, check_understood, read_color, read_hairstyle
    from hairclip.editing.request import as_wish, is_picture

    unread = Reading(None, None)
    style = unread if hairstyle is None or is_picture(hairstyle) else read_hairstyle(str(as_wish(hairstyle)))
    shade = unread if color is None or is_picture(color) else read_color(str(as_wish(color)))
    notes = (*style.notes, *shade.notes)
    found = Reading(
        style.hairstyle or (hairstyle if style is unread else None),
        shade.color or (color if shade is unread else None),
        notes,
    )
    if notes:
        check_understood(found)
    for note in notes:
        print(note)
    return found.hairstyle, found.color

"""What a person asks of one edit: a hairstyle, a color or both, each as a text or as a picture that shows it."""

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from PIL import Image
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.image_files import PICTURE_SUFFIXES
from hairclip.common.images import ImageSource, image_name, load_image
from hairclip.conditions.hair_colors import ColorPart
from hairclip.conditions.prompts import Reading, read_color, read_hairstyle, read_request

__all__ = ["EditRequest", "check_requests", "is_picture", "load_picture", "make_request", "name_files", "slug"]


@dataclass(frozen=True, eq=False)
class EditRequest:
    """A hairstyle and a color, as the networks take them.

    Attributes:
        hairstyle: a text such as "bob cut", a picture (1, 3, H, W) of somebody who wears it, or None to keep it.
        color: a text such as "red", a picture (1, 3, H, W) of somebody with that hair color, or None to keep it.
        colors: colors that no word of the networks says: a shade, a code such as "#8b0000", or pink tips. They are dyed
            on the photo. Empty where `color` says all.
        label: words for file names and captions; without them those of the two parts.
        notes: what the person should know about how the words were understood, one sentence each.
        summary: what is asked for in one line, in the language of the text: "hairstyle: bob cut; color: unchanged".
    """

    hairstyle: str | Tensor | None = None
    color: str | Tensor | None = None
    label: str = ""
    notes: tuple[str, ...] = ()
    summary: str = ""
    colors: tuple[ColorPart, ...] = ()

    def __post_init__(self) -> None:
        hairstyle, color = self.names
        if not self.label:
            object.__setattr__(self, "label", " ".join(name for name in (color, hairstyle) if name))
        if not self.summary:
            summary = f"hairstyle: {hairstyle or 'unchanged'}; color: {color or 'unchanged'}"
            object.__setattr__(self, "summary", summary)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return self.hairstyle is None and self.color is None and not self.colors

    @property
    def changes_color_alone(self) -> bool:
        """Whether the hairstyle stays and the color does not."""
        return self.hairstyle is None and (self.color is not None or bool(self.colors))

    @property
    def names(self) -> tuple[str | None, str | None]:
        """Hairstyle and color in words; "reference" for a picture."""
        parts = (self.hairstyle, self.color)
        hairstyle, color = ("reference" if isinstance(part, Tensor) else part for part in parts)
        if self.colors:
            color = " ".join(str(part) for part in self.colors)
        return hairstyle, color


def check_requests(requests: Sequence[EditRequest]) -> None:
    """Refuse requests of which none asks for anything.

    Raises:
        HairclipError: if all are empty.
    """
    if all(request.is_empty for request in requests):
        raise HairclipError("there is nothing to edit: give a hairstyle, a color or both.")


def make_request(
    hairstyle: ImageSource | None = None,
    color: ImageSource | None = None,
    text: str | None = None,
    *,
    hairstyles: Collection[str] | None = None,
    colors: Collection[str] | None = None,
    any_color: bool = False,
) -> EditRequest:
    """Return what a person asks for, with texts read as words that the networks know.

    A string that names an existing file, or that looks like a path to one, is a picture; any other string is a text.

    Args:
        hairstyle: a text, a picture or the path of one, or None.
        color: a text, a picture or the path of one, or None.
        text: a text that may name both.
        hairstyles: the hairstyles that the networks were trained on. None for all of the vocabulary; CLIP then reads
            other hairstyles as they are written.
        colors: the colors that the networks were trained on; None for all of the vocabulary.
        any_color: whether shades, color codes and colors of a part of the hair can be dyed afterwards.

    Raises:
        HairclipError: if a text is empty, if nothing in the texts is understood, if `text` names what `hairstyle` or
            `color` gives too, or if a picture cannot be read.
    """
    free = hairstyles is None
    given = {"hairstyle": hairstyle, "color": color}
    parts: dict[str, str | Tensor | None] = {}
    readings: list[Reading] = []
    for name, source in given.items():
        if source is None:
            parts[name] = None
        elif not isinstance(source, str) or is_picture(source):
            parts[name] = load_picture(source)
        elif not source.strip():
            raise HairclipError(f"the {name} is an empty text: name one, give a picture, or leave it out.")
        elif name == "hairstyle":
            readings.append(read_hairstyle(source, hairstyles=hairstyles, free=free))
            parts[name] = readings[-1].hairstyle
        else:
            readings.append(read_color(source, colors=colors, any_color=any_color))
            parts[name] = readings[-1].color
    if text is not None:
        reading = read_request(text, hairstyles=hairstyles, colors=colors, free=free, any_color=any_color)
        readings.append(reading)
        names_color = reading.color or " ".join(str(part) for part in reading.colors) or None
        for name, word in (("hairstyle", reading.hairstyle), ("color", names_color)):
            if word is not None and given[name] is not None:
                raise HairclipError(
                    f"text={text!r} names the {name} {word}, and {name} is given too: leave one of them out."
                )
        parts["hairstyle"] = parts["hairstyle"] if reading.hairstyle is None else reading.hairstyle
        parts["color"] = parts["color"] if reading.color is None else reading.color
    notes = tuple(dict.fromkeys(note for reading in readings for note in reading.notes))
    dyes = next((one.colors for one in readings if one.colors), ()) if any_color else ()
    if len(dyes) == 1 and dyes[0].is_plain:
        dyes = ()  # the word alone says it
    if readings and parts["hairstyle"] is None and parts["color"] is None and not dyes:
        raise HairclipError(" ".join(notes))
    is_text_alone = hairstyle is None and color is None and text is not None
    summary = readings[0].summary if is_text_alone else ""
    return EditRequest(parts["hairstyle"], parts["color"], text or "", notes, summary, dyes)


def is_picture(source: ImageSource | None) -> TypeGuard[ImageSource]:
    """Return whether a person gave a picture, or the path of one, and not a text or None."""
    if not isinstance(source, str):
        return source is not None
    suffix = Path(source).suffix.lower()
    looks_like_file = os.sep in source or suffix in PICTURE_SUFFIXES or suffix in Image.registered_extensions()
    return looks_like_file or os.path.isfile(source)  # Path.is_file raises for a text too long for a name


def load_picture(source: ImageSource) -> Tensor:
    """Return a picture as (1, 3, H, W) in [-1, 1].

    Raises:
        HairclipError: if it cannot be read, or is too small or too narrow to show a face.
    """
    image = load_image(source)
    height, width = image.shape[-2:]
    if min(height, width) < 8 or max(height, width) > 3 * min(height, width):
        raise HairclipError(
            f"{image_name(source)} is {width} x {height} pixels: give a picture that is cropped to the face."
        )
    return image


def slug(words: str) -> str:
    """Return words as a part of a file's name: small English letters and digits, or "edit" where there are none."""
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:40] or "edit"


def name_files(requests: Sequence[EditRequest]) -> list[str]:
    """Return what the file name of each request's edit gets before its suffix: "_1_red_bob_cut"; nothing for one."""
    if len(requests) == 1:
        return [""]
    return [f"_{number}_{_file_words(request)}" for number, request in enumerate(requests, start=1)]


def _file_words(request: EditRequest) -> str:
    """Return words for a request's file: its label in English, else the names that it was read as."""
    if request.label.isascii():
        return slug(request.label)
    return slug(" ".join(name for name in reversed(request.names) if name))

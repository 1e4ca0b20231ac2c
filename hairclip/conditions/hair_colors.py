"""Read which colors a text asks for, and where on the hair each one goes."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

from hairclip.common.hair_colors import NAMED_RGB, Rgb
from hairclip.conditions.pieces import Piece
from hairclip.conditions.vocabulary import Language, phrase_of

__all__ = ["ColorPart", "FoundColor", "Where", "find_colors"]

Where: TypeAlias = Literal["all", "roots", "tips", "left", "right", "highlights", "streaks"]
"""Which part of the hair a color goes to."""

_SHADES_ALONE = {"dark": "black", "light": "blond"}  # "dark roots"


@dataclass(frozen=True)
class ColorPart:
    """A color, and the part of the hair that gets it.

    Attributes:
        name: a color of the vocabulary; None where the text gives a code such as "#8b0000".
        rgb: the color as sRGB values from 0 to 255; None where the vocabulary has only a name for it.
        where: the part of the hair.
    """

    name: str | None
    rgb: Rgb | None
    where: Where = "all"

    @property
    def is_plain(self) -> bool:
        """Whether the name says it all: a plain color over all of the hair."""
        return self.name is not None and self.where == "all" and self.rgb in (None, NAMED_RGB.get(self.name))

    def __str__(self) -> str:
        code = "" if self.rgb is None else "#" + bytes(self.rgb).hex()
        color = self.name if self.name is not None and self.rgb in (None, NAMED_RGB.get(self.name)) else code
        return color if self.where == "all" else f"{color} {self.where}"


@dataclass
class FoundColor:
    """A color in a text.

    Attributes:
        pieces: the pieces that say it, in order: "dark", "red", "tips".
        part: the color, and where it goes.
        problem: why the color is not the hair's; None where it is. A "thing" or an "unknown" noun has it, or it lies
            "between" the two colors of an ombre.
    """

    pieces: list[Piece]
    part: ColorPart
    problem: Literal["thing", "unknown", "between"] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the text says nothing but the color's own name, so that networks reach it as it was asked for."""
        return all(piece.kind != "shade" and piece.kind != "unknown" for piece in self.pieces)


def find_colors(pieces: Sequence[Piece], language: Language) -> list[FoundColor]:
    """Return the colors of a text in its order, and mark the pieces that say them as used.

    A color before a noun of another thing ("blue eyes") is found too, with its `problem`.
    """
    found: list[FoundColor] = []
    for at, piece in enumerate(pieces):
        if piece.is_used or not (piece.kind == "color" or _is_shade_alone(pieces, at)):
            continue
        color = _color_at(pieces, at, language)
        for one in color.pieces:
            one.is_used = True
        found.append(color)
    _spread(pieces, found)
    return found


def _is_shade_alone(pieces: Sequence[Piece], at: int) -> bool:
    """Return whether a shade stands for a color, as in "dark roots"."""
    return (
        pieces[at].kind == "shade"
        and pieces[at].name in _SHADES_ALONE
        and at + 1 < len(pieces)
        and pieces[at + 1].kind == "part"
    )


def _color_at(pieces: Sequence[Piece], at: int, language: Language) -> FoundColor:
    """Read the color whose main word stands at a place, with the shades before it and the noun that it belongs to."""
    first = at
    while first and pieces[first - 1].kind in ("shade", "unknown") and not pieces[first - 1].is_used:
        first -= 1
    phrase = list(pieces[first : at + 1])
    part_at = _part_of(pieces, first, at, language)
    owner = None if part_at is not None else _noun_after(pieces, at)
    color = ColorPart(*_shaded(phrase))
    if part_at is not None:
        start, end = min(first, part_at), max(at, part_at) + 1
        while start and pieces[start - 1].kind == "part" and not pieces[start - 1].is_used:
            start -= 1
        return FoundColor(list(pieces[start:end]), replace(color, where=cast(Where, pieces[part_at].name)))
    if owner is not None:
        problem = _problem(pieces[at], pieces[owner], language)
        if problem is not None:
            return FoundColor(list(pieces[first : owner + 1]), color, problem)
    elif _belongs_to_thing_before(pieces, first):
        return FoundColor(phrase, color, "thing")
    return FoundColor(phrase, color)


def _shaded(phrase: Sequence[Piece]) -> tuple[str | None, Rgb | None]:
    """Return the name and the sRGB values of a color with its shades."""
    main = phrase[-1]
    if main.kind == "shade":
        name = _SHADES_ALONE[main.name]
        return name, NAMED_RGB[name]
    is_code = main.name.startswith(("#", "rgb("))
    if main.rgb is None:
        return main.name, None
    rgb = main.rgb
    for piece in reversed(phrase[:-1]):
        if piece.kind == "shade":
            rgb = _with_shade(rgb, piece.name)
    return None if is_code else main.name, rgb


def _with_shade(rgb: Rgb, shade: str) -> Rgb:
    """Return a shade of a color: lightness and saturation (HLS) are moved towards a limit by a share."""
    hue, light, saturation = colorsys.rgb_to_hls(*(value / 255 for value in rgb))
    if shade == "light":
        light += 0.35 * (1 - light)
    elif shade == "dark":
        light *= 0.6
    elif shade == "bright":
        light, saturation = light + 0.1 * (1 - light), saturation + 0.4 * (1 - saturation)
    elif shade == "neon":
        light, saturation = light + 0.5 * (0.55 - light), 1.0
    elif shade == "pastel":
        light, saturation = light + 0.55 * (0.9 - light), 0.7 * saturation
    elif shade == "ash":
        saturation *= 0.5
    elif shade == "warm":
        hue, saturation = hue + 0.15 * (0.08 - hue) if hue < 0.5 else hue, min(1.0, 1.1 * saturation)
    red, green, blue = (round(255 * value) for value in colorsys.hls_to_rgb(hue, min(max(light, 0), 1), saturation))
    return red, green, blue


def _part_of(pieces: Sequence[Piece], first: int, at: int, language: Language) -> int | None:
    """Return the number of the part of the hair that a color goes to; None for all of the hair.

    The usual order of the language comes first: "pink tips" in English, the tips before their color in Chinese.
    """
    after, before = _next_part(pieces, at, 1), _next_part(pieces, first, -1)
    return next(
        (one for one in ((after, before) if language.part_follows_color else (before, after)) if one is not None), None
    )


def _next_part(pieces: Sequence[Piece], at: int, step: int) -> int | None:
    """Return the number of the next part in one direction, behind words that say nothing of hair alone."""
    place = at + step
    silent = ("filler", "closer") if step > 0 else ("filler", "closer", "turn")
    while 0 <= place < len(pieces) and (pieces[place].kind in silent or pieces[place].text == ":"):
        place += step
    if 0 <= place < len(pieces) and pieces[place].kind == "part" and not pieces[place].is_used:
        return place
    return None


def _noun_after(pieces: Sequence[Piece], at: int) -> int | None:
    """Return the number of the noun that a color stands before; None where it stands for itself."""
    end = at + 1
    while end < len(pieces) and not pieces[end].is_used:
        kind = pieces[end].kind
        if kind == "join":
            following = pieces[end + 1].kind if end + 1 < len(pieces) else "stop"
            if following not in ("color", "shade"):
                return None
        elif kind not in ("color", "shade", "unknown", "closer"):
            break
        end += 1
    nouns = ("hair", "hairstyle", "attribute", "untrained", "thing", "people")
    if end < len(pieces) and pieces[end].kind in nouns:
        return end
    # "red tractor": a word that nobody knows takes the color with it
    return end - 1 if end - 1 > at and pieces[end - 1].kind == "unknown" else None


def _problem(color: Piece, noun: Piece, language: Language) -> Literal["thing", "unknown"] | None:
    """Return why a color before a noun is not the color of the hair; None where it is."""
    if noun.kind == "unknown":
        return "unknown"
    if noun.kind == "thing" or (noun.kind == "people" and phrase_of(color.text) not in language.colors_of_people):
        return "thing"
    return None


def _belongs_to_thing_before(pieces: Sequence[Piece], first: int) -> bool:
    """Return whether a color is said of another thing before it: "make the background white"."""
    for piece in reversed(pieces[:first]):
        if piece.kind == "thing":
            return True
        if piece.kind not in ("filler", "turn", "closer"):
            return False
    return False


def _spread(pieces: Sequence[Piece], found: list[FoundColor]) -> None:
    """Give the colors after a word such as "ombre" or "half" their places on the hair."""
    for at, word in enumerate(pieces):
        if word.kind != "several_colors" or word.is_used or word.name == "many":
            continue
        start, end = _clause(pieces, at)
        inside = [
            color for color in found if _is_free(color) and any(piece in color.pieces for piece in pieces[start:end])
        ]
        behind = [color for color in found if _is_free(color) and _place(pieces, color) > at]
        if word.name == "ombre" and inside:
            places: tuple[Where, ...] = ("roots", "tips") if len(inside) > 1 else ("tips",)
            for between in inside[1:-1]:
                between.problem = "between"
            _place_colors([inside[0], inside[-1]] if len(inside) > 1 else inside, places, word)
        elif word.name == "halves" and behind:
            _place_colors(behind, ("left", "right"), word)
            for other in pieces[at:]:
                other.is_used = other.is_used or (other.kind, other.name) == ("several_colors", "halves")


def _place_colors(colors: Sequence[FoundColor], places: Sequence[Where], word: Piece) -> None:
    for color, place in zip(colors, places, strict=False):
        color.part = replace(color.part, where=place)
        if word not in color.pieces:
            color.pieces = [word, *color.pieces]
    word.is_used = True


def _is_free(color: FoundColor) -> bool:
    return color.problem is None and color.part.where == "all"


def _place(pieces: Sequence[Piece], color: FoundColor) -> int:
    return next(at for at, piece in enumerate(pieces) if piece is color.pieces[-1])


def _clause(pieces: Sequence[Piece], at: int) -> tuple[int, int]:
    """Return where the clause around a place starts and ends: between two punctuation marks."""
    start = next((i + 1 for i in range(at, -1, -1) if pieces[i].kind == "stop"), 0)
    end = next((i for i in range(at, len(pieces)) if pieces[i].kind == "stop"), len(pieces))
    return start, end

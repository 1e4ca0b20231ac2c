"""Read what a person writes about hair, for every entrance: command line, Python API and web page.

`read_request("make it a dark red bob")` gives the hairstyle "bob cut", the color "red", and a note that "dark red" is
reached as red. `read_hairstyle` and `read_color` read a text that should hold one of the two. A reader never raises.
It returns names that the networks know, or None, and one sentence per thing that the person should know. What it does
not understand changes nothing and is said. `check_understood` raises where a request asks for nothing at all.

    reading = read_request(text, hairstyles=bundle_hairstyles, colors=bundle_colors)
    check_understood(reading)        # HairclipError, with the notes as its text
    reading.hairstyle, reading.color, reading.notes, reading.summary

Give `hairstyles` and `colors` where the networks know other words than HairCLIP's. Give `free=True` where the CLIP is
a real one, which also understands hairstyles outside the vocabulary. The words are in `vocabulary.yaml`.
`hairstyle_prompt` and `color_prompt` put names into HairCLIP's two templates.
"""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from hairclip.common.errors import HairclipError
from hairclip.conditions.vocabulary import (
    COLORS,
    HAIRSTYLES,
    PORTRAIT_HAIRSTYLES,
    Kind,
    Meaning,
    Vocabulary,
    phrase_of,
    vocabulary,
)

__all__ = [
    "COLORS",
    "HAIRSTYLES",
    "PORTRAIT_HAIRSTYLES",
    "Reading",
    "check_understood",
    "color_prompt",
    "hairstyle_prompt",
    "read_color",
    "read_hairstyle",
    "read_request",
]

_LONGEST_QUOTE = 60


@dataclass(frozen=True)
class Reading:
    """What a text was understood to ask for.

    Attributes:
        hairstyle: a name of the vocabulary, with `free=True` also another text for CLIP; None leaves the hairstyle.
        color: a name of the vocabulary; None leaves the color.
        notes: one sentence each: what was mapped to a trained word, and what changes nothing.
    """

    hairstyle: str | None
    color: str | None
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What was understood, in one line: `"hairstyle: bob cut; color: unchanged"`."""
        return f"hairstyle: {self.hairstyle or 'unchanged'}; color: {self.color or 'unchanged'}"


def in_vocabulary_order(words: Collection[str] | None, vocabulary: Sequence[str]) -> list[str]:
    """Return words without repetition: first those of the vocabulary in its order, then the others by the alphabet.

    None stands for the whole vocabulary.
    """
    if words is None:
        return list(vocabulary)
    present = set(words)
    return [word for word in vocabulary if word in present] + sorted(present - set(vocabulary))


def hairstyle_prompt(hairstyle: str) -> str:
    """Return HairCLIP's hairstyle prompt: "bob cut" gives "bob cut hairstyle"; a text that ends so is kept."""
    text = hairstyle.strip()
    return text if text.endswith("hairstyle") else f"{text} hairstyle"


def color_prompt(color: str) -> str:
    """Return HairCLIP's color prompt: "red" gives "red hair"; a text that ends so is kept."""
    text = color.strip()
    return text if text.endswith("hair") else f"{text} hair"


def read_request(
    text: str,
    *,
    hairstyles: Collection[str] | None = None,
    colors: Collection[str] | None = None,
    free: bool = False,
) -> Reading:
    """Read a text such as "make it blond and wavy" into a hairstyle and a color.

    Args:
        text: what a person wrote, in English.
        hairstyles: the hairstyles that the networks were trained with; None for all of the vocabulary. A hairstyle of
            the vocabulary that is not among them gives way to its nearest relative, and a note says so.
        colors: the colors that the networks were trained with; None for HairCLIP's 12.
        free: whether hairstyles outside the vocabulary are passed on for CLIP to understand.
    """
    return _read(text, _vocabulary(hairstyles, colors), free=free)


def read_hairstyle(text: str, *, hairstyles: Collection[str] | None = None, free: bool = False) -> Reading:
    """Read a text that should name a hairstyle; the color of the reading is None. Arguments as in `read_request`."""
    return _read(text, _vocabulary(hairstyles, None), free=free, only="hairstyle")


def read_color(text: str, *, colors: Collection[str] | None = None) -> Reading:
    """Read a text that should name a hair color; the hairstyle of the reading is None. See `read_request`."""
    return _read(text, _vocabulary(None, colors), free=False, only="color")


def check_understood(reading: Reading) -> None:
    """Refuse a reading that asks for nothing.

    Raises:
        HairclipError: with the notes, if the reading has neither a hairstyle nor a color.
    """
    if reading.hairstyle is None and reading.color is None:
        raise HairclipError(" ".join(reading.notes))


def _vocabulary(hairstyles: Collection[str] | None, colors: Collection[str] | None) -> Vocabulary:
    return vocabulary(tuple(hairstyles) if hairstyles else None, tuple(colors) if colors else None)


# ------------------------------------------------------------------------------------------ pieces of a text


@dataclass
class _Piece:
    """A word or phrase of the text, and what it means; `is_used` once a rule has dealt with it."""

    text: str
    kind: Kind
    name: str
    is_used: bool = field(default=False)


def _pieces(text: str, words: Vocabulary) -> list[_Piece]:
    """Cut a text into its longest known phrases, other words, and punctuation marks."""
    plain = unicodedata.normalize("NFKC", text).replace("’", "'").lower()
    plain = re.sub(r"'s\b", " ", plain)
    tokens = re.findall(r"#\w+|[^\W_]+(?:'[^\W_]+)*|[,;:.!?()\n/]", plain)
    tokens = [words.spellings.get(token, token) for token in tokens]
    pieces: list[_Piece] = []
    start = 0
    while start < len(tokens):
        length, found = _longest(tokens[start : start + words.longest], words)
        pieces.append(_Piece(" ".join(tokens[start : start + length]), *found))
        start += length
    return pieces


def _longest(tokens: Sequence[str], words: Vocabulary) -> tuple[int, Meaning]:
    """Return the length and the meaning of the longest phrase at the start of the tokens."""
    for length in range(len(tokens), 0, -1):
        found = words.phrases.get(sum((phrase_of(token) for token in tokens[:length]), ()))
        if found is not None and all(map(_is_word, tokens[:length])):
            return length, found
    return 1, Meaning("unknown" if _is_word(tokens[0]) or tokens[0].startswith("#") else "stop", tokens[0])


def _is_word(token: str) -> bool:
    return token[0].isalnum()


# ------------------------------------------------------------------------------------------ reading


def _read(text: str, words: Vocabulary, *, free: bool, only: Literal["hairstyle", "color"] | None = None) -> Reading:
    """Read a text; `only` says which of the two it should hold."""
    pieces = _pieces(text, words)
    notes: list[str] = []
    _set_aside_negations(pieces, notes)
    _set_aside_several_colors(pieces, notes)
    color = _color(pieces, words, notes, is_wanted=only != "hairstyle")
    hairstyle = _hairstyle(pieces, words, notes, free=free, is_wanted=only != "color", is_alone=only == "hairstyle")
    _tell_rest(pieces, words, notes)
    if hairstyle is None and color is None:
        names, example = {
            "hairstyle": ("no hairstyle", "bob cut"),
            "color": ("no hair color", "red"),
            None: ("neither a hairstyle nor a hair color", "red bob cut"),
        }[only]
        why = "Nothing is left to edit" if notes else f"The text {_quoted(text)} names {names}"
        notes.append(f"{why}: write something like '{example}'.")
    return Reading(hairstyle, color, tuple(dict.fromkeys(notes)))


def _set_aside_negations(pieces: list[_Piece], notes: list[str]) -> None:
    """Take out what the text denies or keeps: "not red", "no bangs", "keep my hair color"."""
    start = 0
    while start < len(pieces):
        if pieces[start].kind != "negation":
            start += 1
            continue
        end = start + 1
        while end < len(pieces) and pieces[end].kind not in ("stop", "turn"):
            names_hair = any(_names_hair(piece) for piece in pieces[start:end])
            if pieces[end].text in ("and", "with") and not names_hair and end > start + 1:
                break  # "no beard and red hair"
            end += 1
        denied = pieces[start:end]
        while denied[-1].kind == "join":
            denied.pop()
        if any(_names_hair(piece) or piece.kind in ("untrained", "part") for piece in denied):
            notes.append(f"{_quoted_pieces(denied)} says what shall not be or shall stay, and changes nothing.")
        for piece in denied:
            piece.is_used = True
        start = end


def _names_hair(piece: _Piece) -> bool:
    return piece.kind in ("hairstyle", "color", "shape")


def _set_aside_several_colors(pieces: list[_Piece], notes: list[str]) -> None:
    """Take out the colors after a word such as "ombre": the networks color all of the hair alike."""
    for start, piece in enumerate(pieces):
        if piece.kind != "several_colors" or piece.is_used:
            continue
        end = next((i for i in range(start, len(pieces)) if pieces[i].kind == "stop"), len(pieces))
        several = [piece, *(other for other in pieces[start:end] if other.kind in ("color", "turn", "join", "shade"))]
        while several[-1].kind in ("turn", "join"):
            several.pop()
        notes.append(
            f"{_quoted_pieces(several)} asks for more than one color, which cannot be made: it changes nothing."
        )
        for one in several:
            one.is_used = True


def _color(pieces: list[_Piece], words: Vocabulary, notes: list[str], *, is_wanted: bool) -> str | None:
    """Return the color that the hair shall have: the first that does not belong to another thing."""
    chosen: str | None = None
    for at, piece in enumerate(pieces):
        if piece.kind != "color" or piece.is_used:
            continue
        first = at
        while first and pieces[first - 1].kind in ("shade", "unknown") and not pieces[first - 1].is_used:
            first -= 1
        owner = _noun_after(pieces, at)
        phrase = pieces[first : (at if owner is None else owner) + 1]
        noun = None if owner is None else pieces[owner]
        why_not = None if noun is None else _why_no_hair_color(piece, noun, words)
        if why_not is not None:
            notes.append(f"{_quoted_pieces(phrase)} {why_not}.")
        else:
            phrase = pieces[first : at + 1]
            chosen = _taken_color(phrase, chosen, words, notes, is_wanted=is_wanted)
        for one in phrase:
            one.is_used = True
    return chosen


def _why_no_hair_color(color: _Piece, noun: _Piece, words: Vocabulary) -> str | None:
    """Say why a color before a noun is not the color of the hair; None where it is."""
    if noun.kind == "part":
        return "colors only a part of the hair, which cannot be made: it changes nothing"
    if noun.kind == "unknown":
        return f"is not understood and changes nothing{_suggestion(noun.text, words)}"
    if noun.kind == "thing" or (noun.kind == "people" and phrase_of(color.text) not in words.colors_of_people):
        return "is not a color of hair and changes nothing"
    return None


def _noun_after(pieces: list[_Piece], at: int) -> int | None:
    """Return the number of the noun that a color stands before; None where it stands for itself."""
    end = at + 1
    while end < len(pieces) and not pieces[end].is_used:
        kind = pieces[end].kind
        if kind == "join":
            following = pieces[end + 1].kind if end + 1 < len(pieces) else "stop"
            if following not in ("color", "shade"):
                return None
        elif kind not in ("color", "shade", "unknown"):
            break
        end += 1
    if end < len(pieces) and pieces[end].kind in ("hair", "hairstyle", "shape", "untrained", "thing", "people", "part"):
        return end
    # "red tractor": a word that nobody knows takes the color with it
    return end - 1 if end - 1 > at and pieces[end - 1].kind == "unknown" else None


def _taken_color(
    phrase: list[_Piece], chosen: str | None, words: Vocabulary, notes: list[str], *, is_wanted: bool
) -> str | None:
    """Return the color of the request after one more was read, and say how it was read."""
    piece = phrase[-1]
    if not is_wanted:
        notes.append(f"{_quoted_pieces(phrase)} is a color and changes nothing here: give it as the color.")
    elif piece.name not in words.colors:
        notes.append(
            f"{_quoted_pieces(phrase)} is a color that the networks do not know: choose {_listed(words.colors)}."
        )
    elif chosen is not None:
        if piece.name != chosen:
            notes.append(f"{_quoted_pieces(phrase)} is left out: an edit has one color, here {chosen}.")
    else:
        if len(phrase) > 1:
            notes.append(f"{_quoted_pieces(phrase)} is reached as {piece.name}: the networks know plain colors only.")
        elif not _says_the_same(piece.text, piece.name):
            notes.append(f"'{piece.text}' is read as {piece.name}.")
        return piece.name
    return chosen


def _hairstyle(
    pieces: list[_Piece], words: Vocabulary, notes: list[str], *, free: bool, is_wanted: bool, is_alone: bool
) -> str | None:
    """Return the hairstyle that the text asks for: by its name, else by length and texture."""
    named = [piece for piece in pieces if piece.kind == "hairstyle" and not piece.is_used]
    shapes = [piece for piece in pieces if piece.kind == "shape" and not piece.is_used]
    for piece in (*named, *shapes):
        piece.is_used = True
    if not is_wanted:
        notes += [
            f"'{piece.text}' is a hairstyle and changes nothing here: give it as the hairstyle." for piece in named
        ]
        notes += [f"'{piece.text}' changes nothing here: give it as the hairstyle." for piece in shapes]
        return None
    shape = {piece.name for piece in shapes}
    asked = (
        named[0].name
        if named
        else next((style for row, style in words.shape_hairstyles if shape and row <= shape), None)
    )
    style = asked and (words.stand_in(asked) or (asked if free else None))
    if asked is not None and style is None:
        notes.append(f"'{asked}' is a hairstyle that the networks do not know: choose {_listed(words.hairstyles)}.")
    elif asked is not None and style != asked:
        notes.append(
            f"'{asked}' is a hairstyle that the networks do not know: its nearest relative, {style}, stands in."
        )
    elif asked is not None:
        written = named[0].text if named else " ".join(piece.text for piece in shapes)
        if not _says_the_same(written, asked):
            notes.append(f"'{written}' is read as {asked}.")
    for piece in [*(other for other in named[1:] if other.name != asked), *(shapes if named else [])]:
        notes.append(f"'{piece.text}' is left out: an edit has one hairstyle, here {style or 'none'}.")
    if free:
        others = _free_words(pieces, is_alone=is_alone)
        if others:
            style = " ".join([*(piece.text for piece in others), *([style] if style else [])])
            notes.append(f"{_quoted(style)} is not in the vocabulary: CLIP reads it as it is written.")
    return style


def _free_words(pieces: list[_Piece], *, is_alone: bool) -> list[_Piece]:
    """Return the words of a hairstyle outside the vocabulary: "ponytail", or "emo" in "emo hair"."""
    found: list[_Piece] = []
    for at, piece in enumerate(pieces):
        following = next((other.kind for other in pieces[at + 1 :] if other.kind != "unknown"), "stop")
        is_of_hair = is_alone or following in ("hair", "hairstyle", "shape", "untrained")
        if not piece.is_used and (
            piece.kind == "untrained" or (piece.kind == "unknown" and _is_word(piece.text) and is_of_hair)
        ):
            piece.is_used = True
            found.append(piece)
    return found


def _tell_rest(pieces: list[_Piece], words: Vocabulary, notes: list[str]) -> None:
    """Say which words of the text change nothing."""
    unknown: list[_Piece] = []
    for piece in [*pieces, _Piece("", "stop", "")]:
        if piece.kind == "unknown" and not piece.is_used:
            unknown.append(piece)
            continue
        if unknown:
            text = _quoted_pieces(unknown)
            suggestion = next(filter(None, (_suggestion(one.text, words) for one in unknown)), "")
            if any(one.text.startswith("#") for one in unknown):
                suggestion = f": name one of {_listed(words.colors)}"
            notes.append(f"{text} is not understood and changes nothing{suggestion}.")
            unknown = []
        if piece.is_used:
            continue
        if piece.kind == "untrained":
            nearest = [name for name in words.untrained[piece.name] if name in words.hairstyles]
            hint = f": the nearest they know is {' or '.join(nearest)}" if nearest else ""
            notes.append(f"'{piece.text}' is a hairstyle that the networks do not know and changes nothing{hint}.")
        elif piece.kind in ("thing", "part"):
            notes.append(f"'{piece.text}' cannot be edited and changes nothing.")
        elif piece.kind == "shade":
            notes.append(f"'{piece.text}' without a color changes nothing: name one of {_listed(words.colors)}.")


# ------------------------------------------------------------------------------------------ words of the notes


def _says_the_same(text: str, name: str) -> bool:
    """Return whether a text and a name differ in spelling alone, as "bob" and "bob cut" do."""
    one, other = ("".join(phrase_of(value)) for value in (text, name))
    return one in other or other in one


def _quoted(text: str) -> str:
    """Return a text in quotation marks, cut where it is long."""
    plain = " ".join(text.split())
    return f"'{plain if len(plain) <= _LONGEST_QUOTE else plain[:_LONGEST_QUOTE] + '...'}'"


def _quoted_pieces(pieces: Sequence[_Piece]) -> str:
    return _quoted(" ".join(piece.text for piece in pieces))


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


def _suggestion(word: str, words: Vocabulary) -> str:
    """Return " (did you mean NAME?)" with the known hairstyle or color that is spelled most like a word, or nothing."""
    names = {" ".join(phrase): meaning for phrase, meaning in words.phrases.items() if meaning.kind in _SUGGESTED}
    near = get_close_matches(word, list(names), n=1, cutoff=0.75) if len(word) > 4 else []
    return f" (did you mean {names[near[0]].name}?)" if near else ""


_SUGGESTED = ("hairstyle", "color")

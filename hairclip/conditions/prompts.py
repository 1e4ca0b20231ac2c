"""Read what a person writes about hair, for every entrance: command line, Python API and web page.

`read_request("make it a dark red bob")` gives the hairstyle "bob cut", the color "red", the shade that was asked for
(`colors`), and a note that "dark red" is reached as red. English and Traditional Chinese are read, also in one
sentence; notes come in the language of the text. `read_hairstyle` and `read_color` read a text that should hold one of
the two. A reader never raises. It returns names that the networks know, or None, and one sentence per thing that the
person should know. What it does not understand changes nothing and is said. `check_understood` raises where a request
asks for nothing at all.

    reading = read_request(text, hairstyles=bundle_hairstyles, colors=bundle_colors)
    check_understood(reading)        # HairclipError, with the notes as its text
    reading.hairstyle, reading.color, reading.colors, reading.attributes, reading.notes, reading.summary

Give `hairstyles` and `colors` where the networks know other words than HairCLIP's. Give `free=True` where the CLIP is
a real one, which also understands hairstyles outside the vocabulary. Give `any_color=True` where hair is dyed in any
color and in parts. The words are in `vocabulary.yaml` and `languages/`. `hairstyle_prompt` and `color_prompt` put names
into HairCLIP's two templates.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

from hairclip.common.errors import HairclipError
from hairclip.common.hair_colors import NAMED_RGB
from hairclip.conditions.hair_colors import ColorPart, FoundColor, find_colors
from hairclip.conditions.pieces import Piece, cut_text, written
from hairclip.conditions.vocabulary import (
    COLORS,
    HAIRSTYLES,
    PORTRAIT_HAIRSTYLES,
    UNTRAINED_HAIRSTYLES,
    Language,
    Vocabulary,
    phrase_of,
    vocabulary,
)

__all__ = [
    "COLORS",
    "HAIRSTYLES",
    "PORTRAIT_HAIRSTYLES",
    "ColorPart",
    "Reading",
    "check_understood",
    "color_prompt",
    "hairstyle_prompt",
    "read_color",
    "read_hairstyle",
    "read_request",
]

_LONGEST_QUOTE = 60
_MOST_SUGGESTED = 3  # unknown words in a row that are compared with the whole vocabulary


@dataclass(frozen=True)
class Reading:
    """What a text was understood to ask for.

    Attributes:
        hairstyle: a name of the vocabulary, with `free=True` also another text for CLIP; None leaves the hairstyle.
        color: the color over all of the hair, as a name of the vocabulary; None leaves the color, or `colors` has one
            without a name.
        notes: one sentence each: what was mapped to a trained word, and what changes nothing.
        colors: every color with its sRGB values and the part of the hair that it is for, the one over all hair first.
        attributes: what is said of the hair beside a hairstyle, in English: `{"length": "short", "fringe": "full"}`.
            The keys are length, curl, volume, parting, fringe and layers.
        negated: English names of what the text does not want.
        text: what was read.
        language: the code of the text's language, such as "en" or "zh-TW".
        summary: what was understood, in one line and in the text's language: "hairstyle: bob cut; color: unchanged".
    """

    hairstyle: str | None
    color: str | None
    notes: tuple[str, ...] = ()
    colors: tuple[ColorPart, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    negated: tuple[str, ...] = ()
    text: str = ""
    language: str = "en"
    summary: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the reading as values fit for JSON, in the order in which `python -m hairclip prompts` prints them."""
        return {
            "text": self.text,
            "language": self.language,
            "hairstyle": self.hairstyle,
            "color": self.color,
            "colors": [
                {"name": part.name, "rgb": None if part.rgb is None else list(part.rgb), "where": part.where}
                for part in self.colors
            ],
            "attributes": dict(self.attributes),
            "negated": list(self.negated),
            "notes": list(self.notes),
        }


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
    any_color: bool = False,
) -> Reading:
    """Read a text such as "make it blond and wavy" into a hairstyle and a color.

    Args:
        text: what a person wrote, in a language of the vocabulary or in several.
        hairstyles: the hairstyles that the networks were trained with; None for all of the vocabulary. A hairstyle of
            the vocabulary that is not among them gives way to its nearest relative, and a note says so.
        colors: the colors that the networks were trained with; None for HairCLIP's 12.
        free: whether hairstyles outside the vocabulary are passed on for CLIP to understand.
        any_color: whether the editor reaches any color on any part of the hair, and not the colors of networks alone.
    """
    return _Reader(text, hairstyles, colors, free=free, any_color=any_color).read()


def read_hairstyle(text: str, *, hairstyles: Collection[str] | None = None, free: bool = False) -> Reading:
    """Read a text that should name a hairstyle; the color of the reading is None. Arguments as in `read_request`."""
    return _Reader(text, hairstyles, None, free=free, only="hairstyle").read()


def read_color(text: str, *, colors: Collection[str] | None = None, any_color: bool = False) -> Reading:
    """Read a text that should name a hair color; the hairstyle of the reading is None. See `read_request`."""
    return _Reader(text, None, colors, any_color=any_color, only="color").read()


def check_understood(reading: Reading) -> None:
    """Refuse a reading that asks for nothing.

    Raises:
        HairclipError: with the notes, if the reading has neither a hairstyle nor a color.
    """
    if reading.hairstyle is None and not reading.colors:
        raise HairclipError(" ".join(reading.notes))


# ------------------------------------------------------------------------------------------ reading


class _Reader:
    """One text on its way to a `Reading`. Each step marks the pieces that it has dealt with, and adds notes."""

    def __init__(
        self,
        text: str,
        hairstyles: Collection[str] | None,
        colors: Collection[str] | None,
        *,
        free: bool = False,
        any_color: bool = False,
        only: Literal["hairstyle", "color"] | None = None,
    ) -> None:
        self.text, self.free, self.any_color, self.only = text, free, any_color, only
        self.words: Vocabulary = vocabulary(
            tuple(hairstyles) if hairstyles else None, tuple(colors) if colors else None
        )
        self.language: Language = self.words.language_of(text)
        self.pieces = cut_text(text, self.words)
        self.notes: list[str] = []
        self.negated: list[str] = []

    def read(self) -> Reading:
        """Read the text."""
        for piece in self.pieces:
            if piece.mended is not None:
                self.say("mended", piece, name=piece.mended)
        self.set_aside_negations()
        colors = self.read_colors()
        attributes = self.read_attributes()
        hairstyle = self.read_hairstyle()
        self.tell_rest()
        color = next((part.name for part in colors if part.where == "all"), None)
        if hairstyle is None and not colors:
            self.say_nothing_asked()
        return Reading(
            hairstyle=hairstyle,
            color=color,
            notes=tuple(dict.fromkeys(self.notes)),
            colors=colors,
            attributes=attributes,
            negated=tuple(dict.fromkeys(self.negated)),
            text=self.text,
            language=self.language.code,
            summary=self.summarize(hairstyle, colors),
        )

    # ---------------------------------------------------------------------------------- what shall not be

    def set_aside_negations(self) -> None:
        """Take out what the text denies or keeps: "not red", "no bangs", "keep my hair color"."""
        start = 0
        while start < len(self.pieces):
            kind = self.pieces[start].kind
            if kind in ("unchanged", "removed"):
                self.set_aside(self.clause_before(start), "kept" if kind == "unchanged" else "negated")
            if kind not in ("negation", "keep", "origin") or (kind == "origin" and self.colors_spread(start)):
                start += 1
                continue
            end = self.end_of_negation(start)
            denied = self.pieces[start:end]
            while denied[-1].kind == "join":
                denied.pop()
            self.set_aside(denied, "kept" if kind == "keep" else "negated")
            start = end

    def set_aside(self, denied: Sequence[Piece], message: Literal["kept", "negated"]) -> None:
        """Mark pieces that are denied or kept as used, say so, and remember the names of what is denied."""
        named = [piece for piece in denied if piece.kind in (*_NAMES_HAIR, "part") and not piece.is_used]
        if named:
            self.say(message, denied)
        if message == "negated":
            self.negated += [_denied_name(piece) for piece in named]
        for piece in denied:
            piece.is_used = True

    def end_of_negation(self, start: int) -> int:
        """Return where a negation ends: at a punctuation mark, a word such as "but", or "and" behind another thing."""
        end = start + 1
        while end < len(self.pieces) and self.pieces[end].kind not in ("stop", "turn"):
            inside = self.pieces[start:end]
            names_hair = any(piece.kind in _NAMES_HAIR for piece in inside)
            if self.pieces[end].kind == "join" and not names_hair and end > start + 1:
                break  # "no beard and red hair"
            if self.pieces[end].kind == "closer" and {piece.kind for piece in inside} & {"attribute", "part"}:
                break  # a hairstyle without a fringe
            end += 1
        return end

    def clause_before(self, at: int) -> list[Piece]:
        """Return the pieces from the last punctuation mark or turn up to a place."""
        start = at
        while start and self.pieces[start - 1].kind not in ("stop", "turn"):
            start -= 1
        return self.pieces[start : at + 1]

    def colors_spread(self, at: int) -> bool:
        """Return whether the clause from a place on names colors that are spread over the hair."""
        end = next((i for i in range(at, len(self.pieces)) if self.pieces[i].kind == "stop"), len(self.pieces))
        return any(piece.kind == "several_colors" for piece in self.pieces[max(at - 2, 0) : end])

    # ---------------------------------------------------------------------------------- colors

    def read_colors(self) -> tuple[ColorPart, ...]:
        """Return the colors that the hair shall have, the one over all of it first."""
        chosen: list[ColorPart] = []
        for color in find_colors(self.pieces, self.language):
            if color.problem == "between":
                self.say("color_between", color.pieces)
            elif color.problem is not None:
                noun = color.pieces[-1]
                hint = self.suggestion(noun.text) if color.problem == "unknown" else ""
                self.say("thing_color" if color.problem == "thing" else "unknown", color.pieces, hint=hint)
            elif self.only == "hairstyle":
                self.say("color_here", color.pieces)
            elif color.part.where == "all":
                self.take_color(color, chosen)
            elif self.any_color:
                chosen.append(color.part)
            else:
                self.say("part" if color.pieces[0].kind != "several_colors" else "several", color.pieces)
        self.tell_several_without_colors()
        return tuple(sorted(chosen, key=lambda part: part.where != "all"))

    def take_color(self, color: FoundColor, chosen: list[ColorPart]) -> None:
        """Add a color over all of the hair to those chosen, unless there is one; say how it was read."""
        part = color.part
        first = next((one for one in chosen if one.where == "all"), None)
        if first is not None:
            if first != part:
                self.say("color_left_out", color.pieces, name=self.name(first.name or written(color.pieces)))
        elif self.any_color:
            chosen.append(part)
        elif part.name not in self.words.colors:
            self.say("color_unknown", color.pieces, names=self.listed(self.words.colors))
        else:
            same = self.says_the_same(color.pieces[-1].mended or written(color.pieces), part.name)
            if len(color.pieces) > 1 or (same and part.rgb != NAMED_RGB.get(part.name or "")):
                self.say("color_reached", color.pieces, name=self.name(part.name))
            elif not same:
                self.say("read_as", color.pieces, name=self.name(part.name))
            chosen.append(part)

    def tell_several_without_colors(self) -> None:
        """Say that a word such as "ombre" needs colors, and that a rainbow cannot be made."""
        for piece in self.pieces:
            if piece.kind == "several_colors" and not piece.is_used:
                piece.is_used = True
                self.say("several" if piece.name == "many" else "no_colors", piece)

    # ---------------------------------------------------------------------------------- hairstyles

    def read_attributes(self) -> dict[str, str]:
        """Return what the text says of length, curl, volume, parting, fringe and layers; the first of each counts."""
        attributes: dict[str, str] = {}
        for piece in self.pieces:
            if piece.kind == "attribute" and not piece.is_used:
                key, value = piece.name.split()
                attributes.setdefault(key, value)
        return {} if self.only == "color" else attributes

    def read_hairstyle(self) -> str | None:
        """Return the hairstyle that the text asks for: by its name, else by its attributes."""
        named = [piece for piece in self.pieces if self.is_known_hairstyle(piece)]
        attributes = [piece for piece in self.pieces if piece.kind == "attribute" and not piece.is_used]
        if self.only == "color":
            for piece in (*named, *attributes):
                piece.is_used = True
                self.say("hairstyle_here" if piece.kind != "attribute" else "attribute_here", piece)
            return None
        asked, shapes = (named[0].name, []) if named else self.hairstyle_of(attributes)
        style = asked and (self.words.stand_in(asked) or (asked if self.free else None))
        if asked is not None:
            self.tell_hairstyle(asked, style, named[:1] or shapes)
        for piece in (*named, *shapes):
            piece.is_used = True
        for piece in named[1:]:
            if piece.name != asked:
                self.say("hairstyle_left_out", piece, name=self.name(style))
        if self.free:
            return self.with_free_words(style)
        for piece in attributes:
            if not piece.is_used and style is not None:
                piece.is_used = True
                self.say("attribute_left_out", piece, name=self.name(style))
        return style

    def is_known_hairstyle(self, piece: Piece) -> bool:
        """Return whether a piece names a hairstyle that networks draw, or that has no network and was asked for all."""
        if piece.is_used:
            return False
        return piece.kind == "hairstyle" or (
            piece.kind == "untrained" and (piece.name in self.words.hairstyles) and not self.free
        )

    def hairstyle_of(self, attributes: Sequence[Piece]) -> tuple[str | None, list[Piece]]:
        """Return the hairstyle that attributes ask for where no name does, and those that were needed for it."""
        present = {piece.name for piece in attributes}
        for row, style in self.language.attribute_hairstyles:
            if row <= present:
                return style, [piece for piece in attributes if piece.name in row]
        return None, []

    def tell_hairstyle(self, asked: str, style: str | None, pieces: Sequence[Piece]) -> None:
        """Say how a hairstyle was read, unless it was written by its name."""
        if style is None:
            self.say("hairstyle_unknown", self.name(asked), names=self.listed(self.words.hairstyles))
        elif style != asked:
            self.say("stand_in", self.name(asked), name=self.name(style))
        elif not self.says_the_same(pieces[0].mended or written(pieces), asked):
            self.say("read_as", pieces, name=self.name(asked))

    def with_free_words(self, style: str | None) -> str | None:
        """Return the hairstyle with the words that CLIP reads as they are written: "emo" in "emo hair"."""
        free: list[Piece] = []
        behind: list[Piece] = []
        for at, piece in enumerate(self.pieces):
            following = next((other.kind for other in self.pieces[at + 1 :] if other.kind != "unknown"), "stop")
            is_of_hair = self.only == "hairstyle" or following in ("hair", "hairstyle", "attribute", "untrained")
            is_word = piece.kind == "unknown" and piece.text[0].isalnum() and is_of_hair
            if not piece.is_used and (piece.kind in ("untrained", "attribute") or is_word):
                piece.is_used = True
                is_noun = piece.kind == "attribute" and piece.name.split()[0] in ("fringe", "parting")
                (behind if is_noun else free).append(piece)
        if not free and not behind:
            return style
        words = [*(_english(piece) for piece in free), *([style] if style else [])]
        if behind:
            words += [*(["with"] if words else []), " and ".join(_english(piece) for piece in behind)]
        self.say("free", " ".join(words))
        return " ".join(words)

    # ---------------------------------------------------------------------------------- the rest, in words

    def tell_rest(self) -> None:
        """Say which words of the text change nothing."""
        unknown: list[Piece] = []
        for piece in [*self.pieces, Piece("", "stop", "")]:
            if piece.kind == "unknown" and not piece.is_used:
                unknown.append(piece)
                continue
            if unknown:
                hint = next(filter(None, (self.suggestion(one.text) for one in unknown[:_MOST_SUGGESTED])), "")
                if any(one.text.startswith("#") for one in unknown):
                    hint = self.message("name_one_of", names=self.listed(self.words.colors))
                self.say("unknown", unknown, hint=hint)
                unknown = []
            if piece.is_used:
                continue
            if piece.kind in ("untrained", "attribute"):
                nearest = [name for name in UNTRAINED_HAIRSTYLES.get(piece.name, ()) if name in self.words.hairstyles]
                hint = self.message("nearest", names=self.listed(nearest)) if nearest else ""
                self.say("untrained" if piece.kind == "untrained" else "attribute_alone", piece, hint=hint)
            elif piece.kind in ("thing", "part"):
                self.say("thing" if piece.kind == "thing" else "no_colors", piece)
            elif piece.kind == "shade":
                self.say("shade_alone", piece, names=self.listed(self.words.colors))

    def say_nothing_asked(self) -> None:
        """Say that nothing is left to edit, with an example of what to write."""
        kind = self.only or "request"
        example = self.language.messages[f"example_{kind}"]
        if self.notes:
            self.notes.append(self.message("nothing_left", example=example))
        else:
            self.say("names_nothing", self.text, what=self.language.messages[f"no_{kind}"], example=example)

    def summarize(self, hairstyle: str | None, colors: Sequence[ColorPart]) -> str:
        """Return what was understood in one line."""
        messages = self.language.messages
        named = []
        for part in colors:
            color = (
                self.name(part.name) if part.name is not None else "#{:02x}{:02x}{:02x}".format(*part.rgb or (0, 0, 0))
            )
            is_all = part.where == "all"
            named.append(color if is_all else messages["more"].format(color=color, where=messages["where"][part.where]))
        return messages["summary"].format(
            hairstyle=messages["same"] if hairstyle is None else self.name(hairstyle),
            color=messages["comma"].join(named) or messages["same"],
        )

    def say(self, key: str, subject: Piece | Sequence[Piece] | str, **values: str) -> None:
        """Add a note about a piece, pieces or a text, in the language of the text."""
        if isinstance(subject, Piece):
            subject = [subject]
        text = subject if isinstance(subject, str) else written(subject)
        self.notes.append(self.message(key, text=self.quoted(text), **values))

    def message(self, key: str, **values: str) -> str:
        return str(self.language.messages[key]).format(**values)

    def quoted(self, text: str) -> str:
        """Return a text in quotation marks, cut where it is long."""
        plain = " ".join(text.split())
        return self.message("quote", text=plain if len(plain) <= _LONGEST_QUOTE else plain[:_LONGEST_QUOTE] + "...")

    def name(self, name: str | None) -> str:
        """Return the name of a hairstyle or color in the language of the text."""
        return str(self.language.messages["none"]) if name is None else self.language.names.get(name, name)

    def listed(self, names: Sequence[str]) -> str:
        """Return names as a list in a sentence: "red, blue or pink"."""
        texts, messages = [self.name(name) for name in names], self.language.messages
        if len(texts) == 1:
            return texts[0]
        return f"{messages['comma'].join(texts[:-1])}{messages['or']}{texts[-1]}"

    def says_the_same(self, text: str, name: str | None) -> bool:
        """Return whether a text and a name differ in spelling alone, as "bob" and "bob cut" do."""
        if name is None:
            return True
        one = "".join(self.words.spellings.get(word, word) for word in phrase_of(text))
        others = {"".join(phrase_of(value)) for value in (name, self.name(name))}
        return any(one in other or other in one for other in others)

    def suggestion(self, word: str) -> str:
        """Return " (did you mean NAME?)" with the hairstyle or color that is spelled most like a word, or nothing."""
        names = {
            " ".join(phrase): meaning
            for phrase, meaning in self.words.phrases.items()
            if meaning.kind in ("hairstyle", "color")
        }
        near = get_close_matches(word, list(names), n=1, cutoff=0.75) if len(word) > 4 else []
        return self.message("did_you_mean", name=self.name(names[near[0]].name)) if near else ""


_NAMES_HAIR = ("hairstyle", "color", "attribute", "untrained")


def _denied_name(piece: Piece) -> str:
    """Return the English name of what is denied: "curly" of an attribute, but "fringe" whatever its kind."""
    if piece.kind != "attribute":
        return piece.name
    key, value = piece.name.split()
    return key if key in ("fringe", "layers") else value


def _english(piece: Piece) -> str:
    """Return a piece as an English text for CLIP."""
    if piece.text.isascii():
        return piece.mended or piece.text
    return piece.name.split()[-1] if piece.kind == "attribute" else piece.name

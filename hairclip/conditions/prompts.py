"""The words of HairCLIP: its hairstyles and colours, its two prompt templates, and the reading of free text.

``"make it a red bob cut"`` becomes the hairstyle "bob cut" and the colour "red". Words outside the vocabulary go to
CLIP as they are, as part of the hairstyle, and :attr:`ParsedPrompt.message` says so.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from hairclip.common.errors import HairclipError

# The 44 hairstyles HairCLIP was trained with (its hairstyle list, section 4.1 of the paper).
HAIRSTYLES: tuple[str, ...] = (
    "afro", "bob cut", "bowl cut", "braid", "caesar cut", "chignon", "cornrows", "crew cut", "crown braid",
    "curtained hair", "dido flip", "dreadlocks", "extensions", "fade", "fauxhawk", "finger waves", "french braid",
    "frosted tips", "full crown", "harvard clip", "high and tight", "hime cut", "hi-top fade", "jewfro", "jheri curl",
    "liberty spikes", "marcel waves", "mohawk", "pageboy", "perm", "pixie cut", "psychobilly wedge", "quiff",
    "regular taper cut", "ringlets", "shingle bob", "short hair", "slicked-back", "spiky hair", "surfer hair",
    "taper cut", "the rachel", "undercut", "updo",
)  # fmt: skip
COLORS: tuple[str, ...] = (
    "purple", "red", "orange", "yellow", "green", "blue", "gray", "brown", "black", "white", "blond", "pink",
)  # fmt: skip
# What the rendered portraits wear besides.
PORTRAIT_HAIRSTYLES: tuple[str, ...] = ("long straight", "long wavy", "bald")

_HAIRSTYLE_SYNONYMS: dict[str, tuple[str, ...]] = {
    "afro": ("natural afro",),
    "bald": ("no hair", "without hair", "hairless", "shaved", "shaved head", "bald head"),
    "bob cut": ("bob", "bobbed"),
    "bowl cut": ("bowl", "bowl haircut", "mushroom cut", "pudding bowl"),
    "braid": ("braided", "plait", "plaited", "pleat"),
    "caesar cut": ("caesar", "cesar", "cesar cut"),
    "chignon": ("bun", "hair bun", "low bun"),
    "cornrows": ("corn rows",),
    "crew cut": ("crew", "buzz cut", "buzz", "buzzed", "military cut"),
    "crown braid": ("braided crown", "halo braid"),
    "curtained hair": ("curtained", "curtains", "curtain bangs", "curtain hair"),
    "dreadlocks": ("dreads", "dread locks", "locs"),
    "extensions": ("hair extensions",),
    "fauxhawk": ("faux hawk", "fohawk", "fo hawk"),
    "finger waves": ("finger waved",),
    "french braid": ("french plait",),
    "hi-top fade": ("high top fade", "hi top", "high top", "flat top", "flattop", "hitop"),
    "jewfro": ("jew fro",),
    "jheri curl": ("jheri", "jerry curl"),
    "long straight": ("long straight hair",),
    "long wavy": ("long wavy hair", "beach waves"),
    "mohawk": ("mohican",),
    "pageboy": ("page boy",),
    "perm": ("permed", "permanent wave"),
    "pixie cut": ("pixie",),
    "ringlets": ("corkscrew curls", "spiral curls"),
    "slicked-back": ("slick back", "slicked", "slick", "slickback", "combed back", "swept back"),
    "spiky hair": ("spiky", "spiked", "spikes", "spike"),
    "surfer hair": ("surfer",),
    "taper cut": ("taper", "tapered"),
    "the rachel": ("rachel",),
    "undercut": ("under cut",),
    "updo": ("up do", "topknot", "top knot", "high bun", "top bun", "pinned up"),
}
_COLOR_SYNONYMS: dict[str, tuple[str, ...]] = {
    "black": ("ebony", "raven", "jet black"),
    "blond": ("blonde", "golden", "gold", "platinum", "platinum blond", "strawberry blond", "ash blond", "fair"),
    "blue": ("navy", "turquoise", "cyan", "azure"),
    "brown": ("brunette", "brunet", "chestnut", "chocolate", "hazel", "caramel"),
    "gray": ("grey", "silver", "salt and pepper", "charcoal"),
    "green": ("emerald", "lime", "mint", "teal"),
    "orange": ("ginger", "copper"),
    "pink": ("rose", "magenta", "rose gold"),
    "purple": ("violet", "lavender", "lilac"),
    "red": ("redhead", "red head", "auburn", "crimson", "scarlet", "burgundy"),
    "white": ("snow white",),
    "yellow": ("lemon",),
}
# The nearest relatives of styles that a set of networks may not know.
_RELATIVES: dict[str, tuple[str, ...]] = {
    "braid": ("crown braid",),
    "chignon": ("updo",),
    "curtained hair": ("bowl cut",),
    "dido flip": ("bob cut",),
    "extensions": ("long straight",),
    "fade": ("hi-top fade",),
    "fauxhawk": ("mohawk",),
    "french braid": ("crown braid", "braid"),
    "frosted tips": ("spiky hair",),
    "full crown": ("updo",),
    "harvard clip": ("crew cut",),
    "high and tight": ("crew cut",),
    "jewfro": ("afro",),
    "jheri curl": ("ringlets", "perm"),
    "liberty spikes": ("spiky hair", "mohawk"),
    "marcel waves": ("finger waves",),
    "pageboy": ("bowl cut",),
    "psychobilly wedge": ("mohawk",),
    "quiff": ("slicked-back",),
    "regular taper cut": ("taper cut", "crew cut"),
    "shingle bob": ("bob cut",),
    "short hair": ("pixie cut", "crew cut"),
    "surfer hair": ("long wavy",),
    "taper cut": ("crew cut",),
    "the rachel": ("long wavy",),
}
# Length and texture alone choose a hairstyle only where nothing else names one.
_SHAPE_WORDS = {
    "long": "long", "longer": "long", "lengthy": "long", "short": "short", "shorter": "short", "straight": "straight",
    "sleek": "straight", "wavy": "wavy", "wave": "wavy", "wavier": "wavy", "curly": "curly", "curl": "curly",
    "curlier": "curly",
}  # fmt: skip
_SHADES = frozenset(["light", "dark", "bright", "deep", "pale", "vivid", "pastel", "lighter", "darker", "brighter"])
_FILLER_WORDS = """
a an the this that some and or but then just so very really more as at by in into of on for to with can could would do
i you he she they it we is are be was me him her them us my his their your have has had having get give gives put want
like look looks looking make made making change turn please color colour colored coloured dye dyed dyeing tint tinted
hair haired hairstyle haircut hairdo style styled cut wear wears wearing s
person someone man woman boy girl guy lady face head photo picture portrait
"""
_FILLER = frozenset(_FILLER_WORDS.split())


@dataclass(frozen=True)
class ParsedPrompt:
    """What a sentence was understood to ask for.

    Attributes:
        hairstyle: text for :func:`hairstyle_prompt`, or None where the hairstyle shall stay.
        color: one of :data:`COLORS`, or None where the colour shall stay.
        unknown: words outside the vocabulary; they are part of `hairstyle`.
        message: one line for the person who wrote the sentence.
    """

    hairstyle: str | None
    color: str | None
    unknown: tuple[str, ...]
    message: str


def hairstyle_prompt(hairstyle: str) -> str:
    """HairCLIP's hairstyle template: ``"bob cut"`` -> ``"bob cut hairstyle"``; a text that has the word is kept."""
    text = hairstyle.strip()
    return text if text.endswith("hairstyle") else f"{text} hairstyle"


def color_prompt(color: str) -> str:
    """HairCLIP's colour template: ``"red"`` -> ``"red hair"``; a text that ends in the word is kept."""
    text = color.strip()
    return text if text.endswith("hair") else f"{text} hair"


def split_prompt(text: str, known: Collection[str] | None = None) -> ParsedPrompt:
    """Read a sentence such as ``"make it blond and wavy"`` into a hairstyle and a colour.

    Args:
        text: what a person wrote, in English.
        known: the hairstyles that the networks at hand were trained on, where those are few. A style of the vocabulary
            that is not among them gives way to its nearest relative that is, and the message says so.

    Raises:
        HairclipError: if it names neither.
    """
    words = re.findall(r"[^\W_]+", text.lower())
    styles: list[str] = []
    colors: list[str] = []
    shapes: list[str] = []
    shades: list[str] = []
    unknown: list[str] = []
    for word, kind, meaning in _read(words):
        if kind == "style":
            styles.append(meaning)
        elif kind == "color":
            colors.append(meaning)
        elif word in _SHAPE_WORDS or _stem(word) in _SHAPE_WORDS:
            shapes.append(_SHAPE_WORDS.get(word) or _SHAPE_WORDS[_stem(word)])
        elif word in _SHADES:
            shades.append(word)
        elif word not in _FILLER:
            unknown.append(word)

    asked = styles[0] if styles else _style_of_shape(set(shapes))
    style = _stand_in(asked, known) if asked and known is not None else asked
    color = colors[0] if colors else None
    hairstyle = " ".join([*unknown, *([style] if style else [])]) or None
    if hairstyle is None and color is None:
        raise HairclipError(
            f"the text {text!r} names neither a hairstyle nor a hair colour: write something like 'red bob cut'."
        )

    notes = [f"hairstyle: {hairstyle or 'unchanged'}", f"colour: {color or 'unchanged'}"]
    if style != asked:
        notes.append(f"these networks do not know {asked}, {style} stands in for it")
    if unknown:
        notes.append(f"not in the vocabulary, given to CLIP as written: {' '.join(unknown)}{_suggestion(unknown)}")
    left_out = [*styles[1:], *colors[1:], *(shapes if styles else []), *shades]
    left_out = [word for word in dict.fromkeys(left_out) if word not in (asked, color)]
    if left_out:
        notes.append(f"left out: {', '.join(left_out)}")
    return ParsedPrompt(hairstyle=hairstyle, color=color, unknown=tuple(unknown), message="; ".join(notes))


def unknown_word(text: str, kind: Literal["hairstyle", "color"]) -> str | None:
    """A line for the person who asked for a hairstyle or colour outside the vocabulary; None where it is known."""
    words = re.findall(r"[^\W_]+", text.lower())
    wanted = "style" if kind == "hairstyle" else "color"
    if any(found == wanted or (wanted == "style" and word in _SHAPE_WORDS) for word, found, _ in _read(words)):
        return None
    name = "hairstyle" if kind == "hairstyle" else "colour"
    return f"{name} {text!r}: not in the vocabulary, given to CLIP as written{_suggestion(words)}"


def _stand_in(style: str, known: Collection[str]) -> str:
    """`style`, or its nearest relative among the known ones; itself again where it has none."""
    return next((name for name in (style, *_RELATIVES.get(style, ())) if name in known), style)


def _stem(word: str) -> str:
    """The word without a plural s, so that "cornrows" and "cornrow" meet."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _phrase(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(_stem(word) for word in words)


def _vocabulary() -> dict[tuple[str, ...], tuple[str, str]]:
    """Every known phrase, as stemmed words -> ("style" | "color", canonical name)."""
    known: dict[tuple[str, ...], tuple[str, str]] = {}
    for style in (*HAIRSTYLES, *PORTRAIT_HAIRSTYLES):
        if style == "short hair":  # "short" is read as a length, so that "short blue hair" is understood too
            continue
        for name in (style, *_HAIRSTYLE_SYNONYMS.get(style, ())):
            words = re.findall(r"\w+", name)
            known[_phrase(words)] = ("style", style)
            if len(words) == 2 and words[1] == "cut":
                known[_phrase(["".join(words)])] = ("style", style)
    for color in COLORS:
        for name in (color, *_COLOR_SYNONYMS[color]):
            known[_phrase(name.split())] = ("color", color)
            if name.endswith("blond"):
                known[_phrase(f"{name}e".split())] = ("color", color)
    return known


_KNOWN = _vocabulary()
_LONGEST = max(len(phrase) for phrase in _KNOWN)


def _read(words: list[str]) -> Iterator[tuple[str, str, str]]:
    """Each longest known phrase as (text, "style" | "color", canonical name), each other word as (word, "", "")."""
    stems = _phrase(words)
    start = 0
    while start < len(words):
        for length in range(min(_LONGEST, len(words) - start), 0, -1):
            found = _KNOWN.get(stems[start : start + length])
            if found is not None:
                yield " ".join(words[start : start + length]), *found
                start += length
                break
        else:
            yield words[start], "", ""
            start += 1


def _style_of_shape(shapes: set[str]) -> str | None:
    """The hairstyle that words of length and texture ask for when they stand alone."""
    if not shapes:
        return None
    if "short" in shapes:
        return "short hair"
    if "curly" in shapes:
        return "ringlets" if "long" in shapes else "perm"
    return "long wavy" if "wavy" in shapes else "long straight"


def _suggestion(unknown: list[str]) -> str:
    names = [" ".join(phrase) for phrase in _KNOWN]
    near = [match for word in unknown for match in get_close_matches(word, names, n=1, cutoff=0.75)]
    meant = dict.fromkeys(_KNOWN[tuple(match.split())][1] for match in near)
    return f" (did you mean {' or '.join(meant)}?)" if meant else ""

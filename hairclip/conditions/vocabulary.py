"""The words of hair in `vocabulary.yaml`: hairstyles, colors, synonyms, and other words of a request."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from hairclip.common.yaml import read_yaml

__all__ = [
    "COLORS",
    "HAIRSTYLES",
    "LANGUAGES",
    "PORTRAIT_HAIRSTYLES",
    "Kind",
    "Meaning",
    "Vocabulary",
    "phrase_of",
    "vocabulary",
]

Kind: TypeAlias = Literal[
    "hairstyle", "color", "shape", "untrained", "shade", "hair", "part", "several_colors", "thing", "people",
    "negation", "turn", "join", "filler", "stop", "unknown",
]  # fmt: skip
"""What a word or phrase is; "stop" is a punctuation mark, and "unknown" is any word outside the vocabulary."""

_WORDS = read_yaml(Path(__file__).with_name("vocabulary.yaml"))

HAIRSTYLES: tuple[str, ...] = tuple(_WORDS["hairstyles"])
"""The 44 hairstyles HairCLIP was trained with (its hairstyle list, section 4.1 of the paper)."""
PORTRAIT_HAIRSTYLES: tuple[str, ...] = tuple(_WORDS["portrait_hairstyles"])
"""The hairstyles that only the rendered portraits wear."""
COLORS: tuple[str, ...] = tuple(_WORDS["colors"])
"""The 12 hair colors HairCLIP was trained with."""
LANGUAGES: tuple[str, ...] = tuple(_WORDS["languages"])

# Sections of a language that are plain lists of words. Where a word is in two sections, the first one counts.
_LISTS: tuple[tuple[str, Kind], ...] = (
    ("hair", "hair"),
    ("parts", "part"),
    ("several_colors", "several_colors"),
    ("shades", "shade"),
    ("things", "thing"),
    ("people", "people"),
    ("negations", "negation"),
    ("turns", "turn"),
    ("joins", "join"),
    ("fillers", "filler"),
)


class Meaning(NamedTuple):
    """What a phrase means: its kind, and the name it stands for ("silver" is the color "gray")."""

    kind: Kind
    name: str


@dataclass(frozen=True)
class Vocabulary:
    """The phrases that a reader knows.

    Attributes:
        hairstyles: names of the hairstyles that the networks know.
        colors: names of the colors that the networks know.
        phrases: stemmed words of a phrase -> its meaning.
        spellings: word -> the spelling that `phrases` has.
        colors_of_people: stemmed words of the colors that also name a person ("a blond woman").
        shape_hairstyles: shapes ("long", "curly") -> the hairstyle they ask for; the first row that applies counts.
        relatives: hairstyle -> hairstyles that may stand in for it, best first.
        untrained: hairstyle words that no network was trained with -> the nearest trained ones.
    """

    hairstyles: tuple[str, ...]
    colors: tuple[str, ...]
    phrases: Mapping[tuple[str, ...], Meaning]
    spellings: Mapping[str, str]
    colors_of_people: frozenset[tuple[str, ...]]
    shape_hairstyles: tuple[tuple[frozenset[str], str], ...]
    relatives: Mapping[str, tuple[str, ...]]
    untrained: Mapping[str, tuple[str, ...]]

    @property
    def longest(self) -> int:
        """The number of words of the longest phrase."""
        return max(map(len, self.phrases))

    def stand_in(self, hairstyle: str) -> str | None:
        """Return the hairstyle where the networks know it, else its nearest relative that they know, else None."""
        return next((name for name in (hairstyle, *self.relatives.get(hairstyle, ())) if name in self.hairstyles), None)


@lru_cache(maxsize=16)
def vocabulary(
    hairstyles: tuple[str, ...] | None = None, colors: tuple[str, ...] | None = None, language: str = "en"
) -> Vocabulary:
    """Build the vocabulary of one language.

    Args:
        hairstyles: names that the networks were trained with, HairCLIP's or others; None for all in the YAML file.
        colors: names that the networks were trained with; None for HairCLIP's 12.
        language: one of `LANGUAGES`.
    """
    words: dict[str, Any] = _WORDS["languages"][language]
    phrases: dict[tuple[str, ...], Meaning] = {}

    def add(kind: Kind, name: str, texts: Iterable[str]) -> None:
        for text in texts:
            phrases.setdefault(phrase_of(text), Meaning(kind, name))

    for name in colors or ():
        add("color", name, [name])
    for name in hairstyles or ():
        if name != "short hair":  # "short" is a length, so that "short blue hair" is understood too
            add("hairstyle", name, [name])
    for shape, texts in words["shapes"].items():
        add("shape", shape, texts)
    for name in (*HAIRSTYLES, *PORTRAIT_HAIRSTYLES):
        if name != "short hair":
            texts = [name, *words["hairstyles"].get(name, ())]
            add("hairstyle", name, texts)
            add("hairstyle", name, [text.replace(" cut", "cut") for text in texts if text.endswith(" cut")])
    for name in COLORS:
        add("color", name, [name, *words["colors"].get(name, ())])
    for name in words["untrained_hairstyles"]:
        add("untrained", name, [name])
    for section, kind in _LISTS:
        for text in words[section]:
            add(kind, text, [text])
    return Vocabulary(
        hairstyles=hairstyles or (*HAIRSTYLES, *PORTRAIT_HAIRSTYLES),
        colors=colors or COLORS,
        phrases=phrases,
        spellings=words["spellings"],
        colors_of_people=frozenset(map(phrase_of, words["colors_of_people"])),
        shape_hairstyles=tuple((frozenset(row["shapes"]), row["hairstyle"]) for row in words["shape_hairstyles"]),
        relatives={name: tuple(others) for name, others in _WORDS["relatives"].items()},
        untrained={name: tuple(others) for name, others in words["untrained_hairstyles"].items()},
    )


def phrase_of(text: str) -> tuple[str, ...]:
    """Return the stemmed words of a phrase: "Buzz-Cuts" gives `("buzz", "cut")`."""
    return tuple(_stem(word) for word in re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower()))


def _stem(word: str) -> str:
    """Remove a plural s, so that "cornrows" and "cornrow" meet."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word

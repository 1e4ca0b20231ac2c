"""The words of hair: names that all languages share in `vocabulary.yaml`, and what people write in `languages/`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from hairclip.common.hair_colors import NAMED_RGB, Rgb
from hairclip.common.yaml import read_yaml

__all__ = [
    "COLORS",
    "HAIRSTYLES",
    "LANGUAGES",
    "PORTRAIT_HAIRSTYLES",
    "UNTRAINED_HAIRSTYLES",
    "Kind",
    "Language",
    "Meaning",
    "Vocabulary",
    "phrase_of",
    "vocabulary",
]

Kind: TypeAlias = Literal[
    "hairstyle", "color", "attribute", "untrained", "shade", "hair", "part", "several_colors", "thing", "people",
    "negation", "origin", "keep", "unchanged", "removed", "turn", "join", "closer", "filler", "stop", "unknown",
]  # fmt: skip
"""What a word or phrase is; "stop" is a punctuation mark, and "unknown" is any word outside the vocabulary."""


def _rgb(code: str) -> Rgb:
    """Return the color of six hexadecimal digits."""
    red, green, blue = bytes.fromhex(code)
    return red, green, blue


_FOLDER = Path(__file__).parent
_WORDS = read_yaml(_FOLDER / "vocabulary.yaml")

HAIRSTYLES: tuple[str, ...] = tuple(_WORDS["hairstyles"])
"""The 44 hairstyles HairCLIP was trained with (its hairstyle list, section 4.1 of the paper)."""
PORTRAIT_HAIRSTYLES: tuple[str, ...] = tuple(_WORDS["portrait_hairstyles"])
"""The hairstyles that only the rendered portraits wear."""
UNTRAINED_HAIRSTYLES: Mapping[str, tuple[str, ...]] = {
    name: tuple(nearest) for name, nearest in _WORDS["untrained_hairstyles"].items()
}
"""Hairstyles that people ask for and no network was trained with, each with the nearest trained ones."""
COLORS: tuple[str, ...] = tuple(_WORDS["colors"])
"""The 12 hair colors HairCLIP was trained with."""
LANGUAGES: tuple[str, ...] = tuple(sorted(path.stem for path in (_FOLDER / "languages").glob("*.yaml")))
"""The languages that a reader knows, by the names of their files."""

# Sections of a language that are plain lists of words. Where a word is in two sections, the first one counts.
_LISTS: tuple[tuple[str, Kind], ...] = (
    ("hair", "hair"),
    ("things", "thing"),
    ("people", "people"),
    ("negations", "negation"),
    ("origins", "origin"),
    ("keeps", "keep"),
    ("unchanged", "unchanged"),
    ("removed", "removed"),
    ("turns", "turn"),
    ("joins", "join"),
    ("closers", "closer"),
    ("fillers", "filler"),
)
# Sections that name something: value -> words for it.
_TABLES: tuple[tuple[str, Kind], ...] = (
    ("parts", "part"),
    ("several_colors", "several_colors"),
    ("shades", "shade"),
)


class Meaning(NamedTuple):
    """What a phrase means: its kind, the name it stands for ("silver" is the color "gray"), and the color it shows.

    The name of an attribute is its key and its value: "length short".
    """

    kind: Kind
    name: str
    rgb: Rgb | None = None


@dataclass(frozen=True)
class Language:
    """What the reader needs to know of one language beside its phrases.

    Attributes:
        code: the name of its file: "en".
        script: a character class of regular expressions. A text with such a character is in this language. None for
            the language of all other texts.
        messages: what the reader says, by key; words in braces are filled in.
        names: the name of a hairstyle, color or attribute -> the most usual word for it; missing for English.
        attribute_hairstyles: attributes -> the hairstyle that they ask for; the first row that applies counts.
        colors_of_people: phrases of the colors that also name a person ("a blond woman").
        part_follows_color: whether "pink tips" is the usual order, and not "tips pink".
    """

    code: str
    script: str | None
    messages: Mapping[str, Any]
    names: Mapping[str, str]
    attribute_hairstyles: tuple[tuple[frozenset[str], str], ...]
    colors_of_people: frozenset[tuple[str, ...]]
    part_follows_color: bool


@dataclass(frozen=True)
class Vocabulary:
    """The phrases of all languages.

    Attributes:
        hairstyles: names of the hairstyles that the networks know.
        colors: names of the colors that the networks know.
        phrases: stemmed words of a phrase -> its meaning.
        spellings: word or character -> the spelling that `phrases` has.
        languages: by code, with English first.
        relatives: hairstyle -> hairstyles that may stand in for it, best first.
    """

    hairstyles: tuple[str, ...]
    colors: tuple[str, ...]
    phrases: Mapping[tuple[str, ...], Meaning]
    spellings: Mapping[str, str]
    languages: Mapping[str, Language]
    relatives: Mapping[str, tuple[str, ...]]

    @cached_property
    def longest(self) -> int:
        """The number of words of the longest phrase."""
        return max(map(len, self.phrases))

    @cached_property
    def single_words(self) -> Mapping[str, bool]:
        """Every word of a phrase, and whether the phrase names a hairstyle, a color or an attribute."""
        known: dict[str, bool] = {}
        for phrase, meaning in self.phrases.items():
            for word in phrase:
                names_hair = meaning.kind in ("hairstyle", "color", "attribute", "untrained")
                known[word] = known.get(word, False) or names_hair
        return known

    def language_of(self, text: str) -> Language:
        """Return the language whose script the text has, else English."""
        for language in self.languages.values():
            if language.script is not None and re.search(f"[{language.script}]", text):
                return language
        return self.languages["en"]

    def stand_in(self, hairstyle: str) -> str | None:
        """Return the hairstyle where the networks know it, else its nearest relative that they know, else None."""
        return next((name for name in (hairstyle, *self.relatives.get(hairstyle, ())) if name in self.hairstyles), None)


@lru_cache(maxsize=16)
def vocabulary(hairstyles: tuple[str, ...] | None = None, colors: tuple[str, ...] | None = None) -> Vocabulary:
    """Build the vocabulary of all languages.

    Args:
        hairstyles: names that the networks were trained with, HairCLIP's or others; None for all that have a name.
        colors: names that the networks were trained with; None for HairCLIP's 12.
    """
    files = {code: read_yaml(_FOLDER / "languages" / f"{code}.yaml") for code in LANGUAGES}
    spellings = {
        word: spelling
        for words in files.values()
        for section in ("spellings", "characters")
        for word, spelling in words.get(section, {}).items()
    }
    phrases: dict[tuple[str, ...], Meaning] = {}

    def add(meaning: Meaning, texts: Iterable[str]) -> None:
        for text in texts:
            phrases.setdefault(tuple(spellings.get(word, word) for word in phrase_of(text)), meaning)

    for name in colors or ():
        add(Meaning("color", name, NAMED_RGB.get(name)), [name])
    for name in hairstyles or ():
        if name != "short hair":  # "short" is a length, so that "short blue hair" is understood too
            add(Meaning("hairstyle", name), [name])
    for words in files.values():
        _add_words(words, add)
    trained = (*HAIRSTYLES, *PORTRAIT_HAIRSTYLES, *UNTRAINED_HAIRSTYLES)
    return Vocabulary(
        hairstyles=hairstyles or trained,
        colors=colors or COLORS,
        phrases=phrases,
        spellings=spellings,
        languages={code: _language(code, words) for code, words in files.items()},
        relatives={name: tuple(others) for name, others in _WORDS["relatives"].items()},
    )


def _add_words(words: Mapping[str, Any], add: Any) -> None:
    """Call `add(meaning, texts)` for every section of a language's file, the more special sections first."""
    for key, values in words["attributes"].items():
        for value, texts in values.items():
            add(Meaning("attribute", f"{key} {value}"), texts)
    for name in (*HAIRSTYLES, *PORTRAIT_HAIRSTYLES):
        if name != "short hair":
            texts = [name, *words["hairstyles"].get(name, ())]
            add(Meaning("hairstyle", name), texts)
            add(Meaning("hairstyle", name), [text.replace(" cut", "cut") for text in texts if text.endswith(" cut")])
    for name in COLORS:
        add(Meaning("color", name, NAMED_RGB.get(name)), [name, *words["colors"].get(name, ())])
    for tint, texts in words["tints"].items():
        name, code = _WORDS["tints"][tint]
        add(Meaning("color", name, _rgb(code)), texts)
    for name in UNTRAINED_HAIRSTYLES:
        add(Meaning("untrained", name), [name, *words["untrained_hairstyles"].get(name, ())])
    for section, kind in _TABLES:
        for name, texts in words[section].items():
            add(Meaning(kind, name), texts)
    for section, kind in _LISTS:
        for text in words.get(section, ()):
            add(Meaning(kind, text), [text])


def _language(code: str, words: Mapping[str, Any]) -> Language:
    tables = (words["hairstyles"], words["untrained_hairstyles"], words["colors"], *words["attributes"].values())
    return Language(
        code=code,
        script=words.get("script"),
        messages=words["messages"],
        names={} if code == "en" else {name: texts[0] for table in tables for name, texts in table.items() if texts},
        attribute_hairstyles=tuple(
            (frozenset(f"{key} {value}" for key, value in row.items() if key != "hairstyle"), row["hairstyle"])
            for row in words["attribute_hairstyles"]
        ),
        colors_of_people=frozenset(map(phrase_of, words["colors_of_people"])),
        part_follows_color=words["part_follows_color"],
    )


def phrase_of(text: str) -> tuple[str, ...]:
    """Return the stemmed words of a phrase: "Buzz-Cuts" gives `("buzz", "cut")`; a Chinese character is a word."""
    return tuple(
        _stem(word)
        for word in re.findall(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+(?:'[^\W_\u4e00-\u9fff]+)*", text.lower())
    )


def _stem(word: str) -> str:
    """Remove a plural s, so that "cornrows" and "cornrow" meet."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word

"""The page's words: one data file for each language in `words/`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hairclip.common.yaml import read_yaml
from hairclip.conditions.vocabulary import vocabulary

__all__ = ["LANGUAGES", "Words", "choose_language", "read_words"]

_FOLDER = Path(__file__).parent / "words"

LANGUAGES: tuple[str, ...] = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
"""The codes of the page's languages, such as "en"."""


@dataclass(frozen=True)
class Words:
    """The words of one language.

    Attributes:
        code: the name of its file.
        texts: key -> text, list of texts, or the table `errors`.
    """

    code: str
    texts: Mapping[str, Any]

    def __getitem__(self, key: str) -> str:
        return str(self.texts[key])

    def fill(self, key: str, **values: object) -> str:
        """Return a text with the words in braces filled in."""
        return self[key].format(**values)

    def several(self, key: str) -> Sequence[str]:
        """Return a list of texts."""
        return [str(text) for text in self.texts[key]]

    def error(self, key: str, **values: object) -> str:
        """Return the sentence for something that cannot be done."""
        return str(self.texts["errors"][key]).format(**{"mask": self["mask"], "more": self["more"], **values})

    def name(self, word: str) -> str:
        """Return what a hairstyle or color is called; the English name where the language has none."""
        language = vocabulary().languages.get(self.code)
        return word if language is None else language.names.get(word, word)


@cache
def read_words(code: str) -> Words:
    """Return the words of a language of `LANGUAGES`."""
    return Words(code, read_yaml(_FOLDER / f"{code}.yaml"))


def choose_language(accepted: str | None) -> str:
    """Return the page's language for a browser.

    Args:
        accepted: the browser's header Accept-Language, such as "zh-TW,zh;q=0.9,en;q=0.8"; None without one.
    """
    for wanted in (accepted or "").split(","):
        code = wanted.partition(";")[0].strip().lower()
        for language in LANGUAGES:
            if code and code.split("-")[0] == language.lower().split("-")[0]:
                return language
    return "en"

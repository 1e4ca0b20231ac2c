"""Cut a text about hair into its longest known phrases, and mend typing errors on the way."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from gzip import open as open_gzip
from importlib.util import find_spec
from itertools import chain, takewhile
from pathlib import Path

from hairclip.common.hair_colors import Rgb
from hairclip.conditions.vocabulary import Kind, Meaning, Vocabulary, phrase_of

__all__ = ["Piece", "cut_text", "written"]

_HAN = r"\u4e00-\u9fff"
_TOKENS = re.compile(
    rf"rgb\s*\([\d\s,]*\)|#\w+|[{_HAN}]|[^\W_{_HAN}]+(?:'[^\W_{_HAN}]+)*|[,;:.!?()\n/、。]",
)
_SHORTEST_MENDED = 4
"""Letters of the shortest word that is mended: too many short words differ in one letter."""


@dataclass
class Piece:
    """A word or phrase of a text, and what it means.

    Attributes:
        text: as it was written, in small letters.
        kind, name, rgb: its `Meaning`.
        is_used: whether a rule has dealt with it.
        mended: the word that a typing error was read as, else None.
    """

    text: str
    kind: Kind
    name: str
    rgb: Rgb | None = None
    is_used: bool = field(default=False)
    mended: str | None = None


def cut_text(text: str, words: Vocabulary) -> list[Piece]:
    """Cut a text into its longest known phrases, other words, and punctuation marks."""
    plain = unicodedata.normalize("NFKC", text).replace("’", "'").lower()
    tokens = _TOKENS.findall(re.sub(r"'s\b", " ", plain))
    known = [_mend(words.spellings.get(token, token), words) for token in tokens]
    pieces: list[Piece] = []
    start = 0
    while start < len(tokens):
        length, found = _longest(known[start : start + words.longest], words)
        part, mended = tokens[start : start + length], known[start : start + length]
        is_mended = any(words.spellings.get(one, one) != other for one, other in zip(part, mended, strict=True))
        pieces.append(Piece(_joined(part), *found, mended=_joined(mended) if is_mended else None))
        start += length
    return pieces


def written(pieces: Sequence[Piece]) -> str:
    """Return pieces as they were written."""
    return _joined([piece.text for piece in pieces])


def _joined(tokens: Sequence[str]) -> str:
    """Join words by spaces, and Chinese characters without."""
    return re.sub(rf"(?<=[{_HAN}]) (?=[{_HAN}])", "", " ".join(tokens))


def _longest(tokens: Sequence[str], words: Vocabulary) -> tuple[int, Meaning]:
    """Return the length and the meaning of the longest phrase at the start of the tokens."""
    ahead = list(takewhile(lambda token: token[0].isalnum(), tokens))
    stems = [phrase_of(token) for token in ahead]
    for length in range(len(ahead), 0, -1):
        found = words.phrases.get(tuple(chain.from_iterable(stems[:length])))
        if found is not None:
            return length, found
    first = tokens[0]
    color = _color_code(first)
    if color is not None:
        return 1, Meaning("color", first, color)
    return 1, Meaning("unknown" if first[0].isalnum() or first[0] == "#" else "stop", first)


def _color_code(token: str) -> Rgb | None:
    """Return the color of a code such as "#8b0000", "#f00" or "rgb(139, 0, 0)"; None for another token."""
    if token.startswith("rgb"):
        values = [int(value) for value in re.findall(r"\d+", token)]
        return (values[0], values[1], values[2]) if len(values) == 3 and max(values) <= 255 else None
    digits = token[1:]
    if token[0] != "#" or not re.fullmatch(r"[0-9a-f]{3}|[0-9a-f]{6}", digits):
        return None
    full = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    red, green, blue = bytes.fromhex(full)
    return red, green, blue


# ------------------------------------------------------------------------------------------ typing errors


def _mend(token: str, words: Vocabulary) -> str:
    """Return the known word that differs from a token by one typing error, else the token.

    One error is a letter too many, too few or wrong, or two neighbors in the wrong order (Damerau 1964). The first
    letter is right, or it is one of the two. A token that is itself a word of English is left, unless two neighbors
    make a color or a hairstyle of it: "bleu".
    """
    if not re.fullmatch(r"[a-z]+", token) or len(token) < _SHORTEST_MENDED:
        return token
    known = words.single_words
    stem = phrase_of(token)[0]
    if stem in known:
        return token
    is_word = token in _english_words()
    for important in (True, False):
        for word, is_important in known.items():
            if is_important is important and len(word) >= _SHORTEST_MENDED:
                swapped = _is_swapped(stem, word)
                if (
                    (swapped and important)
                    if is_word
                    else (swapped or (stem[0] == word[0] and _differs_once(stem, word)))
                ):
                    return word
    return token


def _is_swapped(one: str, other: str) -> bool:
    """Return whether two words differ by the order of two neighbors."""
    if len(one) != len(other):
        return False
    at = [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    return len(at) == 2 and at[1] == at[0] + 1 and one[at[0]] == other[at[1]] and one[at[1]] == other[at[0]]


def _differs_once(one: str, other: str) -> bool:
    """Return whether two words differ by one letter that is wrong, missing or too much."""
    if abs(len(one) - len(other)) > 1:
        return False
    if len(one) == len(other):
        return sum(a != b for a, b in zip(one, other, strict=True)) == 1
    short, long = sorted((one, other), key=len)
    return any(short == long[:i] + long[i + 1 :] for i in range(len(long)))


@lru_cache(maxsize=1)
def _english_words() -> frozenset[str]:
    """Return the words that CLIP's tokenizer has a token for: some 34,000 words that people write often."""
    package = find_spec("open_clip")
    file = Path(package.origin).with_name("bpe_simple_vocab_16e6.txt.gz") if package and package.origin else None
    if file is None or not file.is_file():
        return frozenset()
    with open_gzip(file, "rt", encoding="utf-8") as lines:
        merged = (line.split() for line in lines)
        joined = ("".join(parts) for parts in merged if len(parts) == 2)
        return frozenset(token.removesuffix("</w>") for token in joined if token.endswith("</w>"))

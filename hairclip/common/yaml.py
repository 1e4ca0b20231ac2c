"""Read YAML as people write it: numbers and booleans of version 1.2, no key twice, and mistakes in one sentence."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from hairclip.common.errors import HairclipError
from hairclip.common.files import open_regular

__all__ = ["kind_of", "parse_yaml", "read_yaml"]

_LARGEST = 100_000  # characters; PyYAML reads this many in about a second
_DEEPEST = 30  # levels of lists and mappings; Python's own recursion ends PyYAML at about 300
_MOST_VALUES = 20_000  # with aliases written out: a few lines of nested ones stand for billions of values


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return what a YAML file holds; an empty file holds an empty mapping.

    Raises:
        HairclipError: if the file cannot be read, is too large, is no YAML, or does not hold a mapping.
    """
    with open_regular(path, "configuration file") as file:
        content = file.read(4 * _LARGEST)
    try:
        text = content.decode("utf-8", errors="strict" if len(content) < 4 * _LARGEST else "replace")
    except UnicodeDecodeError:
        raise HairclipError(f"{path}: this is not a text file in UTF-8; a configuration is YAML.") from None
    values = parse_yaml(text, where=str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise HairclipError(f"{path}: a configuration is a mapping of keys, but this is a {kind_of(values)}.")
    return values


def parse_yaml(text: str, *, where: str) -> Any:
    """Return what a YAML text means. Nothing in it is executed.

    Args:
        text: the YAML.
        where: what messages call its place, such as a path.

    Raises:
        HairclipError: if it is not YAML, holds a key twice, or is too large or too deep to be a configuration.
    """
    if len(text) > _LARGEST:
        raise HairclipError(f"{where}: this is too large for a configuration: write {_LARGEST:,} characters or fewer.")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}:" if mark else ""
        raise HairclipError(f"{where}:{line} {_shorten(error.problem or error.context)}.") from None
    except yaml.YAMLError as error:
        raise HairclipError(f"{where}: this is not YAML ({_shorten(error)}).") from None
    except (ValueError, ArithmeticError, AttributeError, LookupError, TypeError) as error:  # such as "!!timestamp x"
        raise HairclipError(f"{where}: this is not YAML ({_shorten(error)}).") from None


def kind_of(value: Any) -> str:
    """Return what a person calls the type of a value, such as "whole number" for 3."""
    names = {str: "text", bool: "true/false value", int: "whole number", float: "number", list: "list", dict: "mapping"}
    return "empty value" if value is None else names.get(type(value), type(value).__name__)


def _shorten(message: object) -> str:
    """Return a message in one line of a sentence's length."""
    line = " ".join(str(message).split())
    return line if len(line) <= 200 else f"{line[:200]} ..."


class _Loader(yaml.SafeLoader):
    """A safe loader with the numbers and booleans of YAML 1.2, which refuses duplicate keys and oversized values.

    YAML 1.1, PyYAML's default, reads `1e-4` as a text, `12:30` as 750 and `no` as false.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML declares it without a type; filled below

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Build one node of the tree, with all nodes below it."""
        self._depth += 1
        if self._depth > _DEEPEST:
            self._refuse(f"lists and mappings are nested more than {_DEEPEST} deep", self.peek_event())
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Build the tree, and refuse one that aliases blow up, before anything is made of it."""
        node = super().get_single_node()
        if node is not None:
            self._count(node, {})
        return node

    def _count(self, node: yaml.Node, counts: dict[int, int | None]) -> int:
        """Return how many nodes a tree has without aliases; `counts` has None for a node that is being counted."""
        if id(node) in counts:
            known = counts[id(node)]
            if known is None:
                self._refuse("an alias stands for a value that contains it", node)
            return known or 0
        counts[id(node)] = None
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for pair in inner for part in pair] if isinstance(node, yaml.MappingNode) else inner
        total = 1 + sum(self._count(part, counts) for part in parts)
        if total > _MOST_VALUES:
            self._refuse(f"this stands for more than {_MOST_VALUES:,} values", node)
        counts[id(node)] = total
        return total

    def _refuse(self, problem: str, at: Any) -> None:
        raise yaml.constructor.ConstructorError(None, None, problem, at.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping; a key that stands in it twice is refused."""
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' appears twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


_FLOAT = r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|nan)"
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)

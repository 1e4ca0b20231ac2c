"""YAML as it is written: version 1.2's numbers and booleans, no duplicate keys, and mistakes told in one sentence."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from hairclip.common.errors import HairclipError


def read_yaml(path: str | Path) -> dict[str, Any]:
    """One YAML file as a dictionary, with the safe loader below."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise HairclipError(f"{path}: cannot read this configuration file ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise HairclipError(f"{path}: this is not a text file in UTF-8; a configuration is YAML.") from None
    values = parse_yaml(text, where=str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise HairclipError(f"{path}: a configuration is a mapping of keys, but this is a {kind_of(values)}.")
    return values


class _Loader(yaml.SafeLoader):
    """Safe loader with YAML 1.2's numbers and booleans, which refuses duplicate keys.

    YAML 1.1, PyYAML's default, reads ``1e-4`` as a string, ``12:30`` as 750 and ``no`` as false.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML declares it without a type; filled below

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
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


def parse_yaml(text: str, *, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}:" if mark else ""
        raise HairclipError(f"{where}:{line} {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise HairclipError(f"{where}: this is not YAML ({error}).") from None
    except ValueError as error:  # for example an explicitly tagged "!!int x"
        raise HairclipError(f"{where}: {error}.") from None


def kind_of(value: Any) -> str:
    names = {str: "text", bool: "true/false value", int: "whole number", float: "number", list: "list", dict: "mapping"}
    return "empty value" if value is None else names.get(type(value), type(value).__name__)

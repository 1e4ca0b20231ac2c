"""Make arguments of the command line from dataclasses, and words to print from results."""

import argparse
import json
import re
from collections.abc import Collection, Mapping
from contextlib import contextmanager
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from hairclip.common.errors import HairclipError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hairclip.editing.photo_editor import PhotoEditor
    from hairclip.editing.photo_result import PhotoResult

__all__ = [
    "add_fields",
    "beside",
    "describe_change",
    "describe_seconds",
    "load_photo_editor",
    "name_flags",
    "name_flags_in_errors",
    "read_fields",
]

T = TypeVar("T")
_FLAGS = {"blend": "--no-blend", "method_settings": "--set"}
"""Fields whose argument has another name than the field."""
_OTHERS = ("text", "face", "device", "precision", "range", "bundle", "color", "batch_size", "workers", "mask")
"""Arguments of the library that are no fields and that have flags of the same name."""


def add_fields(parser: argparse.ArgumentParser, *kinds: type, only: Collection[str] | None = None) -> None:
    """Add one argument per field of dataclasses; a field that two of them have is added once.

    Args:
        parser: the command's parser.
        kinds: dataclasses whose fields have the metadata `help`.
        only: names of the fields to add; None for all.
    """
    known: set[str] = set()
    for kind in kinds:
        types = get_type_hints(kind)
        for one in fields(kind):
            if one.name not in known and (only is None or one.name in only):
                known.add(one.name)
                parser.add_argument(_flag(one.name), dest=one.name, **_describe(one, types[one.name]))


def read_fields(kind: type[T], options: argparse.Namespace) -> T:
    """Return a dataclass whose fields have the values of the command line, or their defaults without an argument."""
    names = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    if "method_settings" in given:
        given["method_settings"] = dict(given["method_settings"])
    return kind(**given)


def _flag(name: str) -> str:
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")


def _describe(one: "Field[Any]", kind: Any) -> dict[str, Any]:
    """Return the arguments of `add_argument` for a field."""
    text = one.metadata["help"]
    if kind is bool:
        return (
            {"action": "store_false", "help": f"do not {text}"}
            if one.default
            else {"action": "store_true", "help": text}
        )
    if get_origin(kind) is Mapping or one.name == "method_settings":
        return {"action": "append", "default": [], "type": _read_setting, "metavar": "NAME=VALUE", "help": text}
    values = [value for value in get_args(kind) if value is not type(None)] or [kind]
    told = text if one.default is None else f"{text} (default {one.default})"
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind), "default": one.default, "help": told}
    metavar = {int: "N", float: "X"}.get(values[0], "NAME")
    return {"type": values[0], "default": one.default, "metavar": metavar, "help": told}


def _read_setting(text: str) -> tuple[str, Any]:
    """Return the name and the value of NAME=VALUE: a number, true or false, or else a text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    try:
        found = json.loads(value)
    except ValueError:
        found = value
    return name, found if isinstance(found, (int, float, bool)) else value


def name_flags(text: str, *kinds: type) -> str:
    """Return a message with the library's arguments named as flags: `inversion="pivotal"` gives --inversion pivotal."""
    names = dict.fromkeys([*(one.name for kind in kinds for one in fields(kind)), *_OTHERS])
    text = text.replace("blend=False", "--no-blend").replace("aligned=True", "--aligned")
    text = text.replace("force=True", "--force")
    for name in names:
        text = re.sub(rf"\b{name}=[\"']([\w:.]+)[\"']", rf"{_flag(name)} \1", text)
        text = re.sub(rf"\b{name}=(?=[\"'])", f"{_flag(name)} ", text)
        text = re.sub(rf"\b{name}=(?=\w)", f"{_flag(name)} ", text)
        text = re.sub(rf"^{name} (?=['\d-])", f"{_flag(name)} ", text)
    return text


@contextmanager
def name_flags_in_errors(*kinds: type) -> "Iterator[None]":
    """Name arguments as flags in every `HairclipError` of a `with` block."""
    try:
        yield
    except HairclipError as error:
        raise HairclipError(name_flags(str(error), *kinds)) from None


def load_photo_editor(options: argparse.Namespace) -> "PhotoEditor":
    """Return the editor for --bundle, --mapper and --device; inversions that take long are remembered."""
    return load_photo_editor_of(options, options.bundle)


def load_photo_editor_of(options: argparse.Namespace, bundle: str) -> "PhotoEditor":
    """Return the editor of a bundle for --mapper, --device and --precision."""
    from hairclip.editing.inversion.cache import InversionCache
    from hairclip.editing.photo_editor import PhotoEditor

    cache = None if options.inversion == "encoder" else InversionCache()
    return PhotoEditor.from_bundle(
        bundle, device=options.device, mapper=options.mapper, cache=cache, precision=options.precision
    )


def beside(path: str | Path, added: str) -> Path:
    """Return the path with something added to its name before the suffix."""
    return Path(path).with_name(f"{Path(path).stem}{added}{Path(path).suffix}")


def describe_change(result: "PhotoResult") -> str:
    """Return in words which part of a photo an edit changed."""
    width, height = result.picture.size
    if result.rectangle is None:
        return f"none of its {width} x {height} pixels changed"
    left, top, right, bottom = result.rectangle
    place = f"from ({left}, {top}) to ({right - 1}, {bottom - 1})"
    return f"of its {width} x {height} pixels, only some {place} changed"


def describe_seconds(seconds: dict[str, float]) -> str:
    """Return the seconds of each stage in one line."""
    stages = ", ".join(f"{stage} {spent:.2f}" for stage, spent in seconds.items())
    return f"seconds: {stages}, together {sum(seconds.values()):.2f}"

"""Find a part by its name: one of this library's, or one of the user's own as `module:attribute`."""

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar, cast

from hairclip.common.errors import HairclipError

__all__ = ["NameTable", "nearest"]

T = TypeVar("T")


class NameTable(Generic[T]):
    """Parts of one kind by their names, each imported when it is first asked for.

    Whoever adds a part of their own needs no change here: `my_module:my_part` names it, where `my_module` can be
    imported.

    Args:
        kind: what the parts are, for error messages, such as "loss term".
        places: name -> `module:attribute`.
    """

    def __init__(self, kind: str, places: Mapping[str, str]) -> None:
        self.kind = kind
        self._places = dict(places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def check(self, name: str) -> None:
        """Refuse a name that is neither in the table nor of the form `module:attribute`; imports nothing.

        Raises:
            HairclipError: with the names that there are, and the nearest one.
        """
        if name not in self._places and not all(name.partition(":")):
            raise HairclipError(
                f"there is no {self.kind} '{name}'{nearest(name, list(self))}: choose {', '.join(self)}, "
                f"or name your own as module:attribute."
            )

    def load(self, name: str) -> T:
        """Import the part of that name.

        Raises:
            HairclipError: if there is no such name, or if the module or the attribute of `module:attribute` is
                missing. An error inside the module itself stays as it is.
        """
        self.check(name)
        place = self._places.get(name, name)
        module, _, attribute = place.partition(":")
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            raise HairclipError(
                f"{self.kind} '{name}': there is no module {module}: install it, or run where it can be imported."
            ) from None
        if not hasattr(found, attribute):
            raise HairclipError(f"{self.kind} '{name}': the module {module} has no {attribute}: check the name.")
        return cast(T, getattr(found, attribute))


def nearest(word: str, known: list[str]) -> str:
    """Return " (did you mean NAME?)" with the known name most like a word, or nothing where none is like it."""
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""

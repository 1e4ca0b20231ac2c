"""The settings of an edit and of an inversion.

Each setting is one field here. The arguments of the command line are made from these fields, and the texts here are its
help. The key of a folder of edits is a digest of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypedDict, cast, get_args, get_origin, get_type_hints

from hairclip.common.errors import HairclipError, check_range
from hairclip.common.names import nearest
from hairclip.editing.choices import Behind, InversionMethod, Seam, Strands
from hairclip.editing.methods import METHODS

__all__ = ["EditOptions", "EditSettings", "InversionOptions", "InversionSettings", "Settings", "read_settings"]

Value = str | float | bool
"""A setting of an editing method."""


def _about(text: str, least: float | None = None, most: float | None = None) -> dict[str, Any]:
    """Return the metadata of a field: what it means, and the range of a number."""
    return {"help": text, "least": least, "most": most}


@dataclass(frozen=True)
class EditOptions:
    """How an edit is made and joined to the photo.

    Raises:
        HairclipError: if a value is out of range or none of its choices.
    """

    strength: float = field(
        default=1.0, metadata=_about("0 leaves the photo as it is, 1 is the edit, up to 2 exaggerates it", 0.0, 2.0)
    )
    method: str = field(
        default="mapper", metadata=_about("how the edit is made: a name, or a method of your own as module:attribute")
    )
    method_settings: Mapping[str, Value] = field(
        default_factory=dict, metadata=_about("a setting of the editing method, such as lr=0.05")
    )
    steps: int = field(default=100, metadata=_about("steps of an editing method that descends, such as optimize", 1))
    seed: int = field(default=0, metadata=_about("seed of all that is random", 0))
    blend: bool = field(default=True, metadata=_about("keep the photo outside the hair"))
    seam: Seam = field(default="feather", metadata=_about("how the edit is joined to the photo"))
    feather: int | None = field(
        default=None,
        metadata=_about("width of the seam in pixels of the crop; without it 1/40 of the crop's height", 0),
    )
    behind: Behind = field(
        default="photo",
        metadata=_about("what is seen where hair was: the photo, continued under it, or the generator's picture"),
    )
    strands: Strands = field(
        default="photo",
        metadata=_about("whose hair takes a new color where the hairstyle stays: the photo's, or the generator's"),
    )
    force: bool = field(
        default=False,
        metadata=_about("give a hairstyle to people whom the networks do not know, too; it looks unreal"),
    )

    def __post_init__(self) -> None:
        _check_fields(self)
        METHODS.check(self.method)


@dataclass(frozen=True)
class InversionOptions:
    """How the codes of a photo are found.

    Raises:
        HairclipError: if a value is out of range or none of its choices.
    """

    inversion: InversionMethod = field(
        default="encoder",
        metadata=_about(
            "how the photo's codes are found: by the encoder, then by a descent on the codes (optimize), then by "
            "tuning a copy of the generator to the photo (pivotal)"
        ),
    )
    inversion_steps: int = field(default=100, metadata=_about("steps of the inversions optimize and pivotal", 1))
    seed: int = field(default=0, metadata=_about("seed of all that is random", 0))

    def __post_init__(self) -> None:
        _check_fields(self)


class EditSettings(TypedDict, total=False):
    """The fields of `EditOptions` as keywords."""

    strength: float
    method: str
    method_settings: Mapping[str, Value]
    steps: int
    seed: int
    blend: bool
    seam: Seam
    feather: int | None
    behind: Behind
    strands: Strands
    force: bool


class InversionSettings(TypedDict, total=False):
    """The fields of `InversionOptions` as keywords."""

    inversion: InversionMethod
    inversion_steps: int
    seed: int


class Settings(EditSettings, InversionSettings, total=False):
    """The fields of `EditOptions` and of `InversionOptions` as keywords."""


def read_settings(
    options: EditOptions | None, inverting: InversionOptions | None, settings: Mapping[str, Any]
) -> tuple[EditOptions, InversionOptions]:
    """Return options in which single settings are replaced. A setting that both have, `seed`, goes to both.

    Args:
        options: None takes the defaults.
        inverting: None takes the defaults.
        settings: name -> value.

    Raises:
        TypeError: if there is no setting of a name.
        HairclipError: if a value is out of range or none of its choices.
    """
    names = [{one.name for one in fields(kind)} for kind in (EditOptions, InversionOptions)]
    for name in settings:
        if name not in names[0] | names[1]:
            raise TypeError(f"there is no setting '{name}' of an edit{nearest(name, sorted(names[0] | names[1]))}")
    mine, other = ({name: settings[name] for name in settings if name in known} for known in names)
    return replace(options or EditOptions(), **mine), replace(inverting or InversionOptions(), **other)


def _check_fields(options: EditOptions | InversionOptions) -> None:
    """Refuse values that are out of range or none of the choices of their field."""
    types = get_type_hints(type(options))
    for one in fields(options):
        value, kind = getattr(options, one.name), types[one.name]
        if get_origin(kind) is Literal and value not in get_args(kind):
            choices = [str(choice) for choice in get_args(kind)]
            raise HairclipError(
                f"{one.name} {value!r}: choose {' or '.join([', '.join(choices[:-1]), choices[-1]])}"
                f"{nearest(str(value), choices)}."
            )
        if kind is bool and not isinstance(value, bool):
            raise HairclipError(f"{one.name} {value!r}: give True or False.")
        if kind is str and not isinstance(value, str):
            raise HairclipError(f"{one.name} {value!r}: give a name.")
        least, most = one.metadata.get("least"), one.metadata.get("most")
        if least is not None and not (value is None and type(None) in get_args(kind)):
            check_range(one.name, value, cast(float, least), most)
        if get_origin(kind) is Mapping and not isinstance(value, Mapping):
            raise HairclipError(f"{one.name} {value!r}: give a dictionary of names and values.")

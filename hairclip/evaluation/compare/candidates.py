"""What is compared: the editing methods of this library, folders that other programs filled, and the truth itself."""

import inspect
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from torch import nn

from hairclip.common.errors import HairclipError
from hairclip.common.files import digest
from hairclip.common.images import Images, from_pil, resize_area
from hairclip.common.stopwatch import Stopwatch
from hairclip.editing.editor import HairEditor
from hairclip.editing.methods import METHODS
from hairclip.editing.methods.method import load_method
from hairclip.editing.options import EditOptions
from hairclip.editing.photo.files import read_photo
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from hairclip.evaluation.compare.costs import COSTS, Cost
from hairclip.evaluation.edits import RenderedCases, stack_field
from hairclip.evaluation.renders import fingerprint_source

__all__ = [
    "ASKED",
    "Answers",
    "Asked",
    "Candidate",
    "FolderCandidate",
    "Form",
    "MethodCandidate",
    "TruthCandidate",
    "name_answer",
    "plan_methods",
    "set_options",
]

Asked: TypeAlias = Literal["text", "picture"]
"""How hair is requested: by words or by a reference picture."""
ASKED: tuple[Asked, ...] = ("text", "picture")
Form: TypeAlias = Literal["raw", "blended"]
"""A method's own picture, or the photo with its hair blended in."""

BEST: Mapping[str, Mapping[str, Any]] = {
    "optimize": {"lr": 0.2},
    "styleclip-optimize": {"l2": 0.0005, "identity": 0.3},
    "tedigan": {"steps": 3},
    "tedigan-clip": {"lr": 0.05, "clip": 10.0, "text_pixels": "normalized"},
}
"""Method -> the settings with which it is compared, where they are not its defaults. README.md tells their sweeps."""

_SHARED = ("generator", "clip", "parser", "identity", "encoder")
"""Parts that every method may use and that are not trained for it."""
_NOT_SET = ("method", "method_settings", "blend", "seam", "feather", "behind", "strands", "force")
"""Options that are the same for all methods."""


@dataclass(frozen=True)
class Answers:
    """What a candidate makes of a batch of requests.

    Attributes:
        pictures: the pictures of each form, (B, 3, size, size).
        seconds: seconds per edit of each form; empty where they are not known.
    """

    pictures: Mapping[Form, Images]
    seconds: Mapping[Form, float]


@runtime_checkable
class Candidate(Protocol):
    """Somebody who answers requests.

    Attributes:
        label: name in the tables.
    """

    label: str

    def key(self) -> str:
        """Return a digest of everything, apart from people and requests, that the answers depend on."""
        ...

    def refuse(self, number: int, asked: Asked, request: EditRequest) -> str | None:
        """Return why this request has no answer; None if it has one.

        Args:
            number: number of the person.
            asked: how the hair is requested.
            request: the request.
        """
        ...

    def answer(
        self,
        numbers: Sequence[int],
        asked: Asked,
        rendered: RenderedCases,
        prepared: Prepared,
        requests: Sequence[EditRequest],
    ) -> Answers:
        """Return the answers to a batch of requests.

        Args:
            numbers: numbers of the people.
            asked: how the hair is requested.
            rendered: the B cases.
            prepared: their inverted photos.
            requests: their requests.
        """
        ...


class MethodCandidate:
    """An editing method of this library.

    Args:
        editor: edits.
        options: the method, its settings, and how its answers are blended.
        label: name in the tables; None takes the method's name.
    """

    def __init__(self, editor: HairEditor, options: EditOptions, label: str | None = None) -> None:
        self.editor, self.options, self.label = editor, options, label or options.method
        self.method = load_method(options)

    def key(self) -> str:
        """See `Candidate.key`. The code of the method counts too, and what it takes from modules beside it."""
        own = type(self.method).__module__
        used = {getattr(value, "__module__", "") or "" for value in vars(sys.modules[own]).values()}
        names = sorted({own, *(name for name in used if name.startswith("hairclip.editing.methods."))})
        code = [fingerprint_source(inspect.getsource(sys.modules[name])) for name in names]
        return digest(code, self.options, {part: self._content(part) for part in (*_SHARED, *self.parts)})

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the bundle that were trained for this method."""
        named = (*getattr(self.method, "parts", ()), *COSTS.get(self.options.method, Cost()).parts)
        return tuple(dict.fromkeys(part for part in named if part not in _SHARED))

    def _content(self, part: str) -> str | None:
        network = self._part(part)
        return None if network is None else digest(network) if hasattr(network, "state_dict") else _digest_any(network)

    def _part(self, part: str) -> Any:
        """Return a part of the bundle; None if it is not there."""
        try:
            return self.editor.mapper if part == "mapper" else getattr(self.editor.networks, part, None)
        except HairclipError:
            return None

    @cached_property
    def parameters(self) -> int:
        """Number of the numbers in the parts that were trained for this method."""
        return sum(_count_numbers(self._part(part)) for part in self.parts)

    def refuse(self, number: int, asked: Asked, request: EditRequest) -> str | None:
        """See `Candidate.refuse`."""
        try:
            self.editor.check([request], self.options)
        except HairclipError as error:
            return str(error)
        return None

    def answer(
        self,
        numbers: Sequence[int],
        asked: Asked,
        rendered: RenderedCases,
        prepared: Prepared,
        requests: Sequence[EditRequest],
    ) -> Answers:
        """See `Candidate.answer`. Seconds are processor time on a CPU; the inversion does not count."""
        watch = Stopwatch(time.process_time if self.editor.device.type == "cpu" else time.perf_counter)
        results = self.editor.edit_prepared(prepared, requests, self.options, watch=watch)
        edit, blend = (watch.seconds.get(stage, 0.0) / len(requests) for stage in ("edit", "blend"))
        return Answers(
            {"raw": stack_field(results, "synthesized"), "blended": stack_field(results, "image")},
            {"raw": edit, "blended": edit + blend},
        )


class FolderCandidate:
    """Pictures that another program made, named as `name_answer` says.

    Args:
        folder: the pictures.
        size: height and width of the pictures that are measured.
    """

    def __init__(self, folder: Path, size: int) -> None:
        if not folder.is_dir():
            raise HairclipError(f"there is no folder of answers {folder}: check the path.")
        self.folder, self.size, self.label = folder, size, folder.name or str(folder)

    def key(self) -> str:
        """See `Candidate.key`."""
        return digest([[path.name, path] for path in sorted(self.folder.glob("*.png"))])

    def refuse(self, number: int, asked: Asked, request: EditRequest) -> str | None:
        """See `Candidate.refuse`."""
        if (self.folder / name_answer(number, asked)).is_file():
            return None
        return f"{self.folder} holds no picture of that name; requests.json lists the names."

    def answer(
        self,
        numbers: Sequence[int],
        asked: Asked,
        rendered: RenderedCases,
        prepared: Prepared,
        requests: Sequence[EditRequest],
    ) -> Answers:
        """See `Candidate.answer`."""
        pictures = [from_pil(read_photo(self.folder / name_answer(number, asked)).seen) for number in numbers]
        return Answers({"raw": torch.cat([resize_area(picture, self.size) for picture in pictures])}, {})


class TruthCandidate:
    """The rendered truth: no method can be expected to measure better."""

    label = "truth"

    def key(self) -> str:
        """See `Candidate.key`."""
        return "truth"

    def refuse(self, number: int, asked: Asked, request: EditRequest) -> str | None:
        """Refuse nothing."""
        return None

    def answer(
        self,
        numbers: Sequence[int],
        asked: Asked,
        rendered: RenderedCases,
        prepared: Prepared,
        requests: Sequence[EditRequest],
    ) -> Answers:
        """Return the truth."""
        return Answers({"raw": rendered.truth.images}, {})


def name_answer(number: int, asked: Asked) -> str:
    """Return the file name of the answer to a request, such as "0012.text.png"."""
    return f"{number:04}.{asked}.png"


def set_options(method: str, settings: Mapping[str, Any], options: EditOptions | None = None) -> EditOptions:
    """Return the options of a method with single settings replaced.

    Args:
        method: name of the method.
        settings: name -> value. What is no setting of the method's own is a field of `EditOptions`: `steps`,
            `strength` or `seed`.
        options: what the other fields are; None takes the defaults.

    Raises:
        HairclipError: if there is no such method or setting.
    """
    made = replace(options or EditOptions(), method=method)
    own = inspect.signature(type(load_method(made))).parameters
    shared = {one.name for one in fields(EditOptions)} - set(_NOT_SET) - set(own)
    made = replace(made, **{name: value for name, value in settings.items() if name in shared})
    others = {name: value for name, value in settings.items() if name not in shared}
    made = replace(made, method_settings={**made.method_settings, **others})
    load_method(made)  # refuses a setting that it does not have
    return made


def plan_methods(
    editor: HairEditor, names: Sequence[str] | None = None, settings: Mapping[str, Mapping[str, Any]] | None = None
) -> list[MethodCandidate]:
    """Return the methods to compare with their settings.

    Args:
        editor: edits.
        names: methods; None takes all.
        settings: method -> name of a setting -> value; they go before those of `BEST`.

    Raises:
        HairclipError: if there is no such method or setting, or settings are given for a method that is not compared.
    """
    names = list(METHODS) if names is None else list(dict.fromkeys(names))
    settings = settings or {}
    for method in settings:
        if method not in names:
            raise HairclipError(f"settings of {method} are given, but it is not compared: add it to the methods.")
    return [
        MethodCandidate(editor, set_options(name, {**BEST.get(name, {}), **settings.get(name, {})})) for name in names
    ]


def _count_numbers(part: Any) -> int:
    """Return how many numbers a network, a tensor or a dataclass of tensors holds."""
    if isinstance(part, nn.Module):
        return sum(value.numel() for value in part.state_dict().values() if value.is_floating_point())
    if isinstance(part, torch.Tensor):
        return part.numel()
    if isinstance(part, Mapping):
        return sum(_count_numbers(value) for value in part.values())
    if isinstance(part, (list, tuple)):
        return sum(_count_numbers(value) for value in part)
    return _count_numbers(vars(part)) if hasattr(part, "__dict__") else 0


def _digest_any(part: Any) -> str:
    """Return a digest of a part that is no network."""
    try:
        return digest(part)
    except TypeError:
        return digest({name: value for name, value in vars(part).items() if isinstance(value, torch.Tensor)})

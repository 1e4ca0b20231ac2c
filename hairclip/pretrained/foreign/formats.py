"""Describe a foreign format: where its tensors lie in a file, how they are named, which of them tell the sizes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from hairclip.common.errors import HairclipError

State = dict[str, Tensor]
Read = Callable[[State, "Surroundings"], tuple[dict[str, Any], State]]

_SHOWN = 3  # how many tensors an error names
_LETTERS = 60  # how many letters of a tensor's name an error shows
_PROBLEMS = 260  # how many letters on what does not fit an error shows
_DDP = "module."  # what torch's DistributedDataParallel puts before every name
_LIKE = 0.3  # smallest share of fitting names at which a file is called like a format


@dataclass(frozen=True)
class Surroundings:
    """Where a network lies.

    Attributes:
        content: what the whole file holds.
        holder: the dictionary in it that holds the network's tensors.
        key: the name of that dictionary in the file, "" for the file itself.
    """

    content: Mapping[str, Any]
    holder: Mapping[str, Any]
    key: str

    @property
    def options(self) -> Mapping[str, Any]:
        """The arguments of the training that wrote the file, as HairCLIP, e4e and pSp save them; empty if not there."""
        options = self.content.get("opts")
        return options if isinstance(options, Mapping) else {}


@dataclass(frozen=True)
class Format:
    """One way in which other projects store one network.

    Attributes:
        name: for people, such as "rosinality's StyleGAN2".
        kind: the kind of network, such as "generator".
        class_name: our class.
        names: regular expression that matches the names of its tensors.
        sizes: name -> number of dimensions, of the tensors that every such file has and that tell its sizes.
        read: function from the tensors to the arguments of our class, and to tensors under our names that lie elsewhere
            in the file or are made.
        theirs: function from our name of a tensor, and the arguments of our class, to their name.
        adapt: function from our name and their tensor to the tensor in our shape.
        unused: regular expression that matches tensors which such files hold and our class does not need.
        holders: keys under which the tensors may lie, the first that holds them counts; "" is the file itself.
        prefixes: texts that may stand before every name; each also with torch's "module." before it or behind it.
    """

    name: str
    kind: str
    class_name: str
    names: str
    sizes: Mapping[str, int]
    read: Read
    theirs: Callable[[str, Mapping[str, Any]], str] = lambda ours, config: ours
    adapt: Callable[[str, Tensor], Tensor] = lambda ours, tensor: tensor
    unused: str = ""
    holders: tuple[str, ...] = ("", "state_dict")
    prefixes: tuple[str, ...] = ("",)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.names)

    def locate(self, content: object) -> "Candidate | None":
        """Return the place in a file that looks most like this format, None if no tensor has a fitting name."""
        best: Candidate | None = None
        if not isinstance(content, Mapping):
            return None
        for holder_key in self.holders:
            holder = content.get(holder_key) if holder_key else content
            if not isinstance(holder, Mapping):
                continue
            wrapped = any(isinstance(key, str) and _DDP in key for key in holder)
            prefixes = self.prefixes
            if wrapped:
                prefixes = (*prefixes, *(_DDP + prefix for prefix in prefixes), *(p + _DDP for p in prefixes if p))
            for prefix in prefixes:
                state = {
                    key[len(prefix) :]: value
                    for key, value in holder.items()
                    if isinstance(key, str) and isinstance(value, Tensor) and key.startswith(prefix)
                }
                matches = sum(self._pattern.fullmatch(key) is not None for key in state)
                if not matches:
                    continue
                complete = all(key in state for key in self.sizes)
                candidate = Candidate(self, state, prefix, Surroundings(content, holder, holder_key), complete, matches)
                if best is None or candidate.score > best.score:
                    best = candidate
            if best is not None and best.complete:
                break
        return best


@dataclass(frozen=True)
class Candidate:
    """Tensors that look like a format.

    Attributes:
        form: the format.
        state: the tensors, under their names without the prefix.
        prefix: the text that stood before every name.
        around: the rest of the file.
        complete: whether all tensors that tell the sizes are there.
        matches: how many names fit.
    """

    form: Format
    state: State
    prefix: str
    around: Surroundings
    complete: bool
    matches: int

    @property
    def score(self) -> tuple[bool, float, int]:
        """What candidates are compared by: completeness, then the share of fitting names, then their number."""
        return self.complete, self.matches / len(self.state), self.matches

    @property
    def is_like(self) -> bool:
        """Whether an error should say that the file looks like this format."""
        return self.complete or self.matches / len(self.state) >= _LIKE

    def read(self) -> "Found":
        """Return the network with its arguments and tensors.

        Raises:
            HairclipError: if tensors that tell the sizes are missing or contradict each other.
        """
        form = self.form
        missing = [key for key in form.sizes if key not in self.state]
        if missing:
            raise HairclipError(
                f"it looks most like {form.name}, but lacks {_listed(missing, self.prefix)}: give an unmodified file"
            )
        for key, dimensions in form.sizes.items():
            shape = tuple(self.state[key].shape)
            if len(shape) != dimensions or 0 in shape:
                raise HairclipError(
                    f"it looks most like {form.name}, but {self.prefix + key!r} has the shape {shape}, expected "
                    f"{dimensions} dimensions: give an unmodified file"
                )
        try:
            config, extras = form.read(self.state, self.around)
        except KeyError as error:
            missing = [str(error.args[0])]
            raise HairclipError(
                f"it looks most like {form.name}, but lacks {_listed(missing, self.prefix)}: give an unmodified file"
            ) from None
        except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
            what = " ".join(str(error).split())[:_PROBLEMS]
            raise HairclipError(
                f"it looks most like {form.name}, but its tensors contradict each other ({what}): give an unmodified "
                "file"
            ) from None
        return Found(form, config, self.state, extras, self.prefix)


@dataclass(frozen=True)
class Found:
    """A foreign network that was recognized.

    Attributes:
        form: its format.
        config: the arguments of our class.
        state: its tensors under their names.
        extras: further tensors under our names.
        prefix: the text that stood before their names in the file.
    """

    form: Format
    config: dict[str, Any]
    state: State
    extras: State
    prefix: str

    @property
    def class_name(self) -> str:
        """The name of our class."""
        return self.form.class_name

    def fit(self, expected: Mapping[str, Tensor]) -> State:
        """Return the tensors under our names and in our shapes, see `fit`."""
        return fit(
            self.state,
            expected,
            label=f"it looks most like {self.form.name}",
            theirs=lambda ours: self.form.theirs(ours, self.config),
            adapt=self.form.adapt,
            unused=self.form.unused,
            extras=self.extras,
            prefix=self.prefix,
        )


def recognize_among(formats: tuple[Format, ...], content: object, kind: str) -> Found | None:
    """Return the network of `kind` in a file's content, see `hairclip.pretrained.foreign.recognize`."""
    candidates = [candidate for form in formats if (candidate := form.locate(content)) is not None]
    own = max((c for c in candidates if c.form.kind == kind), key=lambda c: c.score, default=None)
    if own is None or not own.is_like:
        return None
    best = max(candidates, key=lambda c: c.score)
    if not own.complete and best.score[:2] > own.score[:2]:
        return None  # a network of another kind that shares some names
    return own.read()


def fit(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    label: str,
    theirs: Callable[[str], str] = lambda ours: ours,
    adapt: Callable[[str, Tensor], Tensor] = lambda ours, tensor: tensor,
    unused: str = "",
    extras: Mapping[str, Tensor] | None = None,
    prefix: str = "",
) -> State:
    """Return the tensors of a file as a network expects them.

    Args:
        state: the file's tensors.
        expected: our name -> a tensor of the right shape and type; its numbers do not matter.
        label: the beginning of the error.
        theirs: function from our name to the file's.
        adapt: see `Format`.
        unused: see `Format`.
        extras: tensors under our names that are taken as they are.
        prefix: the text before the names in the file, for the error.

    Returns:
        Tensors under our names. Counters of batch-norm steps may be missing: some official files lack them, and they
        change nothing in eval mode.

    Raises:
        HairclipError: if tensors are missing, unknown, or of another shape or type.
    """
    fitted: State = dict(extras or {})
    used: set[str] = set()
    missing: list[str] = []
    wrong: list[str] = []
    for ours, like in expected.items():
        key = theirs(ours)
        used.add(key)
        if ours not in fitted:
            if key not in state:
                if not ours.endswith("num_batches_tracked"):
                    missing.append(key)
                continue
            fitted[ours] = adapt(ours, state[key])
        tensor = fitted[ours]
        if tensor.shape != like.shape:
            wrong.append(f"{_shown(prefix + key)} is {tuple(tensor.shape)}, expected {tuple(like.shape)}")
        elif tensor.is_floating_point() != like.is_floating_point() or tensor.is_complex():
            wrong.append(f"{_shown(prefix + key)} holds {_type(tensor)}, expected {_type(like)}")
    unknown = [key for key in state if key not in used and not re.fullmatch(unused, key)]
    problems = []
    if missing:
        problems.append(f"lacks {_listed(missing, prefix)}")
    if unknown:
        problems.append(f"holds {_listed(unknown, prefix)}, which it should not")
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more like that" if len(wrong) > _SHOWN else ""
        problems.append(f"{'; '.join(wrong[:_SHOWN])}{more}")
    if problems:
        told = ", and ".join(problems)
        told = told if len(told) <= _PROBLEMS else f"{told[:_PROBLEMS]}..."
        raise HairclipError(f"{label}, but {told}: give an unmodified file")
    return fitted


def series(state: Mapping[str, Tensor], name: str, first: int = 0) -> list[Tensor]:
    """Return the tensors `name.format(first)`, `name.format(first + 1)`, ... up to the last that `state` holds.

    Raises:
        KeyError: if one between is missing.
    """
    pattern = re.compile(re.escape(name).replace(r"\{\}", r"(\d{1,4})"))
    numbers = [int(match[1]) for key in state if (match := pattern.fullmatch(key)) is not None]
    return [state[name.format(number)] for number in range(first, max(numbers, default=first - 1) + 1)]


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shown(key: str) -> str:
    return repr(key if len(key) <= _LETTERS else f"{key[:_LETTERS]}...")


def _listed(keys: list[str], prefix: str) -> str:
    """Return the first few of many tensors by name, and their number."""
    shown = ", ".join(_shown(prefix + key) for key in keys[:_SHOWN])
    return f"{len(keys)} tensors ({shown}, ...)" if len(keys) > _SHOWN else shown

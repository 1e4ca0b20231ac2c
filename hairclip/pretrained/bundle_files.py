"""Read a bundle's YAML: which networks belong together, and for which pictures and words they were trained.

```yaml
parts:                                       # each a name (`python -m hairclip download` lists them), a file beside
  generator: stylegan2-ffhq                  # this YAML, for `clip` also MODEL/TAG of open_clip, and for `mapper` also
  mapper: my_mapper.safetensors              # hf-hub:USER/NAME of the Hugging Face Hub
  parser: {class: my_module:MyParser, file: my_parser.safetensors, width: 64}  # your own class and its arguments
framing: ffhq                                # or portraits, or {scale: 1.0, shift: 0.1}
plain_background: false                      # whether the generator knows people before plain backgrounds only
inversion_limits: {identity: 0.25, psnr: 0}  # or one such pair per method: encoder, optimize, pivotal
words: {hairstyles: [bob cut], colors: null} # null: the words that label the latents, else all of HairCLIP's
for_others: null                             # a bundle to download for people whom these networks do not know
```

Every key may be left out. `photo_parser` finds the hair of real photos where `parser` knows only the pictures of the
generator; without it, `parser` does both. `style_mappers` and `directions` serve StyleCLIP's methods alone. Without
`parts`, a folder's bundle.yaml takes the files beside it that are named for their part, such as generator.safetensors.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from hairclip.common.errors import HairclipError
from hairclip.common.files import package_folder, write_atomic
from hairclip.common.framing import FFHQ, FRAMINGS, Framing
from hairclip.common.names import nearest
from hairclip.common.yaml import kind_of, read_yaml
from hairclip.pretrained.network_classes import CLASSES
from hairclip.pretrained.registry import WEIGHTS

__all__ = [
    "BUNDLE_FILE",
    "NEEDED_TO_EDIT",
    "PARTS",
    "STAND_INS",
    "TRAINED_BY",
    "WEIGHT_SUFFIXES",
    "BundleFile",
    "BundleWords",
    "InversionLimits",
    "OwnNetwork",
    "Source",
    "describe_folder",
    "list_bundles",
    "read_bundle",
]


@dataclass(frozen=True)
class OwnNetwork:
    """A network of a user's own class.

    Attributes:
        class_name: ``module:Class``, where `module` can be imported, or a class of hairclip by its name.
        file: its weights, safetensors or a torch file of tensors; None keeps those of the constructor.
        config: the arguments of the class.
    """

    class_name: str
    file: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.class_name if self.file is None else f"{self.class_name} with {self.file}"


Source: TypeAlias = str | Path | OwnNetwork
"""A name or a path that stands for a weight file, or a network of a user's own class."""

PARTS: tuple[str, ...] = (
    "generator",
    "clip",
    "parser",
    "photo_parser",
    "identity",
    "encoder",
    "mapper",
    "judge",
    "hair_priors",
    "codec",
    "token_transformer",
    "text_encoder",
    "latents",
    "denoiser",
    "style_mappers",
    "directions",
)
"""What a bundle may hold."""

STAND_INS: dict[str, str] = {"photo_parser": "parser"}
"""Part whose weight file may be missing -> the part that then takes its place."""

TRAINED_BY: dict[str, str] = {
    "hair_priors": "hair-priors",
    "codec": "train-tokens",
    "token_transformer": "train-tokens",
    "denoiser": "train-denoiser",
    "style_mappers": "train-style-mappers",
    "directions": "directions",
    "text_encoder": "train-text-encoder",
}
"""Part that only some methods need -> the command that makes it."""

NEEDED_TO_EDIT: tuple[str, ...] = ("generator", "clip", "parser", "encoder", "mapper")
"""The parts without which the trained mapper edits no photo."""

BUNDLE_FILE = "bundle.yaml"
"""The description of a bundle that is a folder."""

_INVERSIONS = ("encoder", "optimize", "pivotal")
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".pkl", ".bin", ".ckpt", ".npy", ".npz")


@dataclass(frozen=True)
class InversionLimits:
    """The figures below which an inversion is poor.

    Attributes:
        identity: least cosine of the identity embeddings of photo and inversion, from -1 to 1.
        psnr: least PSNR of photo and inversion in dB.
    """

    identity: float
    psnr: float


@dataclass(frozen=True)
class BundleWords:
    """The words that a bundle's networks know; None takes the labels of its latents, else all of HairCLIP's."""

    hairstyles: tuple[str, ...] | None = None
    colors: tuple[str, ...] | None = None


# About the cosine at which ArcFace tells two people apart.
_DEFAULT_LIMITS = dict.fromkeys(_INVERSIONS, InversionLimits(identity=0.25, psnr=0.0))


@dataclass(frozen=True)
class BundleFile:
    """What a bundle's YAML says; the defaults are those of networks for photographs.

    Attributes:
        parts: part -> name, or path of a file; the parts are `PARTS`.
        framing: the crop that its networks were trained on.
        plain_background: whether the generator knows people before plain backgrounds only.
        inversion_limits: method of inversion -> the figures below which an inversion is poor.
        words: the hairstyles and colors that its networks know.
        for_others: the bundle to download for people whom its networks do not know; None for none.
        name: what messages call the bundle.
    """

    parts: Mapping[str, Source]
    framing: Framing = FFHQ
    plain_background: bool = False
    inversion_limits: Mapping[str, InversionLimits] = field(default_factory=lambda: dict(_DEFAULT_LIMITS))
    words: BundleWords = BundleWords()
    for_others: str | None = None
    name: str = "the bundle"


def list_bundles() -> list[str]:
    """Return the names of the bundles that come with hairclip."""
    return sorted(_shipped())


def read_bundle(source: Source) -> BundleFile:
    """Read the description of a bundle.

    Args:
        source: a name of `list_bundles`, the path of a YAML file, or a folder that holds ``bundle.yaml`` or files such
            as ``generator.safetensors``.

    Raises:
        HairclipError: if there is no such bundle, or for the first mistake in its YAML.
    """
    if str(source) in _shipped():
        return _shipped()[str(source)]
    path = Path(str(source))
    if path.is_dir():
        beside = {part: f"{part}.safetensors" for part in PARTS if (path / f"{part}.safetensors").is_file()}
        described = (path / BUNDLE_FILE).is_file()
        content = read_yaml(path / BUNDLE_FILE) if described else {}
        if not described and not beside:
            raise HairclipError(
                f"the folder {path} is no bundle: put {BUNDLE_FILE} there, or files such as generator.safetensors."
            )
        content = {"parts": beside, **content}
        return _checked(path / BUNDLE_FILE, content, name=str(path), known=_names(_shipped()))
    if not path.is_file():
        raise HairclipError(f"there is no bundle {source}: give {', '.join(list_bundles())}, a YAML file or a folder.")
    return _checked(path, read_yaml(path), name=str(source), known=_names(_shipped()))


def describe_folder(folder: Path, like: str) -> None:
    """Write a ``bundle.yaml`` that describes the weight files of a folder, unless there is one.

    Args:
        folder: holds files such as ``generator.safetensors``, now or later.
        like: the bundle of `list_bundles` whose framing, background, limits and words are taken.
    """
    if (folder / BUNDLE_FILE).exists():
        return
    content = read_yaml(_bundles_folder() / f"{like}.yaml")
    content = {key: value for key, value in content.items() if key != "parts"}
    write_atomic(folder / BUNDLE_FILE, yaml.safe_dump(content, sort_keys=False))


def _bundles_folder() -> Path:
    return package_folder() / "pretrained" / "bundles"


@cache
def _shipped() -> dict[str, BundleFile]:
    """Return the bundles that come with hairclip by their names."""
    found: dict[str, BundleFile] = {}
    paths = sorted(_bundles_folder().glob("*.yaml"))
    known = {*WEIGHTS, *(f"{path.stem}/{part}" for path in paths for part in PARTS)}  # one may share parts of another
    for path in paths:
        found[path.stem] = _checked(path, read_yaml(path), name=path.stem, known=known)
    return found


def _names(bundles: Mapping[str, BundleFile]) -> set[str]:
    return {*WEIGHTS, *(f"{name}/{part}" for name, bundle in bundles.items() for part in bundle.parts)}


# ------------------------------------------------------------------------------------------ validation


def _checked(path: Path, content: Mapping[str, Any], *, name: str, known: Collection[str]) -> BundleFile:
    """Turn the content of a YAML into a description; `known` are the names that a part may give."""
    try:
        _check_keys(content, ("parts", "framing", "plain_background", "inversion_limits", "words", "for_others"), "")
        plain = content.get("plain_background", False)
        if not isinstance(plain, bool):
            raise _Mistake(f"plain_background: expected true or false, but it is the {kind_of(plain)} {plain!r}")
        other = content.get("for_others")
        if other is not None and not isinstance(other, str):
            raise _Mistake(f"for_others: expected the name of a bundle or null, but it is {_short(other)}")
        return BundleFile(
            parts=_read_parts(_mapping(content, "parts"), path.parent, known),
            framing=_read_framing(content.get("framing", "ffhq")),
            plain_background=plain,
            inversion_limits=_read_limits(_mapping(content, "inversion_limits")),
            words=_read_words(_mapping(content, "words")),
            for_others=other,
            name=name,
        )
    except _Mistake as mistake:
        raise HairclipError(f"{path}: {mistake}.") from None


class _Mistake(Exception):
    """What is wrong in a YAML: the key and the reason, without the file."""


def _read_parts(parts: Mapping[str, Any], folder: Path, known: Collection[str]) -> dict[str, Source]:
    _check_keys(parts, PARTS, "parts.")
    if not parts:
        raise _Mistake(f"parts: name at least one network; the parts are {', '.join(PARTS)}")
    return {part: _read_source(part, source, folder, known) for part, source in parts.items()}


def _read_source(part: str, source: Any, folder: Path, known: Collection[str]) -> Source:
    if isinstance(source, Mapping):
        return _read_own(part, source, folder)
    if not isinstance(source, str) or not source:
        raise _Mistake(f"parts.{part}: expected a name or a file, but it is the {kind_of(source)} {_short(source)}")
    if source in known:
        return source
    file = folder / Path(source).expanduser()
    if file.is_file():
        return file.absolute()
    fetched = {"clip": "/" in source, "mapper": source.startswith("hf-hub:")}.get(part, False)
    if fetched and not source.endswith(WEIGHT_SUFFIXES):
        return source
    near = nearest(source, sorted(known))
    raise _Mistake(f"parts.{part}: there is no file {file} and no name {_short(source)}{near}")


def _read_own(part: str, described: Mapping[str, Any], folder: Path) -> OwnNetwork:
    config = dict(described)
    name, file = config.pop("class", None), config.pop("file", None)
    kind = STAND_INS.get(part, part)
    if kind not in CLASSES or not isinstance(name, str):
        raise _Mistake(f"parts.{part}: expected a name, a file, or keys with a class, but it is {_short(described)}")
    try:
        CLASSES[kind].check(name)
    except HairclipError as error:
        raise _Mistake(f"parts.{part}.class: {str(error).rstrip('.')}") from None
    path = None if file is None else folder / Path(str(file)).expanduser()
    if path is not None and not path.is_file():
        raise _Mistake(f"parts.{part}.file: there is no file {path}")
    return OwnNetwork(name, None if path is None else path.absolute(), config)


def _read_framing(framing: Any) -> Framing:
    if isinstance(framing, str) and framing in FRAMINGS:
        return FRAMINGS[framing]
    if not isinstance(framing, Mapping):
        raise _Mistake(f"framing: choose {' or '.join(FRAMINGS)}, or give scale and shift, but it is {_short(framing)}")
    _check_keys(framing, ("scale", "shift"), "framing.")
    scale, shift = _number(framing, "scale", "framing."), _number(framing, "shift", "framing.")
    if scale <= 0:
        raise _Mistake(f"framing.scale: give a number above 0, but it is {scale:g}")
    return Framing(scale, shift)


def _read_limits(limits: Mapping[str, Any]) -> dict[str, InversionLimits]:
    if not limits:
        return dict(_DEFAULT_LIMITS)
    figures = ("identity", "psnr")
    if set(limits) & set(figures):  # one pair for all methods
        limits = dict.fromkeys(_INVERSIONS, limits)
    _check_keys(limits, _INVERSIONS, "inversion_limits.")
    found = dict(_DEFAULT_LIMITS)
    for method in limits:
        pair, place = _mapping(limits, method, "inversion_limits."), f"inversion_limits.{method}."
        _check_keys(pair, figures, place)
        found[method] = InversionLimits(_number(pair, "identity", place), _number(pair, "psnr", place))
    return found


def _read_words(words: Mapping[str, Any]) -> BundleWords:
    _check_keys(words, ("hairstyles", "colors"), "words.")
    found: dict[str, tuple[str, ...]] = {}
    for kind, listed in words.items():
        if listed is None:
            continue
        if not isinstance(listed, list) or not listed or not all(isinstance(word, str) and word for word in listed):
            raise _Mistake(f"words.{kind}: give a list of words or null, but it is {_short(listed)}")
        found[kind] = tuple(listed)
    return BundleWords(**found)


def _check_keys(content: Mapping[str, Any], keys: Collection[str], place: str) -> None:
    for key in content:
        if key not in keys:
            near = nearest(str(key), list(keys))
            raise _Mistake(f"unknown key {place}{str(key)[:80]}{near}; the keys there are {', '.join(keys)}")


def _mapping(content: Mapping[str, Any], key: str, place: str = "") -> Mapping[str, Any]:
    """Return the mapping under a key, empty where the key is missing or null."""
    value = content.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise _Mistake(f"{place}{key}: expected keys with values, but it is the {kind_of(value)} {_short(value)}")
    return value or {}


def _number(content: Mapping[str, Any], key: str, place: str) -> float:
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _Mistake(f"{place}{key}: expected a number, but it is the {kind_of(value)} {_short(value)}")
    return float(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

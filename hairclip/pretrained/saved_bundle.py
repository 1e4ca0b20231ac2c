"""Save a whole bundle in a folder, and fetch one from the Hugging Face Hub.

The folder holds ``bundle.yaml``, the bundle's own weights, and a model card. Weights of the registry are named and not
copied, because most of their licenses forbid to pass them on; whoever loads the bundle fetches them from their source.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from torch import nn
from typing_extensions import Unpack

from hairclip.common.errors import HairclipError
from hairclip.common.files import open_atomic, write_atomic
from hairclip.common.framing import FRAMINGS
from hairclip.common.yaml import read_yaml
from hairclip.networks.mapper import HairMapper
from hairclip.pretrained.bundle import Bundle, load_bundle
from hairclip.pretrained.bundle_files import BUNDLE_FILE, WEIGHT_SUFFIXES, OwnNetwork, Source, read_bundle
from hairclip.pretrained.hub import HUB_ERRORS, HUB_PREFIX, HubOptions, card_header, fetch_file, reason_of
from hairclip.pretrained.mapper import save_mapper
from hairclip.pretrained.network_files import Device
from hairclip.pretrained.registry import WEIGHTS, Weight, megabytes
from hairclip.pretrained.sources import content_of, embedded_file, is_missing, source_of, weight_names

__all__ = ["bundle_card", "load_any_bundle", "load_pretrained_bundle", "save_bundle"]

_CLIP_CONFIG = "open_clip_config.json"
"""The file that tells the sizes of a CLIP, beside its weights."""

_CARD = """\
# Networks that edit hair

One set of networks for the Python library hairclip. They change the hairstyle and the hair color of a portrait, by
words or by a reference picture, with the method of HairCLIP (Wei et al., CVPR 2022).

```python
from hairclip import HairEditor

editor = HairEditor.from_pretrained("FOLDER or REPOSITORY")
editor.edit("me.jpg", hairstyle="bob cut", color="red").save("edited.png")
```

## Parts and licenses

| part | weights | license |
|---|---|---|
{parts}

{fetched}

## Use

For research on editing hair, and for people who want to see themselves with other hair. Edit pictures only of people
who agree to it, and say of an edited picture that it is edited.

## Limits

- Hairstyles it knows: {hairstyles}.
- Colors it knows: {colors}.
- The networks know people like those they were trained on. Of others, an inversion shows somebody else, and an edit
  may fail.
- {background}
"""


# ------------------------------------------------------------------------------------------ save


def save_bundle(bundle: Bundle, folder: str | Path, *, mapper: nn.Module | None = None) -> None:
    """Write a bundle into a folder: its YAML, its own weights, and a model card if there is none yet.

    A file of the registry, also under another name, is named in the YAML and not copied. Weights that come with
    hairclip are copied, so that a later release changes no edit.

    Args:
        bundle: the networks. They need not be loaded.
        folder: where to write; it is made if it is absent.
        mapper: a mapper that takes the place of the bundle's.

    Raises:
        HairclipError: if a weight file is missing, the mapper has a class of its own, or the folder cannot be written.
    """
    folder = Path(folder)
    if folder.is_file():
        raise HairclipError(f"{folder} is a file: give a folder.")
    copied: dict[Path, str] = {}
    parts: dict[str, Any] = {}
    for part, source in bundle.parts.items():
        if not is_missing(source) and not (part == "mapper" and mapper is not None):
            parts[part] = _place(part, source, folder, copied)
    if mapper is not None:
        if not isinstance(mapper, HairMapper):
            raise HairclipError(f"a mapper of the class {type(mapper).__name__} cannot be saved: give a HairMapper.")
        save_mapper(folder / "mapper.safetensors", mapper)
        parts["mapper"] = "mapper.safetensors"
    words = bundle.known_words()
    framings = {framing: name for name, framing in FRAMINGS.items()}
    content = {
        "parts": parts,
        "framing": framings.get(bundle.framing, asdict(bundle.framing)),
        "plain_background": bundle.plain_background,
        "for_others": bundle.for_others,
        "inversion_limits": {method: asdict(limits) for method, limits in bundle.inversion_limits.items()},
        "words": {kind: None if known is None else list(known) for kind, known in asdict(words).items()},
    }
    write_atomic(folder / BUNDLE_FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    if not (folder / "README.md").exists():
        write_atomic(folder / "README.md", bundle_card(content, bundle.parts))


def _place(part: str, source: Source, folder: Path, copied: dict[Path, str]) -> Any:
    """Return what the YAML says of a part, after copying its file into the folder where it is the bundle's own."""
    if isinstance(source, OwnNetwork):
        file = {} if source.file is None else {"file": _copy(part, source.file, folder, copied)}
        return {"class": source.class_name, **file, **source.config}
    name = source_of(source)
    if name in WEIGHTS:
        return name
    if name in weight_names():
        return _copy(part, embedded_file(name), folder, copied)
    path = Path(name)
    if not path.is_file():  # a name of open_clip or of the Hub
        return name
    for published in (content_of("", path), content_of(part, path)):  # the file, or the network in it
        if published in WEIGHTS:
            return published
    beside = path.with_name(_CLIP_CONFIG)
    if part == "clip" and beside.is_file():
        _copy(part, beside, folder, {}, name=_CLIP_CONFIG)
    return _copy(part, path, folder, copied)


def _copy(part: str, path: Path, folder: Path, copied: dict[Path, str], name: str | None = None) -> str:
    """Copy a file into the folder, once for all parts that it holds, and return its name there."""
    if path not in copied:
        copied[path] = name or f"{part}{path.suffix}"
        try:
            with path.open("rb") as source, open_atomic(folder / copied[path]) as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
        except OSError as error:
            raise HairclipError(f"cannot copy {path} to {folder} ({error.strerror}): check both places.") from None
    return copied[path]


def bundle_card(content: Mapping[str, Any], sources: Mapping[str, Source]) -> str:
    """Return the model card of a saved bundle in Markdown.

    Args:
        content: what its ``bundle.yaml`` holds.
        sources: part -> name or path in the bundle that was saved, which tells the license of a copied file.
    """
    rows: list[str] = []
    named: list[Weight] = []
    free = True
    for part, saved in content["parts"].items():
        name = saved.get("file", saved["class"]) if isinstance(saved, Mapping) else str(saved)
        source = sources.get(part, "")
        if name in WEIGHTS:
            named.append(WEIGHTS[name])
            license, free = WEIGHTS[name].license, False
        elif (
            not isinstance(source, OwnNetwork) and source_of(source) in weight_names() and name != "mapper.safetensors"
        ):
            license = "MIT (comes with hairclip)"
        elif not isinstance(source, OwnNetwork) and source_of(source) == "portraits/mapper":
            license = "MIT (comes with hairclip, or trained from it)"
        else:
            license, free = (
                "whoever made it says; it may be bound by the weights and data that it was trained with",
                False,
            )
        if isinstance(saved, Mapping):
            name = f"{name}, class {saved['class']}, which must be installed"
        rows.append(f"| {part} | `{name}` | {license} |")
    fetched = "All weights lie in this folder."
    if named:
        weights = list(dict.fromkeys(named))
        size = ", ".join(f"{weight.name} {megabytes(weight.size)}" for weight in weights)
        command = f"python -m hairclip download {' '.join(weight.name for weight in weights)}"
        fetched = f"Weights that are only named here ({size}) are fetched from their sources by\n`{command}`."
    words = content["words"]
    known = {kind: ", ".join(words[kind]) if words[kind] else "all of HairCLIP's" for kind in words}
    plain = "The generator knows people before plain backgrounds only; a photo keeps its own."
    return card_header("mit" if free else "other") + _CARD.format(
        parts="\n".join(rows),
        fetched=fetched,
        hairstyles=known["hairstyles"],
        colors=known["colors"],
        background=plain
        if content["plain_background"]
        else "Hats, hands before the hair and several heads are not known.",
    )


# ------------------------------------------------------------------------------------------ load


def load_any_bundle(name: Source, device: Device = "cpu") -> Bundle:
    """Return the bundle of a name, YAML or folder as `load_bundle` takes it, or of ``hf-hub:user/name``."""
    if str(name).startswith(HUB_PREFIX):
        return load_pretrained_bundle(str(name), device)
    return load_bundle(name, device)


def load_pretrained_bundle(name_or_folder: str | Path, device: Device = "cpu", **options: Unpack[HubOptions]) -> Bundle:
    """Return the bundle of a folder that `save_bundle` wrote, or of a repository of the Hugging Face Hub.

    The bundle's YAML and its own weights are fetched. Weights that it only names are not: reading such a part names the
    command that fetches them.

    Args:
        name_or_folder: the folder, or ``user/name``, also as ``hf-hub:user/name``.
        device: where its networks are put.
        options: of `HubOptions`.

    Raises:
        HairclipError: if there is no such bundle, it cannot be fetched, or it names code or files outside itself.
    """
    if Path(name_or_folder).is_dir():
        return load_bundle(Path(name_or_folder), device)
    repo = str(name_or_folder).removeprefix(HUB_PREFIX)
    try:
        described = fetch_file(repo, BUNDLE_FILE, **options)
        options["revision"] = described.parent.name  # the commit: all files come from one state of the repository
        for part, source in _read_parts(repo, described).items():
            if source.endswith(WEIGHT_SUFFIXES):
                fetch_file(repo, source, **options)
                if part == "clip":
                    _fetch_clip_config(repo, **options)
    except HUB_ERRORS as error:
        raise HairclipError(
            f"{repo} gives no bundle ({reason_of(error)}): give a folder that save_pretrained wrote, or a repository "
            "of the Hugging Face Hub that has one."
        ) from None
    return Bundle(**{**vars(read_bundle(described.parent)), "name": repo}, device=device)


def _read_parts(repo: str, described: Path) -> dict[str, str]:
    """Return part -> name or file of a repository's YAML, after refusing code and files outside the repository."""
    parts = read_yaml(described).get("parts")
    if not isinstance(parts, Mapping):
        raise HairclipError(f"{repo} has no parts in its {BUNDLE_FILE}: save it again with save_pretrained.")
    for part, source in parts.items():
        if not isinstance(source, str):
            raise HairclipError(
                f"{repo} names a network class of its own (parts.{part}), and code that a repository names is not run: "
                "fetch the repository, look at the class, and give the folder."
            )
        if source.endswith(WEIGHT_SUFFIXES) and (Path(source).name != source or "\\" in source):
            raise HairclipError(f"{repo} names the file {source} outside itself (parts.{part}): it is not loaded.")
    return dict(parts)


def _fetch_clip_config(repo: str, **options: Unpack[HubOptions]) -> None:
    """Fetch what tells the sizes of a CLIP; a repository whose CLIP is hairclip's own has no such file."""
    try:
        fetch_file(repo, _CLIP_CONFIG, **options)
    except HUB_ERRORS:
        return

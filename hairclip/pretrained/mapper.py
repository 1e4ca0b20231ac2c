"""Save and load the public `HairMapper`, also on the Hugging Face Hub, and check the networks it is used with."""

import json
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelHubMixin

from hairclip.common.errors import HairclipError
from hairclip.common.files import write_atomic
from hairclip.networks import mapper as mapper_network
from hairclip.pretrained.bundle_files import OwnNetwork, Source
from hairclip.pretrained.download import is_offline
from hairclip.pretrained.hub import HUB_ERRORS, card_header, fetch_file, reason_of
from hairclip.pretrained.network_files import (
    Device,
    NetworkFile,
    build_network,
    read_network,
    save_network,
    with_config,
)
from hairclip.pretrained.registry import WEIGHTS
from hairclip.pretrained.sources import content_of, file_of, weight_names
from hairclip.pretrained.weight_files import read_metadata

__all__ = ["HairMapper", "build_mapper", "check_companions", "describe_companions", "mapper_card", "save_mapper"]

WEIGHTS_FILE = "model.safetensors"
"""The name of the weights in a folder of `HairMapper.save_pretrained`."""

_BODY = """\
# A hair mapper

Moves W+ codes of StyleGAN2 towards a hairstyle and a hair color given as CLIP embeddings of words or of a reference
picture, by the method of HairCLIP (Wei et al., *HairCLIP: Design Your Hair by Text and Reference Image*, CVPR 2022).

```python
from hairclip import HairMapper

mapper = HairMapper.from_pretrained("FOLDER or REPOSITORY")
edited = w_plus + mapper(w_plus, condition)  # w_plus (B, {n_latent}, {w_dim}), condition: hairclip.HairCondition
```

## Architecture

```json
{architecture}
```

It belongs to these networks, and is of no use with others: {companions}.

## Training

{training}

## Data

{data}

## Licenses

- Code of hairclip: MIT.
{licenses}
"""


class HairMapper(mapper_network.HairMapper, ModelHubMixin, library_name="hairclip"):
    """The hair mapper of `hairclip.networks.mapper` with `save_pretrained`, `from_pretrained` and `push_to_hub`.

    Attributes:
        notes: how the mapper was trained, as far as its file tells. "training": the configuration of the run. "opts":
            the options of HairCLIP's own code. "companions": part -> name of the generator and the CLIP it was trained
            with. "contents": part -> what `hairclip.pretrained.sources.content_of` gives for them.
    """

    notes: Mapping[str, Any] = {}

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "HairMapper":
        """Return the mapper of a folder that `save_pretrained` wrote, or of a repository of the Hugging Face Hub.

        Args:
            pretrained_model_name_or_path: the folder, or ``user/name``.
            options: those of huggingface_hub's mixin (revision, token, cache_dir, ...), and constructor arguments that
                replace the file's.

        Raises:
            HairclipError: if there is no such mapper, or it cannot be fetched.
        """
        options.setdefault("local_files_only", is_offline())
        try:
            mapper: HairMapper = super().from_pretrained(pretrained_model_name_or_path, **options)
        except HUB_ERRORS as error:
            raise HairclipError(
                f"{pretrained_model_name_or_path} gives no mapper ({reason_of(error)}): give a folder that "
                "save_pretrained wrote, or a repository of the Hugging Face Hub that has one."
            ) from None
        except (AttributeError, RecursionError, TypeError):  # huggingface_hub expects a JSON object of known types
            raise HairclipError(
                f"{pretrained_model_name_or_path} has a damaged config.json: write it again with save_pretrained."
            ) from None
        return mapper

    def _save_pretrained(self, save_directory: Path) -> None:
        save_mapper(save_directory / WEIGHTS_FILE, self)
        write_atomic(save_directory / "config.json", json.dumps(self.config, indent=2))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "HairMapper":
        download = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        hub = {key: options.pop(key) for key in download if key in options}
        path = Path(model_id) / WEIGHTS_FILE
        if not Path(model_id).is_dir():
            path = fetch_file(model_id, WEIGHTS_FILE, **hub)
        elif not path.is_file():
            raise FileNotFoundError(f"it has no {WEIGHTS_FILE}")
        return build_mapper(with_config(read_network(path, "mapper"), path, options), "cpu")

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Return the model card, see `mapper_card`."""
        return ModelCard(mapper_card(self.config, self.notes))


def save_mapper(path: Path, mapper: mapper_network.HairMapper) -> None:
    """Write a mapper for other machines: its notes name no folder of this one, and only companions that have names."""
    told: Mapping[str, Any] = getattr(mapper, "notes", {})
    notes = {key: _without_folders(value) for key, value in told.items() if key != "companions"}
    named = {part: name for part, name in told.get("companions", {}).items() if name in weight_names()}
    save_network(path, "mapper", mapper, companions=named, notes=notes)


def build_mapper(file: NetworkFile, device: Device) -> HairMapper:
    """Return the mapper of a weight file that was read, with its notes."""
    mapper: HairMapper = build_network(file, device, HairMapper)
    mapper.notes = file.notes
    return mapper


# ------------------------------------------------------------------------------------------ companions


def describe_companions(parts: Mapping[str, Source]) -> dict[str, str]:
    """Return part -> content of the generator and the CLIP that a network was trained with, for the notes."""
    found = {part: _meaning_of(part, parts[part]) for part in ("generator", "clip") if part in parts}
    return {part: content for part, content in found.items() if content is not None}


CODES_OF = "codes_of"
"""Note of a grown generator: the content of the smaller one, whose codes it reads."""

_A_MAPPER = "a mapper trained with these networks (check_companions=False skips this check)"


def check_companions(
    mapper: Any, parts: Mapping[str, Source], name: str = "the mapper", *, instead: str = _A_MAPPER
) -> None:
    """Refuse networks that are not those a mapper was trained with, although their sizes fit.

    What cannot be compared is accepted: a mapper without notes, or a companion whose file is gone.

    Args:
        mapper: any mapper, or another network with such `notes`.
        parts: part -> name or path of the networks it is used with, such as `Bundle.parts`.
        name: of the mapper, for the message.
        instead: what could be used in its place, for the message.

    Raises:
        HairclipError: if the mapper was trained with another generator or another CLIP.
    """
    notes = getattr(mapper, "notes", {})
    companions, contents = notes.get("companions", {}), notes.get("contents", {})
    for part in ("generator", "clip"):
        if part not in parts or (part not in companions and part not in contents):
            continue
        trained_with = contents.get(part) or _meaning_of(part, companions[part])
        used_with = _meaning_of(part, parts[part])
        if trained_with is not None and used_with is not None and trained_with != used_with:
            which = f" ({_shown(companions[part])})" if part in companions else ""
            raise HairclipError(
                f"{name} was trained with another {part}{which} than {_shown(parts[part])}: use that one, or {instead}."
            )


def _meaning_of(part: str, source: Source) -> str | None:
    """Return a text that is equal for networks with equal codes: a grown generator has that of the smaller one."""
    if part == "generator" and not isinstance(source, OwnNetwork):
        path = file_of(source)
        if path.suffix == ".safetensors" and path.is_file():
            notes = json.loads(read_metadata(path).get("notes", "{}"))
            if CODES_OF in notes:
                return str(notes[CODES_OF])
    return content_of(part, source)


# ------------------------------------------------------------------------------------------ model card


def mapper_card(config: Mapping[str, Any], notes: Mapping[str, Any]) -> str:
    """Return the model card of a mapper in Markdown: how it was trained, on which data, and the licenses.

    Args:
        config: `HairMapper.config`.
        notes: `HairMapper.notes`; the card says where they tell nothing.
    """
    companions = {part: _shown(name) for part, name in notes.get("companions", {}).items()}
    training, opts = notes.get("training"), notes.get("opts")
    if training is not None:
        how = f"Trained by hairclip for {notes.get('step', 'an unknown number of')} steps with this configuration:"
        networks, data = dict(training.get("networks", {})), dict(training.get("data", {}))
    else:
        how = (
            "Trained by HairCLIP's own code with these options:"
            if opts
            else "Its file does not say how it was trained."
        )
        networks, data = {}, {key: value for key, value in (opts or {}).items() if key.endswith("_path") and value}
    settings = training or opts
    if settings:
        how += f"\n\n```yaml\n{yaml.safe_dump(_without_folders(settings), sort_keys=False, allow_unicode=True)}```"
    sources = [f"- {key}: {_shown(value)}" for key, value in data.items() if isinstance(value, str)]
    for setting in ("bundle", "enlarging"):  # the companions name the parts of the bundle
        networks.pop(setting, None)
    teacher = (training or {}).get("training", {}).get("teacher")
    names = (*companions.values(), *networks.values(), *data.values(), teacher)
    used = {name for name in names if isinstance(name, str)}
    licenses = [f"- {name} ({WEIGHTS[name].file}): {WEIGHTS[name].license}." for name in sorted(used & WEIGHTS.keys())]
    synthetic = bool(companions) and all(name.startswith("portraits/") for name in used)
    if synthetic:
        licenses.append("- The networks and pictures of the portraits world, made from CC0 meshes: MIT.")
    elif opts and training is None:
        licenses.append(f"- If it is the mapper of the published hairclip.pt: {WEIGHTS['hairclip'].license}.")
    elif not licenses:
        licenses.append("- Of the weights it was trained with: not known to this file; ask who trained it.")
    licenses.append(f"- This mapper: {'MIT' if synthetic else 'bound by the licenses of the weights and data above'}.")
    return card_header("mit" if synthetic else "other") + _BODY.format(
        n_latent=config["n_latent"],
        w_dim=config["w_dim"],
        architecture=json.dumps(dict(config), indent=2),
        companions=", ".join(f"{part} {name}" for part, name in companions.items()) or "not recorded",
        training=how,
        data="\n".join(sources) or "Not recorded.",
        licenses="\n".join(licenses),
    )


def _shown(name: Any) -> str:
    """Return the last part of an absolute path, because a card is read on other machines; anything else unchanged."""
    text = str(name)
    return PureWindowsPath(text).name if Path(text).is_absolute() or PureWindowsPath(text).is_absolute() else text


def _without_folders(value: Any) -> Any:
    """Return a JSON-able value in which each absolute path is replaced by its last part."""
    if isinstance(value, Mapping):
        return {key: _without_folders(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_folders(inner) for inner in value]
    return _shown(value) if isinstance(value, str) else value

"""A mapper as a model of the Hugging Face Hub: a folder of weights, ``config.json`` and a model card.

`HubFolder` is huggingface_hub's mixin with our own weight files; networks themselves know no files. The card says how
the mapper was trained, on what data, and under which licences its parts are.
"""

import json
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

import yaml
from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from hairclip.common.errors import HairclipError
from hairclip.pretrained.download import is_offline
from hairclip.pretrained.registry import WEIGHTS

Self = TypeVar("Self", bound="HubFolder")

WEIGHTS_FILE = "model.safetensors"
_HEADER = """\
---
library_name: hairclip
pipeline_tag: image-to-image
license: {licence}
tags: [hair-editing, stylegan2, clip, hairclip]
---
"""
_BODY = """\
# A hair mapper

Moves W+ codes of StyleGAN2 towards a hairstyle and a hair colour given as CLIP embeddings of words or of a reference
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

## Licences

- Code of hairclip: MIT.
{licences}
"""


class HubFolder(ModelHubMixin, library_name="hairclip"):
    """`save_pretrained`, `from_pretrained` and `push_to_hub` for a network that can write and read its own file.

    A subclass has `config`, `notes`, `write_file` and `read_file`.
    """

    config: Any
    notes: Mapping[str, Any]

    def write_file(self, path: Path) -> None:
        """Write the network to a file from which `read_file` rebuilds it."""
        raise NotImplementedError

    @classmethod
    def read_file(cls: type[Self], path: Path, config: Mapping[str, Any]) -> Self:
        """The network of a file, with these constructor arguments in place of the file's."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls: type[Self], pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """The network of a folder that `save_pretrained` wrote, or of a repository of the Hub by its name.

        Args:
            pretrained_model_name_or_path: folder, or ``user/name``.
            options: those of huggingface_hub's mixin (revision, token, cache_dir, ...), and constructor arguments to
                replace.
        """
        options.setdefault("local_files_only", is_offline())
        try:
            return super().from_pretrained(pretrained_model_name_or_path, **options)
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise HairclipError(
                f"{pretrained_model_name_or_path} gives no network ({reason}): give a folder that save_pretrained "
                "wrote, or a repository of the Hugging Face Hub that has one."
            ) from None

    def _save_pretrained(self, save_directory: Path) -> None:
        self.write_file(save_directory / WEIGHTS_FILE)
        (save_directory / "config.json").write_text(json.dumps(self.config, indent=2), encoding="utf-8")

    @classmethod
    def _from_pretrained(cls: type[Self], *, model_id: str, **options: Any) -> Self:
        download = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        hub = {key: options.pop(key) for key in download if key in options}
        path = Path(model_id) / WEIGHTS_FILE
        if not Path(model_id).is_dir():
            path = Path(hf_hub_download(model_id, WEIGHTS_FILE, **hub))
        elif not path.is_file():
            raise FileNotFoundError(f"it has no {WEIGHTS_FILE}")
        return cls.read_file(path, options)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card, from what the network knows of itself."""
        return ModelCard(mapper_card(self.config, self.notes))


def mapper_card(config: Mapping[str, Any], notes: Mapping[str, Any]) -> str:
    """The model card of a mapper: its training configuration, its data and the licences, as far as `notes` tell."""
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
        how += f"\n\n```yaml\n{yaml.safe_dump(without_folders(settings), sort_keys=False, allow_unicode=True)}```"
    sources = [f"- {key}: {_shown(value)}" for key, value in data.items() if isinstance(value, str)]
    networks.pop("bundle", None)  # the companions name its parts
    used = {name for name in (*companions.values(), *networks.values(), *data.values()) if isinstance(name, str)}
    licences = [f"- {name} ({WEIGHTS[name].file}): {WEIGHTS[name].licence}." for name in sorted(used & WEIGHTS.keys())]
    synthetic = bool(companions) and all(name.startswith("portraits/") for name in used)
    if synthetic:
        licences.append("- The networks and pictures of the portraits world, made from CC0 meshes: MIT.")
    elif opts and training is None:
        licences.append(f"- If it is the mapper of the published hairclip.pt: {WEIGHTS['hairclip'].licence}.")
    elif not licences:
        licences.append("- Of the weights it was trained with: not known to this file; ask who trained it.")
    licences.append(f"- This mapper: {'MIT' if synthetic else 'bound by the licences of the weights and data above'}.")
    return _HEADER.format(licence="mit" if synthetic else "other") + _BODY.format(
        n_latent=config["n_latent"],
        w_dim=config["w_dim"],
        architecture=json.dumps(dict(config), indent=2),
        companions=", ".join(f"{part} {name}" for part, name in companions.items()) or "not recorded",
        training=how,
        data="\n".join(sources) or "Not recorded.",
        licences="\n".join(licences),
    )


def _shown(name: Any) -> str:
    """A name as it is; of an absolute path only the last part, for a card is read elsewhere."""
    text = str(name)
    return PureWindowsPath(text).name if Path(text).is_absolute() or PureWindowsPath(text).is_absolute() else text


def without_folders(value: Any) -> Any:
    """JSON-able `value` in which absolute paths are only their last part."""
    if isinstance(value, Mapping):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(inner) for inner in value]
    return _shown(value) if isinstance(value, str) else value

"""Load CLIP by the names of open_clip: "ViT-B-32-quickgelu/openai", a model and a pretrained tag.

open_clip knows the sizes and where the weights are. The weights are read here like any other weight file, so nothing in
them runs. In a folder as on the Hugging Face Hub, `open_clip_config.json` beside the weights tells the sizes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.networks.clip import CLASSES, Clip, class_of
from hairclip.pretrained import foreign
from hairclip.pretrained.download import is_offline
from hairclip.pretrained.network_files import Device, build_on_meta, read_content
from hairclip.pretrained.registry import HuggingFace
from hairclip.pretrained.transfer import host, unresolved
from hairclip.pretrained.weight_files import as_float32

DEFAULT = "ViT-B-32-quickgelu/openai"
"""OpenAI's ViT-B/32, the CLIP of HairCLIP. Without "quickgelu" open_clip builds another activation."""
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


def is_open_clip_name(name: str) -> bool:
    """Return whether a name is that of an open_clip model, with a pretrained tag or without."""
    import open_clip

    return name.partition("/")[0] in open_clip.list_models()


def load_open_clip(name: str, device: Device) -> Clip:
    """Return the CLIP "MODEL/TAG"; open_clip fetches its weights once.

    Raises:
        HairclipError: if there is no such tag, the weights cannot be fetched, or do not fit.
    """
    import open_clip

    model_name, _, tag = name.partition("/")
    pretrained = open_clip.get_pretrained_cfg(model_name, tag) if tag else {}
    if not pretrained:
        tags = open_clip.list_pretrained_tags_by_model(model_name)
        raise HairclipError(
            f"{name} names no weights of open_clip's {model_name}: add one of {', '.join(tags) or '(there are none)'} "
            f"after a slash, such as {DEFAULT}."
        )
    model = dict(open_clip.get_model_config(model_name) or {})
    model["quick_gelu"] = bool(pretrained.get("quick_gelu", model.get("quick_gelu", False)))
    path = _fetch(name, pretrained)
    return _build(path, model, pretrained.get("mean"), pretrained.get("std"), device)


def _fetch(name: str, pretrained: Mapping[str, Any]) -> Path:
    """Return the weights of a tag: from the Hub's cache without asking the network, else fetched by open_clip."""
    import open_clip
    from huggingface_hub import try_to_load_from_cache

    reason = ""
    if pretrained.get("hf_hub"):
        repository, _, file = pretrained["hf_hub"].rpartition("/")
        for candidate in (file,) if file else _HUB_FILES:
            if isinstance(found := try_to_load_from_cache(repository, candidate), str):
                return Path(found)
        if is_offline():
            reason = "offline mode forbids it"
        elif unresolved([host(HuggingFace(repository, file or _HUB_FILES[0]))]):
            reason = "there is no network"  # asking anyway would mean a minute of retries
    try:
        if not reason:
            return Path(open_clip.download_pretrained(dict(pretrained)))
    except Exception as error:  # whatever the network and its clients raise
        reason = " ".join(str(error).split())[:150]
    raise HairclipError(f"the weights of {name} cannot be fetched ({reason}): connect to the network, or give a file.")


def load_with_config(path: Path, device: Device) -> Clip | None:
    """Return the CLIP of a file beside which `open_clip_config.json` tells its sizes; None if there is no such file."""
    described = path.with_name("open_clip_config.json")
    return _build(path, *_read_config(described), device) if described.is_file() else None


def _read_config(path: Path) -> tuple[dict[str, Any], Any, Any]:
    """Return open_clip's config of a model, and mean and deviation of its pixels, each three numbers or None."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        model, pixels = dict(content["model_cfg"]), dict(content.get("preprocess_cfg") or {})
        scale = [pixels.get(name) for name in ("mean", "std")]
        for numbers in scale:
            if numbers is not None and len([float(number) for number in numbers]) != 3:
                raise ValueError("three numbers, one for each color")
        return model, scale[0], scale[1]
    except (AttributeError, KeyError, OSError, OverflowError, RecursionError, TypeError, ValueError):
        raise HairclipError(f"{path} is no config of open_clip: fetch it again, or move it away.") from None


def _build(path: Path, model: dict[str, Any], mean: Any, std: Any, device: Device) -> Clip:
    scale = {} if mean is None or std is None else {"pixel_mean": tuple(mean), "pixel_std": tuple(std)}
    _, content = read_content(path)
    try:
        # First without memory: the config may name any sizes, the file holds the true ones.
        empty: Any = build_on_meta(lambda: CLASSES[class_of(model)](model, **scale), held=_count(content))
    except Exception as error:  # a tower may need a package that is not there, or the network
        reason = " ".join(str(error).split())[:150]
        raise HairclipError(f"the CLIP of {path} cannot be built ({reason}): choose another.") from None
    try:
        state = foreign.fit(
            _open_clip_state(content, empty),
            empty.state_dict(),
            label="it should be the CLIP that its name or config says",
            unused=r"input_resolution|context_length|vocab_size|(.+\.)?(attn_mask|position_ids)",
        )
    except HairclipError as error:
        raise HairclipError(f"{path}: {error}.") from None
    # The constructor draws random weights, which the file's replace: keep the caller's random numbers as they are.
    with torch.random.fork_rng(devices=[]):
        clip: Any = CLASSES[class_of(model)](model, **scale)
    clip.load_state_dict({key: as_float32(value) for key, value in state.items()})
    return clip.to(device).eval().requires_grad_(False)


def _count(content: object) -> int:
    """Return how many tensors a file holds."""
    holder = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    return len(holder) if isinstance(holder, Mapping) else 0


def _open_clip_state(content: object, clip: Clip) -> dict[str, Tensor]:
    """Return the tensors of one of open_clip's files under the names of its newest version."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    holder = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    tensors = holder.items() if isinstance(holder, Mapping) else ()
    state = {str(key).removeprefix("module."): value for key, value in tensors if isinstance(value, Tensor)}
    state = convert_state_dict(clip, state)
    if not hasattr(clip, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for key in ("logit_scale", "logit_bias"):  # a number, or a vector of one
        expected = getattr(clip, key, None)
        if key in state and expected is not None and state[key].numel() == 1:
            state[key] = state[key].reshape(expected.shape)
    return state

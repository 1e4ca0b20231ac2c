"""CLIP by the names of open_clip: ``ViT-B-32-quickgelu/openai``, a model and a pretrained tag.

open_clip knows the sizes and where the weights are; they are read here like any other weight file, so nothing in them
runs. A folder as on the Hugging Face hub (weights beside ``open_clip_config.json``) tells the sizes itself.
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
from hairclip.pretrained.network_files import Device, read_content
from hairclip.pretrained.weight_files import as_float32

DEFAULT = "ViT-B-32-quickgelu/openai"
"""OpenAI's ViT-B/32, the CLIP of HairCLIP. Without "quickgelu" open_clip builds another activation."""


def is_open_clip_name(name: str) -> bool:
    """Whether a name is that of an open_clip model, with a pretrained tag or without."""
    import open_clip

    return name.partition("/")[0] in open_clip.list_models()


def load_open_clip(name: str, device: Device) -> Clip:
    """The CLIP ``MODEL/TAG``; its weights are fetched by open_clip, once.

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
    try:
        path = Path(open_clip.download_pretrained(pretrained))
    except Exception as error:  # whatever the network and its clients raise
        reason = " ".join(str(error).split())[:200]
        raise HairclipError(
            f"the weights of {name} cannot be fetched ({reason}): connect to the network, or give a file."
        ) from None
    return _build(path, model, pretrained.get("mean"), pretrained.get("std"), device)


def load_with_config(path: Path, device: Device) -> Clip | None:
    """The CLIP of a file beside which ``open_clip_config.json`` tells its sizes; None where there is no such file."""
    described = path.with_name("open_clip_config.json")
    if not described.is_file():
        return None
    try:
        content = json.loads(described.read_text(encoding="utf-8"))
        model, pixels = dict(content["model_cfg"]), content.get("preprocess_cfg", {})
        mean, std = pixels.get("mean"), pixels.get("std")
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError):
        raise HairclipError(f"{described} is no config of open_clip: fetch it again, or move it away.") from None
    return _build(path, model, mean, std, device)


def _build(path: Path, model: dict[str, Any], mean: Any, std: Any, device: Device) -> Clip:
    scale = {} if mean is None or std is None else {"pixel_mean": tuple(mean), "pixel_std": tuple(std)}
    try:
        with torch.random.fork_rng(devices=[]):  # first weights are drawn, then replaced: leave no trace
            clip: Any = CLASSES[class_of(model)](model, **scale)
    except Exception as error:  # a tower may need a package that is not there, or the network
        reason = " ".join(str(error).split())[:200]
        raise HairclipError(f"the CLIP of {path} cannot be built ({reason}): choose another.") from None
    _, content = read_content(path)
    try:
        state = foreign.fit(
            _open_clip_state(content, clip),
            clip.state_dict(),
            label="it should be the CLIP that its name or config says",
            unused=r"input_resolution|context_length|vocab_size|(.+\.)?(attn_mask|position_ids)",
        )
    except HairclipError as error:
        raise HairclipError(f"{path}: {error}.") from None
    clip.load_state_dict({key: as_float32(value) for key, value in state.items()})
    return clip.to(device).eval().requires_grad_(False)


def _open_clip_state(content: object, clip: Clip) -> dict[str, Tensor]:
    """The tensors of one of open_clip's files as its newest version names them."""
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

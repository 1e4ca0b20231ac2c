"""Read mappers: the `mapper.` of hairclip.pt and of the checkpoints that HairCLIP's and StyleCLIP's trainers write."""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hairclip.networks.mapper import LAYER_SPLIT
from hairclip.networks.style_mappers import DEPTH
from hairclip.pretrained.foreign.formats import Format, State, Surroundings

_GROUPS = {"coarse": "course", "medium": "medium", "fine": "fine"}  # "course" is their spelling
_STYLECLIP = r"(course|medium|fine)_mapping\.mapping\.[1-4]\.(weight|bias)"
_RATE = 0.01  # the learning rate multiplier of StyleCLIP's layers


def _hairclip_name(ours: str, config: Mapping[str, Any] | None = None) -> str:
    group, _, rest = ours.partition(".blocks.")
    rest = re.sub(r"^(\d+)\.(gamma|beta)\.", r"\1.\2_function.", rest)
    return f"{_GROUPS[group]}_mapping.modulation_module_list.{rest}"


def mapper_to_hairclip(state: Mapping[str, Tensor]) -> State:
    """Return the tensors of a `HairMapper` under the official names, without the prefix `mapper.`."""
    return {_hairclip_name(key): tensor for key, tensor in state.items()}


def _read_hairclip(state: State, around: Surroundings) -> tuple[dict[str, Any], State]:
    present = [group for group in _GROUPS if any(key.startswith(f"{_GROUPS[group]}_mapping.") for key in state)]
    if not present:
        raise ValueError("none of course_mapping, medium_mapping and fine_mapping is there")
    first = f"{_GROUPS[present[0]]}_mapping.modulation_module_list.0"
    return {
        "n_latent": _n_latent(around),
        "w_dim": state[f"{first}.fc.weight"].shape[0],
        "condition_dim": state[f"{first}.gamma_function.0.weight"].shape[1],
        "groups": list(LAYER_SPLIT),
        "absent": "passthrough",
        "scale": 0.1,
        "pixel_norm": "layer",
        "output": "leaky_relu",
        "references": "whole",
        **{group: group in present for group in _GROUPS},
    }, {}


def _n_latent(around: Surroundings) -> int:
    """Return for how many layers a mapper is: the decoder beside it tells; FFHQ's 18 where there is none."""
    outputs = sum(re.fullmatch(r"decoder\.to_rgbs\.\d+\.bias", str(key)) is not None for key in around.holder)
    return 2 * outputs + 2 if outputs else 18


def _read_styleclip(state: State, around: Surroundings) -> tuple[dict[str, Any], State]:
    levels = [level for level, theirs in _GROUPS.items() if f"{theirs}_mapping.mapping.1.weight" in state]
    ours: State = {}
    for level in levels:
        layers = [f"{_GROUPS[level]}_mapping.mapping.{number}" for number in range(1, DEPTH + 1)]  # 0 is a PixelNorm
        weight = torch.stack([state[f"{layer}.weight"] for layer in layers])
        # They store numbers divided by their rate and multiply at each use; ours are those that count.
        ours[f"levels.{level}.weight"] = weight[None].float() * (_RATE / math.sqrt(weight.shape[-1]))
        ours[f"levels.{level}.bias"] = torch.stack([state[f"{layer}.bias"] for layer in layers])[None].float() * _RATE
    described = around.options.get("description")
    return {
        "n_latent": _n_latent(around),
        "w_dim": ours[f"levels.{levels[0]}.weight"].shape[-1],
        "words": {described if isinstance(described, str) and described else "its text": levels},
        "groups": list(LAYER_SPLIT),
        "scale": 0.1,
    }, ours


MAPPER_FORMATS = (
    Format(
        name="HairCLIP's mapper",
        kind="mapper",
        class_name="HairMapper",
        names=r"(course|medium|fine)_mapping\.(?!mapping\.).+",  # StyleCLIP has `mapping` there
        sizes={},  # each of the three may have been switched off
        read=_read_hairclip,
        theirs=_hairclip_name,
        unused=r"clip_model\..+",
        holders=("state_dict", ""),
        prefixes=("mapper.", ""),
    ),
    Format(
        name="StyleCLIP's latent mapper",
        kind="style_mappers",
        class_name="StyleMappers",
        names=_STYLECLIP,
        sizes={},  # each of the three may have been switched off
        read=_read_styleclip,
        unused=_STYLECLIP,
        holders=("state_dict", ""),
        prefixes=("mapper.", ""),
    ),
)

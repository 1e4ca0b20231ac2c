"""Read hair mappers: the `mapper.` of hairclip.pt and of the checkpoints that HairCLIP's trainer writes."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hairclip.networks.mapper import LAYER_SPLIT
from hairclip.pretrained.foreign.formats import Format, State, Surroundings

_GROUPS = {"coarse": "course", "medium": "medium", "fine": "fine"}  # "course" is their spelling


def _hairclip_name(ours: str, config: Mapping[str, Any] | None = None) -> str:
    group, _, rest = ours.partition(".blocks.")
    rest = re.sub(r"^(\d+)\.(gamma|beta)\.", r"\1.\2_function.", rest)
    return f"{_GROUPS[group]}_mapping.modulation_module_list.{rest}"


def mapper_to_hairclip(state: Mapping[str, Tensor]) -> State:
    """Return the tensors of a `HairMapper` under the official names, without the prefix `mapper.`."""
    return {_hairclip_name(key): tensor for key, tensor in state.items()}


def _read_hairclip(state: State, around: Surroundings) -> tuple[dict[str, Any], State]:
    # Nothing in a mapper tells for how many layers it is: the decoder beside it does, FFHQ's 18 where there is none.
    outputs = sum(re.fullmatch(r"decoder\.to_rgbs\.\d+\.bias", str(key)) is not None for key in around.holder)
    present = [group for group in _GROUPS if any(key.startswith(f"{_GROUPS[group]}_mapping.") for key in state)]
    if not present:
        raise ValueError("none of course_mapping, medium_mapping and fine_mapping is there")
    first = f"{_GROUPS[present[0]]}_mapping.modulation_module_list.0"
    return {
        "n_latent": 2 * outputs + 2 if outputs else 18,
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


MAPPER_FORMATS = (
    Format(
        name="HairCLIP's mapper",
        kind="mapper",
        class_name="HairMapper",
        names=r"(course|medium|fine)_mapping\..+",
        sizes={},  # each of the three may have been switched off
        read=_read_hairclip,
        theirs=_hairclip_name,
        unused=r"clip_model\..+",
        holders=("state_dict", ""),
        prefixes=("mapper.", ""),
    ),
)

"""Describe a weight file and its content in lines for people. No network is built, and no code in the file runs."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hairclip.pretrained.latent_files import find_codes, map_latents
from hairclip.pretrained.network_files import AnotherKindError, read_content, recognize_network, wrong_kind
from hairclip.pretrained.weight_files import describe_layout, is_safetensors, read_metadata

_KINDS = (
    "generator",
    "clip",
    "parser",
    "identity",
    "encoder",
    "mapper",
    "judge",
    "denoiser",
    "hair_priors",
    "codec",
    "token_transformer",
    "style_mappers",
    "directions",
    "text_encoder",
)


def describe_file(path: Path) -> list[str]:
    """Return one line on the file and one on every network or latent set in it. Official files hold up to three.

    Raises:
        HairclipError: if the file is damaged, or holds nothing that hairclip knows.
    """
    own = read_metadata(path).get("hairclip_kind") if is_safetensors(path) else None
    metadata, content = read_content(path)
    lines = [f"{path}: {path.stat().st_size / 1e6:,.1f} MB, {describe_layout(path)}"]
    if own == "latents" or isinstance(content, Tensor) or (isinstance(content, Mapping) and "w_plus" in content):
        return [*lines, _latents(path)]
    for kind in _KINDS if own is None else (own,):
        try:
            network = recognize_network(path, kind, metadata, content)
        except AnotherKindError:
            continue
        numbers = sum(tensor.numel() for tensor in network.state.values())
        lines.append(
            f"{kind} ({network.class_name or kind}): {len(network.state)} tensors, {numbers:,} numbers, "
            f"{network.form}, {json.dumps(network.config)}"
        )
    if len(lines) == 1:
        if own is None and find_codes(content) is not None:
            return [*lines, _latents(path)]
        raise wrong_kind(path, "network", content)
    return lines


def _latents(path: Path) -> str:
    codes = map_latents(path)
    kind = str(codes.dtype).removeprefix("torch.")
    return f"latents: {' x '.join(map(str, codes.shape))} (codes x layers x width), {kind}"

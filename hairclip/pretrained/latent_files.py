"""Sets of W+ codes in files: our own format, and torch files of one tensor such as ``train_faces.pt``.

Files are memory-mapped: codes that are never used are never read.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.images import WPlus
from hairclip.pretrained.network_files import Source, stored, wrong_kind
from hairclip.pretrained.weight_files import (
    is_safetensors,
    map_torch,
    read_metadata,
    read_safetensors,
    write_safetensors,
)


def save_latents(
    path: Source, w_plus: WPlus, labels: Any = None, half: bool = False, components: int | None = None
) -> None:
    """Write W+ codes ``(N, n_latent, w_dim)`` with optional JSON-able `labels`.

    With `components` only so many principal components of the codes are kept: layers that move together take less room.
    """
    metadata = {"hairclip_kind": "latents", "config": "{}", "labels": json.dumps(labels)}
    tensors: dict[str, Tensor] = {"w_plus": w_plus}
    if components is not None:
        flat = w_plus.float().flatten(1)
        mean = flat.mean(dim=0)
        _, _, directions = torch.linalg.svd(flat - mean, full_matrices=False)
        basis = directions[:components]
        coefficients = (flat - mean) @ basis.T
        tensors = {"mean": mean.unflatten(0, w_plus.shape[1:]), "basis": basis, "coefficients": coefficients}
    write_safetensors(Path(path), {name: stored(name, value, half) for name, value in tensors.items()}, metadata)


def map_latents(path: Path) -> WPlus:
    """The codes of a file, ``(N, n_latent, w_dim)``, memory-mapped, in the file's precision.

    Codes that were written as principal components are put together, in float32 and in memory.
    """
    if is_safetensors(path):
        metadata, content = read_safetensors(path)
        kind = metadata.get("hairclip_kind", "latents")
        if kind != "latents":
            raise HairclipError(f"{path} holds {kind[:40]} weights, but latents are needed here: give another file.")
        if {"mean", "basis", "coefficients"} <= set(content):
            content = {"w_plus": _assembled(path, content)}
    else:
        content = map_torch(path)
    codes = content.get("w_plus") if isinstance(content, Mapping) else content
    if not isinstance(codes, Tensor):
        raise wrong_kind(path, "latents", content)
    if codes.ndim != 3 or not codes.is_floating_point() or 0 in codes.shape:
        kind = str(codes.dtype).removeprefix("torch.")
        raise HairclipError(
            f"{path} holds {kind} numbers of shape {tuple(codes.shape)}, expected W+ codes (count, layers, width): "
            "give a latent set."
        )
    return codes.detach()


def _assembled(path: Path, content: Mapping[str, Tensor]) -> WPlus:
    mean, basis, coefficients = (content[name].float() for name in ("mean", "basis", "coefficients"))
    try:
        return (mean.flatten() + coefficients @ basis).unflatten(1, mean.shape)
    except RuntimeError:
        raise HairclipError(
            f"{path} holds principal components of shapes that do not fit together: write it again."
        ) from None


def read_labels(path: Path) -> Any:
    """The labels saved beside own W+ codes by `save_latents`, None where there are none."""
    try:
        return json.loads(read_metadata(path).get("labels", "null")) if is_safetensors(path) else None
    except (RecursionError, ValueError) as error:
        raise HairclipError(f"{path} has labels that are not JSON ({error}): write it again.") from None

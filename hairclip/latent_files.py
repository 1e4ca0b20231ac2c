"""Sets of W+ codes in files: our own format, and torch files of one tensor such as ``train_faces.pt``.

Files are memory-mapped: codes that are never used are never read.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hairclip.errors import HairclipError
from hairclip.images import WPlus
from hairclip.network_files import Source, stored, wrong_kind
from hairclip.weight_files import is_safetensors, map_torch, read_metadata, read_safetensors, write_safetensors


def save_latents(path: Source, w_plus: WPlus, labels: Any = None, half: bool = False, merge: bool = False) -> None:
    """Write W+ codes ``(N, n_latent, w_dim)`` with optional JSON-able `labels`.

    `merge` keeps one latent of each code, the mean of its layers: enough where layers hardly differ, and smaller.
    """
    metadata = {"hairclip_kind": "latents", "config": "{}", "labels": json.dumps(labels)}
    if merge:
        metadata["layers"] = str(w_plus.shape[1])
        w_plus = w_plus.mean(dim=1, keepdim=True)
    write_safetensors(Path(path), {"w_plus": stored("w_plus", w_plus, half)}, metadata)


def map_latents(path: Path) -> WPlus:
    """The codes of a file, ``(N, n_latent, w_dim)``, memory-mapped, in the file's precision."""
    layers = "1"
    if is_safetensors(path):
        metadata, content = read_safetensors(path)
        kind = metadata.get("hairclip_kind", "latents")
        if kind != "latents":
            raise HairclipError(f"{path} holds {kind} weights, but latents are needed here: give another file.")
        layers = metadata.get("layers", "1")
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
    if codes.shape[1] == 1 and layers.isdecimal():
        codes = codes.expand(-1, int(layers), -1)
    return codes.detach()


def read_labels(path: Path) -> Any:
    """The labels saved beside own W+ codes by `save_latents`, None where there are none."""
    try:
        return json.loads(read_metadata(path).get("labels", "null")) if is_safetensors(path) else None
    except (RecursionError, ValueError) as error:
        raise HairclipError(f"{path} has labels that are not JSON ({error}): write it again.") from None

"""Read and write sets of W+ codes: our own files, and tensors or arrays of other projects such as `train_faces.pt`.

Files are memory-mapped where their format allows it (safetensors, .npy, torch): tensors are not copied.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.images import WPlus
from hairclip.pretrained.network_files import AnotherKindError, Source, stored, wrong_kind
from hairclip.pretrained.weight_files import (
    all_finite,
    is_safetensors,
    map_torch,
    read_metadata,
    read_safetensors,
    write_safetensors,
    write_safetensors_blocks,
)

_CHUNK = 64  # codes that are checked at once
_SHOWN = 3  # how many shapes an error names


def save_latents(
    path: Source, w_plus: WPlus, labels: Any = None, half: bool = False, components: int | None = None
) -> None:
    """Write W+ codes.

    Args:
        path: the file to write, ending in ".safetensors".
        w_plus: the codes `(N, n_latent, w_dim)`.
        labels: values fit for JSON, such as ``{"hairstyle": [N names], "color": [N names]}``.
        half: whether to store numbers as float16; they load as float32.
        components: keep only so many principal components of the codes, which takes less room where layers move
            together; None keeps the codes.
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


def save_latent_blocks(
    path: Source, blocks: Iterable[WPlus], shape: tuple[int, int, int], labels: Any = None, about: Any = None
) -> None:
    """Write W+ codes that need not fit the memory. Without `about`, the file is the one that `save_latents` writes.

    Args:
        path: the file to write, ending in ".safetensors".
        blocks: the codes, cut into blocks `(n, n_latent, w_dim)`, float32.
        shape: number of all codes, `n_latent`, `w_dim`.
        labels: see `save_latents`.
        about: a value fit for JSON that tells how the codes were made.
    """
    metadata = {"hairclip_kind": "latents", "config": "{}", "labels": json.dumps(labels)}
    if about is not None:
        metadata["about"] = json.dumps(about)
    write_safetensors_blocks(Path(path), "w_plus", shape, blocks, metadata)


def read_about(path: Path) -> Any:
    """Return what a file of codes tells about how they were made; None where it tells nothing."""
    if not is_safetensors(path):
        return None
    try:
        return json.loads(read_metadata(path).get("about", "null"))
    except (RecursionError, ValueError):
        return None


def map_latents(path: Path) -> WPlus:
    """Return the codes of a file `(N, n_latent, w_dim)`, memory-mapped and in the file's precision.

    The file holds one tensor or array, or a list or dictionary of them, which are joined in order. Each has the shape
    `(n, n_latent, w_dim)` or `(n, 1, n_latent, w_dim)`, inside a list or dictionary also `(n_latent, w_dim)`.
    Codes written as principal components are put together, in float32 and in memory.

    Raises:
        HairclipError: if the file holds something else, or numbers that are NaN or infinite.
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
    codes = find_codes(content)
    if codes is None:
        raise _no_codes(path, content)
    _check_finite(path, codes)
    return codes


def find_codes(content: Any) -> WPlus | None:
    """Return the codes in the content of a file, see `map_latents`; None if there are none."""
    if isinstance(content, Mapping) and "w_plus" in content:
        content = content["w_plus"]
    lone = isinstance(content, Tensor)
    tensors = _tensors(content)
    blocks = []
    for block in tensors:
        if block.ndim == 4 and block.shape[1] == 1:
            block = block[:, 0]
        elif block.ndim == 2 and not lone:
            block = block[None]
        if block.ndim != 3 or not block.is_floating_point() or 0 in block.shape:
            return None
        blocks.append(block.detach())
    if not blocks or any(block.shape[1:] != blocks[0].shape[1:] or block.dtype != blocks[0].dtype for block in blocks):
        return None
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def _tensors(content: Any) -> list[Tensor]:
    """Return the tensors in a tensor, a list of nothing but tensors, or the values of a dictionary."""
    if isinstance(content, Tensor):
        return [content]
    if isinstance(content, Mapping):
        return [value for value in content.values() if isinstance(value, Tensor)]
    whole = isinstance(content, Sequence) and all(isinstance(value, Tensor) for value in content)
    return list(content) if whole else []


def _no_codes(path: Path, content: Any) -> HairclipError:
    found = wrong_kind(path, "latents", content)
    tensors = _tensors(content)
    if not tensors or " weights (" in str(found):  # it is a known network
        return found
    shapes = list(dict.fromkeys(f"{_type(tensor)} {tuple(tensor.shape)}" for tensor in tensors))
    listed = ", ".join(shapes[:_SHOWN]) + (", ..." if len(shapes) > _SHOWN else "")
    return AnotherKindError(
        f"{path} holds numbers of the type and shape {listed}, expected floating-point W+ codes (count, layers, "
        "width): give a latent set."
    )


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_finite(path: Path, codes: WPlus) -> None:
    for start in range(0, len(codes), _CHUNK):
        chunk = codes[start : start + _CHUNK]
        if all_finite(chunk):
            continue
        first = start + int(chunk.flatten(1).isfinite().all(dim=1).logical_not().nonzero()[0])
        raise HairclipError(
            f"{path} holds NaN or infinite numbers, first in code {first} of {len(codes)} (counted from 0): these data "
            "are damaged, make or fetch the file again."
        )


def _assembled(path: Path, content: Mapping[str, Tensor]) -> WPlus:
    mean, basis, coefficients = (content[name].float() for name in ("mean", "basis", "coefficients"))
    try:
        return (mean.flatten() + coefficients @ basis).unflatten(1, mean.shape)
    except RuntimeError:
        raise HairclipError(
            f"{path} holds principal components of shapes that do not fit together: write it again."
        ) from None


def read_labels(path: Path) -> dict[str, list[Any]] | None:
    """Return the labels beside our own codes, name of the label -> one value for each code; None if there are none.

    Labels that were saved as a list, with one dictionary for each code, are returned in the same form.

    Raises:
        HairclipError: if the labels are something else.
    """
    if not is_safetensors(path):
        return None
    try:
        labels = json.loads(read_metadata(path).get("labels", "null"))
    except (RecursionError, ValueError):
        labels = "not JSON"
    if isinstance(labels, list) and all(isinstance(row, dict) for row in labels):
        keys = dict.fromkeys(key for row in labels for key in row)
        labels = {key: [row.get(key) for row in labels] for key in keys}
    columns = labels.values() if isinstance(labels, dict) else ()
    plain = all(isinstance(column, list) and not any(isinstance(x, (list, dict)) for x in column) for column in columns)
    if labels is not None and not (isinstance(labels, dict) and plain):
        raise HairclipError(
            f"{path} has labels in its metadata that are not lists of names: write it again with save_latents."
        )
    return labels

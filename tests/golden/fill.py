"""Weights and inputs that anyone can rebuild, so that the golden outputs in golden.npz need no weight files.

A tensor has a name. Its values are standard normals from a generator seeded with that name: ``shift + scale * normal``.
A recipe (recipes/NAME.json) lists the tensors of an official checkpoint, in its order, as rows
``[key, shape, kind, shift, scale]``.

    agrees(network(tensor("z", (2, 512))), "stylegan2_64.z.image")
"""

import json
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent


def tensor(
    name: str, shape: Iterable[int], shift: float = 0.0, scale: float = 1.0, abs_: bool = False, salt: str = "A"
) -> Tensor:
    """A float32 tensor, the same on every machine for the same name and salt; `abs_`: of absolute normals."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(f"{salt}:{name}".encode())))
    normal = rng.standard_normal(tuple(shape), dtype=np.float32)
    return torch.from_numpy(np.asarray(shift + scale * (np.abs(normal) if abs_ else normal), dtype=np.float32))


def official(recipe: str, prefix: str = "", salt: str = "A") -> dict[str, Tensor]:
    """The checkpoint that recipes/`recipe`.json describes: official key to tensor.

    With a prefix ("mapper.", say, of "hairclip_pt") only the keys that begin with it, which is cut off. Another salt
    gives other values.
    """
    rows = json.loads((HERE / "recipes" / f"{recipe}.json").read_text())
    return {row[0][len(prefix) :]: fill(*row, salt) for row in rows if row[0].startswith(prefix)}


def fill(key: str, shape: list[int], kind: str, shift: float, scale: float, salt: str = "A") -> Tensor:
    """Return the tensor of a recipe's row."""
    if kind == "fir":  # the fixed blur of StyleGAN2, gain 4
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        return torch.outer(taps, taps) / 16
    if kind == "zero_long":
        return torch.zeros(shape, dtype=torch.int64)
    if kind == "peak":  # small biases, one raised: `shift` is its index, `scale` by how much
        values = tensor(key, shape, 0.0, 0.1, False, salt)
        values[int(shift)] += scale
        return values
    values = tensor(key, shape, shift, scale, kind == "abs", salt)
    return values.half() if kind == "half" else values


@lru_cache(maxsize=1)
def _golden() -> dict[str, np.ndarray]:
    with np.load(HERE / "golden.npz") as file:
        return dict(file)


def golden(key: str) -> np.ndarray:
    """An output of the official PyTorch classes, computed once on a CPU in float32."""
    return _golden()[key]


def relative_error(ours: Tensor, key: str) -> float:
    """``||ours - golden|| / ||golden||``; 1e-4 or less is agreement in float32."""
    expected = golden(key).astype(np.float64)
    actual = ours.detach().double().cpu().numpy()
    if actual.shape != expected.shape:
        raise ValueError(f"{key} has shape {expected.shape}, not {actual.shape}")
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def agrees(ours: Tensor, key: str, tolerance: float = 1e-4) -> None:
    """Assert that a result equals the golden one."""
    error = relative_error(ours, key)
    assert error <= tolerance, f"{key}: relative error {error:.2e} is above {tolerance:.0e}"

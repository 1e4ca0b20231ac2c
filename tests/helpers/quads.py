"""Quads that no renderer had to draw."""

from pathlib import Path

import numpy as np

from hairclip.common.face_labels import HAIR


def write_quads(folder: Path, size: int = 32, without: str = "", count: int = 3) -> Path:
    """Quads of a bright head of hair on the upper half, and dark skin below."""
    rng = np.random.default_rng(0)
    labels = np.ones((count, 2, 2, size, size), np.uint8)
    labels[..., : size // 2, :] = HAIR
    images = np.where(labels[..., None] == HAIR, 220, 40) + rng.integers(-9, 9, (*labels.shape, 3))
    coverage = np.where(labels[:, :, 0] == HAIR, 255, 0).astype(np.uint8)
    marks = np.array([[12, 20], [20, 20], [16, 23], [13, 27], [19, 27]], np.float32) * (size / 32)
    arrays = {
        "images": images.astype(np.uint8),
        "labels": labels,
        "coverage": coverage,
        "direction": np.stack([coverage // 255 * 127, 0 * coverage], -1).astype(np.int8),
        "landmarks": np.broadcast_to(marks, (count, 2, 5, 2)).copy(),
    }
    arrays.pop(without, None)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "train-00000.npz", **arrays)
    np.savez(folder / "train-00001.npz", **{key: value[:1] for key, value in arrays.items()})
    return folder

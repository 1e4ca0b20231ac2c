"""Read rendered quads, and draw augmented batches from them.

A quad is two heads of hair, a and b, each in two hair colors: `images[quad, head, color]`. In half of the quads a and b
are the same person with another hairstyle in another scene. The *flat index* of a portrait is its place in
`images.reshape(Q * 4, ...)`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import MIRRORED
from hairclip.common.images import Images, Labels, from_uint8

Metadata = list[list[list[dict[str, Any]]]]
"""Specs of portraits as dictionaries (`PortraitSpec.from_dict` reads them), by quad, head and color."""


@dataclass(frozen=True)
class Quads:
    """All portraits of one split.

    Attributes:
        images: (Q, 2, 2, H, W, 3), sRGB.
        labels: (Q, 2, 2, H, W), CelebAMask-HQ ids.
        styles: (Q, 2, 2), index into `style_names`.
        colors: (Q, 2, 2), index into `color_names`; bald heads have a color too, which nobody sees.
        persons: (Q, 2, 2), seeds of the identities.
        metadata: specs of the portraits, `metadata[quad][head][color]`.
        style_names: names of the hairstyles that occur, sorted.
        color_names: names of the hair colors that occur, sorted.
    """

    images: UInt8[np.ndarray, "quads 2 2 height width 3"]
    labels: UInt8[np.ndarray, "quads 2 2 height width"]
    styles: Int[np.ndarray, "quads 2 2"]
    colors: Int[np.ndarray, "quads 2 2"]
    persons: Int[np.ndarray, "quads 2 2"]
    metadata: Metadata
    style_names: tuple[str, ...]
    color_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Height and width of the pictures in pixels."""
        return int(self.images.shape[-2])


def load_quads(folder: Path) -> Quads:
    """Read every file that the command `render-portraits --quads` wrote to a folder.

    Raises:
        HairclipError: if the folder holds no quads, or if one of the files is damaged.
    """
    shards = sorted(folder.glob("*.npz"))
    if not shards:
        raise HairclipError(
            f"no rendered quads in {folder}: render some with `python -m hairclip render-portraits --quads` first."
        )
    images, labels = [], []
    metadata: Metadata = []
    for shard in shards:
        pictures, classes, portraits = read_shard(shard)
        images.append(pictures)
        labels.append(classes)
        metadata.extend(portraits)

    def each(read: Any) -> np.ndarray:
        return np.array([[[read(portrait) for portrait in row] for row in quad] for quad in metadata])

    styles, colors = each(lambda p: p["hair"]["style"]), each(lambda p: p["color"]["name"])
    style_names, style_index = np.unique(styles, return_inverse=True)
    color_names, color_index = np.unique(colors, return_inverse=True)
    return Quads(
        images=np.concatenate(images),
        labels=np.concatenate(labels),
        styles=style_index.reshape(styles.shape),
        colors=color_index.reshape(colors.shape),
        persons=each(lambda p: p["identity"]["seed"]),
        metadata=metadata,
        style_names=tuple(map(str, style_names)),
        color_names=tuple(map(str, color_names)),
    )


def read_shard(
    path: Path,
) -> tuple[UInt8[np.ndarray, "quads 2 2 height width 3"], UInt8[np.ndarray, "quads 2 2 height width"], Metadata]:
    """Return images, labels and metadata of one file that the command `render-portraits --quads` wrote.

    Raises:
        HairclipError: if the file is damaged.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            metadata = [[[json.loads(str(line)) for line in row] for row in quad] for quad in file["metadata"]]
            return file["images"], file["labels"], metadata
    except Exception as error:  # a damaged archive raises almost anything
        raise HairclipError(f"{path} holds no quads ({type(error).__name__}): delete it and render again.") from error


def pick(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the rows of an array (Q, 2, 2, ...) at flat indices."""
    return array.reshape(-1, *array.shape[3:])[index]


def images_at(quads: Quads, index: np.ndarray, device: torch.device) -> Images:
    """Return pictures by flat index, NCHW in [-1, 1]."""
    return from_uint8(pick(quads.images, index)).to(device)


def labels_at(quads: Quads, index: np.ndarray, device: torch.device) -> Labels:
    """Return label maps by flat index, (N, H, W)."""
    return torch.from_numpy(pick(quads.labels, index).astype(np.int64)).to(device)


def mirror_labels(labels: Labels) -> Labels:
    """Return the labels of mirrored pictures: left and right, as seen in the image, change places."""
    return torch.tensor(MIRRORED, device=labels.device)[labels.flip(-1)]


def augment(images: Images, labels: Labels, rng: np.random.Generator) -> tuple[Images, Labels]:
    """Return pictures and labels changed at random, each sample in its own way.

    Mirror, zoom, shift and rotation change both; exposure, contrast, blur and noise change the pictures. Hue stays,
    because the networks must tell colors.
    """
    batch, device = len(images), images.device

    def uniform(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, batch)).float().to(device)

    angle, zoom = uniform(-0.1, 0.1), uniform(0.94, 1.06)
    mirror = torch.where(uniform(0.0, 1.0) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    x_row = torch.stack([cos * mirror, -sin, uniform(-0.05, 0.05)], dim=1)
    y_row = torch.stack([sin * mirror, cos, uniform(-0.05, 0.05)], dim=1)
    grid = F.affine_grid(torch.stack([x_row, y_row], dim=1), [batch, 3, *images.shape[2:]], align_corners=False)
    # The grid mirrors the labels once more: what stays is that left and right have changed places.
    sided = torch.where((mirror < 0)[:, None, None], mirror_labels(labels).flip(-1), labels)
    moved = F.grid_sample(sided[:, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False)
    warped = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    warped = (warped + uniform(-0.12, 0.12)[:, None, None, None]) * uniform(0.85, 1.15)[:, None, None, None]
    blurred = F.avg_pool2d(F.pad(warped, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    warped = torch.lerp(warped, blurred, (uniform(-0.6, 1.0).clamp(min=0))[:, None, None, None])
    noise = torch.from_numpy(rng.standard_normal(warped.shape, dtype=np.float32)).to(device)
    return warped + noise * uniform(-0.05, 0.08).clamp(min=0)[:, None, None, None], moved[:, 0].long()


def augmented_portraits(
    quads: Quads, index: np.ndarray, device: torch.device, rng: np.random.Generator
) -> tuple[Images, Labels]:
    """Return portraits by flat index, and their labels, after `augment`."""
    return augment(images_at(quads, index, device), labels_at(quads, index, device), rng)

"""Rendered quads in memory, and the batches that the recipes draw from them.

A quad is two heads of hair, a and b, each in two hair colours: ``images[quad, geometry, color]``. In half of the quads
a and b are the same person with another hairstyle in another scene.
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
from hairclip.common.images import Images, Labels, from_uint8
from hairclip.networks.face_parser import CELEBAMASK_CLASSES


@dataclass(frozen=True)
class Quads:
    """All portraits of one split.

    Attributes:
        images: ``(Q, 2, 2, H, W, 3)``.
        labels: ``(Q, 2, 2, H, W)``, CelebAMask-HQ ids.
        styles: ``(Q, 2, 2)`` index into `style_names`.
        colors: ``(Q, 2, 2)`` index into `color_names`; bald heads have a colour too, which nobody sees.
        persons: ``(Q, 2, 2)`` identity seeds.
    """

    images: UInt8[np.ndarray, "quads 2 2 height width 3"]
    labels: UInt8[np.ndarray, "quads 2 2 height width"]
    styles: Int[np.ndarray, "quads 2 2"]
    colors: Int[np.ndarray, "quads 2 2"]
    persons: Int[np.ndarray, "quads 2 2"]
    metadata: list[list[list[dict[str, Any]]]]
    style_names: tuple[str, ...]
    color_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        return int(self.images.shape[-2])


def load_quads(folder: Path) -> Quads:
    """Read every shard that ``scripts/render_portraits.py --quads`` wrote to `folder`."""
    shards = sorted(folder.glob("*.npz"))
    if not shards:
        raise HairclipError(
            f"no rendered quads in {folder}: run `python scripts/render_portraits.py --quads --out {folder}` first."
        )
    images, labels = [], []
    metadata: list[list[list[dict[str, Any]]]] = []
    for shard in shards:
        with np.load(shard, allow_pickle=False) as file:
            images.append(file["images"])
            labels.append(file["labels"])
            metadata.extend([[json.loads(str(line)) for line in row] for row in quad] for quad in file["metadata"])

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


def pick(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Rows of ``array.reshape(Q * 4, ...)``: portraits by flat index."""
    return array.reshape(-1, *array.shape[3:])[index]


def images_at(quads: Quads, index: np.ndarray, device: torch.device) -> Images:
    return from_uint8(pick(quads.images, index)).to(device)


def labels_at(quads: Quads, index: np.ndarray, device: torch.device) -> Labels:
    return torch.from_numpy(pick(quads.labels, index).astype(np.int64)).to(device)


def mirrored(labels: Labels) -> Labels:
    """Labels of mirrored pictures: left and right, as seen in the image, change places."""
    table = torch.arange(len(CELEBAMASK_CLASSES), device=labels.device)
    for left, right in (("l_eye", "r_eye"), ("l_brow", "r_brow"), ("l_ear", "r_ear")):
        pair = [CELEBAMASK_CLASSES.index(left), CELEBAMASK_CLASSES.index(right)]
        table[pair] = table[pair[::-1]].clone()
    return table[labels.flip(-1)]


def augment(images: Images, labels: Labels, rng: np.random.Generator) -> tuple[Images, Labels]:
    """What a photo or an imperfect generator may do to a portrait, per sample.

    Mirror, small zoom, shift and rotation (labels alike), exposure and contrast, blur, noise. Hue is kept: colour is
    something the networks must tell.
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
    # A mirrored grid of mirrored labels is the plain one, but for left and right.
    sided = torch.where((mirror < 0)[:, None, None], mirrored(labels).flip(-1), labels)
    moved = F.grid_sample(sided[:, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False)
    warped = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    warped = (warped + uniform(-0.12, 0.12)[:, None, None, None]) * uniform(0.85, 1.15)[:, None, None, None]
    blurred = F.avg_pool2d(F.pad(warped, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    warped = torch.lerp(warped, blurred, (uniform(-0.6, 1.0).clamp(min=0))[:, None, None, None])
    noise = torch.from_numpy(rng.standard_normal(warped.shape, dtype=np.float32)).to(device)
    return warped + noise * uniform(-0.05, 0.08).clamp(min=0)[:, None, None, None], moved[:, 0].long()


def augmented(quads: Quads, index: np.ndarray, device: torch.device, rng: np.random.Generator) -> tuple[Images, Labels]:
    """Portraits by flat index and their labels, augmented."""
    return augment(images_at(quads, index, device), labels_at(quads, index, device), rng)

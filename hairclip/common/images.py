"""The image convention of the whole library, and the shape names used in annotations.

An image is a float32 tensor, NCHW, RGB, values in [-1, 1] (0 is mid-grey). PIL pictures and uint8 arrays are converted
here and nowhere else.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from PIL import Image
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.image_files import decode, over_white, picture_file

Images: TypeAlias = Float[Tensor, "batch 3 height width"]
Masks: TypeAlias = Bool[Tensor, "batch 1 height width"]
SoftMasks: TypeAlias = Float[Tensor, "batch 1 height width"]
Labels: TypeAlias = Int64[Tensor, "batch height width"]
WPlus: TypeAlias = Float[Tensor, "batch n_latent w_dim"]
Latents: TypeAlias = Float[Tensor, "batch w_dim"]
Embeddings: TypeAlias = Float[Tensor, "batch embedding"]
Flags: TypeAlias = Bool[Tensor, " batch"]
Scores: TypeAlias = Float[Tensor, " batch"]

ImageSource: TypeAlias = str | Path | Image.Image | np.ndarray | Tensor

PNG_LEVEL = 4  # of compression: a photo is written in 0.4 of the time that Pillow's 6 takes, a few percent larger


def load_image(source: ImageSource) -> Images:
    """Read one picture as ``(1, 3, H, W)``, RGB, [-1, 1].

    Args:
        source: a path, a PIL image of any mode, a uint8 array ``(H, W, 3)`` or ``(H, W)``, or a tensor that already
            follows the convention: ``(3, H, W)`` or ``(1, 3, H, W)`` in [-1, 1].

    Raises:
        HairclipError: if the file is missing or is not a picture.
        ValueError: if an array or tensor has another shape or type.
    """
    if isinstance(source, Tensor):
        tensor = source if source.ndim == 4 else source[None]
        if tensor.ndim != 4 or tensor.shape[0] != 1 or tensor.shape[1] != 3 or not tensor.is_floating_point():
            raise ValueError(f"an image tensor is floating point (3, H, W) or (1, 3, H, W), not {tuple(source.shape)}")
        return tensor.float()
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3):
            raise ValueError(f"an image array is uint8 (H, W, 3) or (H, W), not {source.dtype} {source.shape}")
        source = Image.fromarray(source)
    if isinstance(source, Image.Image):
        picture = over_white(*decode(source))
    else:
        with picture_file(source) as opened:
            picture = over_white(*decode(opened))
    return torch.from_numpy(np.array(picture, dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1


def to_uint8(images: Images) -> np.ndarray:
    """Pictures as a uint8 array ``(B, H, W, 3)``; values outside [-1, 1] are clamped."""
    scaled = (images.detach().float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def from_uint8(pixels: np.ndarray) -> Images:
    """A uint8 array ``(B, H, W, 3)`` as images ``(B, 3, H, W)`` in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pil(image: Float[Tensor, "..."]) -> Image.Image:
    """One image, ``(3, H, W)`` or ``(1, 3, H, W)``, as a PIL picture."""
    return Image.fromarray(to_uint8(image if image.ndim == 4 else image[None])[0])


def mask_to_pil(weights: SoftMasks) -> Image.Image:
    """One soft mask, ``(1, 1, H, W)`` in [0, 1], as a picture of mode "L"."""
    return Image.fromarray((weights[0, 0].clamp(0, 1) * 255).round().byte().cpu().numpy())


def save_image(image: Float[Tensor, "..."] | Image.Image, path: str | Path, **encoding: Any) -> None:
    """Write one image; the suffix of `path` names the format. The file appears whole or not at all.

    Args:
        image: a tensor of the convention, or a PIL picture.
        path: the file; its folder is made where it is missing.
        encoding: what Pillow's writer of that format understands, such as quality.
    """
    picture = image if isinstance(image, Image.Image) else to_pil(image)
    path = Path(path)
    check_image_path(path)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        try:
            picture.save(partial, **{"compress_level": PNG_LEVEL, **encoding})
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except ValueError as error:  # the format cannot hold it: WebP ends at 16383 pixels
        raise HairclipError(f"cannot write {path} ({error}): choose another format, such as .png.") from None
    except OSError as error:
        raise HairclipError(f"cannot write {path} ({error.strerror or error}): choose another place.") from None


def check_image_path(path: str | Path) -> None:
    """Refuse a place where no picture can be written, so that long work need not end there; makes its folder."""
    path = Path(path)
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise HairclipError(f"{path} has no image suffix that can be written: end it in .png or .jpg.")
    reason = "it is a folder" if path.is_dir() else None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
    else:
        reason = reason or (None if os.access(path.parent, os.W_OK) else "no permission")
    if reason is not None:
        raise HairclipError(f"cannot write {path} ({reason}): choose another place.")


def image_grid(rows: Sequence[Sequence[Tensor]], gap: int = 2) -> Image.Image:
    """A contact sheet: each row a list of ``(3, H, W)`` images of one common size, white gaps of `gap` pixels."""
    height, width = rows[0][0].shape[-2:]
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, len(rows) * (height + gap) - gap), "white")
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            sheet.paste(to_pil(image), (c * (width + gap), r * (height + gap)))
    return sheet


def constant(values: Sequence[float] | Sequence[Sequence[float]], *, like: Tensor) -> Tensor:
    """These numbers, in the precision of a tensor and on its device, which is not waited for."""
    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=True)


def resize_area(images: Float[Tensor, "batch channels height width"], size: int) -> Tensor:
    """To ``(B, C, size, size)``: mean over each target cell when shrinking (adaptive), bilinear when enlarging."""
    if images.shape[-2:] == (size, size):
        return images
    if min(images.shape[-2:]) >= size:
        return F.adaptive_avg_pool2d(images, size)
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def area_resample(images: Float[Tensor, "batch channels _ _"], size: int) -> Float[Tensor, "batch channels size size"]:
    """To ``(B, C, size, size)``, each target pixel the exact mean of the source area it covers.

    Equal to enlarging by repetition to a common multiple and average pooling, without the large intermediate. Differs
    from adaptive average pooling, which weights every touched source pixel the same.
    """
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    rows, columns = _area_weights(height, size, like=images), _area_weights(width, size, like=images)
    return rows @ images @ columns.T


def _area_weights(source: int, target: int, *, like: Tensor) -> Float[Tensor, "target source"]:
    # In units of 1/target of a source pixel every edge is an integer, so the overlaps are exact.
    t = torch.arange(target, device=like.device)[:, None]
    s = torch.arange(source, device=like.device)[None, :]
    overlap = torch.minimum((t + 1) * source, (s + 1) * target) - torch.maximum(t * source, s * target)
    return overlap.clamp(min=0).to(like.dtype) / source

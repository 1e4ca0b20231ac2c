"""The image convention of the whole library, and the shape names used in annotations.

An image is a float32 tensor, NCHW, RGB, values in [-1, 1] (0 is mid-gray). PIL images and uint8 arrays are converted
here and nowhere else.
"""

import io
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from PIL import Image
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.files import open_atomic
from hairclip.common.image_files import BinaryFile, decode, has_codec, over_white, picture_file

Images: TypeAlias = Float[Tensor, "batch 3 height width"]
Masks: TypeAlias = Bool[Tensor, "batch 1 height width"]
SoftMasks: TypeAlias = Float[Tensor, "batch 1 height width"]
Labels: TypeAlias = Int64[Tensor, "batch height width"]
WPlus: TypeAlias = Float[Tensor, "batch n_latent w_dim"]
Latents: TypeAlias = Float[Tensor, "batch w_dim"]
Embeddings: TypeAlias = Float[Tensor, "batch embedding"]
Flags: TypeAlias = Bool[Tensor, " batch"]
Scores: TypeAlias = Float[Tensor, " batch"]

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryFile | Image.Image | np.ndarray | Tensor
"""What every function that takes a picture accepts; see `open_image`."""

PNG_LEVEL = 4  # of compression: a photo is written in 0.4 of the time that Pillow's 6 takes, a few percent larger
_OF_THE_EXTRA = {".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF", ".avif": "AVIF"}
"""Suffixes of formats that Pillow may lack -> Pillow's names."""
_TAKES = (
    "give a path, a PIL image, the bytes of an image file, an array (H, W, 3) of uint8 or of floats in [0, 1], or a "
    "tensor (3, H, W) of floats in [-1, 1]"
)
_MOST = 2.0  # of a tensor: a generator's pictures go a little beyond [-1, 1]


# ------------------------------------------------------------------------------------------ reading


@contextmanager
def open_image(source: Any) -> Iterator[Image.Image | Tensor]:
    """Open a picture, whatever a person hands over.

    Args:
        source: one picture, as

            - a path;
            - the bytes of an image file, or a binary file object, which is read from its start;
            - a PIL image of any mode;
            - a NumPy array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or with the channels first, of uint8 or of
              floats in [0, 1];
            - a tensor (3, H, W) of floats in [-1, 1], or one of uint8 that is shaped like an array.

            Arrays and tensors may have a batch dimension of 1.

    Yields:
        The image (1, 3, H, W) in [-1, 1] of a tensor of floats. Anything else is yielded as a PIL image whose pixels
        are loaded but not decoded: `hairclip.common.image_files.decode` takes it.

    Raises:
        HairclipError: if it is none of these, or is damaged.
    """
    if isinstance(source, Tensor) and source.is_floating_point():
        yield _as_images(source)
    elif isinstance(source, (np.ndarray, Tensor)):
        yield _as_pil(source.detach().cpu().numpy() if isinstance(source, Tensor) else source)
    elif isinstance(source, Image.Image):
        yield source
    elif isinstance(source, (str, os.PathLike)):
        with picture_file(os.fspath(source), image_name(source)) as opened:
            yield opened
    elif isinstance(source, (bytes, bytearray, memoryview)) or hasattr(source, "read"):
        file = source if hasattr(source, "read") else io.BytesIO(source)
        with picture_file(file, image_name(source)) as opened:
            yield opened
    else:
        kind = "None" if source is None else f"an object of type {type(source).__name__}"
        raise HairclipError(f"{kind} is no image: {_TAKES}.")


def image_name(source: Any) -> str:
    """Return what messages call a picture: its path where there is one, else "the picture"."""
    return str(source) if isinstance(source, (str, os.PathLike)) else "the picture"


def load_image(source: ImageSource) -> Images:
    """Read one picture as (1, 3, H, W), RGB, [-1, 1]. Transparent parts lie in front of white.

    Args:
        source: see `open_image`.

    Raises:
        HairclipError: if it cannot be read as a picture.
    """
    with open_image(source) as opened:
        if isinstance(opened, Tensor):
            return opened
        return from_pil(over_white(*decode(opened, image_name(source))))


def _as_images(tensor: Tensor) -> Images:
    """Return a floating-point tensor (3, H, W) or (1, 3, H, W) in [-1, 1] as (1, 3, H, W), float32."""
    shape = tuple(tensor.shape)
    batch = tensor[None] if tensor.ndim == 3 else tensor
    if batch.ndim != 4 or batch.shape[:2] != (1, 3) or 0 in shape:
        raise HairclipError(f"a tensor of shape {shape} is not one image: {_TAKES}.")
    low, high = (float(value) for value in batch.detach().aminmax())
    if not (low >= -_MOST and high <= _MOST):
        raise HairclipError(f"a tensor with values from {low:g} to {high:g} is no image: {_TAKES}.")
    return batch.float()


def _as_pil(array: np.ndarray) -> Image.Image:
    """Return an array of one picture as a PIL image of mode "L", "RGB" or "RGBA"."""
    shape = array.shape
    pixels = array[0] if array.ndim == 4 and shape[0] == 1 else array
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3, 4) and pixels.shape[0] in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if array.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] in (3, 4))):
        raise HairclipError(f"an array of shape {shape} is not one image: {_TAKES}.")
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise HairclipError(f"an array with floats from {low:g} to {high:g} is no image: {_TAKES}.")
        pixels = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    elif array.dtype != np.uint8:
        raise HairclipError(f"an array of {array.dtype} is no image: {_TAKES}.")
    return Image.fromarray(np.ascontiguousarray(pixels))


# ------------------------------------------------------------------------------------------ PIL, arrays, tensors


def from_pil(picture: Image.Image) -> Images:
    """Return a PIL image of mode "RGB" as (1, 3, H, W) in [-1, 1]; its metadata is not looked at."""
    return torch.from_numpy(np.array(picture, dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1


def to_pil(image: Float[Tensor, "..."]) -> Image.Image:
    """Return one image, (3, H, W) or (1, 3, H, W), as a PIL image of mode "RGB"."""
    return Image.fromarray(to_uint8(image if image.ndim == 4 else image[None])[0])


def mask_to_pil(weights: SoftMasks) -> Image.Image:
    """Return one soft mask, (1, 1, H, W) in [0, 1], as a PIL image of mode "L"."""
    return Image.fromarray((weights[0, 0].clamp(0, 1) * 255).round().byte().cpu().numpy())


def from_uint8(pixels: np.ndarray) -> Images:
    """Return a uint8 array (B, H, W, 3) as images (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_uint8(images: Images) -> np.ndarray:
    """Return images (B, 3, H, W) as a uint8 array (B, H, W, 3); values outside [-1, 1] are clamped."""
    scaled = (images.detach().float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


# ------------------------------------------------------------------------------------------ writing


def save_image(image: Float[Tensor, "..."] | Image.Image, path: str | Path, **encoding: Any) -> None:
    """Write one image to a file, which appears whole or not at all.

    Args:
        image: a tensor (3, H, W) or (1, 3, H, W) in [-1, 1], or a PIL image.
        path: the file; its suffix names the format. Missing folders are made.
        encoding: options of Pillow's writer of that format, such as `quality`.

    Raises:
        HairclipError: if the format cannot hold the image, or the file cannot be written.
    """
    picture = image if isinstance(image, Image.Image) else to_pil(image)
    path = Path(path)
    check_image_path(path)
    kind = image_format(path)
    if kind == "PNG":
        encoding = {"compress_level": PNG_LEVEL, **encoding}
    content = io.BytesIO()  # encoded in memory: Pillow does not notice a disk that takes half of a block
    try:
        picture.save(content, kind, **encoding)
    except (ValueError, OSError, KeyError, RuntimeError, SystemError, struct.error) as error:  # WebP above 16383 pixels
        raise HairclipError(f"cannot write {path} ({error}): choose another format, such as .png.") from None
    with open_atomic(path) as file:
        file.write(content.getbuffer())


def image_format(path: str | Path) -> str:
    """Return Pillow's name of the format that a path's suffix names, such as "JPEG".

    Raises:
        HairclipError: if it names none that can be written.
    """
    suffix = Path(path).suffix.lower()
    kind = _OF_THE_EXTRA.get(suffix)
    if kind is not None and not has_codec(kind):
        raise HairclipError(
            f"{path} cannot be written here: install what writes {suffix[1:].upper()} pictures with pip install "
            '"hairclip[heif]", or end it in .jpg or .png.'
        )
    written = Image.registered_extensions().get(suffix)
    if written is None or written not in Image.SAVE:
        raise HairclipError(f"{path} has no image suffix that can be written: end it in .png or .jpg.")
    return written


def check_image_path(path: str | Path, sources: Iterable[object] = ()) -> None:
    """Refuse a place where no picture can be written, before long work is lost there. Missing folders are made.

    Args:
        path: the file to write.
        sources: the pictures that it must not replace, also where one is a link to the other. What is not the path of
            a file is passed over.

    Raises:
        HairclipError: if the picture cannot be written there, or would replace one of `sources`.
    """
    path = Path(path)
    image_format(path)
    reason = None
    try:
        if "\0" in str(path):
            reason = "its name holds a null character"
        elif path.is_dir():
            reason = "it is a folder"
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            reason = None if os.access(path.parent, os.W_OK) else "no permission"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason is not None:
        raise HairclipError(f"cannot write {str(path)!r} ({reason}): choose another place.")
    for source in sources:
        if isinstance(source, (str, os.PathLike)) and _is_same_file(source, path):
            raise HairclipError(f"{path} would replace the picture {source}: choose another file to write.")


def _is_same_file(one: str | os.PathLike[str], other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one of them is not there
        return False


# ------------------------------------------------------------------------------------------ tensors


def constant(values: Sequence[float] | Sequence[Sequence[float]], *, like: Tensor) -> Tensor:
    """Return these numbers with the dtype and device of a tensor. The copy to the device is not waited for."""
    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=True)


def resize_area(
    images: Float[Tensor, "batch channels height width"], size: int, *, repeat_pixels: bool = False
) -> Tensor:
    """Resize to ``(B, C, size, size)``: the mean over each target cell when shrinking, bilinear when enlarging.

    Args:
        images: the pictures.
        size: the new height and width.
        repeat_pixels: enlarge by adaptive average pooling, which repeats pixels, as HairCLIP does.
    """
    if images.shape[-2:] == (size, size):
        return images
    if min(images.shape[-2:]) >= size or repeat_pixels:
        return F.adaptive_avg_pool2d(images, size)
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def area_resample(images: Float[Tensor, "batch channels _ _"], size: int) -> Float[Tensor, "batch channels size size"]:
    """Return images as (B, C, size, size); each target pixel is the exact mean of the source area it covers.

    This equals repeating pixels up to a common multiple of both sizes and average pooling, without the large
    intermediate. Adaptive average pooling differs: it weights every touched source pixel the same.
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

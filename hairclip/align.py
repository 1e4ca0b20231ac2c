"""From a photo to the square crop that face generators are trained on, and back.

The crop is FFHQ's (Karras et al. 2019, appendix A, "download_ffhq.py"): a rotated square around eyes and mouth, cut
with reflected, softly blurred borders where it leaves the photo. Pixel coordinates are (x, y), float64, with (0, 0)
the top left corner.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from PIL import Image

from hairclip.errors import HairclipError

__all__ = ["FaceSquare", "crop_face", "face_square", "paste_back"]

Points: TypeAlias = Float[np.ndarray, "points 2"]
Pixels: TypeAlias = Float[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class FaceSquare:
    """A rotated square in a photo: corners upper left, lower left, lower right, upper right, (4, 2)."""

    corners: Points

    @property
    def size(self) -> float:
        """Length of a side in pixels."""
        return float(np.hypot(*(self.corners[3] - self.corners[0])))

    def coefficients(self, size: int) -> tuple[float, float, float, float, float, float]:
        """PIL's affine coefficients from pixels of the photo to pixels of a `size` x `size` crop of this square."""
        upper_left, lower_left, _, upper_right = self.corners
        axes = np.stack([upper_right - upper_left, lower_left - upper_left], axis=1) / size
        inverse = np.linalg.inv(axes)
        offset = -inverse @ (upper_left + 0.5)  # PIL counts from the corner of a pixel, landmarks from its centre
        a, b, c, d = (float(value) for value in inverse.ravel())
        return a, b, float(offset[0]), c, d, float(offset[1])


def face_square(landmarks: Points) -> FaceSquare:
    """The square around a face.

    Args:
        landmarks: 5 points (image-left eye, image-right eye, nose, image-left and image-right mouth corner) or 68
            points (iBUG order) in pixels of the photo.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if len(landmarks) == 5:
        eye_left, eye_right, _, mouth_left, mouth_right = landmarks
    elif len(landmarks) == 68:
        eye_left, eye_right = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
        mouth_left, mouth_right = landmarks[48], landmarks[54]
    else:
        raise ValueError(f"a face has 5 or 68 landmarks here, not {len(landmarks)}")
    eyes, mouth = (eye_left + eye_right) / 2, (mouth_left + mouth_right) / 2
    across, down = eye_right - eye_left, mouth - eyes
    x = across - np.array([-down[1], down[0]])
    length = float(np.hypot(*x))
    if length < 1e-6:
        raise HairclipError("the landmarks of this face fall together: give a picture in which the face is visible.")
    x *= max(2.0 * math.hypot(*across), 1.8 * math.hypot(*down)) / length
    y = np.array([-x[1], x[0]])
    center = eyes + 0.1 * down
    return FaceSquare(np.stack([center - x - y, center - x + y, center + x + y, center + x - y]))


def crop_face(photo: Image.Image, square: FaceSquare, size: int, transform_size: int | None = None) -> Image.Image:
    """Cut a square out of a photo.

    Args:
        photo: the whole picture.
        square: where the face is.
        size: pixels of the crop.
        transform_size: the square is first sampled at this size and then reduced; FFHQ takes 4096 for crops of 1024
            pixels, the demonstrations of e4e and HairCLIP take the crop's own size. None takes four times the crop.
    """
    transform_size = transform_size or 4 * size
    photo = photo.convert("RGB")
    corners, side = square.corners.copy(), square.size
    shrink = math.floor(side / size * 0.5)
    if shrink > 1:
        smaller = (int(np.rint(photo.width / shrink)), int(np.rint(photo.height / shrink)))
        photo = photo.resize(smaller, Image.Resampling.LANCZOS)
        corners, side = corners / shrink, side / shrink
    border = max(int(np.rint(side * 0.1)), 3)
    low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    left, top = (max(int(edge) - border, 0) for edge in low)
    right, bottom = min(int(high[0]) + border, photo.width), min(int(high[1]) + border, photo.height)
    if right - left < photo.width or bottom - top < photo.height:
        photo = photo.crop((left, top, right, bottom))
        corners = corners - np.array([left, top])
    low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    beyond = (
        max(-low[0] + border, 0),
        max(-low[1] + border, 0),
        max(high[0] - photo.width + border, 0),
        max(high[1] - photo.height + border, 0),
    )
    if max(beyond) > border - 4:
        pad = [max(int(amount), int(np.rint(side * 0.3))) for amount in beyond]
        photo = _extend(photo, pad, blur=side * 0.02)
        corners = corners + np.array(pad[:2])
    quad = tuple(float(value) for value in (corners + 0.5).ravel())
    cut = photo.transform((transform_size, transform_size), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
    return cut if size == transform_size else cut.resize((size, size), Image.Resampling.LANCZOS)


def paste_back(
    photo: Image.Image, crop: Image.Image, square: FaceSquare, alpha: Image.Image | None = None
) -> Image.Image:
    """Put an edited crop back where it was cut.

    Args:
        photo: the whole picture.
        crop: the square, any size.
        square: where it was cut.
        alpha: weight of the crop, mode "L", the crop's size; None pastes all of it. The photo keeps its bits where
            it is 0.
    """
    photo = photo.convert("RGB")
    weight = Image.new("L", crop.size, 255) if alpha is None else alpha.convert("L")
    forward = square.coefficients(crop.width)
    placed = crop.convert("RGB").transform(photo.size, Image.Transform.AFFINE, forward, Image.Resampling.BICUBIC)
    weight = weight.transform(photo.size, Image.Transform.AFFINE, forward, Image.Resampling.BILINEAR)
    return Image.composite(placed, photo, weight)


def _extend(photo: Image.Image, pad: list[int], *, blur: float) -> Image.Image:
    """Reflect the photo beyond its edges (left, top, right, bottom pixels), blurred and faded to the median colour."""
    left, top, right, bottom = pad
    pixels = np.pad(np.asarray(photo, np.float64), ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width = pixels.shape[:2]
    y, x = np.ogrid[:height, :width]
    outside = np.maximum(
        1.0 - np.minimum(x / max(left, 1e-9), (width - 1 - x) / max(right, 1e-9)),
        1.0 - np.minimum(y / max(top, 1e-9), (height - 1 - y) / max(bottom, 1e-9)),
    )[..., None]
    pixels += (_blurred(pixels, blur) - pixels) * np.clip(outside * 3.0 + 1.0, 0.0, 1.0)
    pixels += (np.median(pixels, axis=(0, 1)) - pixels) * np.clip(outside, 0.0, 1.0)
    return Image.fromarray(np.uint8(np.clip(np.rint(pixels), 0, 255)))


def _blurred(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur with mirrored edges, cut off at four sigma."""
    radius = int(4.0 * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (steps / max(sigma, 1e-9)) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(radius, radius) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(pixels, padding, "symmetric")
        length = pixels.shape[axis]
        pixels = sum(k * padded.take(np.arange(i, i + length), axis=axis) for i, k in enumerate(kernel))
    return pixels

"""Cut out the square crop that face generators are trained on, and carry pixels from the crop back to the photo.

The crop is that of FFHQ (Karras et al. 2019, appendix A, "download_ffhq.py"): a rotated square around eyes and mouth.
Where it leaves the photo, it shows reflected and blurred borders. Pixel coordinates are (x, y), float64; unless a
function says otherwise, (0, 0) is the center of the top left pixel.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from PIL import Image

from hairclip.common.framing import FFHQ, Framing, Points

__all__ = [
    "FaceSquare",
    "Rectangle",
    "crop_face",
    "face_square",
    "rectangle",
    "spread",
    "spread_fields",
    "strips",
]

Rectangle: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are the first ones outside."""
Pixels: TypeAlias = Float[np.ndarray, "height width 3"]
Fields: TypeAlias = Float[np.ndarray, "channels _ _"]


_STRIP = 256  # rows


@dataclass(frozen=True)
class FaceSquare:
    """A rotated square in a photo.

    Attributes:
        corners: upper left, lower left, lower right, upper right, (4, 2).
        whole: whether it is a whole picture, of any shape. Such a picture is not reduced before it is sampled.
    """

    corners: Points
    whole: bool = False

    @classmethod
    def of_picture(cls, size: tuple[int, int]) -> "FaceSquare":
        """Return the square of a picture that is a crop itself, from its width and height."""
        right, bottom = size[0] - 0.5, size[1] - 0.5
        return cls(np.array([[-0.5, -0.5], [-0.5, bottom], [right, bottom], [right, -0.5]]), whole=True)

    @property
    def size(self) -> float:
        """Pixels of a side."""
        return float(np.hypot(*(self.corners[3] - self.corners[0])))

    def shrink(self, size: int) -> int:
        """Return by what whole number FFHQ reduces the photo before it samples a crop of `size` pixels."""
        return 1 if self.whole else max(1, math.floor(self.size / size * 0.5))

    def sampled(self, size: int, photo: tuple[int, int]) -> Points:
        """Return the corners of what a crop of `size` pixels shows, in a photo of that width and height.

        Unlike `corners`, they count from the outer corner of the top left pixel. They include a shift: FFHQ counts from
        pixel centers again after it has reduced the photo, which moves the crop by half a reduced pixel.
        """
        shrink = self.shrink(size)
        return (self.corners / shrink + 0.5) * np.array(photo) / np.array(_reduced(photo, shrink))

    def coefficients(self, size: int, photo: tuple[int, int]) -> tuple[float, float, float, float, float, float]:
        """Return PIL's affine coefficients from pixels of the photo to pixels of a `size` x `size` crop."""
        upper_left, lower_left, _, upper_right = self.sampled(size, photo)
        inverse = np.linalg.inv(np.stack([upper_right - upper_left, lower_left - upper_left], axis=1) / size)
        a, b, c, d = (float(value) for value in inverse.ravel())
        x, y = (float(value) for value in -inverse @ upper_left)
        return a, b, x, c, d, y


def _reduced(photo: tuple[int, int], shrink: int) -> tuple[int, int]:
    """Return width and height of a photo after FFHQ has reduced it."""
    width, height = (max(1, int(np.rint(length / shrink))) for length in photo)
    return width, height


def face_square(landmarks: Points, framing: Framing = FFHQ) -> FaceSquare:
    """Return the square around a face.

    Args:
        landmarks: 5 points (image-left eye, image-right eye, nose, image-left and image-right mouth corner) or 68
            points (iBUG order) in pixels of the photo.
        framing: the crop that the networks were trained on.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if len(landmarks) == 5:
        eye_left, eye_right, _, mouth_left, mouth_right = landmarks
    elif len(landmarks) == 68:
        eye_left, eye_right = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
        mouth_left, mouth_right = landmarks[48], landmarks[54]
    else:
        raise ValueError(f"a face has 5 or 68 landmarks here, not {len(landmarks)}")
    center, x, y = framing.place(np.stack([eye_left, eye_right]), np.stack([mouth_left, mouth_right]))
    return FaceSquare(np.stack([center - x - y, center - x + y, center + x + y, center + x - y]))


def crop_face(photo: Image.Image, square: FaceSquare, size: int, transform_size: int | None = None) -> Image.Image:
    """Return the crop of a photo that a square shows.

    Args:
        photo: the whole picture.
        square: where the face is.
        size: pixels of the crop.
        transform_size: pixels at which the square is sampled before it is reduced to `size`. FFHQ takes 4096 for crops
            of 1024; the demonstrations of e4e and HairCLIP take `size`. None takes four times `size`.
    """
    transform_size = transform_size or 4 * size
    shrink = square.shrink(size)
    corners, side = square.corners / shrink, square.size / shrink
    width, height = _reduced(photo.size, shrink)
    border = max(int(np.rint(side * 0.1)), 3)
    low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    left, top = (min(max(int(low[0]) - border, 0), width - 1), min(max(int(low[1]) - border, 0), height - 1))
    right, bottom = max(min(int(high[0]) + border, width), left + 1), max(min(int(high[1]) + border, height), top + 1)
    # Only what the square covers is reduced: the same pixels as of the whole photo, and much sooner.
    across, down = photo.width / width, photo.height / height
    around = (left * across, top * down, right * across, bottom * down)
    if shrink > 1:
        photo = photo.resize((right - left, bottom - top), Image.Resampling.LANCZOS, box=around)
    else:
        photo = photo.crop((left, top, right, bottom))
    photo = photo if photo.mode == "RGB" else photo.convert("RGB")
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


def rectangle(square: FaceSquare, size: int, photo: tuple[int, int]) -> Rectangle | None:
    """Return the upright rectangle that holds a square in a photo of that width and height; None if it lies outside."""
    corners = square.sampled(size, photo)
    left, top = (max(int(edge), 0) for edge in np.floor(corners.min(axis=0)))
    right, bottom = (min(int(edge), length) for edge, length in zip(np.ceil(corners.max(axis=0)), photo, strict=True))
    return (left, top, right, bottom) if left < right and top < bottom else None


def spread(crop: Image.Image, square: FaceSquare, photo: tuple[int, int], place: Rectangle) -> Image.Image:
    """Return a crop as it lies in a rectangle of the photo, black outside the square.

    Args:
        crop: a picture (mode "RGB"), or weights (mode "L").
        square: where the crop was cut.
        photo: width and height of the photo.
        place: the rectangle.
    """
    left, top, right, bottom = place
    smooth = Image.Resampling.BILINEAR if crop.mode == "L" else Image.Resampling.BICUBIC
    bands = np.stack([np.asarray(band, np.float32) for band in crop.split()])
    placed = Image.new(crop.mode, (right - left, bottom - top))
    for strip in strips(place):
        rounded = spread_fields(bands, square, photo, strip, smooth).round().clip(0, 255).astype(np.uint8)
        pixels = np.moveaxis(rounded, 0, -1) if len(rounded) > 1 else rounded[0]
        placed.paste(Image.fromarray(pixels), (0, strip[1] - top))
    return placed


def strips(place: Rectangle) -> Iterator[Rectangle]:
    """Yield a rectangle in bands of a few hundred rows, because photos may be large."""
    left, top, right, bottom = place
    for row in range(top, bottom, _STRIP):
        yield left, row, right, min(row + _STRIP, bottom)


def spread_fields(
    fields: Fields,
    square: FaceSquare,
    photo: tuple[int, int],
    place: Rectangle,
    smooth: Image.Resampling = Image.Resampling.BILINEAR,
) -> Fields:
    """Return numbers over a crop as they lie in a rectangle of the photo, 0 outside the square.

    They stay in floating point, because Pillow rounds down when it samples eight bits.

    Args:
        fields: (channels, size, size), float32.
        square: where the crop was cut.
        photo: width and height of the photo.
        place: the rectangle.
        smooth: how values between pixels are interpolated.
    """
    a, b, c, d, e, f = square.coefficients(fields.shape[-1], photo)
    left, top, right, bottom = place
    forward = (a, b, c + a * left + b * top, d, e, f + d * left + e * top)
    size = (right - left, bottom - top)
    bands = [Image.fromarray(band).transform(size, Image.Transform.AFFINE, forward, smooth) for band in fields]
    return np.stack([np.asarray(band) for band in bands])


def _extend(photo: Image.Image, pad: list[int], *, blur: float) -> Image.Image:
    """Return the photo with reflected borders, which are blurred and fade to the median color.

    Args:
        photo: mode "RGB".
        pad: pixels to add on the left, top, right and bottom.
        blur: standard deviation of the blur, in pixels.
    """
    left, top, right, bottom = pad
    pixels = np.pad(np.asarray(photo, np.float64), ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width = pixels.shape[:2]
    y, x = np.ogrid[:height, :width]
    outside = np.maximum(
        1.0 - np.minimum(x / max(left, 1e-9), (width - 1 - x) / max(right, 1e-9)),
        1.0 - np.minimum(y / max(top, 1e-9), (height - 1 - y) / max(bottom, 1e-9)),
    )[..., None]
    pixels += (_blur(pixels, blur) - pixels) * np.clip(outside * 3.0 + 1.0, 0.0, 1.0)
    pixels += (np.median(pixels, axis=(0, 1)) - pixels) * np.clip(outside, 0.0, 1.0)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _blur(pixels: Pixels, sigma: float) -> Pixels:
    """Return a Gaussian blur with mirrored edges, cut off at four sigma, as `scipy.ndimage.gaussian_filter` does it.

    By Fourier transforms: for crops of 1024 pixels sigma is large, and the direct sum takes three times as long.
    """
    from scipy.signal import fftconvolve  # half a second to import, and few photos need it

    radius = int(4.0 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-9)) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padded = np.pad(pixels, [(radius, radius) if i == axis else (0, 0) for i in range(3)], "symmetric")
        along = kernel[:, None, None] if axis == 0 else kernel[None, :, None]
        pixels = fftconvolve(padded, along, mode="valid", axes=axis)
    return pixels

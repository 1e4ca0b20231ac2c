"""Rasterize triangles with a depth buffer, and the frame buffers that skin and hair are drawn into.

Everything that depends on a hair color is linear before tone mapping: a pixel is
``color + rgb * hair_diffuse + hair_specular`` where ``rgb`` is the linear hair color. So one rasterization
serves any number of hair colors (`Buffers.compose`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hairclip.common.errors import HairclipError

try:
    import numba
except ImportError as error:  # pragma: no cover - depends on the installation
    raise HairclipError("Rendering portraits needs numba: run `pip install hairclip[portraits]`.") from error

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
ByteArray = npt.NDArray[np.uint8]

FAR = np.float32(1e9)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return `numba.njit` for the bare function: numba cannot compile the shape checks that tests wrap around it."""
    return lambda function: numba.njit(**options)(inspect.unwrap(function))


@dataclass
class Buffers:
    """Supersampled frame buffers, H x W; origin in the upper left corner, pixel centers at +0.5.

    Attributes:
        depth: (H, W) float32, camera depth of the nearest opaque surface (smaller is nearer, `FAR` is empty).
            It holds the body; hair tests against it (and may write its own depth).
        color: (H, W, 3) float32, linear light of everything that does not depend on the hair color,
            already multiplied by what hair leaves visible of it.
        hair_diffuse: (H, W, 3) float32, factor of the linear hair color (premultiplied by coverage).
        hair_specular: (H, W, 3) float32, light reflected without the hair color (premultiplied by coverage).
        hair_coverage: (H, W) float32 in [0, 1], soft coverage by hair strands and scalp tint.
        hair_direction: (H, W, 2) float32, mean of (cos 2a, sin 2a) over the visible strands, weighted by their
            coverage; a is the angle of a strand in the picture, from the x axis (right) towards the y axis (down).
    """

    depth: FloatArray
    color: FloatArray
    hair_diffuse: FloatArray
    hair_specular: FloatArray
    hair_coverage: FloatArray
    hair_direction: FloatArray

    @classmethod
    def empty(cls, height: int, width: int) -> Buffers:
        """Return buffers with nothing in them."""
        return cls(
            depth=np.full((height, width), FAR, np.float32),
            color=np.zeros((height, width, 3), np.float32),
            hair_diffuse=np.zeros((height, width, 3), np.float32),
            hair_specular=np.zeros((height, width, 3), np.float32),
            hair_coverage=np.zeros((height, width), np.float32),
            hair_direction=np.zeros((height, width, 2), np.float32),
        )

    def cover(self, alpha: FloatArray, diffuse: FloatArray, specular: FloatArray) -> None:
        """Lay hair over what is there: alpha (H, W) in [0, 1]; diffuse, specular (H, W, 3) premultiplied by alpha."""
        keep = 1 - alpha
        for buffer in (self.color, self.hair_diffuse, self.hair_specular):
            buffer *= keep[..., None]
        self.hair_diffuse += diffuse
        self.hair_specular += specular
        self.hair_coverage[...] = 1 - (1 - self.hair_coverage) * keep

    def compose(self, rgb: tuple[float, float, float], gloss: float = 1.0) -> FloatArray:
        """Return the linear image (H, W, 3) for one linear hair color; `gloss` scales the uncolored reflection."""
        return self.color + self.hair_diffuse * np.asarray(rgb, np.float32) + self.hair_specular * np.float32(gloss)


@njit(cache=True, fastmath=True)
def rasterize(points, triangles, height, width):  # type: ignore[no-untyped-def]
    """Find the nearest triangle at each pixel.

    Args: points (n, 3) float32 as (x pixel, y pixel, depth); triangles (t, 3) int32.
    Returns: depth (H, W) float32, triangle index (H, W) int32 (-1 is empty), barycentric u, v (H, W, 2) float32.
    """
    depth = np.full((height, width), np.float32(1e9), np.float32)
    index = np.full((height, width), -1, np.int32)
    bary = np.zeros((height, width, 2), np.float32)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, x1, y1 = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
        x2, y2 = points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if abs(area) < 1e-9:
            continue
        first_x = max(0, int(np.ceil(min(x0, x1, x2) - 0.5)))
        last_x = min(width - 1, int(np.floor(max(x0, x1, x2) - 0.5)))
        first_y = max(0, int(np.ceil(min(y0, y1, y2) - 0.5)))
        last_y = min(height - 1, int(np.floor(max(y0, y1, y2) - 0.5)))
        inverse = 1 / area
        for y in range(first_y, last_y + 1):
            for x in range(first_x, last_x + 1):
                px, py = x + 0.5 - x0, y + 0.5 - y0
                u = (px * (y2 - y0) - (x2 - x0) * py) * inverse
                v = ((x1 - x0) * py - px * (y1 - y0)) * inverse
                if u < 0 or v < 0 or u + v > 1:
                    continue
                z = points[a, 2] + u * (points[b, 2] - points[a, 2]) + v * (points[c, 2] - points[a, 2])
                if z < depth[y, x]:
                    depth[y, x] = z
                    index[y, x] = t
                    bary[y, x, 0] = u
                    bary[y, x, 1] = v
    return depth, index, bary


@njit(cache=True, fastmath=True)
def interpolate(index, bary, triangles, attributes):  # type: ignore[no-untyped-def]
    """Return vertex attributes (n, c) float32 at the pixels that `rasterize` covered, (pixels, c), row by row."""
    height, width = index.shape
    channels = attributes.shape[1]
    count = 0
    for y in range(height):
        for x in range(width):
            if index[y, x] >= 0:
                count += 1
    out = np.empty((count, channels), np.float32)
    row = 0
    for y in range(height):
        for x in range(width):
            t = index[y, x]
            if t < 0:
                continue
            u, v = bary[y, x, 0], bary[y, x, 1]
            w = 1 - u - v
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            for k in range(channels):
                out[row, k] = w * attributes[a, k] + u * attributes[b, k] + v * attributes[c, k]
            row += 1
    return out


@njit(cache=True, fastmath=True)
def vertex_normals(points, triangles):  # type: ignore[no-untyped-def]
    """Return area-weighted unit normals (n, 3) of a triangle mesh with points (n, 3) float32."""
    normals = np.zeros_like(points)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            normals[i, 0] += nx
            normals[i, 1] += ny
            normals[i, 2] += nz
    for i in range(normals.shape[0]):
        length = np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + 1e-12
        normals[i, 0] /= length
        normals[i, 1] /= length
        normals[i, 2] /= length
    return normals


@njit(cache=True)
def box_blur(image, radius):  # type: ignore[no-untyped-def]
    """Blur an image (H, W) float32 twice by a box of a radius in pixels; edges are replicated."""
    height, width = image.shape
    out = image.copy()
    scale = np.float32(1.0 / (2 * radius + 1))
    for _ in range(2):
        line = np.empty(width, np.float32)
        for y in range(height):
            total = np.float64(0)
            for k in range(-radius, radius + 1):
                total += out[y, min(max(k, 0), width - 1)]
            for x in range(width):
                line[x] = total * scale
                total += out[y, min(x + radius + 1, width - 1)] - out[y, max(x - radius, 0)]
            out[y] = line
        totals = np.zeros(width, np.float64)
        for k in range(-radius, radius + 1):
            totals += out[min(max(k, 0), height - 1)]
        source = out.copy()
        for y in range(height):
            for x in range(width):
                out[y, x] = totals[x] * scale
                totals[x] += source[min(y + radius + 1, height - 1), x] - source[max(y - radius, 0), x]
    return out

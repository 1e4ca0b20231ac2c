"""Shade hair strands and draw them, antialiased and in depth order, over the frame buffers.

Reflection of a strand has two highlights (Kajiya and Kay, Rendering Fur with Three Dimensional Textures, 1989; shifted
along the strand as in Marschner et al., Light Scattering from Human Hair Fibers, 2003, after Scheuermann, 2004): an
uncolored one near the mirror direction and a colored one beneath it. Everything is linear in the hair color, so
one drawing serves all colors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hairclip.portraits.drawing.raster import Buffers, FloatArray, njit
from hairclip.portraits.drawing.scene import Camera, HairVolume, Lights, ShadowMap

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Strands:
    """A groomed head of hair in rest pose: S strands of K points.

    Attributes:
        points: (S, K, 3) float32, in world units.
        valid: (S, K) bool, which points exist: the first ones of each strand.
        width: (S,) float32, thickness in world units.
        tone: (S,) float32, natural variation of brightness, log scale, about N(0, 0.15).
        rise: (S,) float32 in units, by how much nearer a strand counts where strands cover each other: combed hair
            lies in layers.
        tint: (n,) float32 in [0, 1], per vertex of the head: how far the scalp is covered by hair too short or too
            dense to be drawn as strands.
        gloss: strength of the highlights (about 1).
        shadow: how strongly strands shade each other (1 for loose hair, less for plaits, which are opaque bodies).
    """

    points: FloatArray
    valid: BoolArray
    width: FloatArray
    tone: FloatArray
    rise: FloatArray
    tint: FloatArray
    gloss: float
    shadow: float = 1.0


def shade(
    strands: Strands, points: FloatArray, camera: Camera, lights: Lights, volume: HairVolume, shadow: ShadowMap
) -> tuple[FloatArray, FloatArray]:
    """Return colored and uncolored light, (S, K, 3) each, that posed strands `points` (S, K, 3) send to the camera.

    The first is multiplied by the linear hair color, the second is not.
    """
    passed = volume.depth(points, lift=0.03) * np.float32(strands.shadow)
    visible = shadow.visibility(points, 0.08, 1)
    around = volume.occupancy(points) * np.float32(strands.shadow)
    return _shade(
        np.ascontiguousarray(points),
        strands.valid.sum(1).astype(np.int32),
        np.exp(strands.tone).astype(np.float32),
        np.float32(strands.gloss),
        passed,
        visible,
        around,
        camera.eye,
        lights.key_direction,
        lights.key_color,
        lights.fill_direction,
        np.float32(lights.fill),
        lights.rim_direction,
        np.float32(lights.rim),
        np.float32(lights.ambient),
    )


@njit(cache=True, fastmath=True)
def _lobe(tx, ty, tz, vx, vy, vz, light, shift, power):  # type: ignore[no-untyped-def]
    """Return Kajiya and Kay's highlight, sin(tangent, half vector) ** power, for a shifted tangent."""
    tx, ty, tz = tx + shift * vx, ty + shift * vy, tz + shift * vz
    hx, hy, hz = light[0] + vx, light[1] + vy, light[2] + vz
    dot = tx * hx + ty * hy + tz * hz
    norm = (tx * tx + ty * ty + tz * tz) * (hx * hx + hy * hy + hz * hz) + 1e-9
    return max(1 - dot * dot / norm, 0.0) ** (power / 2)


@njit(cache=True, fastmath=True)
def _shade(  # type: ignore[no-untyped-def]
    points, count, tone, gloss, passed, visible, around, eye, key, key_color, fill_way, fill, rim_way, rim, ambient
):
    """Compute the light of `shade` point by point."""
    strands, steps = points.shape[0], points.shape[1]
    colored_light = np.zeros((strands, steps, 3), np.float32)
    white_light = np.zeros((strands, steps, 3), np.float32)
    for s in range(strands):
        last = count[s] - 1
        for k in range(count[s]):
            a, b = max(k - 1, 0), min(k + 1, last)
            x, y, z = points[s, k, 0], points[s, k, 1], points[s, k, 2]
            tx, ty, tz = (
                points[s, b, 0] - points[s, a, 0],
                points[s, b, 1] - points[s, a, 1],
                points[s, b, 2] - points[s, a, 2],
            )
            norm = 1 / (np.sqrt(tx * tx + ty * ty + tz * tz) + 1e-9)
            tx, ty, tz = tx * norm, ty * norm, tz * norm
            vx, vy, vz = eye[0] - x, eye[1] - y, eye[2] - z
            norm = 1 / np.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx * norm, vy * norm, vz * norm
            # The facing of the whole head of hair keeps its large form readable.
            bx, by, bz = x - 0.0, (y - 7.45) * 0.7, z - 0.3
            norm = 1 / (np.sqrt(bx * bx + by * by + bz * bz) + 1e-9)
            bx, by, bz = bx * norm, by * norm, bz * norm
            facing = 0.35 + 0.65 * min(max((bx * key[0] + by * key[1] + bz * key[2]) * 0.7 + 0.3, 0.0), 1.0)
            open_sky = 0.25 + 0.75 * np.exp(-0.42 * around[s, k])
            along = tx * key[0] + ty * key[1] + tz * key[2]
            diffuse = np.sqrt(max(1 - along * along, 0.0))
            white = _lobe(tx, ty, tz, vx, vy, vz, key, 0.10, 90.0) * 0.085 * gloss
            colored = _lobe(tx, ty, tz, vx, vy, vz, key, -0.14, 28.0) * 0.34 * gloss
            back = _lobe(tx, ty, tz, vx, vy, vz, rim_way, 0.0, 20.0) * open_sky * rim * 2.0
            back *= min(max(bx * rim_way[0] + by * rim_way[1] + bz * rim_way[2] + 0.2, 0.0), 1.0)
            side = min(max((bx * fill_way[0] + by * fill_way[1] + bz * fill_way[2]) * 0.7 + 0.3, 0.0), 1.0)
            everywhere = ambient * (0.58 + 0.35 * by) * open_sky + side * open_sky * fill * 0.5 + 0.35 * back
            direct = np.exp(-0.62 * passed[s, k]) * (0.25 + 0.75 * visible[s, k]) * facing
            level = tone[s] * (0.74 + 0.36 * k / (steps - 1.0))
            for c in range(3):
                light = direct * key_color[c]
                colored_light[s, k, c] = level * (light * (0.55 * diffuse + 0.8 * colored) + everywhere)
                white_light[s, k, c] = light * (white + 0.03 * colored) + 0.03 * back
    return colored_light, white_light


def draw_hair(
    strands: Strands,
    points: FloatArray,
    camera: Camera,
    lights: Lights,
    volume: HairVolume,
    shadow: ShadowMap,
    buffers: Buffers,
) -> FloatArray:
    """Shade the posed strands `points` (S, K, 3) and lay them over the buffers.

    Returns: (H, W) float32 in [0, 1], how much of each (supersampled) pixel the strands cover.
    """
    diffuse, specular = shade(strands, points, camera, lights, volume, shadow)
    projected = camera.project(points)
    count = strands.valid.sum(1).astype(np.int32)
    half_width = (strands.width * camera.pixels_per_unit / 2).astype(np.float32)
    alpha, colored, white, direction = _draw(
        projected, count, half_width, strands.rise, diffuse, specular, buffers.depth
    )
    buffers.cover(alpha, colored, white)
    buffers.hair_direction[...] = direction
    return alpha


@njit(cache=True, fastmath=True)
def _sort_segments(points, count, rise, buckets):  # type: ignore[no-untyped-def]
    """Return indices strand * (K - 1) + segment of all segments, nearest first (counting sort).

    The depth of a whole segment misjudges slanted neighbors, so outer layers go first (`Strands.rise`).
    """
    strands, steps = points.shape[0], points.shape[1]
    nearest, farthest = np.float32(1e9), np.float32(-1e9)
    for s in range(strands):
        for k in range(count[s]):
            z = points[s, k, 2] - rise[s]
            nearest, farthest = min(nearest, z), max(farthest, z)
    scale = (buckets - 1) / (2 * max(farthest - nearest, np.float32(1e-6)))
    start = np.zeros(buckets + 1, np.int64)
    for s in range(strands):
        for k in range(count[s] - 1):
            start[1 + int((points[s, k, 2] + points[s, k + 1, 2] - 2 * (nearest + rise[s])) * scale)] += 1
    for i in range(buckets):
        start[i + 1] += start[i]
    order = np.empty(start[buckets], np.int64)
    for s in range(strands):
        for k in range(count[s] - 1):
            bucket = int((points[s, k, 2] + points[s, k + 1, 2] - 2 * (nearest + rise[s])) * scale)
            order[start[bucket]] = s * (steps - 1) + k
            start[bucket] += 1
    return order


@njit(cache=True, fastmath=True)
def _draw(points, count, half_width, rise, diffuse, specular, depth):  # type: ignore[no-untyped-def]
    """Blend all segments, nearest first, into what is still visible of each pixel, by how much of it they cover.

    Args: points (S, K, 3) pixels and depth; count (S,) points per strand; half_width (S,) pixels; rise (S,) units;
        diffuse and specular (S, K, 3) light; depth (H, W) of the body, which hides strands behind it.
    Returns: alpha (H, W), premultiplied diffuse and specular (H, W, 3), premultiplied (cos 2a, sin 2a) (H, W, 2).
    """
    height, width = depth.shape
    segments = points.shape[1] - 1
    clear = np.ones((height, width), np.float32)
    colored = np.zeros((height, width, 3), np.float32)
    white = np.zeros((height, width, 3), np.float32)
    direction = np.zeros((height, width, 2), np.float32)
    for index in _sort_segments(points, count, rise, 4096):
        s, k = index // segments, index % segments
        x0, y0, z0 = points[s, k, 0], points[s, k, 1], points[s, k, 2]
        dx, dy, dz = points[s, k + 1, 0] - x0, points[s, k + 1, 1] - y0, points[s, k + 1, 2] - z0
        # Strands thin out over their last third.
        left = count[s] - 1 - k
        taper = min(1.0, (left + 1.0) / (0.3 * count[s] + 1.0))
        reach = half_width[s] * (0.35 + 0.65 * taper)
        steep = abs(dy) > abs(dx)
        major = dy if steep else dx
        if abs(major) < 1e-4:
            continue
        slope = (dx if steep else dy) / major
        length = dx * dx + dy * dy
        cosine, sine = (dx * dx - dy * dy) / length, 2 * dx * dy / length  # of twice the angle
        stretch = np.sqrt(1 + slope * slope)  # width across the minor axis of a slanted line
        reach *= stretch
        start = (y0 if steep else x0) if major > 0 else (y0 + dy if steep else x0 + dx)
        end = start + abs(major)
        origin = y0 if steep else x0
        limit = height if steep else width
        across = width if steep else height
        # Each column (or row) belongs to the one segment that crosses its middle: joints show no gap and no seam.
        for i in range(max(0, int(np.ceil(start - 0.5))), min(limit, int(np.ceil(end - 0.5)))):
            middle = (i + 0.5 - origin) / major
            center = (x0 if steep else y0) + middle * (dx if steep else dy)
            z = z0 + middle * dz
            low, high = center - reach, center + reach
            for j in range(max(0, int(np.floor(low))), min(across - 1, int(np.floor(high))) + 1):
                cover = min(j + 1.0, high) - max(float(j), low)
                x, y = (j, i) if steep else (i, j)
                visible = clear[y, x]
                if visible < 0.02 or z >= depth[y, x]:
                    continue
                share = cover * visible
                clear[y, x] = visible - share
                direction[y, x, 0] += share * cosine
                direction[y, x, 1] += share * sine
                for c in range(3):
                    shade0 = diffuse[s, k, c] + middle * (diffuse[s, k + 1, c] - diffuse[s, k, c])
                    shade1 = specular[s, k, c] + middle * (specular[s, k + 1, c] - specular[s, k, c])
                    colored[y, x, c] += share * shade0
                    white[y, x, c] += share * shade1
    for y in range(height):
        for x in range(width):
            if clear[y, x] < 0.02:  # what was left out
                scale = 1 / (1 - clear[y, x])
                clear[y, x] = 0
                for c in range(3):
                    colored[y, x, c] *= scale
                    white[y, x, c] *= scale
    return 1 - clear, colored, white, direction

"""Eyebrows: short soft hairs that lie on the skin."""

from __future__ import annotations

import numpy as np

from hairclip.portraits.drawing.raster import Buffers, ByteArray, FloatArray, njit
from hairclip.portraits.drawing.scene import Camera, Lights, Pose, normalize
from hairclip.portraits.head.labels import LEFT_BROW, RIGHT_BROW
from hairclip.portraits.head.mesh import BODY, Head
from hairclip.portraits.spec import IdentitySpec


def draw_brows(
    head: Head, identity: IdentitySpec, pose: Pose, camera: Camera, lights: Lights, buffers: Buffers, labels: ByteArray
) -> None:
    """Draw both eyebrows over the skin in `buffers.color` and write their `labels` (H, W)."""
    hairs = pose.apply(grow_brows(head, identity))
    density = np.zeros(buffers.depth.shape, np.float32)
    width = camera.pixels_per_unit * 0.016
    _splat_lines(camera.project(hairs), buffers.depth, density, np.float32(width))
    alpha = (1 - np.exp(-0.9 * density)) * 0.86
    lit = 0.25 * lights.key_color.mean() * (0.6 + 0.4 * max(float(lights.key_direction[2]), 0.0)) + 0.6 * lights.ambient
    color = np.array(identity.brow_color, np.float32) * np.float32(lit)
    buffers.color += alpha[..., None] * (color - buffers.color)
    half = np.arange(camera.size)[None] < camera.project(hairs.reshape(-1, 3))[:, 0].mean()
    strong = alpha > 0.3
    labels[strong & half] = LEFT_BROW
    labels[strong & ~half] = RIGHT_BROW


def grow_brows(head: Head, identity: IdentitySpec, count: int = 300) -> FloatArray:
    """Return hairs of both brows on the unposed head, (2 * count, 5, 3)."""
    rng = np.random.default_rng(identity.seed % 2**63)
    height, depth = head.rest[:, 1], head.rest[:, 2]
    skin = np.flatnonzero((head.part == BODY) & (depth > 0.9) & (height > 7.3) & (height < 7.7))
    rest = head.rest[skin, :2]
    out = []
    for side in (-1, 1):
        u = rng.random(count)
        x = 0.115 + u * 0.40
        arc = 7.475 + identity.brow_height + 0.055 * identity.brow_arch * np.sin(np.clip(u * 1.25, 0, 1) * np.pi * 0.75)
        arc = arc - 0.10 * np.clip(u - 0.62, 0, 1)
        thickness = 0.030 * identity.brow_thickness * (1 - 0.7 * u) * (0.5 + 0.5 * np.clip(u * 5, 0, 1))
        y = arc + np.clip(rng.normal(0, 0.5, count), -1, 1) * thickness
        place = np.stack([x * side, y], 1)
        nearest, distance = _nearest_three(rest, place.astype(np.float32))
        weight = 1 / (distance + 1e-3)
        weight = (weight / weight.sum(1, keepdims=True))[..., None]
        vertex = skin[nearest]
        root = (head.positions[vertex] * weight).sum(1)
        root[:, :2] += place - (head.rest[vertex][..., :2] * weight).sum(1)
        normal = normalize((head.normals[vertex] * weight).sum(1))
        growth = np.stack([side * (0.35 + 0.65 * u), 0.75 - 1.25 * u + rng.normal(0, 0.12, count), -0.35 * u], 1)
        along = normalize(growth - (growth * normal).sum(1, keepdims=True) * normal)
        reach = np.linspace(0, 1, 5)[None, :, None] * 0.075 * (0.7 + 0.5 * rng.random((count, 1, 1)))
        out.append(root[:, None] + normal[:, None] * 0.012 + along[:, None] * reach)
    return np.concatenate(out).astype(np.float32)


@njit(cache=True)
def _nearest_three(points, queries):  # type: ignore[no-untyped-def]
    """Return indices (q, 3) of the points (n, 2) nearest to queries (q, 2), and their distances."""
    index = np.zeros((queries.shape[0], 3), np.int64)
    best = np.full((queries.shape[0], 3), np.float32(1e9), np.float32)
    for i in range(queries.shape[0]):
        for j in range(points.shape[0]):
            d = (points[j, 0] - queries[i, 0]) ** 2 + (points[j, 1] - queries[i, 1]) ** 2
            k = 3
            while k > 0 and d < best[i, k - 1]:
                k -= 1
            if k < 3:
                for m in range(2, k, -1):
                    best[i, m], index[i, m] = best[i, m - 1], index[i, m - 1]
                best[i, k], index[i, k] = d, j
    return index, np.sqrt(best)


@njit(cache=True)
def _splat_lines(lines, depth, density, width):  # type: ignore[no-untyped-def]
    """Add antialiased lines (S, K, 3) in pixels and depth to a density image, where nothing lies in front."""
    height, columns = depth.shape
    for s in range(lines.shape[0]):
        for k in range(lines.shape[1] - 1):
            x0, y0, z0 = lines[s, k, 0], lines[s, k, 1], lines[s, k, 2]
            x1, y1, z1 = lines[s, k + 1, 0], lines[s, k + 1, 1], lines[s, k + 1, 2]
            steps = int(max(abs(x1 - x0), abs(y1 - y0)) * 2) + 1
            length = np.sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2)
            for i in range(steps):
                f = (i + 0.5) / steps
                x, y = x0 + (x1 - x0) * f - 0.5, y0 + (y1 - y0) * f - 0.5
                z = z0 + (z1 - z0) * f
                ix, iy = int(np.floor(x)), int(np.floor(y))
                for q in range(2):
                    for p in range(2):
                        px, py = ix + p, iy + q
                        if px < 0 or py < 0 or px >= columns or py >= height or z > depth[py, px] + 0.03:
                            continue
                        share = (x - ix if p else 1 - x + ix) * (y - iy if q else 1 - y + iy)
                        density[py, px] += np.float32(share * width * length / steps)

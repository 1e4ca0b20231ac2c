"""Pose, camera, lights, shadow map and the light that hair lets through.

World space: the canonical head of `mesh.py` (x to the person's left, y up, z towards the viewer; units of the
MakeHuman base mesh, 1 unit = 1 decimeter; the eyes lie near y = 7.3, the top of the skull near y = 8.5).

Hair is drawn by `strands.draw_hair(strands, points, camera, lights, volume, shadow, buffers)`:
`strands` as grown in rest pose (fields `points` (S, K, 3) float32 and `valid` (S, K) bool), `points` the same
strands posed by `Pose.apply`, and the rest as defined here and in `raster.Buffers`; it calls `Buffers.cover`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hairclip.portraits.drawing.raster import FloatArray, IntArray, njit, rasterize
from hairclip.portraits.spec import SceneSpec

NECK_PIVOT = np.array([0.0, 6.2, 0.1], np.float32)
CAMERA_DISTANCE = 24.0
CAMERA_HEIGHT = 7.0


def normalize(vectors: FloatArray) -> FloatArray:
    """Return unit vectors along the last axis."""
    flat = np.ascontiguousarray(vectors, np.float32).reshape(-1, 3)
    return _normalize(flat).reshape(vectors.shape)


@njit(cache=True, fastmath=True)
def _normalize(vectors):  # type: ignore[no-untyped-def]
    out = np.empty_like(vectors)
    for i in range(vectors.shape[0]):
        x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        scale = np.float32(1) / max(np.sqrt(x * x + y * y + z * z), np.float32(1e-9))
        out[i, 0], out[i, 1], out[i, 2] = x * scale, y * scale, z * scale
    return out


def affine(points: FloatArray, matrix: FloatArray, offset: FloatArray) -> FloatArray:
    """Return points (..., 3) @ matrix.T + offset; for three columns this is faster than BLAS."""
    flat = np.ascontiguousarray(points, np.float32).reshape(-1, 3)
    return _affine(flat, np.ascontiguousarray(matrix, np.float32), offset.astype(np.float32)).reshape(points.shape)


@njit(cache=True, fastmath=True)
def _affine(points, matrix, offset):  # type: ignore[no-untyped-def]
    out = np.empty_like(points)
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        for k in range(3):
            out[i, k] = matrix[k, 0] * x + matrix[k, 1] * y + matrix[k, 2] * z + offset[k]
    return out


def smoothstep(low: float, high: float, values: FloatArray) -> FloatArray:
    """Return 0 below `low`, 1 above `high`, and a smooth cubic between; `low` may be above `high`."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def rotation(yaw: float, pitch: float, roll: float) -> FloatArray:
    """Return the rotation (3, 3) that turns (yaw), nods (pitch) and then tilts (roll) by angles in radians."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return (tilt @ nod @ turn).astype(np.float32)


@dataclass(frozen=True)
class Pose:
    """Turns the head about the neck; the torso follows the yaw by a quarter."""

    head: FloatArray
    torso: FloatArray

    @classmethod
    def from_spec(cls, scene: SceneSpec) -> Pose:
        """Return the pose of a scene."""
        return cls(head=rotation(scene.yaw, scene.pitch, scene.roll), torso=rotation(scene.yaw * 0.25, 0.0, 0.0))

    def apply(self, points: FloatArray) -> FloatArray:
        """Move points (..., 3) from the rest pose to this pose."""
        weight = smoothstep(5.55, 6.45, points[..., 1:2])
        head = affine(points, self.head, NECK_PIVOT - self.head @ NECK_PIVOT)
        torso = affine(points, self.torso, NECK_PIVOT - self.torso @ NECK_PIVOT)
        return torso + (head - torso) * weight


@dataclass(frozen=True)
class Camera:
    """Perspective camera on the z axis, followed by the similarity that gives the FFHQ crop.

    Attributes:
        size: height and width of the picture in (supersampled) pixels.
        center: (2,), center of the crop in the projected plane.
        right: (2,), half the crop's width, towards its right.
        down: (2,), half the crop's height, towards its bottom.
        plane_z: depth at which the projection has scale one.
    """

    size: int
    center: FloatArray
    right: FloatArray
    down: FloatArray
    plane_z: float

    @property
    def eye(self) -> FloatArray:
        """(3,) the camera's position in world space."""
        return np.array([0.0, CAMERA_HEIGHT, self.plane_z + CAMERA_DISTANCE], np.float32)

    @property
    def pixels_per_unit(self) -> float:
        """(Supersampled) pixels per world unit at the face's depth."""
        return float(self.size / (2 * np.linalg.norm(self.right)))

    def project(self, points: FloatArray) -> FloatArray:
        """Project posed world points (..., 3) to x and y in pixels, and depth (smaller is nearer), (..., 3)."""
        scale = self.size / (2 * float(self.right @ self.right))
        axes = np.stack([self.right, self.down]).astype(np.float32) * np.float32(scale)
        flat = np.ascontiguousarray(points, np.float32).reshape(-1, 3)
        out = _project(flat, axes, self.center, np.float32(self.plane_z), np.float32(self.size / 2))
        return out.reshape(points.shape)


@njit(cache=True, fastmath=True)
def _project(points, axes, center, plane_z, middle):  # type: ignore[no-untyped-def]
    """Project world points (n, 3) as `project_plane` does, then to pixels of the crop; the third column is depth."""
    out = np.empty_like(points)
    for i in range(points.shape[0]):
        scale = np.float32(CAMERA_DISTANCE) / (np.float32(CAMERA_DISTANCE) - (points[i, 2] - plane_z))
        x = points[i, 0] * scale - center[0]
        y = (points[i, 1] - np.float32(CAMERA_HEIGHT)) * scale + np.float32(CAMERA_HEIGHT) - center[1]
        out[i, 0] = axes[0, 0] * x + axes[0, 1] * y + middle
        out[i, 1] = axes[1, 0] * x + axes[1, 1] * y + middle
        out[i, 2] = -points[i, 2]
    return out


def project_plane(points: FloatArray, plane_z: float) -> FloatArray:
    """Project world points (..., 3) in perspective to (..., 2) on the plane at depth `plane_z`, y up."""
    scale = CAMERA_DISTANCE / (CAMERA_DISTANCE - (points[..., 2:3] - plane_z))
    offset = np.array([0.0, CAMERA_HEIGHT], np.float32)
    return ((points[..., :2] - offset) * scale + offset).astype(np.float32)


@dataclass(frozen=True)
class Lights:
    """A key light with shadows, a fill light, a rim light from behind and an ambient term.

    Attributes: key_direction, fill_direction, rim_direction (3,) unit vectors towards the light; key_color (3,)
    linear radiance of the key light (about 1.7 to 2.5); fill, rim: strengths relative to 1; ambient: strength.
    """

    key_direction: FloatArray
    key_color: FloatArray
    fill_direction: FloatArray
    fill: float
    rim_direction: FloatArray
    rim: float
    ambient: float

    @classmethod
    def from_spec(cls, scene: SceneSpec) -> Lights:
        """Return the lights of a scene."""
        azimuth, elevation = scene.light_azimuth, scene.light_elevation
        key = np.array(
            [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], np.float32
        )
        warmth = np.array([1 + scene.light_warmth, 1.0, 1 - scene.light_warmth], np.float32)
        return cls(
            key_direction=key,
            key_color=(scene.light_strength * warmth).astype(np.float32),
            fill_direction=normalize(np.array([-key[0], 0.1, key[2]], np.float32)),
            fill=scene.fill,
            rim_direction=normalize(np.array([-key[0] * 1.2, 0.5, -0.8], np.float32)),
            rim=scene.rim,
            ambient=scene.ambient,
        )

    @property
    def frame(self) -> FloatArray:
        """(3, 3) rows: two axes across the key light, and the direction towards it."""
        across = normalize(np.cross(np.array([0, 1, 0], np.float32), self.key_direction))
        return np.stack([across, np.cross(self.key_direction, across), self.key_direction]).astype(np.float32)

    def to_light_space(self, points: FloatArray) -> FloatArray:
        """Return coordinates (..., 3) of world points around the head, the third one towards the key light."""
        frame = self.frame
        return affine(points, frame, -frame @ np.array([0, 7.0, 0.3], np.float32))


class ShadowMap:
    """Depth of the posed mesh as the key light sees it."""

    resolution = 256
    scale = 256 / 4.4  # texels per unit

    def __init__(self, points: FloatArray, triangles: IntArray, lights: Lights) -> None:
        """Draw the depth of posed points (n, 3) and triangles (t, 3)."""
        self.lights = lights
        self.depth, _, _ = rasterize(self._texels(points), triangles, self.resolution, self.resolution)

    def _texels(self, points: FloatArray) -> FloatArray:
        local = self.lights.to_light_space(points)
        out = np.empty_like(local)
        out[..., :2] = local[..., :2] * self.scale + self.resolution / 2
        out[..., 2] = -local[..., 2]
        return out

    def visibility(self, points: FloatArray, bias: float = 0.075, radius: int = 1) -> FloatArray:
        """Return the share (...) in [0, 1] of the key light that reaches world points (..., 3) past the mesh."""
        texels = self._texels(points)
        flat = np.ascontiguousarray(texels.reshape(-1, 3))
        return _visibility(self.depth, flat, np.float32(bias), radius).reshape(points.shape[:-1])


@njit(cache=True)
def _visibility(depth, texels, bias, radius):  # type: ignore[no-untyped-def]
    """Return the share of the (2 radius + 1)^2 texels around each point that lie behind it."""
    size = depth.shape[0]
    out = np.empty(texels.shape[0], np.float32)
    scale = np.float32(1.0 / (2 * radius + 1) ** 2)
    for i in range(texels.shape[0]):
        x = min(max(int(texels[i, 0]), radius), size - 1 - radius)
        y = min(max(int(texels[i, 1]), radius), size - 1 - radius)
        total = np.float32(0)
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                if depth[y + dy, x + dx] > texels[i, 2] - bias:
                    total += np.float32(1)
        out[i] = total * scale
    return out


class HairVolume:
    """Hair density on a grid in light space: how much hair lies between a point and the key light, and around it."""

    cells = 56
    extent = 4.8  # world units across the grid

    def __init__(self, points: FloatArray, valid: np.ndarray, lights: Lights) -> None:
        """Fill the grid from posed strands, points (S, K, 3), of which those with `valid` (S, K) True exist."""
        self.lights = lights
        self.scale = self.cells / self.extent
        segment = float(np.linalg.norm(np.diff(points, axis=1), axis=2).mean()) if len(points) else 0.0
        local = lights.to_light_space(points[valid])
        density = _splat(
            local, self.extent / 2, self.scale, self.cells, np.float32(segment * 0.9 * 9000 / max(len(points), 1))
        )
        self.towards_light = np.ascontiguousarray(np.cumsum(density[:, :, ::-1], 2)[:, :, ::-1] - density * 0.5)
        around = density
        for axis in range(3):
            for _ in range(2):
                around = (np.roll(around, 1, axis) + around + np.roll(around, -1, axis)) / 3
        self.around = np.ascontiguousarray(around.astype(np.float32))

    def _lookup(self, grid: FloatArray, points: FloatArray, lift: float) -> FloatArray:
        local = self.lights.to_light_space(points)
        local[..., 2] += lift
        flat = np.ascontiguousarray(local.reshape(-1, 3))
        return _sample(grid, flat, self.extent / 2, self.scale).reshape(points.shape[:-1])

    def depth(self, points: FloatArray, lift: float = 0.0) -> FloatArray:
        """Return the optical depth (...) of hair between world points (..., 3) and the key light.

        The points are first moved by `lift` towards the light.
        """
        return self._lookup(self.towards_light, points, lift)

    def occupancy(self, points: FloatArray) -> FloatArray:
        """Return the blurred hair density (...) around world points (..., 3)."""
        return self._lookup(self.around, points, 0.0)


@njit(cache=True, fastmath=True)
def _splat(points, half, scale, cells, weight):  # type: ignore[no-untyped-def]
    """Add points (n, 3) of equal weight to a grid (cells, cells, cells), trilinearly."""
    grid = np.zeros((cells, cells, cells), np.float32)
    for i in range(points.shape[0]):
        a = (points[i, 0] + half) * scale - 0.5
        b = (points[i, 1] + half) * scale - 0.5
        c = (points[i, 2] + half) * scale - 0.5
        ia, ib, ic = int(np.floor(a)), int(np.floor(b)), int(np.floor(c))
        if ia < 0 or ib < 0 or ic < 0 or ia >= cells - 1 or ib >= cells - 1 or ic >= cells - 1:
            continue
        fa, fb, fc = a - ia, b - ib, c - ic
        for p in range(2):
            for q in range(2):
                for r in range(2):
                    share = (fa if p else 1 - fa) * (fb if q else 1 - fb) * (fc if r else 1 - fc)
                    grid[ia + p, ib + q, ic + r] += weight * share
    return grid


@njit(cache=True, fastmath=True)
def _sample(grid, points, half, scale):  # type: ignore[no-untyped-def]
    """Return the trilinear values (n,) of a grid at points (n, 3)."""
    cells = grid.shape[0]
    out = np.empty(points.shape[0], np.float32)
    for i in range(points.shape[0]):
        a = min(max((points[i, 0] + half) * scale - 0.5, 0.0), cells - 1.001)
        b = min(max((points[i, 1] + half) * scale - 0.5, 0.0), cells - 1.001)
        c = min(max((points[i, 2] + half) * scale - 0.5, 0.0), cells - 1.001)
        ia, ib, ic = int(a), int(b), int(c)
        fa, fb, fc = a - ia, b - ib, c - ic
        total = 0.0
        for p in range(2):
            for q in range(2):
                for r in range(2):
                    share = (fa if p else 1 - fa) * (fb if q else 1 - fb) * (fc if r else 1 - fc)
                    total += grid[ia + p, ib + q, ic + r] * share
        out[i] = total
    return out

"""Strands wound into ropes, plaits and balls: dreadlocks, cornrows, a crown braid and a bun."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hairclip.portraits.drawing.raster import FloatArray, IntArray
from hairclip.portraits.drawing.scene import normalize, smoothstep
from hairclip.portraits.hair.flow import SKULL_CENTER
from hairclip.portraits.hair.skull import Skull
from hairclip.portraits.hair.styles import Style
from hairclip.portraits.spec import HairSpec

Floats = npt.NDArray[np.floating]
# Points (S, K, 3), number of points (S,), tone (S,) and rank of the layer (S,) of strands.
Grown = tuple[FloatArray, IntArray, FloatArray, FloatArray]

BUN = np.array([0.0, 8.46, 0.22], np.float32)  # where hair is drawn to under a bun
CORNROWS = 15


def _unit(vectors: Floats) -> FloatArray:
    """Return unit vectors along the last axis."""
    return normalize(vectors.astype(np.float32))


def resample(paths: Floats, points: int) -> FloatArray:
    """Return paths (P, K, 3) with another number of points, (P, points, 3), interpolated linearly."""
    position = np.linspace(0, paths.shape[1] - 1, points)
    low = np.minimum(position.astype(int), paths.shape[1] - 2)
    share = (position - low)[None, :, None]
    return (paths[:, low] * (1 - share) + paths[:, low + 1] * share).astype(np.float32)


def frames(paths: Floats, outward: Floats) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return sideways and outward unit vectors (P, K, 3) along paths (P, K, 3), and the arc length (P, K)."""
    tangent = _unit(np.gradient(paths, axis=1))
    sideways = _unit(np.cross(tangent, outward))
    lift = _unit(np.cross(sideways, tangent))
    steps = np.linalg.norm(np.diff(paths, axis=1), axis=2)
    arc = np.concatenate([np.zeros((len(paths), 1)), np.cumsum(steps, 1)], 1)
    return sideways, lift, arc.astype(np.float32)


def twist(
    paths: Floats, outward: Floats, radius: Floats, per_path: int, pitch: float, rng: np.random.Generator
) -> FloatArray:
    """Return ropes: `per_path` strands around each path (P, K, 3), which turn by `pitch` radians per unit.

    radius (P, K) of the rope. Returns (P * per_path, K, 3).
    """
    sideways, lift, arc = frames(paths, outward)
    angle = rng.random((len(paths), per_path, 1)) * 2 * np.pi + arc[:, None] * pitch
    depth = np.sqrt(rng.uniform(0.45, 1.0, (len(paths), per_path, 1))) * radius[:, None]
    circle = np.cos(angle)[..., None] * sideways[:, None] + np.sin(angle)[..., None] * lift[:, None]
    return (paths[:, None] + circle * depth[..., None]).reshape(-1, *paths.shape[1:]).astype(np.float32)


def plait(
    paths: Floats, outward: Floats, radius: Floats, per_path: int, pitch: float, rng: np.random.Generator
) -> FloatArray:
    """Return plaits along paths (P, K, 3): three bundles weave in a figure of eight, by `pitch` radians per unit.

    radius (P, K) of the plait. Returns (P * per_path, K, 3); `per_path` is divisible by three.
    """
    sideways, lift, arc = frames(paths, outward)
    bundle = np.repeat(np.arange(3), per_path // 3) * (2 * np.pi / 3)
    phase = arc[:, None] * pitch + bundle[None, :, None]
    wide = np.sin(phase) * radius[:, None] * 0.55
    high = np.sin(2 * phase) * radius[:, None] * 0.28
    around = rng.random((len(paths), per_path, 1)) * 2 * np.pi + arc[:, None] * pitch * 0.5
    thickness = np.sqrt(rng.uniform(0.3, 1.0, (len(paths), per_path, 1))) * radius[:, None] * 0.5
    wide += np.cos(around) * thickness
    high += np.sin(around) * thickness
    offset = wide[..., None] * sideways[:, None] + high[..., None] * lift[:, None]
    return (paths[:, None] + offset).reshape(-1, *paths.shape[1:]).astype(np.float32)


def ball(center: FloatArray, radius: float, strands: int, points: int, rng: np.random.Generator) -> FloatArray:
    """Return strands (strands, points, 3) wound around a ball, mostly about a tilted vertical axis."""
    axis = _unit(rng.normal(size=(strands, 3)) * 0.35 + np.array([0, 0.6, -0.5]))
    first = _unit(np.cross(axis, _unit(rng.normal(size=(strands, 3)))))
    second = np.cross(axis, first)
    height = rng.uniform(-1, 1, (strands, 1, 1))
    angle = rng.random((strands, 1)) * 2 * np.pi + np.linspace(0, 2.0, points)
    circle = np.cos(angle)[..., None] * first[:, None] + np.sin(angle)[..., None] * second[:, None]
    shell = axis[:, None] * height + np.sqrt(1 - height**2) * circle
    depth = radius * (1 - 0.25 * rng.random((strands, 1, 1)) ** 2)
    return (center + shell * depth).astype(np.float32)


def wound(hair: HairSpec, style: Style, skull: Skull, rng: np.random.Generator) -> Grown:
    """Return the strands of a bun ("bun"), a crown braid ("ring") or cornrows ("rows")."""
    if style.flow == "bun":
        center = BUN + np.array([0, 0.10, 0], np.float32)
        strands = ball(center, 0.25 + 0.03 * hair.volume, 2400, style.points, rng)
    elif style.flow == "ring":
        strands = _crown_braid(hair, style, skull, rng)
    else:
        strands = _cornrows(style, skull, rng)
    count = len(strands)
    tone = (rng.normal(size=count) * 1.2).astype(np.float32)
    return strands, np.full(count, strands.shape[1], np.int32), tone, np.zeros(count, np.float32)


def _crown_braid(hair: HairSpec, style: Style, skull: Skull, rng: np.random.Generator) -> FloatArray:
    """Return a plait around the head, high over the forehead and low over the nape."""
    azimuth = np.linspace(-np.pi, np.pi, 72)
    elevation = 0.42 + 0.40 * np.cos(azimuth) + 0.06 * np.cos(2 * azimuth)
    around = np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)
    path = skull.surface(np.stack(around, -1).astype(np.float32), 0.09)[None]
    radius = np.full((1, 72), 0.15 + 0.025 * hair.volume, np.float32)
    braid = plait(path, path - SKULL_CENTER, radius, 1050, 13.0, rng)
    # Cut the long ring into pieces with as many points as the other strands.
    pieces = [braid[:, i : i + 10] for i in range(0, 63, 9)]
    return resample(np.concatenate(pieces), style.points)


def _cornrows(style: Style, skull: Skull, rng: np.random.Generator) -> FloatArray:
    """Return narrow plaits flat on the skull from the forehead to the nape."""
    side = np.linspace(-1.28, 1.28, CORNROWS)
    over = np.linspace(0, 1, style.points)
    begun = over.astype(np.float32)
    paths = np.empty((CORNROWS, style.points, 3), np.float32)
    for i, angle in enumerate(side):
        begin = 0.74 + 0.10 * (1 - np.cos(angle)) - 0.25 * abs(angle / 1.28) ** 3
        theta = begin + (3.25 - begin) * over
        around = np.full_like(theta, np.sin(angle)), np.cos(angle) * np.sin(theta), np.cos(angle) * np.cos(theta)
        paths[i] = skull.surface(np.stack(around, 1).astype(np.float32), 0.03 * smoothstep(0.0, 0.06, begun))
    radius = np.full((CORNROWS, style.points), 0.064, np.float32) * (1 - 0.6 * smoothstep(0.1, 0.0, begun))
    return plait(paths, paths - SKULL_CENTER, radius.astype(np.float32), 330, 34.0, rng)


def dreadlocks(grown: Grown, hair: HairSpec, rng: np.random.Generator, per_rope: int = 44) -> Grown:
    """Return a thick twisted rope around each grown strand."""
    paths, count, tone, rise = grown
    steps = paths.shape[1]
    # Cut ropes end in repeated points, which have no direction: let them run on downwards, unseen.
    late = np.maximum(np.arange(steps)[None] - count[:, None] + 1, 0)
    paths = paths - late[..., None] * np.array([0, 0.02, 0], np.float32)
    step = np.arange(steps)[None]
    bumps = 1 + 0.16 * np.sin(step * 1.1 + rng.random((len(paths), 1)) * 6.28)
    taper = np.clip((count[:, None] - step) / 3, 0.35, 1)
    radius = ((0.062 + 0.012 * hair.volume) * bumps * taper).astype(np.float32)
    strands = twist(paths, paths - SKULL_CENTER, radius, per_rope, 16.0, rng)
    grain = rng.normal(size=(len(paths), per_rope)) * 0.8 + tone[:, None]
    return strands, np.repeat(count, per_rope), grain.reshape(-1).astype(np.float32), np.repeat(rise, per_rope)

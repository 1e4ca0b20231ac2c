"""Walk strands along fields over the skull, gather them into locks, and wave or curl them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hairclip.portraits.drawing.raster import FloatArray, IntArray, njit
from hairclip.portraits.drawing.scene import normalize, smoothstep
from hairclip.portraits.hair.scalp import Indices, Layout
from hairclip.portraits.hair.skull import CENTER_Y, CENTER_Z, clearance
from hairclip.portraits.hair.styles import Style, pick
from hairclip.portraits.spec import HairSpec

# The fields that strands follow. `_field` gives the direction of each.
STRAIGHT, BACK, CROWN, PART, FRINGE, TARGET, SWEEP, FORWARD, SIDELOCK = range(9)
SKULL_CENTER = np.array([0.0, CENTER_Y, CENTER_Z], np.float32)


@njit(cache=True, fastmath=True)
def _field(kind, x, y, z, t, side, front, aim):  # type: ignore[no-untyped-def]
    """Return the direction of a field at (x, y, z), for a strand of which the share t in [0, 1] is walked."""
    if kind == BACK:  # over the top, then down to the nape
        if z < 0.15:
            return -0.25 * x, -1.0, -0.4
        return x * 0.15, 0.25 * (1 - 3 * t), -1.0
    if kind == CROWN:  # away from the whorl
        return x - 0.08, -0.35, z + 0.25
    if kind == PART:  # to the side, then down; below the jaw in front of or behind the shoulder
        if y > 7.45:
            return side, -0.25, -0.60 if front else -0.25
        if y < 6.5:
            return 0.0, -1.0, 0.30 if z > 0.3 else -0.30
        return -0.10 * side, -1.0, 0.0
    if kind == FRINGE:
        return x * 0.2, -0.6, 1.0
    if kind == TARGET:
        return aim[0] - x, aim[1] - y, aim[2] - z
    if kind == SWEEP:  # across the top to one side and back
        return 1.0, 0.15 - 0.6 * t, 0.35 - 0.9 * t
    if kind == SIDELOCK:  # down in front of the ear
        return 0.1 * side, -1.0, 0.35 * min(max(y - 7.0, 0.0), 1.0)
    if kind == FORWARD:
        return x * 0.15, -0.25, 1.0
    return aim[0], aim[1], aim[2]


class StrandPlan(NamedTuple):
    """What each of S strands sets out to do. All numbers are float32 in world units.

    Attributes:
        roots: (S, 3), places on the scalp.
        normals: (S, 3), unit normals of the scalp there.
        length: (S,), length of each strand.
        layer: (S,), height over the skull that the strand keeps.
        cut: (S,), height y at which the strand ends.
        jitter: (S, 3), added to its direction.
        aim: (S, 3), the direction of STRAIGHT strands, or the point to which TARGET strands go.
        field: (S,) int32, the field that it follows.
    """

    roots: FloatArray
    normals: FloatArray
    length: FloatArray
    layer: FloatArray
    cut: FloatArray
    jitter: FloatArray
    aim: FloatArray
    field: IntArray


class Bending(NamedTuple):
    """How all strands of a style bend.

    Attributes:
        stiff: share of the direction that is kept at each step.
        gravity: pull downwards at each step.
        tuck: how far tips turn inwards above the cut.
        parting: x of the parting.
    """

    stiff: float
    gravity: float
    tuck: float
    parting: float


@njit(cache=True, fastmath=True)
def walk_strands(plan, bending, steps, upper, lower):  # type: ignore[no-untyped-def]
    """Walk all strands from their roots along their fields.

    Args:
        plan: a `StrandPlan` of S strands.
        bending: a `Bending`.
        steps: points per strand.
        upper, lower: the tables of `skull.Skull`, which strands stay outside of.

    Returns:
        Points (S, steps, 3) float32, and how many of them lie above the cut, (S,) int32.
    """
    roots, normals, length, layer, cut, jitter, aim, flow = plan
    stiff, gravity, tuck, parting = bending
    strands = roots.shape[0]
    out = np.zeros((strands, steps, 3), np.float32)
    count = np.full(strands, steps, np.int32)
    for s in range(strands):
        kind = flow[s]
        x, y, z = roots[s, 0], roots[s, 1], roots[s, 2]
        dx, dy, dz = normals[s, 0], normals[s, 1], normals[s, 2]
        if kind == STRAIGHT:
            dx, dy, dz = aim[s, 0], aim[s, 1], aim[s, 2]
        step = length[s] / (steps - 1)
        front = z > 0.62 and y > 7.7
        side = 1.0 if x > parting else -1.0
        out[s, 0] = roots[s]
        done = False
        for k in range(1, steps):
            if done:
                out[s, k] = out[s, k - 1]
                continue
            t = k / (steps - 1.0)
            fx, fy, fz = _field(kind, x, y, z, t, side, front, aim[s])
            norm = np.sqrt(fx * fx + fy * fy + fz * fz) + 1e-9
            fx, fy, fz = fx / norm, fy / norm, fz / norm
            if kind != STRAIGHT and y > 7.0:  # along the skull
                nx, ny, nz = x, y - 7.35, z - 0.35
                norm = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
                nx, ny, nz = nx / norm, ny / norm, nz / norm
                d = fx * nx + fy * ny + fz * nz
                fx, fy, fz = fx - d * nx, fy - d * ny, fz - d * nz
                norm = np.sqrt(fx * fx + fy * fy + fz * fz) + 0.15
                fx, fy, fz = fx / norm, fy / norm, fz / norm
            w = 1 - stiff
            dx = dx * stiff + w * (fx + jitter[s, 0])
            dy = dy * stiff + w * (fy + jitter[s, 1]) - gravity * (0.25 + t)
            dz = dz * stiff + w * (fz + jitter[s, 2])
            if tuck > 0 and kind != FRINGE and y < cut[s] + 0.55:
                pull = tuck * min(1.0, (cut[s] + 0.55 - y) / 0.45)
                reach = np.sqrt(x * x + (z - 0.35) ** 2) + 1e-6
                dx -= pull * x / reach
                dz -= pull * (z - 0.35) / reach
            norm = np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9
            x, y, z = x + dx / norm * step, y + dy / norm * step, z + dz / norm * step
            if kind != STRAIGHT:
                away, gx, gy, gz = clearance(upper, lower, x, y, z)
                need = 0.012 + layer[s] * min(1.0, t * length[s] / (2.2 * layer[s] + 0.05))
                if away < need:
                    x, y, z = x + gx * (need - away), y + gy * (need - away), z + gz * (need - away)
                elif y > 6.6:
                    q = min((0.7 if kind == BACK else 0.3) * (away - need), 0.6 * step)
                    x, y, z = x - gx * q, y - gy * q, z - gz * q
                # Parted hair stays out of the face.
                if kind == PART and y < 7.75 and z > 0.55 and abs(x) < 0.74:
                    inside = 0.74 - abs(x)
                    x += side * inside * 0.35
                    z -= inside * 0.25
            px, py, pz = out[s, k - 1, 0], out[s, k - 1, 1], out[s, k - 1, 2]
            if y < cut[s] and kind != STRAIGHT:  # end exactly at the cut
                if py <= cut[s]:
                    count[s] = k
                else:
                    f = (py - cut[s]) / max(py - y, np.float32(1e-6))
                    x, y, z = px + (x - px) * f, cut[s], pz + (z - pz) * f
                    count[s] = k + 1
                done = True
            out[s, k, 0], out[s, k, 1], out[s, k, 2] = x, y, z
            dx, dy, dz = x - px, y - py, z - pz
            norm = np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9
            dx, dy, dz = dx / norm, dy / norm, dz / norm
    return out, count


def gather(points: FloatArray, leader: Indices, style: Style) -> FloatArray:
    """Draw every strand (S, K, 3) towards the leader (S,) of its lock, more so towards the tip."""
    t = np.linspace(0, 1, points.shape[1], dtype=np.float32)[None, :, None]
    amount = style.clump * smoothstep(0.0, 1.0, t * 1.2)
    guide = points[leader]
    offset = points[:, :1] - guide[:, :1]
    kept = 1 - 0.75 * amount if style.clump < 0.96 else 1 - amount
    return points * (1 - amount) + (guide + offset * kept) * amount


def wave(
    points: FloatArray, layout: Layout, guide: Indices, style: Style, hair: HairSpec, length: FloatArray
) -> FloatArray:
    """Return strands (S, K, 3) with waves across them or corkscrews around them; neighboring locks wave together."""
    width, curl = pick(style.wave, hair.curl), pick(style.curl, hair.curl)
    if width == 0 and curl == 0:
        return points
    t = np.linspace(0, 1, points.shape[1], dtype=np.float32)[None, :, None]
    tangent = normalize(np.gradient(points, axis=1))
    first = normalize(np.cross(tangent, np.array([0.3, 0.2, 1.0], np.float32)))
    second = np.cross(tangent, first)
    leader = layout.guides[guide]
    frequency = pick(style.frequency, hair.curl) * (1 + 0.12 * layout.guide_jitter[guide, 0])
    arc = t * length[leader][:, None, None] * frequency[:, None, None]
    rest = layout.rest[leader]
    if curl:
        phase = layout.guide_uniform[guide, 1] * 2 * np.pi
    else:
        phase = 2.2 * rest[:, 1] + 1.5 * rest[:, 2] + 1.1 * np.sign(rest[:, 0]) + 0.5 * layout.guide_jitter[guide, 1]
    phase = (phase + 0.2 * layout.jitter[:, 0])[:, None, None]
    amplitude = smoothstep(0.02, 0.3, t) * (1 + 0.12 * layout.jitter[:, 1])[:, None, None]
    turn = amplitude * (curl or width)
    out = points + turn * np.cos(arc + phase) * first + turn * (1 if curl else 0.4) * np.sin(arc + phase) * second
    return np.asarray(out, np.float32)


def ridges(points: FloatArray, height: float, parting: float, frequency: float) -> FloatArray:
    """Return strands (S, K, 3) with finger waves: ridges at equal distances from the parting."""
    x, y, z = points[..., 0] - parting, points[..., 1] - 7.45, points[..., 2]
    down = np.where(y > 0, np.arctan2(np.abs(x), np.maximum(y, 1e-3)), np.pi / 2 - y)
    phase = down * frequency + 0.9 * z + 0.8 * (x > 0)
    amount = smoothstep(0.10, 0.45, down)
    outward = normalize(points - SKULL_CENTER)
    out = points + outward * ((np.sin(phase) + 0.6) * amount * height)[..., None]
    out[..., 2] += np.cos(phase) * amount * height * 1.6
    return np.asarray(out, np.float32)

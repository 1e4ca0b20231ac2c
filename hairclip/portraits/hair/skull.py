"""A collision proxy of a head: how far a point lies outside the skull, neck and shoulders.

The skull above `CENTER_Y` is star-shaped around (0, CENTER_Y, CENTER_Z): a table of radii over elevation and azimuth.
Below, neck and shoulders are a radius over height and azimuth around the vertical axis.
"""

from __future__ import annotations

import numpy as np

from hairclip.portraits.drawing.raster import FloatArray, njit
from hairclip.portraits.head.mesh import BODY, Head

CENTER_Y, CENTER_Z = 7.35, 0.35
ELEVATIONS, AZIMUTHS, LEVELS = 48, 96, 64
DEPTH = 3.2  # units below CENTER_Y that the lower table spans
SHOULDER_REACH = 0.86  # hair hangs in front of or behind the shoulders, not around their ends


class Skull:
    """The two radius tables of one person.

    Attributes:
        upper: (ELEVATIONS, AZIMUTHS) float32, radii above `CENTER_Y` in world units.
        lower: (LEVELS, AZIMUTHS) float32, radii below it.
    """

    def __init__(self, head: Head) -> None:
        """Measure the head without its ears."""
        solid = (head.part == BODY) & (head.ears < 0.05)
        upper, lower = _measure(np.ascontiguousarray(head.positions[solid]))
        self.upper = _smooth(_fill(upper), 2)
        self.lower = np.minimum(_smooth(_fill(lower), 1), np.float32(SHOULDER_REACH))

    def surface(self, directions: FloatArray, height: FloatArray | float = 0.0) -> FloatArray:
        """Return points (n, 3) at `height` above the surface in unit directions (n, 3) from the skull's center."""
        heights = np.broadcast_to(np.asarray(height, np.float32), len(directions)).astype(np.float32)
        return _cast(
            self.upper, self.lower, np.ascontiguousarray(directions, np.float32), np.ascontiguousarray(heights)
        )


@njit(cache=True)
def _measure(points):  # type: ignore[no-untyped-def]
    """Return the two tables: the largest radius of points (n, 3) in each cell."""
    upper = np.zeros((ELEVATIONS, AZIMUTHS), np.float32)
    lower = np.zeros((LEVELS, AZIMUTHS), np.float32)
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1] - CENTER_Y, points[i, 2] - CENTER_Z
        azimuth = int((np.arctan2(x, z) / (2 * np.pi) + 0.5) * AZIMUTHS) % AZIMUTHS
        if y >= 0:
            radius = np.sqrt(x * x + y * y + z * z)
            row = int(np.arcsin(min(1.0, y / radius)) / (np.pi / 2) * (ELEVATIONS - 0.01))
            upper[row, azimuth] = max(upper[row, azimuth], radius)
        else:
            row = int(-y / DEPTH * LEVELS)
            if row < LEVELS:
                lower[row, azimuth] = max(lower[row, azimuth], np.sqrt(x * x + z * z))
    return upper, lower


def _neighbors(table: FloatArray) -> FloatArray:
    """Return the 3 x 3 neighborhood of every cell, (9, rows, columns), wrapped in azimuth."""
    padded = np.pad(np.pad(table, ((1, 1), (0, 0)), mode="edge"), ((0, 0), (1, 1)), mode="wrap")
    rows, columns = table.shape
    return np.stack([padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)])


def _fill(table: FloatArray) -> FloatArray:
    """Spread the measured radii into empty (zero) cells."""
    for _ in range(40):
        empty = table <= 0
        if not empty.any():
            break
        near = _neighbors(table)
        count = (near > 0).sum(0)
        table = np.where(empty & (count > 0), near.sum(0) / np.maximum(count, 1), table).astype(np.float32)
    return table


def _smooth(table: FloatArray, passes: int) -> FloatArray:
    for _ in range(passes):
        table = _neighbors(table).mean(0)
    return table.astype(np.float32)


@njit(cache=True, fastmath=True)
def clearance(upper, lower, x, y, z):  # type: ignore[no-untyped-def]
    """Return how far (x, y, z) lies outside the skull, and the unit direction away from it."""
    dz = z - CENTER_Z
    column = (np.arctan2(x, dz) / (2 * np.pi) + 0.5) * AZIMUTHS - 0.5
    left = int(np.floor(column))
    f = column - left
    right = (left + 1) % AZIMUTHS
    left = left % AZIMUTHS
    if y >= CENTER_Y:
        dy = y - CENTER_Y
        distance = np.sqrt(x * x + dy * dy + dz * dz) + 1e-9
        row = np.arcsin(min(1.0, dy / distance)) / (np.pi / 2) * ELEVATIONS - 0.5
        low = max(0, min(ELEVATIONS - 1, int(np.floor(row))))
        high = min(ELEVATIONS - 1, low + 1)
        g = min(max(row - low, 0.0), 1.0)
        below = upper[low, left] * (1 - f) + upper[low, right] * f
        above = upper[high, left] * (1 - f) + upper[high, right] * f
        return distance - (below * (1 - g) + above * g), x / distance, dy / distance, dz / distance
    distance = np.sqrt(x * x + dz * dz) + 1e-9
    row = (CENTER_Y - y) / DEPTH * LEVELS - 0.5
    low = max(0, min(LEVELS - 1, int(np.floor(row))))
    high = min(LEVELS - 1, low + 1)
    g = min(max(row - low, 0.0), 1.0)
    above = lower[low, left] * (1 - f) + lower[low, right] * f
    below = lower[high, left] * (1 - f) + lower[high, right] * f
    return distance - (above * (1 - g) + below * g), x / distance, 0.0, dz / distance


@njit(cache=True, fastmath=True)
def _cast(upper, lower, directions, heights):  # type: ignore[no-untyped-def]
    """Walk along rays from the center until their clearance is the wanted height."""
    out = np.empty_like(directions)
    for i in range(directions.shape[0]):
        radius = 1.2
        for _ in range(12):
            x, y = directions[i, 0] * radius, CENTER_Y + directions[i, 1] * radius
            z = CENTER_Z + directions[i, 2] * radius
            away, _, _, _ = clearance(upper, lower, x, y, z)
            radius -= (away - heights[i]) * 0.8
        out[i, 0] = directions[i, 0] * radius
        out[i, 1] = CENTER_Y + directions[i, 1] * radius
        out[i, 2] = CENTER_Z + directions[i, 2] * radius
    return out

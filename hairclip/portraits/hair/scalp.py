"""The scalp: the hairline, and where the roots of each style sit.

Roots and all other random choices of a style are drawn once on the canonical head from a seed fixed per style, so a
style is the same texture in head space for everyone: something a small generator network can learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hairclip.portraits.drawing.raster import FloatArray, njit
from hairclip.portraits.hair.styles import Style
from hairclip.portraits.head.mesh import BODY, Head
from hairclip.portraits.spec import HairSpec

Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Coordinates = npt.NDArray[np.floating]

# Height of the hairline over the azimuth around the head (0 front, pi back).
_AZIMUTH = np.array([0, 0.35, 0.65, 0.85, 1.05, 1.30, 1.50, 1.75, 2.1, 2.6, 3.2])
_HAIRLINE = np.array([7.95, 7.95, 7.90, 7.78, 7.62, 7.18, 7.10, 7.45, 6.90, 6.55, 6.48])
_ROPE_CANDIDATES = 3000


def scalp_weight(head: Head) -> FloatArray:
    """Return the height (n,) float32 of each vertex over the hairline: above 0 is scalp, -9 is never scalp."""
    x, y, z = np.abs(head.rest[:, 0]), head.rest[:, 1], head.rest[:, 2]
    weight = y - np.interp(np.arctan2(x, z - 0.25), _AZIMUTH, _HAIRLINE)
    weight[(head.part != BODY) | (head.ears > 0.35)] = -9
    return weight.astype(np.float32)


def is_top(x: Coordinates, y: Coordinates, z: Coordinates) -> Flags:
    """Return whether places on the canonical head lie on its top, above the temples."""
    return (y > 7.93 + 0.1 * (z < 0)) & (np.abs(x) < 0.62)


@dataclass(frozen=True)
class Layout:
    """Random choices of a style with S strands in G locks; they are the same for everyone.

    Attributes:
        triangle: (S,), index of the triangle in which a strand has its root.
        corners: (S, 3), barycentric weights of the root in it.
        rest: (S, 3), roots on the canonical head.
        guides: (G,), indices of the strands that lead a lock.
        jitter: (S, 3), standard normal.
        guide_jitter: (G, 3), standard normal.
        uniform: (S, 3), uniform in [0, 1].
        guide_uniform: (G, 3), uniform in [0, 1].
    """

    triangle: Indices
    corners: FloatArray
    rest: FloatArray
    guides: Indices
    jitter: FloatArray
    guide_jitter: FloatArray
    uniform: FloatArray
    guide_uniform: FloatArray


_LAYOUTS: dict[str, Layout] = {}


def layout_of(head: Head, hair: HairSpec, style: Style) -> Layout:
    """Return the layout of a style; it depends on the canonical head only, so it is computed once per process."""
    if hair.style not in _LAYOUTS:
        _LAYOUTS[hair.style] = _new_layout(head, style, np.random.default_rng(hair.strand_seed))
    return _LAYOUTS[hair.style]


def _new_layout(head: Head, style: Style, rng: np.random.Generator) -> Layout:
    weight = scalp_weight(head)
    inside = np.flatnonzero((weight[head.triangles] > -0.005).all(1))
    triangles = head.triangles[inside]
    a, b, c = (head.rest[triangles[:, i]].astype(np.float64) for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) * _density(style, (a + b + c) / 3)
    count = style.strands
    candidates = _ROPE_CANDIDATES if style.flow == "ropes" else count
    triangle = rng.choice(len(triangles), candidates, p=area / area.sum())
    uv = rng.random((candidates, 2))
    uv = np.where(uv.sum(1, keepdims=True) > 1, 1 - uv, uv)
    corners = np.stack([1 - uv.sum(1), uv[:, 0], uv[:, 1]], 1).astype(np.float32)
    if candidates > count:
        even = _spread((head.rest[triangles[triangle]] * corners[..., None]).sum(1), count)
        triangle, corners = triangle[even], corners[even]
    guides = rng.choice(count, min(style.guides, count), replace=False)
    return Layout(
        triangle=inside[triangle],
        corners=corners,
        rest=(head.rest[triangles[triangle]] * corners[..., None]).sum(1).astype(np.float32),
        guides=guides,
        jitter=rng.normal(size=(count, 3)).astype(np.float32),
        guide_jitter=rng.normal(size=(len(guides), 3)).astype(np.float32),
        uniform=rng.random((count, 3)).astype(np.float32),
        guide_uniform=rng.random((len(guides), 3)).astype(np.float32),
    )


def _spread(places: FloatArray, count: int) -> Indices:
    """Return indices of `count` of the places (n, 3), each as far as possible from those before it."""
    chosen = np.zeros(count, np.int64)
    nearest = np.full(len(places), np.inf)
    for i in range(1, count):
        nearest = np.minimum(nearest, ((places - places[chosen[i - 1]]) ** 2).sum(1))
        chosen[i] = int(nearest.argmax())
    return chosen


def _density(style: Style, place: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the relative density (t,) of roots at places (t, 3) of the canonical head."""
    x, y, z = np.abs(place[:, 0]), place[:, 1], place[:, 2]
    if style.flow == "mohawk":
        return (x < 0.21).astype(np.float64)
    if style.flow == "box" or style.shaved_sides:
        return np.where(is_top(x, y, z), 1.0, 0.35)
    return np.ones(len(place))


@njit(cache=True)
def nearest_guide(roots, guides, group):  # type: ignore[no-untyped-def]
    """Return for each strand the index into `guides` of the nearest guide of its own group, (S,).

    Args: roots (S, 3) float32; guides (G,) indices of strands; group (S,) int32 labels that locks never mix.
    """
    out = np.empty(roots.shape[0], np.int64)
    for s in range(roots.shape[0]):
        best = np.float32(1e9)
        out[s] = 0
        for j in range(guides.shape[0]):
            i = guides[j]
            if group[i] != group[s]:
                continue
            d = (roots[s, 0] - roots[i, 0]) ** 2 + (roots[s, 1] - roots[i, 1]) ** 2 + (roots[s, 2] - roots[i, 2]) ** 2
            if d < best:
                best = d
                out[s] = j
    return out

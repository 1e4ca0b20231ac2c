"""Data sets of rendered portraits: resumable shards, the same for the same seed however many workers render them.

A *portrait* data set has single portraits. A *quad* data set, made for training networks, has items of two
geometries (person, scene and hairstyle) a, b times two hair colours 1, 2; in every other quad a and b are the same
person with another hairstyle, light and background. People belong to one split only (`spec.split_of`).
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.portraits.captions import full_caption
from hairclip.portraits.spec import (
    COLOR_NAMES,
    STYLE_NAMES,
    HairColor,
    PortraitSpec,
    SceneSpec,
    Split,
    sample_color,
    sample_hair,
    sample_identity,
    sample_scene,
    split_of,
    stable_seed,
)

Mode = Literal["portraits", "quads"]
PER_SHARD = 50


@dataclass(frozen=True)
class DatasetSpec:
    """What to render: `count` items (portraits or quads), `size` x `size` pixels, from `seed`.

    `split` takes only people of one split; "all" takes everyone (the metadata says whose split each one is).
    """

    count: int
    seed: int
    size: int = 128
    split: Split | Literal["all"] = "all"
    mode: Mode = "portraits"

    @property
    def shards(self) -> int:
        """Number of shard files, PER_SHARD items each (the last one may be shorter)."""
        return -(-self.count // PER_SHARD)

    def items(self, shard: int) -> range:
        """Item indices of a shard."""
        return range(shard * PER_SHARD, min((shard + 1) * PER_SHARD, self.count))

    def shard_name(self, shard: int) -> str:
        """File name of a shard (quads) or of its metadata (portraits)."""
        return f"{self.split}-{shard:05d}.npz" if self.mode == "quads" else f"{self.split}-{shard:05d}.jsonl"


def _identity_seed(split: str, *parts: int | str) -> int:
    """The first seed of a stable sequence whose person belongs to `split` ("all": just the first)."""
    for attempt in range(10_000):
        seed = stable_seed("identity", *parts, attempt)
        if split in ("all", split_of(seed)):
            return seed
    raise RuntimeError(f"no seed in 10,000 belongs to the split {split!r}")


def _cycle(names: tuple[str, ...], seed: int, position: int) -> str:
    """Uniform over `names`: each stretch of len(names) positions holds each name once, in random order."""
    turn, place = divmod(position, len(names))
    order = np.random.default_rng(stable_seed("cycle", *names, seed, turn)).permutation(len(names))
    return names[int(order[place])]


def portrait_spec(dataset: DatasetSpec, index: int) -> PortraitSpec:
    """The spec of one item of a portrait data set."""
    seed = stable_seed("portrait item", dataset.seed, dataset.split, index)
    style = _cycle(STYLE_NAMES, dataset.seed, index)
    color = _cycle(COLOR_NAMES, dataset.seed + 1, index)
    return PortraitSpec(
        identity=sample_identity(_identity_seed(dataset.split, seed)),
        scene=sample_scene(stable_seed("scene", seed)),
        hair=sample_hair(style, stable_seed("hair", seed)),
        color=sample_color(color, stable_seed("color", seed)),
        seed=seed,
    )


def _other_light(scene: SceneSpec, other: SceneSpec) -> SceneSpec:
    """The pose, expression and clothes of `scene` in the light and before the background of `other`."""
    kept = (
        "yaw",
        "pitch",
        "roll",
        "smile",
        "mouth_open",
        "brows_up",
        "eyes_closed",
        "clothes",
        "clothes_color",
        "neckline",
    )
    return replace(other, **{name: getattr(scene, name) for name in kept})


def quad_specs(
    dataset: DatasetSpec, index: int
) -> tuple[tuple[PortraitSpec, PortraitSpec], tuple[HairColor, HairColor]]:
    """Two geometries and two hair colours of one quad; odd quads show the same person twice."""
    seed = stable_seed("quad", dataset.seed, dataset.split, index)
    same = index % 2 == 1
    styles = [_cycle(STYLE_NAMES, dataset.seed + k, index) for k in (0, 1)]
    if styles[0] == styles[1]:
        styles[1] = STYLE_NAMES[(STYLE_NAMES.index(styles[0]) + 1 + seed % (len(STYLE_NAMES) - 1)) % len(STYLE_NAMES)]
    names = [_cycle(COLOR_NAMES, dataset.seed + k, index) for k in (2, 3)]
    if names[0] == names[1]:
        names[1] = COLOR_NAMES[(COLOR_NAMES.index(names[0]) + 1 + seed % (len(COLOR_NAMES) - 1)) % len(COLOR_NAMES)]
    colors = tuple(sample_color(name, stable_seed("color", k, seed)) for k, name in enumerate(names))
    scenes = [sample_scene(stable_seed("scene", k, seed)) for k in (0, 1)]
    if same and index % 4 == 1:  # the other half of them is turned and smiles otherwise too
        scenes[1] = _other_light(scenes[0], scenes[1])
    people = [sample_identity(_identity_seed(dataset.split, 0 if same else k, seed)) for k in (0, 1)]
    geometries = tuple(
        PortraitSpec(
            identity=people[k],
            scene=scenes[k],
            hair=sample_hair(styles[k], stable_seed("hair", k, seed)),
            color=colors[0],
            seed=stable_seed("geometry", k, seed),
        )
        for k in (0, 1)
    )
    return (geometries[0], geometries[1]), (colors[0], colors[1])


def metadata_line(spec: PortraitSpec, **extra: Any) -> str:
    """One line of JSON: the spec, the caption and the split."""
    fields = {**extra, "caption": full_caption(spec), "split": split_of(spec.identity.seed), **spec.to_dict()}
    return json.dumps(fields, sort_keys=True)


def _write_atomically(path: Path, data: bytes) -> None:
    """A reader, or a run that is continued, never sees half a file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def render_quad_shard(dataset: DatasetSpec, shard: int, folder: Path) -> int:
    """Write one shard of quads; returns how many images it holds.

    The file holds images (Q, 2, 2, S, S, 3) uint8 and labels (Q, 2, 2, S, S) uint8, indexed [quad, geometry, color],
    landmarks (Q, 2, 5, 2) float32 in pixels, and metadata (Q, 2, 2), JSON strings.
    """
    from hairclip.portraits.render import render_variants

    items, size = dataset.items(shard), dataset.size
    images = np.empty((len(items), 2, 2, size, size, 3), np.uint8)
    labels = np.empty((len(items), 2, 2, size, size), np.uint8)
    landmarks = np.empty((len(items), 2, 5, 2), np.float32)
    metadata = np.empty((len(items), 2, 2), dtype=object)
    for row, index in enumerate(items):
        geometries, colors = quad_specs(dataset, index)
        for g, geometry in enumerate(geometries):
            for c, portrait in enumerate(render_variants(geometry, colors, size)):
                images[row, g, c], labels[row, g, c] = portrait.image, portrait.labels
                landmarks[row, g] = portrait.landmarks
                metadata[row, g, c] = metadata_line(portrait.spec, quad=index)
    arrays: dict[str, np.ndarray] = {
        "images": images,
        "labels": labels,
        "landmarks": landmarks,
        "metadata": np.array(metadata.tolist()),
    }
    _write_atomically(folder / dataset.shard_name(shard), _npz(arrays))
    return len(items) * 4


def render_portrait_shard(dataset: DatasetSpec, shard: int, folder: Path) -> int:
    """Write the portraits of one shard as PNG files (image and labels), then its lines of metadata."""
    from hairclip.portraits.render import render_portrait

    lines = []
    for index in dataset.items(shard):
        portrait = render_portrait(portrait_spec(dataset, index), dataset.size)
        name = f"{dataset.split}-{index:06d}"
        for kind, pixels in (("images", portrait.image), ("labels", portrait.labels)):
            (folder / kind).mkdir(exist_ok=True)
            _write_atomically(folder / kind / f"{name}.png", _png(pixels))
        marks = [[round(float(v), 2) for v in point] for point in portrait.landmarks]
        lines.append(metadata_line(portrait.spec, file=f"images/{name}.png", landmarks=marks))
    text = "".join(line + "\n" for line in lines)
    _write_atomically(folder / dataset.shard_name(shard), text.encode())
    return len(lines)


def _check_folder(dataset: DatasetSpec, folder: Path) -> None:
    """Refuse to continue a data set with other settings."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"seed": dataset.seed, "size": dataset.size, "mode": dataset.mode}
    path = folder / "dataset.json"
    if not path.exists():
        _write_atomically(path, (json.dumps(settings) + "\n").encode())
        return
    try:
        found = json.loads(path.read_text())
    except ValueError:
        raise HairclipError(f"{path} is damaged: choose an empty --out.") from None
    if found != settings:
        raise HairclipError(
            f"{folder} holds portraits of other settings {found}: choose an empty --out or the same settings."
        )


def _render_shard(dataset: DatasetSpec, shard: int, folder: Path) -> int:
    render = render_quad_shard if dataset.mode == "quads" else render_portrait_shard
    return render(dataset, shard, folder)


def _one_thread() -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"


def render_dataset(dataset: DatasetSpec, folder: Path, workers: int = 1) -> Iterator[int]:
    """Render what is missing; yields, shard by shard, how many items are done (those found first).

    A shorter last shard is rendered again when `count` has grown. With workers > 1, shards are rendered in processes.
    """
    _check_folder(dataset, folder)
    todo, found = [], 0
    for shard in range(dataset.shards):
        if _complete(dataset, shard, folder):
            found += len(dataset.items(shard))
        else:
            todo.append(shard)
    if found:
        yield found
    if workers <= 1:
        for shard in todo:
            _render_shard(dataset, shard, folder)
            yield len(dataset.items(shard))
    else:
        yield from _in_processes(dataset, todo, folder, workers)
    if dataset.mode == "portraits":
        _join_metadata(folder)


def _in_processes(dataset: DatasetSpec, todo: list[int], folder: Path, workers: int) -> Iterator[int]:
    _one_thread()  # before the spawned processes import numpy
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    pending: dict[Future[int], int] = {pool.submit(_render_shard, dataset, shard, folder): shard for shard in todo}
    try:
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                shard = pending.pop(future)
                future.result()
                yield len(dataset.items(shard))
    finally:
        pool.shutdown(cancel_futures=True)


def _complete(dataset: DatasetSpec, shard: int, folder: Path) -> bool:
    """Whether a shard exists with all its items (only the last one can be shorter)."""
    path = folder / dataset.shard_name(shard)
    if not path.exists():
        return False
    return _count_items(dataset, path) >= len(dataset.items(shard))


def _count_items(dataset: DatasetSpec, path: Path) -> int:
    if dataset.mode == "portraits":
        return len(path.read_text().splitlines())
    with np.load(path) as data:
        return len(data["landmarks"])


def _join_metadata(folder: Path) -> None:
    """metadata.jsonl: the lines of all shards in order."""
    text = "".join(path.read_text() for path in sorted(folder.glob("*-[0-9]*.jsonl")))
    _write_atomically(folder / "metadata.jsonl", text.encode())

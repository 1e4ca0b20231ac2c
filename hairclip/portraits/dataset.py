"""Render data sets of portraits into files.

A data set of *portraits* holds single portraits. A data set of *quads*, made for training networks, holds items of two
geometries (person, scene and hairstyle) times two hair colors. In every second quad both geometries show the same
person with another hairstyle, light and background. People belong to one split only (`spec.split_of`).

A data set is written in shards of `PER_SHARD` items. A run that was stopped continues with the shards that are missing.
The same seed gives the same files, however many processes render them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.files import open_atomic, write_atomic
from hairclip.portraits.captions import full_caption
from hairclip.portraits.spec import (
    COLOR_NAMES,
    STYLE_NAMES,
    HairColor,
    PortraitSpec,
    Poses,
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
"""Items of a shard."""


@dataclass(frozen=True)
class DatasetSpec:
    """What to render.

    Attributes:
        count: number of items, portraits or quads.
        seed: seed of everything random.
        size: height and width in pixels.
        split: whose people to show; "all" shows everyone, and the metadata says whose split each one belongs to.
        mode: "portraits" or "quads".
        poses: "narrow" or "wide", see `spec.sample_scene`.
    """

    count: int
    seed: int
    size: int = 128
    split: Split | Literal["all"] = "all"
    mode: Mode = "portraits"
    poses: Poses = "narrow"

    @property
    def shards(self) -> int:
        """Number of shards; the last one may hold fewer than `PER_SHARD` items."""
        return -(-self.count // PER_SHARD)

    def items(self, shard: int) -> range:
        """Return the indices of a shard's items."""
        return range(shard * PER_SHARD, min((shard + 1) * PER_SHARD, self.count))

    def shard_name(self, shard: int) -> str:
        """Return the name of a shard's file: its quads, or the metadata of its portraits."""
        return f"{self.split}-{shard:05d}.npz" if self.mode == "quads" else f"{self.split}-{shard:05d}.jsonl"


def _identity_seed(split: str, *parts: int | str) -> int:
    """Return the first seed of a fixed sequence whose person belongs to `split`; for "all" the first of all."""
    for attempt in range(10_000):
        seed = stable_seed("identity", *parts, attempt)
        if split in ("all", split_of(seed)):
            return seed
    raise RuntimeError(f"no seed in 10,000 belongs to the split {split!r}")


def _cycle(names: tuple[str, ...], seed: int, position: int) -> str:
    """Return the name at a position; each stretch of `len(names)` positions holds every name once, in random order."""
    turn, place = divmod(position, len(names))
    order = np.random.default_rng(stable_seed("cycle", *names, seed, turn)).permutation(len(names))
    return names[int(order[place])]


def portrait_spec(dataset: DatasetSpec, index: int) -> PortraitSpec:
    """Return the spec of one item of a data set of portraits."""
    seed = stable_seed("portrait item", dataset.seed, dataset.split, index)
    style = _cycle(STYLE_NAMES, dataset.seed, index)
    color = _cycle(COLOR_NAMES, dataset.seed + 1, index)
    return PortraitSpec(
        identity=sample_identity(_identity_seed(dataset.split, seed)),
        scene=sample_scene(stable_seed("scene", seed), dataset.poses),
        hair=sample_hair(style, stable_seed("hair", seed)),
        color=sample_color(color, stable_seed("color", seed)),
        seed=seed,
    )


def _other_light(scene: SceneSpec, other: SceneSpec) -> SceneSpec:
    """Return the pose, expression and clothes of `scene` in the light and before the background of `other`."""
    pose = ("yaw", "pitch", "roll", "smile", "mouth_open", "brows_up", "eyes_closed", "frame_scale")
    clothes = ("clothes", "clothes_color", "neckline")
    return replace(other, **{name: getattr(scene, name) for name in (*pose, *clothes)})


def quad_specs(
    dataset: DatasetSpec, index: int
) -> tuple[tuple[PortraitSpec, PortraitSpec], tuple[HairColor, HairColor]]:
    """Return two geometries and two hair colors of one quad; quads of odd index show one person twice."""
    seed = stable_seed("quad", dataset.seed, dataset.split, index)
    same = index % 2 == 1
    styles = [_cycle(STYLE_NAMES, dataset.seed + k, index) for k in (0, 1)]
    if styles[0] == styles[1]:
        styles[1] = STYLE_NAMES[(STYLE_NAMES.index(styles[0]) + 1 + seed % (len(STYLE_NAMES) - 1)) % len(STYLE_NAMES)]
    names = [_cycle(COLOR_NAMES, dataset.seed + k, index) for k in (2, 3)]
    if names[0] == names[1]:
        names[1] = COLOR_NAMES[(COLOR_NAMES.index(names[0]) + 1 + seed % (len(COLOR_NAMES) - 1)) % len(COLOR_NAMES)]
    colors = tuple(sample_color(name, stable_seed("color", k, seed)) for k, name in enumerate(names))
    scenes = [sample_scene(stable_seed("scene", k, seed), dataset.poses) for k in (0, 1)]
    if same and index % 4 == 1:  # in the other half pose and expression differ too
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
    """Return one line of JSON with the spec, its caption, its split, and `extra`."""
    fields = {**extra, "caption": full_caption(spec), "split": split_of(spec.identity.seed), **spec.to_dict()}
    return json.dumps(fields, sort_keys=True)


def render_quad_shard(dataset: DatasetSpec, shard: int, folder: Path) -> int:
    """Write one shard of Q quads as an npz file, and return how many images it holds.

    The file holds `images` (Q, 2, 2, S, S, 3) uint8 and `labels` (Q, 2, 2, S, S) uint8, by quad, geometry and color;
    `landmarks` (Q, 2, 5, 2) float32 in pixels; `coverage` (Q, 2, S, S) uint8 and `direction` (Q, 2, S, S, 2) int8 of
    the hair, times 255 and 127 (see `raster.Buffers`); and `metadata` (Q, 2, 2), lines of JSON.
    """
    from hairclip.portraits.render import render_variants

    items, size = dataset.items(shard), dataset.size
    images = np.empty((len(items), 2, 2, size, size, 3), np.uint8)
    labels = np.empty((len(items), 2, 2, size, size), np.uint8)
    landmarks = np.empty((len(items), 2, 5, 2), np.float32)
    coverage = np.empty((len(items), 2, size, size), np.uint8)
    direction = np.empty((len(items), 2, size, size, 2), np.int8)
    metadata = np.empty((len(items), 2, 2), dtype=object)
    for row, index in enumerate(items):
        geometries, colors = quad_specs(dataset, index)
        for g, geometry in enumerate(geometries):
            for c, portrait in enumerate(render_variants(geometry, colors, size)):
                images[row, g, c], labels[row, g, c] = portrait.image, portrait.labels
                landmarks[row, g] = portrait.landmarks
                coverage[row, g] = np.round(portrait.hair_coverage * 255)
                direction[row, g] = np.round(portrait.hair_direction * 127)
                metadata[row, g, c] = metadata_line(portrait.spec, quad=index)
    with open_atomic(folder / dataset.shard_name(shard)) as file:
        np.savez(
            file,
            images=images,
            labels=labels,
            landmarks=landmarks,
            coverage=coverage,
            direction=direction,
            metadata=np.array(metadata.tolist()),
        )
    return len(items) * 4


def render_portrait_shard(dataset: DatasetSpec, shard: int, folder: Path) -> int:
    """Write images and labels of one shard as PNG files, then its metadata; return how many portraits it holds."""
    from hairclip.portraits.render import render_portrait

    lines = []
    for index in dataset.items(shard):
        portrait = render_portrait(portrait_spec(dataset, index), dataset.size)
        name = f"{dataset.split}-{index:06d}"
        for kind, pixels in (("images", portrait.image), ("labels", portrait.labels)):
            with open_atomic(folder / kind / f"{name}.png") as file:
                Image.fromarray(pixels).save(file, "PNG")
        marks = [[round(float(v), 2) for v in point] for point in portrait.landmarks]
        lines.append(metadata_line(portrait.spec, file=f"images/{name}.png", landmarks=marks))
    write_atomic(folder / dataset.shard_name(shard), "".join(line + "\n" for line in lines))
    return len(lines)


def _check_folder(dataset: DatasetSpec, folder: Path) -> None:
    """Refuse a folder that holds a data set of other settings; note the settings in a new one."""
    settings = {"seed": dataset.seed, "size": dataset.size, "mode": dataset.mode, "poses": dataset.poses}
    path = folder / "dataset.json"
    if not path.exists():
        write_atomic(path, json.dumps(settings) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise HairclipError(f"{path} is damaged: choose an empty folder.") from None
    # Folders of older versions hold narrow poses and do not say so.
    if not isinstance(found, dict) or {"poses": "narrow", **found} != settings:
        raise HairclipError(
            f"{folder} holds portraits of other settings {str(found)[:200]}: choose an empty folder or the same "
            "settings."
        )


def _render_shard(dataset: DatasetSpec, shard: int, folder: Path) -> int:
    """Render one shard, and return how many images it holds."""
    render = render_quad_shard if dataset.mode == "quads" else render_portrait_shard
    return render(dataset, shard, folder)


def _ask_for_one_thread() -> None:
    """Have processes that start from now on compute with one thread each."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"


def render_dataset(dataset: DatasetSpec, folder: Path, workers: int = 1) -> Iterator[int]:
    """Render the shards that are missing, and yield after each how many items it holds.

    The first number yielded counts the items that were there before. A last shard that was short is rendered again when
    `count` has grown.

    Args:
        dataset: what to render.
        folder: where the files go; it is made if it is missing.
        workers: number of processes that render; 1 renders in this one.

    Raises:
        HairclipError: if the folder holds a data set of other settings, or if a file cannot be written.
    """
    _check_folder(dataset, folder)
    todo, found = [], 0
    for shard in range(dataset.shards):
        if _is_complete(dataset, shard, folder):
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
    """Render shards in processes of their own, and yield after each how many items it holds."""
    _ask_for_one_thread()  # before the spawned processes import numpy
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


def _is_complete(dataset: DatasetSpec, shard: int, folder: Path) -> bool:
    """Return whether a shard's file can be read and holds all items; a damaged one is rendered again."""
    path = folder / dataset.shard_name(shard)
    try:
        return _count_items(dataset, path) >= len(dataset.items(shard))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False


def _count_items(dataset: DatasetSpec, path: Path) -> int:
    """Return how many items a shard's file holds."""
    if dataset.mode == "portraits":
        return len(path.read_text(encoding="utf-8").splitlines())
    with path.open("rb") as file, np.load(file) as data:
        return len(data["landmarks"])


def _join_metadata(folder: Path) -> None:
    """Write the lines of all shards, in order, to `metadata.jsonl`."""
    lines = (path.read_text(encoding="utf-8") for path in sorted(folder.glob("*-[0-9]*.jsonl")))
    write_atomic(folder / "metadata.jsonl", "".join(lines))

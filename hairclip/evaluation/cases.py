"""The benchmark: edits of people no network has seen, with the true answer rendered.

Each case is a held-out person with some hair and an edit of it. The source and the truth show the same person in the
same scene; only hair or colour differ. References show other held-out people. Everything follows from one seed;
renders are cached.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hairclip.common.color import NamedColors, mean_lab
from hairclip.common.files import home_folder
from hairclip.common.images import from_uint8
from hairclip.common.progress import progress_bar
from hairclip.portraits import spec as portrait_spec
from hairclip.portraits.spec import HairColor, HairSpec, PortraitSpec

__all__ = ["EditCase", "Rendered", "Task", "calibrate_colors", "held_out_people", "make_cases", "render_all"]

Task: TypeAlias = Literal["style", "color", "both"]
HAIR_LABEL = 13
# Without hair there is no hair colour to judge or keep, and no hair mask to overlap with.
STYLES = tuple(name for name in portrait_spec.STYLE_NAMES if name != "bald")


@dataclass(frozen=True)
class EditCase:
    """One edit to make and its true answer. A name without a reference is asked by text."""

    task: Task
    source: PortraitSpec
    truth: PortraitSpec
    hairstyle: str | None
    color: str | None
    hairstyle_reference: PortraitSpec | None
    color_reference: PortraitSpec | None

    def label(self) -> str:
        """What is asked, in a line for captions."""
        style = self.hairstyle and self.hairstyle + (" (picture)" if self.hairstyle_reference else "")
        color = self.color and self.color + (" (picture)" if self.color_reference else "")
        return " + ".join(part for part in (style, color) if part)


@dataclass(frozen=True)
class Rendered:
    """Rendered portraits: images (N, 3, size, size) in [-1, 1], hair (N, 1, size, size) bool."""

    images: Tensor
    hair: Tensor
    specs: tuple[PortraitSpec, ...]

    def __len__(self) -> int:
        return len(self.specs)


def held_out_people(seed: int, split: portrait_spec.Split = "test") -> Iterator[PortraitSpec]:
    """An endless stream of different random portraits of one split's people."""
    counter = 0
    while True:
        person = portrait_spec.stable_seed("evaluation", split, seed, counter)
        counter += 1
        if portrait_spec.split_of(portrait_spec.stable_seed("portrait", "identity", person)) == split:
            portrait = portrait_spec.sample_portrait(person)
            if portrait_spec.split_of(portrait.identity.seed) == split:
                yield portrait


def make_cases(count: int, seed: int = 0) -> list[EditCase]:
    """Cases in the order style, colour, both, style, ...; every second one of a kind asks by reference picture."""
    random = np.random.default_rng([seed, 2026])
    people = held_out_people(seed)
    cases = []
    for index in range(count):
        task: Task = ("style", "color", "both")[index % 3]
        turn = index // 3
        source = _wearing(next(people), random, style=None, color=None)
        by_picture = (turn % 2 == 1, turn % 2 == 1 if task != "both" else turn % 4 >= 2)
        hair, shade, style_reference, color_reference = source.hair, source.color, None, None
        if task in ("style", "both"):
            style = _another(STYLES, source.hair.style, random)
            hair = HairSpec(style=style)
            if by_picture[0]:
                style_reference = _wearing(next(people), random, style=style, color=None)
                hair = style_reference.hair
        if task in ("color", "both"):
            color = _another(portrait_spec.COLOR_NAMES, source.color.name, random)
            shade = HairColor(name=color, rgb=portrait_spec.COLORS[color][0])
            if by_picture[1]:
                color_reference = _wearing(next(people), random, style=None, color=color)
                shade = color_reference.color
        cases.append(
            EditCase(
                task=task,
                source=source,
                truth=replace(source, hair=hair, color=shade),
                hairstyle=hair.style if task in ("style", "both") else None,
                color=shade.name if task in ("color", "both") else None,
                hairstyle_reference=style_reference,
                color_reference=color_reference,
            )
        )
    return cases


def _another(names: Sequence[str], current: str, random: np.random.Generator) -> str:
    others = [name for name in names if name != current]
    return others[int(random.integers(len(others)))]


def _wearing(
    person: PortraitSpec, random: np.random.Generator, *, style: str | None, color: str | None
) -> PortraitSpec:
    """The person with hair of a given or a random style (never bald) and colour."""
    style = style or STYLES[int(random.integers(len(STYLES)))]
    color = color or portrait_spec.COLOR_NAMES[int(random.integers(len(portrait_spec.COLOR_NAMES)))]
    hair = portrait_spec.sample_hair(style, int(random.integers(2**31)))
    return replace(person, hair=hair, color=portrait_spec.sample_color(color, int(random.integers(2**31))))


# ------------------------------------------------------------------ rendering, cached


def cache_folder() -> Path:
    """Where renders are kept: one folder per state of the renderer."""
    return home_folder() / "renders" / _renderer_fingerprint()


@lru_cache(maxsize=1)
def _renderer_fingerprint() -> str:
    """A hash of the renderer's own source: any change to it renders anew."""
    folder = Path(portrait_spec.__file__).parent
    digest = hashlib.sha256()
    for source in sorted(folder.rglob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def _render_cached(spec: PortraitSpec, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (size, size, 3) uint8 and hair mask (size, size) bool of one portrait."""
    key = hashlib.sha256(json.dumps([spec.to_dict(), size], sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder() / key[:2] / f"{key}.npz"
    try:
        with np.load(path) as stored:
            return stored["image"], stored["hair"]
    except (OSError, ValueError, KeyError, EOFError):
        pass
    from hairclip.portraits.render import render_portrait

    portrait = render_portrait(spec, size)
    image, hair = portrait.image, portrait.labels == HAIR_LABEL
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(f".{key}.{os.getpid()}.npz")
    np.savez_compressed(partial_path, image=image, hair=hair)
    partial_path.replace(path)
    return image, hair


def render_all(specs: Sequence[PortraitSpec], size: int, *, workers: int = 0, progress: bool = False) -> Rendered:
    """Render portraits, each once on this machine.

    Args:
        specs: what to render.
        size: pixels.
        workers: processes; 0 renders here.
        progress: show a progress bar.
    """
    work: Callable[[PortraitSpec], tuple[np.ndarray, np.ndarray]] = partial(_render_cached, size=size)
    show = partial(progress_bar, total=len(specs), label="rendering", show=progress, leave=False)
    if workers > 1 and len(specs) > 8:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            pictures = list(show(pool.map(work, specs, chunksize=4)))
    else:
        pictures = [work(spec) for spec in show(specs)]
    images = from_uint8(np.stack([image for image, _ in pictures]))
    hair = torch.from_numpy(np.stack([mask for _, mask in pictures]))[:, None]
    return Rendered(images, hair, tuple(specs))


def calibrate_colors(
    per_color: int = 24, *, seed: int = 0, size: int = 128, workers: int = 0, progress: bool = False
) -> NamedColors:
    """Mean hair Lab of every named colour on rendered people of the training split, in all lights and styles.

    Portraits on which under 2 % is hair do not count: what little shows is mostly shadow and edge.
    """
    random = np.random.default_rng([seed, 12])
    people = held_out_people(seed, "train")
    specs = [
        _wearing(next(people), random, style=None, color=color)
        for color in portrait_spec.COLOR_NAMES
        for _ in range(per_color)
    ]
    rendered = render_all(specs, size, workers=workers, progress=progress)
    counts = (rendered.hair.float().mean(dim=(1, 2, 3)) > 0.02).reshape(-1, per_color, 1)
    lab = mean_lab(rendered.images, rendered.hair).reshape(-1, per_color, 3)
    rows = ((lab * counts).sum(dim=1) / counts.sum(dim=1).clamp_min(1)).tolist()
    return {name: (row[0], row[1], row[2]) for name, row in zip(portrait_spec.COLOR_NAMES, rows, strict=True)}

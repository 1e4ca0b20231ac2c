"""Requests with their true answers: edits of people that no network has seen.

Each case is a held-out person with some hair, and an edit of it. The source and the truth show the same person in the
same scene and differ only in hair or color. References show other held-out people. Everything follows from one seed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from hairclip.common.color import NamedColors, load_named_colors, mean_lab, save_named_colors
from hairclip.common.files import data_folder
from hairclip.evaluation.renders import cache_folder, render_all
from hairclip.portraits import spec as portrait_spec
from hairclip.portraits.captions import BALD
from hairclip.portraits.spec import HairColor, HairSpec, PortraitSpec

__all__ = [
    "CaseKind",
    "EditCase",
    "calibrate_colors",
    "held_out_people",
    "make_cases",
    "make_paired_cases",
    "portrait_colors",
]

CaseKind: TypeAlias = Literal["style", "color", "both"]
STYLES = tuple(name for name in portrait_spec.STYLE_NAMES if name != BALD)
"""Hairstyles of the cases. Without hair there is no color to judge or to keep, and no hair mask to overlap with."""


@dataclass(frozen=True)
class EditCase:
    """A request with its true answer. A hairstyle or color without a reference is requested by text.

    Attributes:
        kind: what changes: the hairstyle, the color, or both.
        source: the person before the edit.
        truth: the same person after it.
        hairstyle: name of the requested hairstyle; None to keep the old one.
        color: name of the requested color; None to keep the old one.
        hairstyle_reference: another person with that hairstyle; None where the request is a text.
        color_reference: another person with that color; None where the request is a text.
    """

    kind: CaseKind
    source: PortraitSpec
    truth: PortraitSpec
    hairstyle: str | None
    color: str | None
    hairstyle_reference: PortraitSpec | None
    color_reference: PortraitSpec | None

    def label(self) -> str:
        """Return the request as a caption."""
        style = self.hairstyle and self.hairstyle + (" (picture)" if self.hairstyle_reference else "")
        color = self.color and self.color + (" (picture)" if self.color_reference else "")
        return " + ".join(part for part in (style, color) if part)


def held_out_people(seed: int, split: portrait_spec.Split = "test") -> Iterator[PortraitSpec]:
    """Yield random portraits of different people of one split, without end."""
    counter = 0
    while True:
        person = portrait_spec.stable_seed("evaluation", split, seed, counter)
        counter += 1
        if portrait_spec.split_of(portrait_spec.stable_seed("portrait", "identity", person)) == split:
            portrait = portrait_spec.sample_portrait(person)
            if portrait_spec.split_of(portrait.identity.seed) == split:
                yield portrait


def make_cases(count: int, seed: int = 0) -> list[EditCase]:
    """Return cases in the order style, color, both, style, ...; half of each kind request by reference picture."""
    random = np.random.default_rng([seed, 2026])
    people = held_out_people(seed)
    cases = []
    for index in range(count):
        kind: CaseKind = ("style", "color", "both")[index % 3]
        turn = index // 3
        source = _dress(next(people), random, style=None, color=None)
        style_by_picture = turn % 2 == 1
        color_by_picture = turn % 2 == 1 if kind != "both" else turn % 4 >= 2
        hair, shade, style_reference, color_reference = source.hair, source.color, None, None
        if kind in ("style", "both"):
            style = _choose_other(STYLES, source.hair.style, random)
            hair = HairSpec(style=style)
            if style_by_picture:
                style_reference = _dress(next(people), random, style=style, color=None)
                hair = style_reference.hair
        if kind in ("color", "both"):
            color = _choose_other(portrait_spec.COLOR_NAMES, source.color.name, random)
            shade = HairColor(name=color, rgb=portrait_spec.COLORS[color][0])
            if color_by_picture:
                color_reference = _dress(next(people), random, style=None, color=color)
                shade = color_reference.color
        cases.append(
            EditCase(
                kind=kind,
                source=source,
                truth=replace(source, hair=hair, color=shade),
                hairstyle=hair.style if kind in ("style", "both") else None,
                color=shade.name if kind in ("color", "both") else None,
                hairstyle_reference=style_reference,
                color_reference=color_reference,
            )
        )
    return cases


def make_paired_cases(
    count: int, seed: int = 0, split: portrait_spec.Split = "test"
) -> tuple[list[EditCase], list[EditCase]]:
    """Return two lists of cases of the same people: one requests by text, the other by reference picture.

    Both lists have the order style, color, both, style, ... A reference picture shows another person, whose hairstyle,
    color or both are wanted. The first cases do not depend on `count`.

    Args:
        count: number of people.
        seed: seed of everything.
        split: which people. Settings are chosen on "val" and reported on "test".

    Returns:
        The cases by text and the cases by picture, `count` each.
    """
    random = np.random.default_rng([seed, 2027])
    people = held_out_people(seed, split)
    texts: list[EditCase] = []
    pictures: list[EditCase] = []
    for index in range(count):
        kind: CaseKind = ("style", "color", "both")[index % 3]
        source = _dress(next(people), random, style=None, color=None)
        style = _choose_other(STYLES, source.hair.style, random)
        color = _choose_other(portrait_spec.COLOR_NAMES, source.color.name, random)
        other = _dress(next(people), random, style=style, color=color)
        plain = HairColor(name=color, rgb=portrait_spec.COLORS[color][0])
        for cases, hair, shade, reference in (
            (texts, HairSpec(style=style), plain, None),
            (pictures, other.hair, other.color, other),
        ):
            styled, colored = kind != "color", kind != "style"
            cases.append(
                EditCase(
                    kind=kind,
                    source=source,
                    truth=replace(
                        source, hair=hair if styled else source.hair, color=shade if colored else source.color
                    ),
                    hairstyle=style if styled else None,
                    color=color if colored else None,
                    hairstyle_reference=reference if styled else None,
                    color_reference=reference if colored else None,
                )
            )
    return texts, pictures


def _choose_other(names: Sequence[str], current: str, random: np.random.Generator) -> str:
    """Return a random name other than the current one."""
    others = [name for name in names if name != current]
    return others[int(random.integers(len(others)))]


def _dress(person: PortraitSpec, random: np.random.Generator, *, style: str | None, color: str | None) -> PortraitSpec:
    """Return the person with hair of a given or a random style (never bald) and color."""
    style = style or STYLES[int(random.integers(len(STYLES)))]
    color = color or portrait_spec.COLOR_NAMES[int(random.integers(len(portrait_spec.COLOR_NAMES)))]
    hair = portrait_spec.sample_hair(style, int(random.integers(2**31)))
    return replace(person, hair=hair, color=portrait_spec.sample_color(color, int(random.integers(2**31))))


def portrait_colors(*, size: int = 128, workers: int = 0, progress: bool = False) -> NamedColors:
    """Return the named colors as they look on rendered hair.

    They are read from the shipped table. Where there is none, they are measured once and kept in the cache.
    """
    shipped = data_folder() / "portraits" / "colors.json"
    if shipped.is_file():
        return load_named_colors(shipped)
    kept = cache_folder() / "colors.json"
    if not kept.is_file():
        save_named_colors(calibrate_colors(size=size, workers=workers, progress=progress), kept)
    return load_named_colors(kept)


def calibrate_colors(
    per_color: int = 24, *, seed: int = 0, size: int = 128, workers: int = 0, progress: bool = False
) -> NamedColors:
    """Measure the mean hair Lab of every named color on rendered people of the training split.

    Portraits with hair on less than 2 % of their pixels do not count: they show mostly shadow and edge.

    Args:
        per_color: people of each color, in all lights and styles.
        seed: seed of the people.
        size: height and width of the portraits in pixels.
        workers: processes that render; 0 renders in this process.
        progress: show a progress bar.

    Returns:
        Name of the color -> (L, a, b).
    """
    random = np.random.default_rng([seed, 12])
    people = held_out_people(seed, "train")
    specs = [
        _dress(next(people), random, style=None, color=color)
        for color in portrait_spec.COLOR_NAMES
        for _ in range(per_color)
    ]
    rendered = render_all(specs, size, workers=workers, progress=progress)
    counts = (rendered.hair.float().mean(dim=(1, 2, 3)) > 0.02).reshape(-1, per_color, 1)
    lab = mean_lab(rendered.images, rendered.hair).reshape(-1, per_color, 3)
    rows = ((lab * counts).sum(dim=1) / counts.sum(dim=1).clamp_min(1)).tolist()
    return {name: (row[0], row[1], row[2]) for name, row in zip(portrait_spec.COLOR_NAMES, rows, strict=True)}

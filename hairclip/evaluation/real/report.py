"""The tables of an evaluation of real photos, and the sheet of its worst edits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hairclip.common.sheets import draw_sheet
from hairclip.common.tables import format_table
from hairclip.evaluation.metrics import frechet_distance, kernel_distance
from hairclip.evaluation.real.measure import Words, rate
from hairclip.evaluation.real.records import TILE, PhotoRecords, read_arrays, read_tile
from hairclip.evaluation.real.requests import KINDS
from hairclip.evaluation.tables import Figure, bootstrap_interval

__all__ = ["TABLES", "Done", "draw_worst", "format_report", "list_failures", "make_rows"]


@dataclass(frozen=True)
class Done:
    """The results of one photo by one method, and their file."""

    records: PhotoRecords
    path: Path


def _kept(suffix: str) -> tuple[Figure, ...]:
    return (
        Figure(f"ids{suffix}", "IDS"),
        Figure(f"psnr{suffix}", "PSNR without hair", "dB"),
        Figure(f"ssim{suffix}", "SSIM without hair"),
        Figure(f"lpips{suffix}", "LPIPS (AlexNet)"),
        Figure(f"perceptual{suffix}", "perceptual distance"),
    )


TABLES: Mapping[str, tuple[Figure, ...]] = {
    "Kept of the photo": _kept(""),
    "Kept of the inversion": _kept("_inversion"),
    "What was requested": (
        Figure("clip_hairstyle", "CLIP score, hairstyle"),
        Figure("rank_hairstyle", "rank"),
        Figure("clip_color", "CLIP score, color"),
        Figure("rank_color", "rank"),
        Figure("clip_image", "CLIP-I of the hair"),
        Figure("acd", "ACD"),
        Figure("acd_of_loss", "ACD, Lab of the loss"),
    ),
    "The whole picture": (
        Figure("fid", "FID (Inception)"),
        Figure("kid", "KID (Inception)"),
        Figure("clip_fid", "CLIP-FID"),
        Figure("clip_kid", "CLIP-KID"),
        Figure("changed", "pixels changed", "%"),
        Figure("changed_outside_mask", "outside the mask", "%"),
        Figure("seconds", "seconds"),
    ),
}
_JUDGES = {
    "ids": "identity",
    "perceptual": "perceptual",
    "clip_hairstyle": "clip",
    "clip_color": "clip",
    "clip_image": "clip",
    "clip_fid": "clip",
}
"""Figure -> the judge that its column names."""
_DISTANCES = {"clip": ("clip_fid", "clip_kid"), "inception": ("fid", "kid")}
_PER_EDIT = [
    figure.name
    for figures in TABLES.values()
    for figure in figures
    if figure.name not in ("fid", "kid", "clip_fid", "clip_kid")
]
_ORDER = ("unedited", *KINDS)
_SHOWN = 12
"""Edits on the sheet of the worst."""


def make_rows(done: Mapping[str, Sequence[Done]], seed: int) -> list[dict[str, Any]]:
    """Return one row per method, form of picture and kind of request.

    Args:
        done: method -> the results of each photo.
        seed: seed of the intervals.

    Returns:
        Rows with `method`, `form`, `kind`, `count` (edits measured), `failed` (photos without such an edit) and
        `figures`: name -> `mean`, `low` and `high` of its 95 % interval, `count`. Distances between sets have only a
        `mean`.
    """
    rows = []
    for method, results in done.items():
        groups: dict[tuple[str, str], list[tuple[Done, str]]] = {}
        for one in results:
            for number, edit in enumerate(one.records.edits):
                groups.setdefault((edit["form"], edit["kind"]), []).append((one, str(number)))
        photos = [(one, "photo") for one in results if one.records.edits]
        features = {extractor: _features(photos, extractor) for extractor in _DISTANCES}
        for form, kind in sorted(groups, key=lambda pair: (_ORDER.index(pair[1]), pair[0] != "raw")):
            group = groups[form, kind]
            figures = {**_means(group, seed), **_distances(group, features, seed)}
            counts = {"count": len(group), "failed": len(results) - len(group)}
            rows.append({"method": method, "form": form, "kind": kind, **counts, "figures": figures})
    return rows


def _means(group: Sequence[tuple[Done, str]], seed: int) -> dict[str, dict[str, float]]:
    """Return the mean of each figure over the edits that have it, with its interval."""
    edits = [one.records.edits[int(number)] for one, number in group]
    means = {}
    for name in _PER_EDIT:
        values = [edit[name] for edit in edits if name in edit]
        if values:
            low, high = bootstrap_interval(values, seed)
            means[name] = {"mean": sum(values) / len(values), "low": low, "high": high, "count": len(values)}
    return means


def _distances(
    group: Sequence[tuple[Done, str]], photos: Mapping[str, torch.Tensor | None], seed: int
) -> dict[str, dict[str, float]]:
    """Return the distances of the edits as a set from the photos, by each extractor of features."""
    distances: dict[str, dict[str, float]] = {}
    for extractor, (frechet, kernel) in _DISTANCES.items():
        ours, theirs = _features(group, extractor), photos[extractor]
        if ours is None or theirs is None:
            continue
        values = {frechet: frechet_distance(ours, theirs), kernel: kernel_distance(ours, theirs, seed=seed)}
        distances |= {name: {"mean": value, "count": len(ours)} for name, value in values.items() if value is not None}
    return distances


def _features(entries: Sequence[tuple[Done, str]], extractor: str) -> torch.Tensor | None:
    """Return the features of pictures, one row each; None if some picture has none."""
    arrays = [read_arrays(one.path, f"{name}.{extractor}")[0] for one, name in entries]
    present = [array for array in arrays if array is not None]
    return torch.from_numpy(np.stack(present)) if present and len(present) == len(arrays) else None


def list_failures(done: Mapping[str, Sequence[Done]]) -> list[dict[str, Any]]:
    """Return what could not be edited or measured: method, photo, kind (None for all) and reason."""
    return [
        {"method": method, "photo": one.records.photo, **failure}
        for method, results in done.items()
        for one in results
        for failure in one.records.failures
    ]


def format_report(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown: the tables, who judged, and what could not be edited."""
    blocks = []
    for title, figures in TABLES.items():
        head = ["method", "pictures", "request", "edits", "failed", *(_title(one, report) for one in figures)]
        rows = [
            [
                row["method"],
                row["form"],
                row["kind"],
                str(row["count"]),
                str(row["failed"]),
                *(_show(one, row["figures"].get(one.name)) for one in figures),
            ]
            for row in report["rows"]
            if any(one.name in row["figures"] for one in figures)
        ]
        if rows:
            blocks.append(f"**{title}**\n\n{format_table(head, rows, words=3)}")
    blocks.append(
        "Means, and in brackets 95 % bootstrap intervals over photos. "
        f"Hair is found by {report['judges']['parser']}. hairclip/evaluation/README.md defines the columns."
    )
    blocks += [f"Note: {note}" for note in report["notes"]]
    if report["failures"]:
        photos = {(failure["method"], failure["photo"]) for failure in report["failures"] if failure["kind"] is None}
        blocks.append(
            f"{len(photos)} photos could not be edited at all, and {len(report['failures']) - len(photos)} single "
            f"edits could not be made or read:\n{describe_failures(report['failures'])}"
        )
    return "\n\n".join(blocks)


def _title(figure: Figure, report: Mapping[str, Any]) -> str:
    """Return the title of a column with the network that judges, or with the number of words of a rank."""
    if figure.name.startswith("rank_"):
        return f"{figure.title} of {report['words'][figure.name.removeprefix('rank_')]}"
    judge = _JUDGES.get(figure.name.removesuffix("_inversion"))
    return figure.title if judge is None else f"{figure.title} ({report['judges'][judge]})"


def _show(figure: Figure, value: Mapping[str, float] | None) -> str:
    """Return a mean and its interval as text."""
    if value is None:
        return ""
    if "low" not in value:
        return figure.show(value["mean"])
    bare = Figure(figure.name, figure.title, "" if figure.unit == "dB" else figure.unit)
    low, high = (bare.show(value[end]).removesuffix(" %") for end in ("low", "high"))
    return f"{figure.show(value['mean'])} [{low}, {high}]"


def describe_failures(failures: Sequence[Mapping[str, Any]], most: int = 20) -> str:
    """Return a line per failure; failures for the same reason by the same method share one."""
    shared = Counter((one["method"], one["reason"]) for one in failures)
    first = {(one["method"], one["reason"]): one for one in reversed(failures)}
    lines = []
    for (method, reason), times in shared.items():
        one = first[method, reason]
        kind = "" if one["kind"] is None else f", {one['kind']}"
        others = "" if times == 1 else f" and {times - 1} more"
        lines.append(f"- {method}: {one['photo']}{kind}{others}: {reason}")
    more = [f"- {len(lines) - most} other reasons are in report.json"] if len(lines) > most else []
    return "\n".join([*lines[:most], *more])


def draw_worst(done: Mapping[str, Sequence[Done]], words: Words) -> Image.Image:
    """Return a sheet with a row for each of the worst edits: photo, reference and answer.

    The generator's raw picture stands beside the answer where there is one. How bad an edit is, `rate` says.
    """
    rated = [
        (rate(edit, words), method, one, number)
        for method, results in done.items()
        for one in results
        for number, edit in enumerate(one.records.edits)
        if edit["form"] in ("blended", "folder")
    ]
    rated.sort(key=lambda entry: -entry[0])
    blank = torch.ones(1, 3, TILE, TILE)
    rows, captions = [], []
    for _, method, one, number in rated[:_SHOWN]:
        edit = one.records.edits[number]
        raw = next(
            (
                str(i)
                for i, other in enumerate(one.records.edits)
                if other["kind"] == edit["kind"] and other["form"] == "raw"
            ),
            "",
        )
        is_reference = edit["kind"].startswith("reference")
        names = ("photo", "reference" if is_reference else "", raw, str(number))
        tiles = [read_tile(one.path, name) for name in names]
        rows.append([blank if tile is None else tile for tile in tiles])
        captions.append(f"{one.records.photo}\n{method}\n{edit['kind']}\n{edit['request']}\nIDS {edit['ids']:.2f}")
    return draw_sheet(rows, columns=("photo", "reference", "raw", "answer"), rows=captions, tile=TILE)

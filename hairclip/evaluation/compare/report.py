"""The tables of a comparison, and sheets with people as rows and methods as columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hairclip.common.sheets import draw_sheet
from hairclip.common.tables import format_table
from hairclip.editing.options import EditOptions
from hairclip.evaluation.compare.candidates import Asked, Candidate, MethodCandidate
from hairclip.evaluation.compare.costs import COSTS, Cost
from hairclip.evaluation.compare.records import AnswerRecord, read_picture
from hairclip.evaluation.edits import RenderedCases
from hairclip.evaluation.metrics import frechet_distance, kernel_distance
from hairclip.evaluation.tables import Figure, bootstrap_interval

__all__ = ["TABLES", "Answered", "draw_answers", "format_report", "format_sweep", "make_report"]


@dataclass(frozen=True)
class Answered:
    """The answer to the request of one person.

    Attributes:
        number: number of the person.
        record: the answer.
        path: its file, which holds the pictures.
    """

    number: int
    record: AnswerRecord
    path: Path


TABLES: Mapping[str, tuple[Figure, ...]] = {
    "What was requested": (
        Figure("hairstyle_right", "hairstyle right", "%"),
        Figure("color_right", "color right", "%"),
        Figure("mask_iou", "hair IoU with the truth"),
        Figure("acd", "ACD"),
        Figure("clip_score", "CLIP score"),
    ),
    "The truth": (
        Figure("perceptual", "perceptual distance to the truth"),
        Figure("psnr", "PSNR to the truth", "dB"),
        Figure("fid", "Fréchet distance (judge)"),
        Figure("kid", "kernel distance (judge)"),
    ),
    "Kept of the photo": (
        Figure("identity", "identity"),
        Figure("psnr_photo", "PSNR without hair", "dB"),
        Figure("ssim_photo", "SSIM without hair"),
        Figure("keeps_mask_photo", "color edit: hair IoU"),
        Figure("keeps_color", "style edit: color kept", "%"),
        Figure("changed_outside", "pixels changed outside the hair", "%"),
    ),
    "Kept of the inversion": (
        Figure("psnr_inversion", "PSNR without hair", "dB"),
        Figure("ssim_inversion", "SSIM without hair"),
        Figure("keeps_mask_inversion", "color edit: hair IoU"),
    ),
}
_ALL = tuple(figure for figures in TABLES.values() for figure in figures)
_DISTANCES = ("fid", "kid")
_BY_KIND = (
    ("hairstyle right, style alone", "style", "hairstyle_right"),
    ("hairstyle right, with a color", "both", "hairstyle_right"),
    ("color right, color alone", "color", "color_right"),
    ("color right, with a style", "both", "color_right"),
)
_TITLES: Mapping[Asked, str] = {"text": "Requests by text", "picture": "Requests by reference picture"}
_PEOPLE = 12
"""People on a sheet."""


def make_report(
    candidates: Sequence[Candidate],
    results: Mapping[str, Mapping[Asked, Sequence[Answered]]],
    *,
    seed: int,
    split: str,
    count: int,
    slow_count: int,
) -> dict[str, Any]:
    """Return the content of `report.json`.

    Args:
        candidates: who has answered; the truth need not be among them.
        results: label of a candidate -> how hair is requested -> the answers.
        seed: seed of the intervals.
        split: which people.
        count: number of people.
        slow_count: number of people of slow methods.

    Returns:
        `rows`, one per candidate, way to request, kind of edit and form of picture; `methods`, one per candidate;
        `refused`, what was not answered and why; `answers`, the figures of every answer.
    """
    rows, refused, answers = [], [], []
    for label, ways in results.items():
        for how, ones in ways.items():
            given = [one for one in ones if one.record.refused is None]
            for reason in dict.fromkeys(one.record.refused for one in ones if one.record.refused is not None):
                times = sum(one.record.refused == reason for one in ones)
                refused.append({"method": label, "asked": how, "count": times, "of": len(ones), "reason": reason})
            for kind in ("all", "style", "color", "both"):
                part = [one for one in given if kind in ("all", one.record.facts["kind"])]
                for form in ("raw", "blended"):
                    shown = [one for one in part if form in one.record.figures]
                    if shown:
                        facts = {"method": label, "asked": how, "kind": kind, "pictures": form, "count": len(shown)}
                        rows.append(facts | {"figures": _summarize(shown, form, seed)})
            answers += [
                {"method": label, "asked": how, "person": one.number, **one.record.facts, **one.record.figures}
                for one in given
            ]
    return {
        "count": count,
        "slow_count": slow_count,
        "split": split,
        "seed": seed,
        "methods": [_describe(candidate, results) for candidate in candidates],
        "rows": rows,
        "refused": refused,
        "answers": answers,
    }


def _describe(candidate: Candidate, results: Mapping[str, Mapping[Asked, Sequence[Answered]]]) -> dict[str, Any]:
    """Return the settings and the cost of a candidate. Seconds are medians over answers by text, else by picture."""
    described: dict[str, Any] = {"method": candidate.label}
    if not isinstance(candidate, MethodCandidate):
        return described
    options = candidate.options
    cost = COSTS.get(options.method, Cost())
    steps = {} if options.steps == EditOptions().steps else {"steps": options.steps}
    described |= {"settings": {**options.method_settings, **steps}, "strength": options.strength, "seed": options.seed}
    described |= {"steps": options.steps, "training_seconds": cost.training, "seconds_per_text": cost.per_text}
    for ones in results[candidate.label].values():
        spent = {
            form: [one.record.figures[form]["seconds"] for one in ones if "seconds" in one.record.figures.get(form, {})]
            for form in ("raw", "blended")
        }
        if spent["raw"]:
            described |= {"seconds": median(spent["raw"]), "seconds_blended": median(spent["blended"])}
            described["parameters"] = candidate.parameters
            break
    return described


def _summarize(answers: Sequence[Answered], form: str, seed: int) -> dict[str, dict[str, float]]:
    """Return the mean of each figure over the answers that have it, with its interval; of distances the value alone."""
    records = [one.record for one in answers]
    summary: dict[str, dict[str, float]] = {}
    for figure in _ALL:
        values = [record.figures[form][figure.name] for record in records if figure.name in record.figures[form]]
        if values:
            low, high = bootstrap_interval(values, seed)
            summary[figure.name] = {"mean": sum(values) / len(values), "low": low, "high": high, "count": len(values)}
    ours = [record.features[form] for record in records if form in record.features]
    theirs = [record.features["truth"] for record in records if "truth" in record.features]
    if len(ours) == len(theirs) == len(records) > 1:
        pair = [torch.from_numpy(np.stack(features)) for features in (ours, theirs)]
        distances = {"fid": frechet_distance(*pair), "kid": kernel_distance(*pair, seed=seed)}
        summary |= {name: {"mean": value, "count": len(ours)} for name, value in distances.items() if value is not None}
    return summary


def format_report(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    blocks = [_format_costs(report)]
    for how, title in _TITLES.items():
        rows = [row for row in report["rows"] if row["asked"] == how and row["kind"] == "all"]
        if not rows:
            continue
        blocks.append(f"## {title}")
        for name, figures in TABLES.items():
            head = ["method", "pictures", "edits", *(figure.title for figure in figures)]
            cells = [
                [row["method"], row["pictures"], str(row["count"]), *(_show(one, row["figures"]) for one in figures)]
                for row in rows
            ]
            blocks.append(f"**{name}**\n\n{format_table(head, cells, words=2)}")
        blocks.append(f"**By kind of edit**\n\n{_format_kinds(report, how)}")
    blocks.append(
        "Means, and in brackets 95 % bootstrap intervals over people. Fréchet and kernel distance compare the edits "
        "with the rendered truths: the formulas of FID and KID, on features of the shipped judge of hairstyles instead "
        "of Inception's. The Fréchet distance grows where edits are few: compare it at equal counts. "
        "hairclip/evaluation/README.md defines the columns."
    )
    told = _describe_refusals(report["refused"])
    if told:
        blocks.append("Not answered:\n\n" + "\n".join(told))
    return "\n\n".join(blocks)


def _describe_refusals(refused: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line per method and way to request, with the first of the reasons."""
    told: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in refused:
        told.setdefault((one["method"], one["asked"]), []).append(one)
    return [
        f"- {method}, {asked}, {sum(one['count'] for one in ones)} of {ones[0]['of']}: {ones[0]['reason']}"
        for (method, asked), ones in told.items()
    ]


def _format_costs(report: Mapping[str, Any]) -> str:
    """Return the table of costs."""
    base = next((one["seconds"] for one in report["methods"] if one["method"] == "mapper" and "seconds" in one), None)
    rows = []
    for one in report["methods"]:
        if "seconds" not in one:
            continue
        ratio = "" if not base else f"{one['seconds'] / base:.1f}"
        settings = ", ".join(f"{name} {value}" for name, value in one["settings"].items())
        seconds = [f"{one['seconds']:.3f}", ratio, f"{one['seconds_blended']:.3f}"]
        before = [_number(one["seconds_per_text"]), _number(one["training_seconds"])]
        rows.append([one["method"], settings, *seconds, *before, f"{one['parameters']:,}"])
    head = ["method", "settings", "seconds per edit", "of the mapper's", "with blending"]
    head += ["seconds per new text", "training once, seconds", "parameters"]
    title = "**Cost**, processor seconds without the inversion, in batches"
    return f"{title}\n\n{format_table(head, rows, words=2)}"


def _format_kinds(report: Mapping[str, Any], how: Asked) -> str:
    """Return the table of figures by kind of edit."""
    found = {
        (row["method"], row["pictures"], row["kind"]): row["figures"] for row in report["rows"] if row["asked"] == how
    }
    names = dict.fromkeys((method, pictures) for method, pictures, _ in found)
    figure = Figure("", "", "%")
    rows = [
        [*name, *(_show(Figure(key, "", figure.unit), found.get((*name, kind), {})) for _, kind, key in _BY_KIND)]
        for name in names
    ]
    return format_table(["method", "pictures", *(title for title, _, _ in _BY_KIND)], rows, words=2)


def format_sweep(report: Mapping[str, Any]) -> str:
    """Return a small table: one line per setting and way to request, with the figures that settings are chosen by."""
    chosen = ("hairstyle_right", "color_right", "mask_iou", "identity", "perceptual", "psnr_inversion", "clip_score")
    figures = [figure for name in chosen for figure in _ALL if figure.name == name]
    seconds = {one["method"]: one.get("seconds") for one in report["methods"]}
    rows = []
    for row in report["rows"]:
        if row["kind"] == "all" and row["pictures"] == "raw" and row["method"] in seconds:
            means = [figure.show(row["figures"].get(figure.name, {}).get("mean")) for figure in figures]
            rows.append([row["method"], row["asked"], str(row["count"]), *means, _number(seconds[row["method"]])])
    head = ["setting", "asked by", "edits", *(figure.title for figure in figures), "seconds"]
    return format_table(head, rows, words=2)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.2f}"


def _show(figure: Figure, figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return a mean with its interval as text; nothing where there is no value."""
    value = figures.get(figure.name)
    if value is None:
        return ""
    if "low" not in value:
        return figure.show(value["mean"])
    bare = Figure(figure.name, figure.title, "" if figure.unit == "dB" else figure.unit)
    low, high = (bare.show(value[end]).removesuffix(" %") for end in ("low", "high"))
    return f"{figure.show(value['mean'])} [{low}, {high}]"


def draw_answers(rendered: RenderedCases, results: Mapping[str, Sequence[Answered]], form: str) -> Image.Image:
    """Return a sheet with a row per person: photo, reference, truth, then one column per candidate.

    Args:
        rendered: the cases.
        results: label of a candidate -> its answers.
        form: which pictures. A candidate with another form only is shown in that.
    """
    blank = torch.ones(1, 3, 8, 8)
    labels = [label for label, ones in results.items() if any(one.record.figures for one in ones) and label != "truth"]
    found = {label: {one.number: one for one in results[label]} for label in labels}
    rows: list[list[Tensor]] = []
    captions = []
    for number in range(min(_PEOPLE, len(rendered))):
        pictures = (rendered.hairstyle_references[number], rendered.color_references[number])
        reference = next((picture for picture in pictures if picture is not None), None)
        row = [rendered.source.images[number], *([] if reference is None else [reference])]
        row.append(rendered.truth.images[number])
        for label in labels:
            one = found[label].get(number)
            picture = None if one is None else read_picture(one.path, form)
            if picture is None and one is not None:
                picture = read_picture(one.path, "raw")
            row.append(blank if picture is None else picture)
        rows.append(row)
        captions.append(rendered.cases[number].label().replace(" + ", "\n").replace(" (picture)", "\n(picture)"))
    has_reference = any(picture is not None for picture in rendered.hairstyle_references + rendered.color_references)
    head = ["photo", *(["reference"] if has_reference else []), "truth"]
    titles = [*head, *(label.replace("-", "-\n", 1) if len(label) > 14 else label for label in labels)]
    return draw_sheet(rows, columns=titles, rows=captions, tile=128)

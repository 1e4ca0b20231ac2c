"""Evaluate an editor: edit held-out people, measure the edits, print a table and show the pictures."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hairclip.common.color import NamedColors
from hairclip.common.images import save_image
from hairclip.common.sheets import draw_sheet
from hairclip.editing.choices import InversionMethod
from hairclip.editing.editor import EditResult, HairEditor
from hairclip.evaluation.cases import make_cases, portrait_colors
from hairclip.evaluation.edits import (
    Record,
    Referee,
    RenderedCases,
    make_edits,
    render_cases,
    stack_field,
)
from hairclip.evaluation.tables import Figure, format_figures, make_folder, mean_of, write_json
from hairclip.networks.classifier import HairstyleClassifier

__all__ = ["FIGURES", "evaluate_editor", "summarize"]

FIGURES: tuple[Figure, ...] = (
    Figure("hairstyle_right", "hairstyle right (judge)", "%", floor=0.85),
    Figure("color_right", "hair color right", "%", floor=0.90),
    Figure("mask_iou", "hair-mask IoU with the truth", floor=0.70),
    Figure("outside_psnr", "PSNR to inversion outside the hair", "dB", floor=28.0),
    Figure("keeps_mask", "color edit keeps the hair mask (IoU)", floor=0.90),
    Figure("keeps_color", "style edit keeps the color", "%", floor=0.90),
    Figure("identity", "identity cosine to the source"),
    Figure("perceptual", "perceptual distance to the truth"),
    Figure("lpips", "LPIPS (AlexNet) to the truth", is_optional=True),
    Figure("ms_ssim", "MS-SSIM to the truth"),
    Figure("psnr", "PSNR to the truth", "dB"),
)

COLUMNS = ("mapper", "optimize", "unedited", "blended", "truth")


def evaluate_editor(
    editor: HairEditor,
    judge: HairstyleClassifier,
    out: str | Path,
    *,
    count: int = 200,
    optimize_count: int = 24,
    optimize_steps: int = 100,
    seed: int = 0,
    inversion: InversionMethod = "encoder",
    workers: int = 0,
    named: NamedColors | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Print a table of figures, and write `report.json` and sheets of pictures to a folder.

    Args:
        editor: the editor to measure.
        judge: hairstyle classifier.
        out: folder of the report.
        count: number of edits.
        optimize_count: the first so many edits are also made by `method="optimize"`; 0 for none.
        optimize_steps: steps of that method.
        seed: seed of the cases.
        inversion: how the sources are inverted, see `hairclip.editing.inversion.invert.invert`.
        workers: processes that render; 0 renders in this process.
        named: name of a color -> (L, a, b); None takes the colors of rendered hair.
        progress: show progress bars.
        say: receives the lines to print.

    Returns:
        The content of `report.json`: figures by column, figures by kind of request, and one record per case.
    """
    out, size, started = Path(out), editor.networks.generator.size, time.monotonic()
    make_folder(out)  # before the work, not after it
    rendered = render_cases(make_cases(count, seed), size, workers=workers, progress=progress)
    named = named or portrait_colors(size=size, workers=workers, progress=progress)
    referee = Referee(editor, judge, named)

    edits = make_edits(editor, rendered, inversion=inversion, progress=progress)
    inversions = stack_field(edits, "inversion")
    answers = {
        "mapper": stack_field(edits, "synthesized"),
        "blended": stack_field(edits, "image"),
        "unedited": inversions,
        "truth": rendered.truth.images,
    }
    records = {name: referee.measure(rendered, images, inversions) for name, images in answers.items()}
    if optimize_count:
        # Cases come in the order style, color, both, so the first ones hold every kind.
        part = rendered.pick(range(min(optimize_count, count)))
        optimized = make_edits(
            editor, part, method="optimize", inversion=inversion, steps=optimize_steps, seed=seed, progress=progress
        )
        records["optimize"] = referee.measure(
            part, stack_field(optimized, "synthesized"), stack_field(optimized, "inversion")
        )
        save_image(show_cases(part, optimized, records["optimize"], range(min(12, len(part)))), out / "optimize.png")

    columns: dict[str, dict[str, float | None]] = {
        name: summarize(records[name]) for name in COLUMNS if name in records
    }
    ranked = rank_worst(records["mapper"])
    save_image(show_cases(rendered, edits, records["mapper"], range(min(12, count))), out / "edits.png")
    save_image(show_cases(rendered, edits, records["mapper"], ranked[:12]), out / "worst.png")
    passed = {figure.name: figure.passes(columns["mapper"].get(figure.name)) for figure in FIGURES}
    report = {
        "count": count,
        "seed": seed,
        "optimize_count": len(records.get("optimize", [])),
        "optimize_steps": optimize_steps,
        "inversion_psnr": sum(result.inversion_psnr for result in edits) / len(edits),
        "seconds": round(time.monotonic() - started, 1),
        "figures": columns,
        "passed": passed,
        "breakdown": break_down(records["mapper"]),
        "cases": [record | {"case": i} for i, record in enumerate(records["mapper"])],
    }
    write_json(report, out / "report.json")
    optimized_cases = len(records.get("optimize", []))  # the figures of a column are means over its own cases
    titles = {"optimize": f"optimize (first {optimized_cases})"} if optimized_cases < count else {}
    say(format_figures(FIGURES, columns, titles=titles))
    say(f"inversion of the sources: {report['inversion_psnr']:.2f} dB; {count} edits, report and pictures in {out}")
    return report


def summarize(records: Sequence[Record]) -> dict[str, float | None]:
    """Return the mean of every figure over the cases it applies to."""
    return {figure.name: mean_of(records, figure.name) for figure in FIGURES}


def break_down(records: Sequence[Record]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the figures by kind of case, by text or picture, by requested hairstyle and by requested color."""
    broken: dict[str, dict[str, dict[str, float | None]]] = {}
    for key in ("kind", "hairstyle_from", "color_from", "hairstyle", "color_asked"):
        values = sorted({record[key] for record in records if key in record})
        broken[key] = {value: summarize([r for r in records if r.get(key) == value]) for value in values}
    return broken


def rank_worst(records: Sequence[Record]) -> list[int]:
    """Return the numbers of the cases, worst first: by failed checks, then by distance to the truth."""

    def rate(record: Mapping[str, Any]) -> float:
        wrong = sum(
            1.0 - record.get(name, 1.0) for name in ("hairstyle_right", "color_right", "keeps_color", "mask_iou")
        )
        return wrong + float(record["perceptual"])

    return sorted(range(len(records)), key=lambda i: -rate(records[i]))


def show_cases(
    rendered: RenderedCases,
    edits: Sequence[EditResult],
    records: Sequence[Record],
    indices: Sequence[int],
    tile: int = 160,
) -> Image.Image:
    """Return a sheet with a row per case: source, references, inversion, edit, blended edit, truth."""
    blank = torch.ones(3, 8, 8)
    rows: list[list[Tensor]] = []
    captions = []
    for i in indices:
        case, edit, record = rendered.cases[i], edits[i], records[i]
        references = [rendered.hairstyle_references[i], rendered.color_references[i]]
        rows.append(
            [
                rendered.source.images[i],
                *(blank if reference is None else reference for reference in references),
                edit.inversion,
                edit.synthesized,
                edit.image,
                rendered.truth.images[i],
            ]
        )
        captions.append(f"{i} {case.kind}\n{case.label()}\njudge: {record['judged']}\ncolor: {record['color']}")
    titles = ("source", "style picture", "color picture", "inversion", "edit", "edit, blended", "truth")
    return draw_sheet(rows, columns=titles, rows=captions, tile=tile)

"""The benchmark from start to report: edit held-out people, measure, print, and show the pictures."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hairclip.common.color import NamedColors, load_named_colors, save_named_colors
from hairclip.common.files import data_folder
from hairclip.common.images import save_image
from hairclip.common.sheets import captioned_sheet
from hairclip.editing.editor import EditResult, HairEditor
from hairclip.editing.inversion.invert import InversionMethod
from hairclip.evaluation.cases import cache_folder, calibrate_colors, make_cases
from hairclip.evaluation.edits import (
    Benchmark,
    Record,
    Referee,
    build_benchmark,
    make_edits,
    results_to_images,
)
from hairclip.evaluation.tables import Figure, format_table, make_folder, mean_of, write_json
from hairclip.networks.classifier import HairstyleClassifier

__all__ = ["FIGURES", "evaluate_editor", "portrait_colors", "summarize"]

FIGURES: tuple[Figure, ...] = (
    Figure("hairstyle_right", "hairstyle right (judge)", "%", floor=0.85),
    Figure("color_right", "hair colour right", "%", floor=0.90),
    Figure("mask_iou", "hair-mask IoU with the truth", floor=0.70),
    Figure("outside_psnr", "PSNR to inversion outside the hair", "dB", floor=28.0),
    Figure("keeps_mask", "colour edit keeps the hair mask (IoU)", floor=0.90),
    Figure("keeps_color", "style edit keeps the colour", "%", floor=0.90),
    Figure("identity", "identity cosine to the source"),
    Figure("perceptual", "perceptual distance to the truth"),
    Figure("ms_ssim", "MS-SSIM to the truth"),
    Figure("psnr", "PSNR to the truth", "dB"),
)

METHODS = ("mapper", "optimize", "unedited", "blended", "truth")


def portrait_colors(*, size: int = 128, workers: int = 0, progress: bool = False) -> NamedColors:
    """Reference colours of rendered hair: the shipped table, or one measured now on rendered people and kept."""
    shipped = data_folder() / "portraits" / "colors.json"
    if shipped.is_file():
        return load_named_colors(shipped)
    kept = cache_folder() / "colors.json"
    if not kept.is_file():
        named = calibrate_colors(size=size, workers=workers, progress=progress)
        save_named_colors(named, kept)
    return load_named_colors(kept)


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
    """Run the benchmark, print its table and write `report.json` and contact sheets to the folder `out`.

    Args:
        editor: what is measured.
        judge: hairstyle classifier.
        out: folder of the report.
        count: number of edits.
        optimize_count: how many of them are also made by `method="optimize"`; 0 for none.
        optimize_steps: steps of that method.
        seed: of the cases.
        inversion: how the sources' codes are found, see `hairclip.editing.inversion.invert.invert`.
        workers: processes that render; 0 renders in this one.
        named: reference hair colours; None takes those of rendered hair.
        progress: show progress bars.
        say: where the table goes.

    Returns:
        What `report.json` holds: figures per method, breakdowns, and one record per case.
    """
    out, size, started = Path(out), editor.networks.generator.size, time.monotonic()
    make_folder(out)  # before the work, not after it
    benchmark = build_benchmark(make_cases(count, seed), size, workers=workers, progress=progress)
    named = named or portrait_colors(size=size, workers=workers, progress=progress)
    referee = Referee(editor, judge, named)

    edits = make_edits(editor, benchmark, inversion=inversion, progress=progress)
    inversions = results_to_images(edits, "inversion")
    answers = {
        "mapper": results_to_images(edits, "synthesized"),
        "blended": results_to_images(edits, "image"),
        "unedited": inversions,
        "truth": benchmark.truth.images,
    }
    records = {name: referee.measure(benchmark, images, inversions) for name, images in answers.items()}
    if optimize_count:
        # Cases come in the order style, colour, both, so the first ones hold every task.
        part = benchmark.subset(range(min(optimize_count, count)))
        optimized = make_edits(
            editor, part, method="optimize", inversion=inversion, steps=optimize_steps, seed=seed, progress=progress
        )
        records["optimize"] = referee.measure(
            part, results_to_images(optimized, "synthesized"), results_to_images(optimized, "inversion")
        )
        save_image(show_cases(part, optimized, records["optimize"], range(min(12, len(part)))), out / "optimize.png")

    columns: dict[str, dict[str, float | None]] = {
        name: summarize(records[name]) for name in METHODS if name in records
    }
    ranked = rank_worst(records["mapper"])
    save_image(show_cases(benchmark, edits, records["mapper"], range(min(12, count))), out / "edits.png")
    save_image(show_cases(benchmark, edits, records["mapper"], ranked[:12]), out / "worst.png")
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
    say(format_table(FIGURES, columns, titles=titles))
    say(f"inversion of the sources: {report['inversion_psnr']:.2f} dB; {count} edits, report and pictures in {out}")
    return report


def summarize(records: Sequence[Record]) -> dict[str, float | None]:
    """The mean of every figure over the cases it applies to."""
    return {figure.name: mean_of(records, figure.name) for figure in FIGURES}


def break_down(records: Sequence[Record]) -> dict[str, dict[str, dict[str, float | None]]]:
    """The figures per task, by text or by picture, per hairstyle and per colour asked."""
    broken: dict[str, dict[str, dict[str, float | None]]] = {}
    for key in ("task", "hairstyle_from", "color_from", "hairstyle", "color_asked"):
        values = sorted({record[key] for record in records if key in record})
        broken[key] = {value: summarize([r for r in records if r.get(key) == value]) for value in values}
    return broken


def rank_worst(records: Sequence[Record]) -> list[int]:
    """Case numbers, worst first: by how many checks fail, then by how far the picture is from the truth."""

    def badness(record: Mapping[str, Any]) -> float:
        wrong = sum(
            1.0 - record.get(name, 1.0) for name in ("hairstyle_right", "color_right", "keeps_color", "mask_iou")
        )
        return wrong + float(record["perceptual"])

    return sorted(range(len(records)), key=lambda i: -badness(records[i]))


def show_cases(
    benchmark: Benchmark,
    edits: Sequence[EditResult],
    records: Sequence[Record],
    indices: Sequence[int],
    tile: int = 160,
) -> Image.Image:
    """Rows of source | references | inversion | edit | blended | truth."""
    blank = torch.ones(3, 8, 8)
    rows: list[list[Tensor]] = []
    captions = []
    for i in indices:
        case, edit, record = benchmark.cases[i], edits[i], records[i]
        references = [benchmark.hairstyle_references[i], benchmark.color_references[i]]
        rows.append(
            [
                benchmark.source.images[i],
                *(blank if reference is None else reference for reference in references),
                edit.inversion,
                edit.synthesized,
                edit.image,
                benchmark.truth.images[i],
            ]
        )
        captions.append(f"{i} {case.task}\n{case.label()}\njudge: {record['judged']}\ncolour: {record['color']}")
    titles = ("source", "style picture", "colour picture", "inversion", "edit", "edit, blended", "truth")
    return captioned_sheet(rows, columns=titles, rows=captions, tile=tile)

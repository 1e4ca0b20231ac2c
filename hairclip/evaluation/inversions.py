"""Evaluate inversions: how well each method rebuilds held-out portraits, how these edit, and what it costs."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.color import NamedColors
from hairclip.common.images import Images, Masks, Scores, save_image
from hairclip.common.metrics import psnr
from hairclip.common.sheets import draw_sheet
from hairclip.editing.choices import InversionMethod
from hairclip.editing.editor import HairEditor
from hairclip.editing.inversion.invert import INVERSION_METHODS
from hairclip.editing.inversion.loss import fine_detail
from hairclip.editing.inversion.perceptual import PerceptualDistance
from hairclip.editing.options import InversionOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from hairclip.evaluation.cases import EditCase, make_cases, portrait_colors
from hairclip.evaluation.metrics import cosine, mask_iou, ms_ssim, named_hair_color
from hairclip.evaluation.renders import Rendered, render_all
from hairclip.evaluation.strands import BANDS, band_energies, direction_agreement
from hairclip.evaluation.tables import Figure, format_figures, make_folder, mean_of, write_json
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.networks.codec import Codec
from hairclip.pretrained.bundle import MissingPartError

__all__ = ["INVERSION_FIGURES", "evaluate_inversions", "measure_sharpness"]

INVERSION_FIGURES: tuple[Figure, ...] = (
    Figure("psnr", "PSNR", "dB"),
    Figure("ms_ssim", "MS-SSIM"),
    Figure("perceptual", "perceptual distance (judge)"),
    Figure("hair_iou", "hair-mask IoU with the truth"),
    Figure("hair_sharpness", "strength of hair texture, portrait = 1"),
    *(Figure(f"hair_energy_{band}", f"energy of hair at {band} px, portrait = 1") for band in BANDS),
    Figure("hair_direction", "direction of strands, mean cosine with the truth"),
    Figure("hair_direction_true", "the same of the portrait"),
    Figure("identity", "identity cosine (descended on)"),
    Figure("style_right", "then edited: hairstyle right (judge)", "%"),
    Figure("color_right", "then edited: hair color right", "%"),
    Figure("seconds", "seconds a portrait"),
)


def evaluate_inversions(
    editor: HairEditor,
    judge: HairstyleClassifier,
    out: str | Path,
    *,
    count: int = 24,
    steps: int = 100,
    methods: Sequence[InversionMethod] = INVERSION_METHODS,
    seed: int = 0,
    batch_size: int = 8,
    workers: int = 0,
    named: NamedColors | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Print a table of figures of each method, and write `inversions.json` and a sheet of pictures to a folder.

    Where the bundle has a codec of pictures and tokens, the row "codec" says how well its tokens rebuild the portraits.
    It has no figures of edits, because it finds no code.

    No inversion uses the judge. The descent and the tuning use the identity network, so its cosine is a fair figure
    of the encoder only.

    Args:
        editor: editor whose networks invert. Its cache is not used, because seconds are measured.
        judge: hairstyle classifier, whose features also give the perceptual distance.
        out: folder of the report.
        count: number of portraits. They are the sources of the cases of this seed.
        steps: steps of the descent, and of the tuning.
        methods: methods to measure.
        seed: seed of the portraits.
        batch_size: portraits that go through the networks together.
        workers: processes that render; 0 renders in this process.
        named: name of a color -> (L, a, b); None takes the colors of rendered hair.
        progress: show progress bars.
        say: receives the lines to print.

    Returns:
        The content of `inversions.json`: mean figures per method, one record per portrait and method, and under "low"
        the figures that 5 % of the portraits are below. The limits of a bundle are set by these.
    """
    out = Path(out)
    make_folder(out)  # before the work, not after it
    size = editor.networks.generator.size
    editor = copy.copy(editor)
    editor.cache = None
    cases = make_cases(count, seed)
    rendered = render_all([case.source for case in cases], size, workers=workers, progress=progress)
    named = named or portrait_colors(size=size, workers=workers, progress=progress)
    judge = judge.to(editor.device).eval()
    perceptual = PerceptualDistance(judge, layers=[f"blocks.{i}" for i in range(len(judge.blocks))])
    _ = editor.prepare(list(rendered.images[:1]))  # loads the networks, so that their loading counts for no method
    pictures: list[list[Tensor]] = [list(rendered.images)]
    records: dict[str, list[dict[str, float]]] = {}
    for method in methods:
        made, rows = [], []
        for first in range(0, count, batch_size):
            part = slice(first, first + batch_size)
            images, truth = rendered.images[part].to(editor.device), _Hair.of(rendered, part, editor.device)
            started = time.perf_counter()
            options = InversionOptions(inversion=method, inversion_steps=steps)
            prepared = editor.prepare(list(images), options, plain=False, progress=progress)
            prepared.inversion.psnr.cpu()  # waits for the device
            seconds = (time.perf_counter() - started) / len(images)
            found = prepared.inversion
            measured = _measure(editor, perceptual, found.images, prepared.aligned, truth, found.psnr, found.identity)
            edited = _measure_edits(editor, judge, named, prepared, cases[part])
            rows += [{**one, **edit, "seconds": seconds} for one, edit in zip(measured, edited, strict=True)]
            made.append(prepared.inversion.images.cpu())
        records[method] = rows
        pictures.append(list(torch.cat(made)))
    codec = _codec_of(editor)
    if codec is not None:
        made, records["codec"] = _measure_codec(editor, codec, perceptual, rendered, batch_size)
        pictures.append(list(torch.cat(made)))
    figures = {method: {f.name: mean_of(rows, f.name) for f in INVERSION_FIGURES} for method, rows in records.items()}
    low = {
        method: {
            name: float(np.quantile([row[name] for row in rows if name in row], 0.05))
            for name in ("psnr", "identity")
            if name in rows[0]
        }
        for method, rows in records.items()
    }
    report = {"count": count, "seed": seed, "steps": steps, "figures": figures, "low": low, "portraits": records}
    write_json(report, out / "inversions.json")
    shown = [list(row) for row in zip(*pictures, strict=True)][:12]
    save_image(draw_sheet(shown, columns=["portrait", *records], tile=224), out / "inversions.png")
    say(format_figures(INVERSION_FIGURES, figures))
    for name, values in low.items():
        say(f"{name}: 5 % are below {' and '.join(f'{value:.2f} ({figure})' for figure, value in values.items())}")
    say(f"{count} held-out portraits, {steps} steps; figures and pictures in {out}")
    return report


@dataclass(frozen=True)
class _Hair:
    """The true hair of some portraits: its pixels (B, 1, H, W), and the direction of its strands (B, 2, H, W)."""

    mask: Masks
    direction: Float[Tensor, "batch 2 height width"]

    @classmethod
    def of(cls, rendered: Rendered, part: slice, device: torch.device) -> "_Hair":
        """Return the hair of these portraits."""
        return cls(rendered.hair[part].to(device), rendered.direction[part].to(device).float() / 127)


def _codec_of(editor: HairEditor) -> Codec | None:
    """Return the codec of an editor's networks; None where they have none."""
    try:
        return getattr(editor.networks, "codec", None)
    except MissingPartError:
        return None


@torch.no_grad()
def _measure_codec(
    editor: HairEditor, codec: Codec, perceptual: PerceptualDistance, rendered: Rendered, batch_size: int
) -> tuple[list[Images], list[dict[str, float]]]:
    """Return what the codec's tokens keep of the portraits, and one record per portrait."""
    made, rows = [], []
    for first in range(0, len(rendered), batch_size):
        part = slice(first, first + batch_size)
        images, truth = rendered.images[part].to(editor.device), _Hair.of(rendered, part, editor.device)
        started = time.perf_counter()
        rebuilt = codec(images)
        quality = psnr(rebuilt, images)
        quality.cpu()  # waits for the device
        seconds = (time.perf_counter() - started) / len(images)
        network = editor.identity
        identity = None if network is None else cosine(network(rebuilt), network(images))
        measured = _measure(editor, perceptual, rebuilt, images, truth, quality, identity)
        rows += [{**one, "seconds": seconds} for one in measured]
        made.append(rebuilt.cpu())
    return made, rows


@torch.no_grad()
def _measure(
    editor: HairEditor,
    perceptual: PerceptualDistance,
    rebuilt: Images,
    images: Images,
    truth: _Hair,
    quality: Scores,
    identity: Scores | None,
) -> list[dict[str, float]]:
    """Return one record per rebuilt picture. `quality` is its PSNR, `truth` the hair of the true one."""
    columns = {
        "psnr": quality,
        "ms_ssim": ms_ssim(rebuilt, images),
        "perceptual": perceptual(rebuilt, images),
        "hair_iou": mask_iou(editor.networks.parser.hair_mask(rebuilt), truth.mask),
        "hair_sharpness": measure_sharpness(rebuilt, images, truth.mask),
        "hair_direction": direction_agreement(rebuilt, truth.direction, truth.mask),
        "hair_direction_true": direction_agreement(images, truth.direction, truth.mask),
    }
    for band, share in band_energies(rebuilt, images, truth.mask).items():
        columns[f"hair_energy_{band}"] = share
    if identity is not None:
        columns["identity"] = identity
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    # The strands of people without hair, or with too little of it, have no figures.
    return [{name: value for name, value in zip(columns, row, strict=True) if not math.isnan(value)} for row in rows]


def _measure_edits(
    editor: HairEditor, judge: HairstyleClassifier, named: NamedColors, prepared: Prepared, cases: Sequence[EditCase]
) -> list[dict[str, float]]:
    """Return whether the requests of the cases, all by text, come out: codes may rebuild well and edit badly."""
    edits = editor.edit_prepared(prepared, [EditRequest(case.hairstyle, case.color) for case in cases])
    pictures = torch.cat([edit.synthesized for edit in edits])
    styles = judge.names(pictures)
    colors = named_hair_color(pictures, torch.cat([edit.mask for edit in edits]), named)
    rows = []
    for case, style, color in zip(cases, styles, colors, strict=True):
        asked = {"style_right": (case.hairstyle, style), "color_right": (case.color, color)}
        rows.append({name: float(got == wanted) for name, (wanted, got) in asked.items() if wanted is not None})
    return rows


def measure_sharpness(images: Images, target: Images, hair: Masks) -> Scores:
    """Return the strength of the finest detail within the hair over that of the target; less than 1 is smoother.

    Detail at the hair's outline does not count, because it depends on the background.
    """
    inside = -F.max_pool2d(-hair.float(), 5, stride=1, padding=2)

    def strength(pictures: Images) -> Scores:
        return (fine_detail(pictures).square() * inside).sum(dim=(1, 2, 3))

    return (strength(images) / strength(target).clamp_min(1e-8)).sqrt()

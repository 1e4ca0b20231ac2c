"""Make the edits of the benchmark and measure them, one record per case."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from hairclip.common.color import NamedColors
from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, Masks
from hairclip.common.metrics import psnr
from hairclip.editing.editor import EditResult, HairEditor, Method
from hairclip.editing.inversion.invert import InversionMethod
from hairclip.editing.inversion.perceptual import PerceptualDistance
from hairclip.evaluation.cases import EditCase, Rendered, render_all
from hairclip.evaluation.metrics import (
    cosine,
    mask_iou,
    masked_psnr,
    ms_ssim,
    named_hair_color,
)
from hairclip.networks.classifier import HairstyleClassifier

__all__ = ["Benchmark", "Record", "Referee", "build_benchmark", "make_edits"]

Record: TypeAlias = dict[str, Any]
"""Figures of one case by name; a figure that does not apply to the case is left out."""


@dataclass(frozen=True)
class Benchmark:
    """Cases with their renders, all of one size; a case without a reference has None in its place."""

    cases: tuple[EditCase, ...]
    source: Rendered
    truth: Rendered
    hairstyle_references: tuple[Tensor | None, ...]
    color_references: tuple[Tensor | None, ...]

    def __len__(self) -> int:
        return len(self.cases)

    def wishes(self) -> list[tuple[str | Tensor | None, str | Tensor | None]]:
        """What is asked of the editor, per case: hairstyle and colour, each a text, a picture or None."""
        styles = [c.hairstyle if r is None else r for c, r in zip(self.cases, self.hairstyle_references, strict=True)]
        colors = [c.color if r is None else r for c, r in zip(self.cases, self.color_references, strict=True)]
        return list(zip(styles, colors, strict=True))

    def subset(self, indices: Sequence[int]) -> "Benchmark":
        """Some of the cases."""
        return Benchmark(
            cases=tuple(self.cases[i] for i in indices),
            source=_pick(self.source, indices),
            truth=_pick(self.truth, indices),
            hairstyle_references=tuple(self.hairstyle_references[i] for i in indices),
            color_references=tuple(self.color_references[i] for i in indices),
        )


def _pick(rendered: Rendered, indices: Sequence[int]) -> Rendered:
    chosen = torch.as_tensor(list(indices))
    return Rendered(rendered.images[chosen], rendered.hair[chosen], tuple(rendered.specs[i] for i in indices))


def build_benchmark(cases: Sequence[EditCase], size: int, *, workers: int = 0, progress: bool = False) -> Benchmark:
    """Render everything the cases need."""
    with_style = [i for i, case in enumerate(cases) if case.hairstyle_reference is not None]
    with_color = [i for i, case in enumerate(cases) if case.color_reference is not None]
    specs = [case.source for case in cases] + [case.truth for case in cases]
    specs += [case.hairstyle_reference for case in cases if case.hairstyle_reference is not None]
    specs += [case.color_reference for case in cases if case.color_reference is not None]
    everything = render_all(specs, size, workers=workers, progress=progress)
    count = len(cases)
    styles: list[Tensor | None] = [None] * count
    colors: list[Tensor | None] = [None] * count
    for offset, i in enumerate(with_style):
        styles[i] = everything.images[2 * count + offset][None]
    for offset, i in enumerate(with_color):
        colors[i] = everything.images[2 * count + len(with_style) + offset][None]
    source, truth = _pick(everything, range(count)), _pick(everything, range(count, 2 * count))
    return Benchmark(tuple(cases), source, truth, tuple(styles), tuple(colors))


def make_edits(
    editor: HairEditor,
    benchmark: Benchmark,
    *,
    method: Method = "mapper",
    inversion: InversionMethod = "encoder",
    progress: bool = False,
    **options: Any,
) -> list[EditResult]:
    """Edit every case with one method."""
    wishes = benchmark.wishes()
    return editor.edit_batch(
        list(benchmark.source.images),
        [style for style, _ in wishes],
        [color for _, color in wishes],
        method=method,
        inversion=inversion,
        progress=progress,
        **options,
    )


class Referee:
    """Measures answers to a benchmark with networks that no edit was optimised against where that can be had.

    Args:
        editor: its parser and identity network are used; the hairstyle judge is apart.
        judge: hairstyle classifier, never part of a loss.
        named: reference colours as they look on rendered hair.
    """

    def __init__(self, editor: HairEditor, judge: HairstyleClassifier, named: NamedColors) -> None:
        if editor.identity is None:
            raise HairclipError("edits are measured by an identity network, which this bundle lacks: add one to it.")
        self.parser, self.identity = editor.networks.parser, editor.identity
        self.judge, self.named, self.device = judge.to(editor.device).eval(), named, editor.device
        self.perceptual = PerceptualDistance(self.judge, layers=[f"blocks.{i}" for i in range(len(self.judge.blocks))])

    @torch.no_grad()
    def measure(
        self, benchmark: Benchmark, answers: Images, inversions: Images, *, batch_size: int = 32
    ) -> list[Record]:
        """One record per case.

        Args:
            benchmark: what was asked.
            answers: edited pictures (N, 3, size, size).
            inversions: what the generator made of the unedited codes.
        """
        records: list[Record] = []
        for first in range(0, len(benchmark), batch_size):
            indices = range(first, min(first + batch_size, len(benchmark)))
            part = benchmark.subset(indices)
            records += self._measure(
                part, answers[first : indices.stop].to(self.device), inversions[first : indices.stop].to(self.device)
            )
        return records

    def _measure(self, benchmark: Benchmark, answers: Images, inversions: Images) -> list[Record]:
        truth, source = benchmark.truth.images.to(self.device), benchmark.source.images.to(self.device)
        true_hair = benchmark.truth.hair.to(self.device)
        hair: Masks = self.parser.hair_mask(answers)
        inverted_hair: Masks = self.parser.hair_mask(inversions)
        styles = self.judge.names(answers)
        colors = named_hair_color(answers, hair, self.named)
        kept = mask_iou(hair, inverted_hair).tolist()
        everywhere = {
            "mask_iou": mask_iou(hair, true_hair),
            "outside_psnr": masked_psnr(answers, inversions, ~(hair | inverted_hair)),
            "identity": cosine(self.identity(answers), self.identity(source)),
            "perceptual": self.perceptual(answers, truth),
            "ms_ssim": ms_ssim(answers, truth),
            "psnr": psnr(answers, truth),
        }
        columns = {name: values.tolist() for name, values in everywhere.items()}
        records = []
        for i, case in enumerate(benchmark.cases):
            record: Record = {"task": case.task, "asked": case.label(), "judged": styles[i], "color": colors[i]}
            record |= {name: values[i] for name, values in columns.items()}
            if case.hairstyle is not None:
                record["hairstyle_right"] = float(styles[i] == case.hairstyle)
                record["hairstyle"], record["hairstyle_from"] = case.hairstyle, _kind(case.hairstyle_reference)
            else:
                record["keeps_mask"] = kept[i]
            if case.color is not None:
                record["color_right"] = float(colors[i] == case.color)
                record["color_asked"], record["color_from"] = case.color, _kind(case.color_reference)
            else:
                record["keeps_color"] = float(colors[i] == case.source.color.name)
            records.append(record)
        return records


def _kind(reference: Any) -> str:
    return "text" if reference is None else "picture"


def results_to_images(results: Sequence[EditResult], field: str) -> Images:
    """One field of many results as a batch on the CPU."""
    return torch.cat([getattr(result, field) for result in results]).cpu()

"""Edit the cases and measure the edits, one record per case."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from typing_extensions import Unpack

from hairclip.common.color import NamedColors
from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, Masks, Scores
from hairclip.common.metrics import psnr
from hairclip.editing.editor import EditResult, HairEditor
from hairclip.editing.inversion.perceptual import PerceptualDistance
from hairclip.editing.options import Settings
from hairclip.evaluation.cases import EditCase
from hairclip.evaluation.metrics import (
    cosine,
    lpips,
    mask_iou,
    masked_psnr,
    ms_ssim,
    named_hair_color,
)
from hairclip.evaluation.renders import Rendered, render_all
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.portraits.spec import PortraitSpec

__all__ = ["Record", "Referee", "RenderedCases", "make_edits", "render_cases", "stack_field"]

Record: TypeAlias = dict[str, Any]
"""Figures of one case by name. A figure that does not apply to the case is missing."""


@dataclass(frozen=True)
class RenderedCases:
    """Cases with their pictures, all of one size.

    Attributes:
        cases: N cases.
        source: the people before the edit, N portraits.
        truth: the same people after it, N portraits.
        hairstyle_references: one picture (1, 3, size, size) per case; None where there is no such reference.
        color_references: one picture (1, 3, size, size) per case; None where there is no such reference.
    """

    cases: tuple[EditCase, ...]
    source: Rendered
    truth: Rendered
    hairstyle_references: tuple[Images | None, ...]
    color_references: tuple[Images | None, ...]

    def __len__(self) -> int:
        return len(self.cases)

    def hairstyles(self) -> list[str | Tensor | None]:
        """Return the requested hairstyle of each case: a text, a picture or None."""
        pairs = zip(self.cases, self.hairstyle_references, strict=True)
        return [case.hairstyle if reference is None else reference for case, reference in pairs]

    def colors(self) -> list[str | Tensor | None]:
        """Return the requested color of each case: a text, a picture or None."""
        pairs = zip(self.cases, self.color_references, strict=True)
        return [case.color if reference is None else reference for case, reference in pairs]

    def pick(self, indices: Sequence[int]) -> "RenderedCases":
        """Return the cases at these positions."""
        return RenderedCases(
            cases=tuple(self.cases[i] for i in indices),
            source=self.source.pick(indices),
            truth=self.truth.pick(indices),
            hairstyle_references=tuple(self.hairstyle_references[i] for i in indices),
            color_references=tuple(self.color_references[i] for i in indices),
        )


def render_cases(cases: Sequence[EditCase], size: int, *, workers: int = 0, progress: bool = False) -> RenderedCases:
    """Return the cases with everything that they need rendered.

    Args:
        cases: N cases.
        size: height and width of the pictures in pixels.
        workers: processes that render; 0 renders in this process.
        progress: show a progress bar.
    """
    count = len(cases)
    styles = [case.hairstyle_reference for case in cases]
    colors = [case.color_reference for case in cases]
    references = [spec for spec in (*styles, *colors) if spec is not None]
    people = [case.source for case in cases] + [case.truth for case in cases]
    everything = render_all([*people, *references], size, workers=workers, progress=progress)
    pictures = iter(everything.images[2 * count :].split(1))

    def take(specs: Sequence[PortraitSpec | None]) -> tuple[Images | None, ...]:
        return tuple(None if spec is None else next(pictures) for spec in specs)

    source, truth = everything.pick(range(count)), everything.pick(range(count, 2 * count))
    return RenderedCases(tuple(cases), source, truth, take(styles), take(colors))


def make_edits(
    editor: HairEditor,
    rendered: RenderedCases,
    *,
    progress: bool = False,
    **settings: Unpack[Settings],
) -> list[EditResult]:
    """Return the edit of every case.

    Args:
        editor: the editor.
        rendered: the cases.
        progress: show progress bars.
        settings: how the edits are made, as of `HairEditor.edit`.
    """
    return editor.edit_batch(
        list(rendered.source.images),
        rendered.hairstyles(),
        rendered.colors(),
        plain=False,  # the generator has learned the backgrounds of these renders
        progress=progress,
        **settings,
    )


class Referee:
    """Measures edited pictures of cases. No loss uses the hairstyle judge, so no edit can be fitted to it.

    Args:
        editor: the editor whose parser and identity network measure.
        judge: hairstyle classifier.
        named: named colors as they look on rendered hair.
    """

    def __init__(self, editor: HairEditor, judge: HairstyleClassifier, named: NamedColors) -> None:
        if editor.identity is None:
            raise HairclipError("edits are measured by an identity network, which this bundle lacks: add one to it.")
        self.parser, self.identity = editor.networks.parser, editor.identity
        self.judge, self.named, self.device = judge.to(editor.device).eval(), named, editor.device
        self.perceptual = PerceptualDistance(self.judge, layers=[f"blocks.{i}" for i in range(len(self.judge.blocks))])

    @torch.no_grad()
    def measure(
        self, rendered: RenderedCases, answers: Images, inversions: Images, *, batch_size: int = 32
    ) -> list[Record]:
        """Return one record per case.

        Args:
            rendered: N cases.
            answers: their edited pictures, (N, 3, size, size).
            inversions: what the generator makes of the unedited codes, (N, 3, size, size).
            batch_size: pictures that go through the networks together.
        """
        records: list[Record] = []
        for first in range(0, len(rendered), batch_size):
            indices = range(first, min(first + batch_size, len(rendered)))
            part = rendered.pick(indices)
            records += self._measure(
                part, answers[first : indices.stop].to(self.device), inversions[first : indices.stop].to(self.device)
            )
        return records

    def _measure(self, rendered: RenderedCases, answers: Images, inversions: Images) -> list[Record]:
        truth, source = rendered.truth.images.to(self.device), rendered.source.images.to(self.device)
        true_hair = rendered.truth.hair.to(self.device)
        hair: Masks = self.parser.hair_mask(answers)
        inverted_hair: Masks = self.parser.hair_mask(inversions)
        styles = self.judge.names(answers)
        colors = named_hair_color(answers, hair, self.named)
        kept = mask_iou(hair, inverted_hair).tolist()
        everywhere: dict[str, Scores | None] = {
            "mask_iou": mask_iou(hair, true_hair),
            "outside_psnr": masked_psnr(answers, inversions, ~(hair | inverted_hair)),
            "identity": cosine(self.identity(answers), self.identity(source)),
            "perceptual": self.perceptual(answers, truth),
            "ms_ssim": ms_ssim(answers, truth),
            "lpips": lpips(answers, truth),
            "psnr": psnr(answers, truth),
        }
        columns = {name: values.tolist() for name, values in everywhere.items() if values is not None}
        records = []
        for i, case in enumerate(rendered.cases):
            record: Record = {"kind": case.kind, "asked": case.label(), "judged": styles[i], "color": colors[i]}
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


def _kind(reference: PortraitSpec | None) -> str:
    """Return how something was requested."""
    return "text" if reference is None else "picture"


def stack_field(results: Sequence[EditResult], field: str) -> Images:
    """Return one field of many results as a batch on the CPU."""
    return torch.cat([getattr(result, field) for result in results]).cpu()

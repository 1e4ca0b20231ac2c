"""Find the setting of an editing method on validation people, so that no test person chooses it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch

from hairclip.common.color import NamedColors
from hairclip.common.images import Images
from hairclip.common.progress import progress_bar
from hairclip.editing.editor import HairEditor
from hairclip.editing.options import EditOptions
from hairclip.editing.result import Prepared
from hairclip.evaluation.cases import EditCase, make_cases
from hairclip.evaluation.metrics import cosine, named_hair_color
from hairclip.evaluation.renders import render_all
from hairclip.networks.classifier import HairstyleClassifier

__all__ = ["SweepRow", "sweep_method", "validation_cases"]

_SEED = 7  # of the validation people


@dataclass(frozen=True)
class SweepRow:
    """What a method reaches with one setting.

    Attributes:
        settings: the setting.
        hairstyle: share of the asked hairstyles that the judge sees, before blending.
        color: share of the asked colors that are nearest to the hair's color.
        identity: mean cosine of the identity embeddings of photo and edit.
    """

    settings: Mapping[str, Any]
    hairstyle: float
    color: float
    identity: float


def validation_cases(count: int) -> list[EditCase]:
    """Return requests by text of people of the validation split, in the order style, color, both, style, ..."""
    cases = make_cases(count, _SEED, split="val")
    return [replace(case, hairstyle_reference=None, color_reference=None) for case in cases]


@torch.no_grad()
def sweep_method(
    editor: HairEditor,
    judge: HairstyleClassifier,
    named: NamedColors,
    method: str,
    grid: Mapping[str, Sequence[Any]],
    *,
    count: int = 60,
    workers: int = 0,
    progress: bool = True,
) -> list[SweepRow]:
    """Edit the same people with every combination of settings, and return one row per combination.

    Args:
        editor: the editor.
        judge: hairstyle classifier.
        named: named colors as they look on rendered hair.
        method: name of the method.
        grid: setting -> values to try. "strength" is a setting of the edit, all others are the method's.
        count: number of requests; one in three asks for a hairstyle, one for a color, one for both.
        workers: processes that render the people; 0 renders in this process.
        progress: show a progress bar.
    """
    cases = validation_cases(count)
    size = editor.networks.generator.size
    people = render_all([case.source for case in cases], size, workers=workers, progress=progress).images
    prepared = editor.prepare(list(people), plain=False)
    combinations = [dict(zip(grid, values)) for values in product(*grid.values())]
    bar = progress_bar(combinations, label="settings", show=progress, log_every=10)
    return [_measure(editor, judge, named, method, settings, cases, people, prepared) for settings in bar]


def _measure(
    editor: HairEditor,
    judge: HairstyleClassifier,
    named: NamedColors,
    method: str,
    settings: Mapping[str, Any],
    cases: Sequence[EditCase],
    people: Images,
    prepared: Prepared,
) -> SweepRow:
    own = {name: value for name, value in settings.items() if name != "strength"}
    options = EditOptions(method=method, method_settings=own, strength=float(settings.get("strength", 1.0)))
    requests = [editor.ask(case.hairstyle, case.color) for case in cases]
    editor.check(requests, options)
    edited = editor.edit_codes(prepared, requests, options)
    answers = edited.images
    if edited.codes is not None:
        answers = prepared.inversion.synthesize(edited.codes, editor.networks.generator)
    assert answers is not None
    styles = judge.names(answers)
    colors = named_hair_color(answers, editor.networks.parser.hair_mask(answers), named)
    identity = editor.identity
    assert identity is not None
    return SweepRow(
        settings,
        hairstyle=_share([seen == case.hairstyle for seen, case in zip(styles, cases) if case.hairstyle]),
        color=_share([seen == case.color for seen, case in zip(colors, cases) if case.color]),
        identity=float(cosine(identity(answers), identity(people.to(editor.device))).mean()),
    )


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)

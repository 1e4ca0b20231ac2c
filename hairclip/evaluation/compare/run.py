"""Compare methods: answer the same requests by each, measure the answers, print tables and draw sheets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from hairclip.common.color import NamedColors
from hairclip.common.errors import HairclipError
from hairclip.common.files import digest, write_atomic
from hairclip.common.images import save_image
from hairclip.common.progress import progress_bar
from hairclip.common.version import __version__
from hairclip.editing.editor import HairEditor
from hairclip.editing.options import InversionOptions
from hairclip.editing.request import EditRequest, slug
from hairclip.editing.result import Prepared
from hairclip.evaluation.cases import EditCase, make_paired_cases, portrait_colors
from hairclip.evaluation.compare.candidates import (
    ASKED,
    Asked,
    Candidate,
    FolderCandidate,
    MethodCandidate,
    TruthCandidate,
    name_answer,
)
from hairclip.evaluation.compare.measure import Jury, Scene
from hairclip.evaluation.compare.records import AnswerRecord, read_record, write_record
from hairclip.evaluation.compare.report import Answered, draw_answers, format_report, make_report
from hairclip.evaluation.edits import RenderedCases, render_cases
from hairclip.evaluation.tables import make_folder, write_json
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.portraits.spec import Split

__all__ = ["Comparison", "compare_methods"]

_FORMAT = 1
"""Part of every key. Raise it when the same answers give other figures than before."""
SLOW_SECONDS = 1.0
"""A method that needs more processor time for an edit answers fewer requests."""

Results: TypeAlias = dict[str, dict[Asked, list[Answered]]]
"""Label of a candidate -> how hair is requested -> its answers, in the order of the people."""


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        report: the content of `report.json`.
        cases: how hair is requested -> the cases with their pictures.
        results: the answers.
    """

    report: dict[str, Any]
    cases: dict[Asked, RenderedCases]
    results: Results


class _Batch:
    """Cases that are answered together. What all candidates share is computed when it is first needed, once.

    Args:
        editor: inverts the photos.
        jury: looks at them.
        numbers: numbers of the people.
        rendered: their cases.
        prepared: their inverted photos; None inverts them when they are first needed.
    """

    def __init__(
        self,
        editor: HairEditor,
        jury: Jury,
        numbers: Sequence[int],
        rendered: RenderedCases,
        prepared: Prepared | None = None,
    ) -> None:
        self.editor, self.jury, self.numbers, self.rendered = editor, jury, list(numbers), rendered
        pairs = zip(rendered.hairstyles(), rendered.colors(), strict=True)
        self.requests: list[EditRequest] = [editor.ask(style, color) for style, color in pairs]
        self._prepared = prepared
        self._scene: Scene | None = None

    @property
    def prepared(self) -> Prepared:
        """The inverted photos."""
        if self._prepared is None:
            images = list(self.rendered.source.images)
            self._prepared = self.editor.prepare(images, InversionOptions(), plain=False)
        return self._prepared

    @property
    def scene(self) -> Scene:
        """What answers are compared with."""
        if self._scene is None:
            self._scene = self.jury.look(self.rendered, self.prepared.inversion.images)
        return self._scene


def compare_methods(
    editor: HairEditor,
    judge: HairstyleClassifier,
    candidates: Sequence[MethodCandidate],
    out: Path,
    *,
    count: int = 200,
    slow_count: int = 40,
    asked: Sequence[Asked] = ASKED,
    split: Split = "test",
    seed: int = 0,
    answers: Sequence[Path] = (),
    batch_size: int | None = None,
    workers: int = 0,
    named: NamedColors | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Comparison:
    """Print tables of figures; write `report.json`, `report.md`, `requests.json` and sheets of pictures to a folder.

    Every answer is kept in the folder. Another run with the same people, networks, options and code of the method
    makes only those answers that are missing. A run that is cut off loses at most one batch.

    Args:
        editor: edits, and lends its networks to the jury.
        judge: classifier of hairstyles.
        candidates: the methods.
        out: folder of the report.
        count: number of people. Each of them is one request by text and one by picture.
        slow_count: number of people for methods that need more than `SLOW_SECONDS` for an edit.
        asked: how hair is requested.
        split: which people. Settings are chosen on "val" and reported on "test".
        seed: seed of people, requests and intervals.
        answers: folders of pictures that other programs made, see `FolderCandidate`.
        batch_size: how many photos go through the networks together; None takes 16, or fewer if the memory demands it.
        workers: processes that render; 0 renders in this process.
        named: name of a color -> (L, a, b); None takes the colors of rendered hair.
        progress: show progress bars.
        say: receives the lines to print.

    Raises:
        HairclipError: if two candidates have one label, or a folder of answers is not there.
    """
    size = editor.networks.generator.size
    everybody: list[Candidate] = [*candidates, *(FolderCandidate(folder, size) for folder in answers)]
    labels = [candidate.label for candidate in everybody]
    if len(set(labels)) < len(labels) or TruthCandidate.label in labels:
        raise HairclipError("two candidates have the same name: rename a folder of answers.")
    make_folder(out)  # before the work, not after it
    jury = Jury(editor, judge, named or portrait_colors(size=size, workers=workers, progress=progress))
    pairs = dict(zip(ASKED, make_paired_cases(count, seed, split), strict=True))
    cases = {how: render_cases(pairs[how], size, workers=workers, progress=progress) for how in asked}
    _write_people(out, cases, say if answers else lambda _: None)
    together = min(batch_size or 16, editor.batch_size)
    batches = {how: _split(editor, jury, rendered, together) for how, rendered in cases.items()}
    judging = digest(_FORMAT, __version__, jury.key(), split, seed)
    results: Results = {}
    report: dict[str, Any] = {}
    tables = ""
    for candidate in [TruthCandidate(), *everybody]:
        answered: dict[Asked, list[Answered]] = {}
        for how in asked:
            place, key = out / "answers" / _folder_name(candidate), digest(judging, candidate.key())
            bar = progress_bar(
                batches[how], label=f"{candidate.label}, {how}", show=progress, log_every=60, leave=False
            )
            answered[how] = _answer_all(candidate, how, bar, place, key, slow_count)
        truth = {label: ones for label, ones in results.items() if label == TruthCandidate.label}
        results = {**results, candidate.label: answered}
        results |= {label: results.pop(label) for label in truth}  # the last rows of the tables
        # After each method, so that the tables can be read while the others answer.
        done = [one for one in everybody if one.label in results]
        report = make_report(done, results, seed=seed, split=split, count=count, slow_count=slow_count)
        write_json(report, out / "report.json")
        tables = format_report(report)
        write_atomic(out / "report.md", tables + "\n")
    for how, rendered in cases.items():
        for form in ("raw", "blended"):
            sheet = draw_answers(rendered, {label: ones[how] for label, ones in results.items()}, form)
            save_image(sheet, out / f"{how}_{form}.png")
    say(tables)
    say(f"{count} people; report, pictures and answers in {out}")
    return Comparison(report, cases, results)


def _split(editor: HairEditor, jury: Jury, rendered: RenderedCases, size: int) -> list[_Batch]:
    """Return cases as batches. They do not depend on the number of cases, so that answers can be kept."""
    starts = range(0, len(rendered), size)
    numbers = [range(first, min(first + size, len(rendered))) for first in starts]
    return [_Batch(editor, jury, one, rendered.pick(one)) for one in numbers]


def _answer_all(
    candidate: Candidate, asked: Asked, batches: Any, place: Path, key: str, slow_count: int
) -> list[Answered]:
    """Return a candidate's answers: those that are kept, and new ones for the rest."""
    done: list[Answered] = []
    for batch in batches:
        if _is_slow(done):
            left = slow_count - len(done)
            if left <= 0:
                break
            if left < len(batch.numbers):
                picked = range(left)
                batch = _Batch(batch.editor, batch.jury, batch.numbers[:left], batch.rendered.pick(picked))
        done += _answer_batch(candidate, asked, batch, place, key)
    return done


def _is_slow(done: Sequence[Answered]) -> bool:
    """Return whether the answers took long. The fastest counts: the first batch may load networks."""
    spent = [one.record.figures["raw"]["seconds"] for one in done if "seconds" in one.record.figures.get("raw", {})]
    return bool(spent) and min(spent) > SLOW_SECONDS


def _answer_batch(candidate: Candidate, asked: Asked, batch: _Batch, place: Path, key: str) -> list[Answered]:
    """Return the answers of one batch; one that lacks an answer is made anew, because noise depends on the batch.

    A refusal is never kept: a network or a package may be there the next time.
    """
    paths = [place / f"{name_answer(number, asked).removesuffix('.png')}.safetensors" for number in batch.numbers]
    records = [AnswerRecord(_facts(case)) for case in batch.rendered.cases]
    for record, number, request in zip(records, batch.numbers, batch.requests, strict=True):
        record.refused = candidate.refuse(number, asked, request)
    chosen = [i for i, record in enumerate(records) if record.refused is None]
    cases = batch.rendered.cases
    keys = {i: digest(key, _facts(cases[i]), cases[i].source, cases[i].truth, asked) for i in chosen}
    kept = {i: read_record(paths[i], keys[i]) for i in chosen}
    found = {i: record for i, record in kept.items() if record is not None}
    if len(found) < len(chosen):
        try:
            found = _make_answers(candidate, asked, batch, chosen)
        except HairclipError as error:
            found = {i: AnswerRecord(records[i].facts, refused=str(error)) for i in chosen}
        for i, record in found.items():
            if record.refused is None:
                write_record(record, paths[i], keys[i])
    answers = [found.get(i, record) for i, record in enumerate(records)]
    return [Answered(*one) for one in zip(batch.numbers, answers, paths, strict=True)]


def _make_answers(candidate: Candidate, asked: Asked, batch: _Batch, chosen: Sequence[int]) -> dict[int, AnswerRecord]:
    """Answer the chosen requests of a batch and measure the answers."""
    part = batch
    if len(chosen) < len(batch.numbers):
        numbers = [batch.numbers[i] for i in chosen]
        part = _Batch(batch.editor, batch.jury, numbers, batch.rendered.pick(chosen), batch.prepared[chosen])
    records = [AnswerRecord(_facts(case)) for case in part.rendered.cases]
    for record, features in zip(records, part.scene.truth_pooled.cpu(), strict=True):
        record.features["truth"] = features.numpy()
    made = candidate.answer(part.numbers, asked, part.rendered, part.prepared, part.requests)
    for form, pictures in made.pictures.items():
        figures, measured = batch.jury.measure(part.scene, pictures)
        for i, record in enumerate(records):
            record.figures[form] = figures[i]
            record.features[form] = measured[i].numpy()
            record.keep_picture(form, pictures[i : i + 1])
            if form in made.seconds:
                record.figures[form]["seconds"] = made.seconds[form]
    return dict(zip(chosen, records, strict=True))


def _facts(case: EditCase) -> dict[str, Any]:
    """Return what a case requests."""
    return {"kind": case.kind, "request": case.label(), "hairstyle": case.hairstyle, "color": case.color}


def _folder_name(candidate: Candidate) -> str:
    """Return the folder of a candidate's answers."""
    options = getattr(candidate, "options", None)
    return f"{slug(candidate.label)}-{digest(candidate.label, options)[:8]}"


def _write_people(out: Path, cases: dict[Asked, RenderedCases], say: Callable[[str], None]) -> None:
    """Write the photos and the requests, so that other programs can answer them."""
    listed = []
    for how, rendered in cases.items():
        for number, case in enumerate(rendered.cases):
            photo, reference = out / "people" / f"{number:04}.png", out / "people" / f"{number:04}.reference.png"
            save_image(rendered.source.images[number], photo)
            picture = rendered.hairstyle_references[number]
            picture = rendered.color_references[number] if picture is None else picture
            if picture is not None:
                save_image(picture, reference)
            listed.append(
                {
                    "answer": name_answer(number, how),
                    "photo": photo.name,
                    "kind": case.kind,
                    "hairstyle": None if picture is not None else case.hairstyle,
                    "color": None if picture is not None else case.color,
                    "reference": None if picture is None else reference.name,
                }
            )
    write_json({"requests": listed}, out / "requests.json")
    say(
        f"answers of other programs are named as {out / 'requests.json'} lists them; the photos are in {out / 'people'}"
    )

"""Evaluate edits of real photos: make or read the edits, measure them, print tables and show the worst."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hairclip.common.errors import HairclipError
from hairclip.common.files import digest, write_atomic
from hairclip.common.images import save_image
from hairclip.common.progress import progress_bar
from hairclip.common.version import __version__
from hairclip.conditions.prompts import COLORS, HAIRSTYLES, in_vocabulary_order
from hairclip.editing.folder import list_photos
from hairclip.editing.options import EditOptions, InversionOptions
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.editing.request import slug
from hairclip.evaluation.real.answers import AnswerSource, EditorAnswers, FolderAnswers, PhotoCutter
from hairclip.evaluation.real.judges import Judges, Seen
from hairclip.evaluation.real.measure import Words, compare_pictures, judge_request, measure_whole_photo
from hairclip.evaluation.real.records import PhotoRecords, read_records, write_records
from hairclip.evaluation.real.report import Done, draw_worst, format_report, list_failures, make_rows
from hairclip.evaluation.real.requests import (
    KINDS,
    Kind,
    PhotoRequest,
    choose_photos,
    make_requests,
    name_answers,
    order_references,
)
from hairclip.evaluation.tables import make_folder, write_json

__all__ = ["evaluate_real_photos"]

_FORMAT = 1
"""Part of every key. Raise it when the same pictures give other figures than before."""


def evaluate_real_photos(
    editor: PhotoEditor,
    judges: Judges,
    photos: Path,
    out: Path,
    *,
    methods: Sequence[EditOptions] = (EditOptions(),),
    inverting: InversionOptions | None = None,
    answers: Sequence[Path] = (),
    kinds: Sequence[Kind] = KINDS,
    count: int | None = None,
    seed: int = 0,
    aligned: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Print tables of figures; write `report.json`, `report.md`, `requests.json` and the sheet `worst.png` to a folder.

    The results of each photo are kept in the folder. Another run with the same photos, networks, options and judges
    measures only what is left.

    Args:
        editor: finds the faces and makes the edits.
        judges: the networks that judge.
        photos: a folder of photos that no network was trained on.
        out: folder of the report.
        methods: how the edits are made, one set of options per method; none measures `answers` alone.
        inverting: how the photos are inverted.
        answers: folders of pictures that other programs made, see `FolderAnswers`.
        kinds: the kinds of requests.
        count: number of photos, drawn from the seed; None takes all.
        seed: seed of photos, requests and intervals.
        aligned: the photos are already cropped to the face.
        progress: show a progress bar.
        say: receives the lines to print.

    Returns:
        The content of `report.json`.

    Raises:
        HairclipError: if there are no photos, or not one edit of them can be measured.
    """
    if not photos.is_dir():
        raise HairclipError(f"there is no folder of photos {photos}: check the path.")
    everything = list_photos(photos)
    make_folder(out)  # before the work, not after it
    chosen = choose_photos(everything, count, seed)
    cutter = PhotoCutter(editor, aligned=aligned)
    words = Words.encode(judges, *_known_words(editor))
    requests = _plan(chosen, everything, cutter, words, kinds, seed, out)
    sources: list[AnswerSource] = [EditorAnswers(editor, one, inverting or InversionOptions()) for one in methods]
    for folder in answers:
        read = FolderAnswers(folder, everything, cutter.size)
        sources.append(read)
        _say_what_is_expected(read, requests, out, say)
    if len({slug(source.name) for source in sources}) < len(sources):
        raise HairclipError("two methods or folders of answers have the same name: rename one folder.")
    judging = digest(_FORMAT, __version__, judges.digest(), words.hairstyles, words.colors, aligned)
    done: dict[str, list[Done]] = {source.name: [] for source in sources}
    resumed = 0
    contents: dict[Path, str] = {}
    for path in progress_bar(chosen, label="photos", show=progress):
        words_of = [(one.kind, one.hairstyle, one.color) for one in requests[path]]
        asked = digest(_contents(path, requests[path], contents), words_of)
        for source in sources:
            key = digest(judging, asked, source.key(path, requests[path]))
            place = out / "photos" / slug(source.name) / f"{path.name}.safetensors"
            records = read_records(place, key)
            resumed += records is not None
            if records is None:
                records = _measure_photo(path, requests[path], source, cutter, judges, words)
                write_records(records, place, key)
            done[source.name].append(Done(records, place))
    if resumed:
        say(f"{resumed} of {len(chosen) * len(sources)} results were taken from an earlier run in {out}")
    report: dict[str, Any] = {
        "photos": len(chosen),
        "seed": seed,
        "judges": judges.names,
        "notes": judges.notes,
        "words": {"hairstyle": len(words.hairstyles), "color": len(words.colors)},
        "rows": make_rows(done, seed),
        "failures": list_failures(done),
        "edits": [
            {"method": name, "photo": one.records.photo, **edit}
            for name, ones in done.items()
            for one in ones
            for edit in one.records.edits
        ],
    }
    write_json(report, out / "report.json")
    if not report["rows"]:
        reason = next((failure["reason"] for failure in report["failures"]), "nothing was requested.")
        raise HairclipError(f"not one edit of the photos in {photos} can be measured. {reason}")
    tables = format_report(report)
    write_atomic(out / "report.md", tables + "\n")
    save_image(draw_worst(done, words), out / "worst.png")
    say(tables)
    say(f"{len(chosen)} photos; report and pictures in {out}")
    return report


def _known_words(editor: PhotoEditor) -> tuple[list[str], list[str]]:
    """Return the hairstyles and the colors that the editor's networks know."""
    known = getattr(editor.editor.networks, "known_words", None)
    hairstyles, colors = (None, None) if known is None else (known().hairstyles, known().colors)
    return in_vocabulary_order(hairstyles, HAIRSTYLES), in_vocabulary_order(colors, COLORS)


def _plan(
    chosen: Sequence[Path],
    everything: Sequence[Path],
    cutter: PhotoCutter,
    words: Words,
    kinds: Sequence[Kind],
    seed: int,
    out: Path,
) -> dict[Path, list[PhotoRequest]]:
    """Return the requests of every photo, and write them to `requests.json`.

    To know which photos can be references, faces are looked for in them. The file keeps what was found.
    """
    framing = cutter.editor.framing
    names = [[path.name for path in paths] for paths in (chosen, everything)]
    key = digest(_FORMAT, names, words.hairstyles, words.colors, list(kinds), seed, cutter.aligned, framing)
    place = out / "requests.json"
    references = _read_references(place, key)
    plan: dict[Path, list[PhotoRequest]] = {}
    for path in chosen:
        reference = None
        if any(kind.startswith("reference") for kind in kinds):
            name = references.get(path.name)
            others = order_references(path, everything, seed)
            reference = next((one for one in others if one.name == name), None)
            reference = reference or next((one for one in others if cutter.reference(one) is not None), None)
        plan[path] = make_requests(
            path, hairstyles=words.hairstyles, colors=words.colors, reference=reference, kinds=kinds, seed=seed
        )
    listed = [
        {
            "photo": path.name,
            "answer": f"{name_answers(path, everything)}.{one.kind}.png",
            "kind": one.kind,
            "hairstyle": one.hairstyle,
            "color": one.color,
            "reference": one.reference and one.reference.name,
        }
        for path, requests in plan.items()
        for one in requests
        if one.reference is not None or not one.is_reference
    ]
    write_json({"key": key, "requests": listed}, place)
    return plan


def _read_references(place: Path, key: str) -> dict[str, str]:
    """Return the references that an earlier run with the same photos chose: name of a photo -> name of another."""
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        found = content["requests"] if content["key"] == key else []
        return {one["photo"]: one["reference"] for one in found if one["reference"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _say_what_is_expected(
    source: FolderAnswers, plan: dict[Path, list[PhotoRequest]], out: Path, say: Callable[[str], None]
) -> None:
    """Say which pictures a folder of answers should hold, and how many it does."""
    asked = [(path, one) for path, requests in plan.items() for one in requests]
    held = sum(source.find(path, one) is not None for path, one in asked)
    example = f"{source.stems[asked[0][0]]}.{asked[0][1].kind}.png" if asked else "none"
    say(
        f"{source.folder}: expects {len(asked)} pictures, named as {out / 'requests.json'} lists them, such as "
        f"{example}, each the whole photo or the square crop of the face; {held} are there"
    )


def _contents(path: Path, requests: Sequence[PhotoRequest], known: dict[Path, str]) -> list[str]:
    """Return the digests of a photo and of its references; `known` keeps them."""
    files = [path, *(one.reference for one in requests if one.reference is not None)]
    for file in files:
        if file not in known:
            try:
                known[file] = digest(file)
            except OSError as error:
                raise HairclipError(f"{file} cannot be read ({error.strerror}): check its permissions.") from None
    return [known[file] for file in files]


def _measure_photo(
    path: Path,
    requests: Sequence[PhotoRequest],
    source: AnswerSource,
    cutter: PhotoCutter,
    judges: Judges,
    words: Words,
) -> PhotoRecords:
    """Return the results of one photo by one method."""
    records = PhotoRecords(path.name)
    try:
        start = source.start(path, cutter.cut(path))
    except HairclipError as error:
        records.failures.append({"kind": None, "reason": str(error)})
        return records
    crop = cutter.crop(start.cut)
    photo, inversion = judges.look(crop), None
    records.keep_tile("photo", crop)
    _keep_features(records, "photo", photo)
    if start.inversion is not None:
        inversion = judges.look(start.inversion)
        _add(records, {"form": "inversion", "kind": "unedited", "request": ""}, inversion)
        records.edits[-1] |= compare_pictures(judges, inversion, photo)
    seen_reference: Seen | None = None
    for request in requests:
        reference = None if request.reference is None else cutter.reference(request.reference)
        try:
            if request.is_reference and reference is None:
                raise HairclipError("no other photo of the folder shows a face whose hair could be taken.")
            answers = source.answer(start, request, reference)
        except HairclipError as error:
            records.failures.append({"kind": request.kind, "reason": str(error)})
            continue
        if reference is not None and seen_reference is None:
            seen_reference = judges.look(reference)
            records.keep_tile("reference", reference)
        for answer in answers:
            seen = judges.look(answer.crop)
            _add(records, {"form": answer.form, "kind": request.kind, "request": request.label}, seen)
            figures = compare_pictures(judges, seen, photo)
            if inversion is not None:
                kept = compare_pictures(judges, seen, inversion)
                figures |= {f"{name}_inversion": value for name, value in kept.items()}
            figures |= judge_request(seen, request, words, seen_reference if reference is not None else None)
            if answer.whole is not None:
                figures |= measure_whole_photo(start.cut.photo.seen, answer.whole, answer.mask)
            if answer.seconds is not None:
                figures["seconds"] = answer.seconds
            records.edits[-1] |= figures
    return records


def _add(records: PhotoRecords, facts: dict[str, Any], seen: Seen) -> None:
    """Add an answer to the results of a photo, with its features and a small picture."""
    name = str(len(records.edits))
    records.edits.append(facts)
    records.keep_tile(name, seen.image)
    _keep_features(records, name, seen)


def _keep_features(records: PhotoRecords, name: str, seen: Seen) -> None:
    """Keep the features of which the distances between sets of pictures are computed."""
    records.arrays[f"{name}.clip"] = seen.clip[0].cpu().numpy()
    if seen.inception is not None:
        records.arrays[f"{name}.inception"] = seen.inception[0].cpu().numpy()

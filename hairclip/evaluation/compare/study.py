"""A blind study: people choose the best of shuffled answers by the three questions of HairCLIP's study.

The questions ask for the accuracy of the edit, the preservation of what was not to change, and naturalness (Wei et al.
2022, section 4.2). A page shows each request with the answers under letters. The letters of every request are shuffled,
and only the key, which is a file of its own, tells which method they stand for.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hairclip.common.errors import HairclipError
from hairclip.common.files import digest, open_regular, write_atomic
from hairclip.common.images import Images, save_image, to_pil
from hairclip.common.sheets import draw_sheet
from hairclip.common.tables import format_table
from hairclip.evaluation.compare.candidates import Form
from hairclip.evaluation.compare.records import read_picture
from hairclip.evaluation.tables import bootstrap_interval, make_folder, write_json

if TYPE_CHECKING:
    from hairclip.evaluation.compare.run import Comparison

__all__ = ["QUESTIONS", "score_study", "write_study"]

QUESTIONS = ("accuracy", "preservation", "naturalness")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LEFT_OUT = ("truth", "inversion")
"""Candidates that are no edits."""
_TILE = 256
"""Pixels of a picture on the page."""


def write_study(
    comparison: "Comparison",
    folder: Path,
    *,
    count: int = 20,
    form: Form = "raw",
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> None:
    """Write a study of requests by text: `index.html`, `key.json` and a folder `sheets`.

    Args:
        comparison: the answers.
        folder: where to write.
        count: the most people that are shown. Only those are shown whom every method has answered.
        form: which pictures are shown.
        seed: seed of the shuffles.
        say: receives the lines to print.

    Raises:
        HairclipError: if there are fewer than two methods, more than letters, or nobody whom all have answered.
    """
    answers = {label: ways.get("text", []) for label, ways in comparison.results.items() if label not in _LEFT_OUT}
    found = {
        label: {one.number: one.path for one in ones if form in one.record.figures} for label, ones in answers.items()
    }
    found = {label: ones for label, ones in found.items() if ones}
    if not 2 <= len(found) <= len(LETTERS):
        raise HairclipError(f"a study compares 2 to {len(LETTERS)} methods with {form} pictures, not {len(found)}.")
    rendered = comparison.cases["text"]
    shared = [number for number in range(len(rendered)) if all(number in ones for ones in found.values())]
    if not shared:
        raise HairclipError("there is no request that all methods have answered: leave out those that refuse some.")
    random = np.random.default_rng([seed, 51])
    make_folder(folder)
    items, key = [], []
    for place, number in enumerate(shared[:count], start=1):
        case, photo = rendered.cases[number], rendered.source.images[number : number + 1]
        labels = [list(found)[i] for i in random.permutation(len(found))]
        letters = dict(zip(LETTERS, labels))
        pictures = {letter: _picture(found[label][number], form) for letter, label in letters.items()}
        sheet = draw_sheet([[photo, *pictures.values()]], columns=["photo", *pictures], rows=[case.label()], tile=_TILE)
        save_image(sheet, folder / "sheets" / f"{place:03}.png")
        key.append({"item": place, "person": number, "letters": letters})
        items.append(
            {
                "item": place,
                "hairstyle": case.hairstyle,
                "color": case.color,
                "photo": _data(photo),
                "pictures": {letter: _data(picture) for letter, picture in pictures.items()},
            }
        )
    name = digest(key, form)[:12]
    write_json({"study": name, "pictures": form, "seed": seed, "items": key}, folder / "key.json")
    page = Path(__file__).with_name("study.html").read_text(encoding="utf-8")
    content = json.dumps({"study": name, "items": items}, ensure_ascii=False).replace("</", "<\\/")
    write_atomic(folder / "index.html", page.replace('"STUDY"', content))
    say(f"a study of {len(items)} requests and {len(found)} methods is in {folder}: send index.html, keep key.json")


def _picture(path: Path, form: str) -> Images:
    picture = read_picture(path, form)
    if picture is None:
        raise HairclipError(f"{path} holds no {form} picture: run the comparison again.")
    return picture


def _data(image: Images) -> str:
    """Return a picture as the address of its own content, enlarged without smoothing it away."""
    stored = io.BytesIO()
    large = torch.nn.functional.interpolate(image, size=(_TILE, _TILE), mode="bicubic", align_corners=False)
    to_pil(large if image.shape[-1] < _TILE else image).save(stored, "JPEG", quality=95)
    return "data:image/jpeg;base64," + base64.b64encode(stored.getvalue()).decode()


def score_study(
    folder: Path, files: Sequence[Path], *, seed: int = 0, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Print how often each method was chosen as the best; write `results.json` to the folder of the study.

    Args:
        folder: the folder that `write_study` wrote.
        files: the answers that the page exports.
        seed: seed of the intervals.
        say: receives the lines to print.

    Returns:
        The content of `results.json`: `people`, and method -> question -> `share`, `low` and `high` of its 95 %
        interval, `count` of the answers.

    Raises:
        HairclipError: if a file is missing or damaged, belongs to another study, or names a letter that is not there.
    """
    key = _read(folder / "key.json", "key")
    letters = {int(one["item"]): one["letters"] for one in key["items"]}
    methods = sorted({label for one in letters.values() for label in one.values()})
    votes: dict[str, dict[str, list[float]]] = {method: {question: [] for question in QUESTIONS} for method in methods}
    for file in files:
        content = _read(file, "answers")
        if content.get("study") != key["study"]:
            raise HairclipError(f"{file} answers another study than that in {folder}: give the answers to this one.")
        for answer in content["answers"]:
            for question in QUESTIONS:
                letter = answer.get(question)
                if letter is None:
                    continue  # not answered
                chosen = letters.get(answer.get("item"), {}).get(letter)
                if chosen is None:
                    raise HairclipError(
                        f"{file} names {letter} for request {answer.get('item')}, which has no such answer."
                    )
                for method in methods:
                    votes[method][question].append(float(method == chosen))
    results = {
        "people": len(files),
        "methods": {
            method: {question: _share(given, seed) for question, given in one.items()} for method, one in votes.items()
        },
    }
    write_json(results, folder / "results.json")
    rows = [
        [method, *(_show(results["methods"][method][question]) for question in QUESTIONS)]  # type: ignore[index]
        for method in methods
    ]
    say(format_table(["chosen as the best", *QUESTIONS], rows))
    say(f"shares with 95 % bootstrap intervals over the answers of {len(files)} people; results in {folder}")
    return results


def _read(path: Path, what: str) -> dict[str, Any]:
    """Return the content of a JSON file of a study."""
    with open_regular(path, f"file of {what}") as file:
        try:
            content = json.loads(file.read(2**26).decode())
            if isinstance(content, dict) and isinstance(content.get("items" if what == "key" else "answers"), list):
                return content
        except (ValueError, RecursionError):
            pass
    raise HairclipError(f"{path} is no file of {what} of a study: give the JSON that the study's page exports.")


def _share(given: Sequence[float], seed: int) -> dict[str, float]:
    if not given:
        return {"count": 0}
    low, high = bootstrap_interval(given, seed)
    return {"share": sum(given) / len(given), "low": low, "high": high, "count": len(given)}


def _show(share: Mapping[str, float]) -> str:
    if "share" not in share:
        return ""
    return f"{100 * share['share']:.1f} % [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"

"""The command `compare`: every editing method on the same people and requests, in one table, and a blind study."""

import argparse
import json
import os
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hairclip.cli.shared_arguments import BUNDLE_HELP, DEVICE_HELP, SPLITS
from hairclip.common.errors import HairclipError, check_range

if TYPE_CHECKING:
    from hairclip.evaluation.compare.candidates import MethodCandidate

_ANSWERS_HELP = "pictures that other programs made, one folder a program, named as OUT/requests.json lists them"


def add_command(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    compare = commands.add_parser(
        "compare",
        help="compare editing methods on the same people and requests, with ground truth, or on photos",
        description="Edit rendered people that no network has seen by every method, measure each edit against the "
        "rendered truth, and print tables. Writes report.md, report.json and sheets with people as rows and methods as "
        "columns. Answers are kept: a run that was cut off goes on where it stopped. --photos compares on photos, "
        "without ground truth.",
    )
    compare.add_argument("--methods", default="all", metavar="all|NAME[,NAME...]", help="methods (default all)")
    compare.add_argument("--count", type=int, help="number of people (default 200, of a sweep 40; of photos all)")
    compare.add_argument("--slow-count", type=int, default=40, metavar="N", help="people for slow methods (default 40)")
    compare.add_argument("--out", type=Path, default=Path("runs/compare"), help="folder of the report")
    compare.add_argument("--asked", default="text,picture", metavar="WAY[,WAY]", help="text, picture (default both)")
    compare.add_argument("--split", choices=tuple(SPLITS), help="people (default test, of a sweep validation)")
    compare.add_argument("--seed", type=int, default=0, help="seed of people, requests and intervals (default 0)")
    compare.add_argument(
        "--set", action="append", default=[], metavar="METHOD.NAME=VALUE", help="a setting, such as optimize.steps=60"
    )
    compare.add_argument(
        "--sweep",
        nargs="+",
        metavar="METHOD|NAME=V1,V2",
        help="try every combination of the values of a method's settings, and print a small table",
    )
    compare.add_argument("--answers", nargs="+", type=Path, default=[], metavar="DIR", help=_ANSWERS_HELP)
    compare.add_argument("--bundle", default="portraits", help=BUNDLE_HELP)
    compare.add_argument("--mapper", help="file of a mapper (default: the bundle's)")
    compare.add_argument("--batch-size", type=int, metavar="N", help="photos that are edited together (default 16)")
    compare.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    compare.add_argument("--device", default="auto", help=DEVICE_HELP)
    study = compare.add_argument_group("the blind study")
    study.add_argument(
        "--study", type=Path, metavar="FOLDER", help="write a study of the answers by text: sheets, page, key"
    )
    study.add_argument("--study-count", type=int, default=20, metavar="N", help="people of the study (default 20)")
    study.add_argument(
        "--study-pictures", choices=("raw", "blended"), default="raw", help="which pictures (default raw)"
    )
    study.add_argument(
        "--study-answers", nargs="+", type=Path, metavar="FILE", help="score the answers to the study in --study"
    )
    photos = compare.add_argument_group("on photos")
    photos.add_argument("--photos", type=Path, metavar="DIR", help="photos that no network was trained on")
    photos.add_argument("--aligned", action="store_true", help="the photos are already cropped to the face")
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    """Score a study, compare on photos, or compare on rendered people."""
    for name, least in (
        ("count", 1),
        ("slow_count", 1),
        ("seed", 0),
        ("batch_size", 1),
        ("study_count", 1),
        ("workers", 0),
    ):
        if getattr(options, name) is not None:
            check_range(f"--{name.replace('_', '-')}", getattr(options, name), least)
    if options.study_answers is not None:
        _score_study(options)
    elif options.photos is not None:
        _compare_photos(options)
    else:
        _compare_rendered(options)


def _score_study(options: argparse.Namespace) -> None:
    from hairclip.evaluation.compare.study import score_study

    if options.study is None:
        raise HairclipError("--study-answers needs the folder of the study: give it as --study.")
    score_study(options.study, options.study_answers, seed=options.seed)


def _compare_rendered(options: argparse.Namespace) -> None:
    from hairclip.common.device import pick_device
    from hairclip.editing.editor import HairEditor
    from hairclip.evaluation.compare.report import format_sweep
    from hairclip.evaluation.compare.run import compare_methods
    from hairclip.evaluation.compare.study import write_study
    from hairclip.pretrained.bundle import load_bundle

    asked = _read_names("--asked", options.asked, ("text", "picture"))
    split = options.split or ("validation" if options.sweep else "test")
    device = pick_device(options.device)
    networks = load_bundle(options.bundle, device)
    if "judge" not in networks.parts:
        raise HairclipError(
            f"{options.bundle} has no judge of hairstyles, so edits cannot be compared with the truth: use the bundle "
            "portraits, or compare on photos with --photos."
        )
    editor = HairEditor.from_bundle(options.bundle, device=device, mapper=options.mapper)
    candidates = _sweep(editor, options) if options.sweep else _plan(editor, options)
    result = compare_methods(
        editor,
        networks.judge,
        candidates,
        options.out,
        count=options.count or (40 if options.sweep else 200),
        slow_count=options.slow_count,
        asked=asked,
        split=SPLITS[split],
        seed=options.seed,
        answers=options.answers,
        batch_size=options.batch_size,
        workers=options.workers,
        say=(lambda _: None) if options.sweep else print,
    )
    if options.sweep:
        print(format_sweep(result.report))
    if options.study is not None:
        write_study(result, options.study, count=options.study_count, form=options.study_pictures, seed=options.seed)


def _plan(editor: Any, options: argparse.Namespace) -> "list[MethodCandidate]":
    """Return the methods that --methods and --set describe."""
    from hairclip.evaluation.compare.candidates import plan_methods

    names = None if options.methods == "all" else options.methods.split(",")
    return plan_methods(editor, names, _read_settings(options.set))


def _sweep(editor: Any, options: argparse.Namespace) -> "list[MethodCandidate]":
    """Return one candidate per combination of the values that --sweep gives."""
    from hairclip.evaluation.compare.candidates import BEST, MethodCandidate, set_options

    method, *axes = options.sweep
    values = [(name, every.split(",")) for name, equals, every in (axis.partition("=") for axis in axes) if equals]
    if "=" in method or not axes or len(values) < len(axes):
        raise HairclipError("--sweep takes a method and its settings, such as --sweep optimize steps=40,100.")
    given = {**BEST.get(method, {}), **_read_settings(options.set).get(method, {})}
    candidates = []
    for chosen in product(*(every for _, every in values)):
        settings = {name: _read_value(value) for (name, _), value in zip(values, chosen, strict=True)}
        label = " ".join([method, *(f"{name}={value}" for name, value in settings.items())])
        candidates.append(MethodCandidate(editor, set_options(method, {**given, **settings}), label))
    return candidates


def _compare_photos(options: argparse.Namespace) -> None:
    from hairclip.common.device import pick_device
    from hairclip.editing.photo_editor import PhotoEditor
    from hairclip.evaluation.compare.candidates import plan_methods
    from hairclip.evaluation.real.judges import pick_judges
    from hairclip.evaluation.real.requests import KINDS
    from hairclip.evaluation.real.run import evaluate_real_photos
    from hairclip.pretrained.bundle import load_bundle

    for name in ("sweep", "study", "split"):
        if getattr(options, name) is not None:
            raise HairclipError(f"--{name} is for rendered people: leave it out where --photos is given.")
    asked = _read_names("--asked", options.asked, ("text", "picture"))
    ways = [{"text": "text", "picture": "reference"}[way] for way in asked]
    device = pick_device(options.device)
    editor = PhotoEditor.from_bundle(options.bundle, device=device, mapper=options.mapper)
    names = None if options.methods == "all" else options.methods.split(",")
    candidates = plan_methods(editor.editor, names, _read_settings(options.set))
    evaluate_real_photos(
        editor,
        pick_judges(load_bundle(options.bundle, device)),
        options.photos,
        options.out,
        methods=[candidate.options for candidate in candidates],
        answers=options.answers,
        kinds=[kind for kind in KINDS if kind.split("-")[0] in ways],
        count=options.count,
        seed=options.seed,
        aligned=options.aligned,
    )


def _read_names(flag: str, text: str, known: tuple[str, ...]) -> list[Any]:
    """Return the names of a list with commas, in the order of `known`."""
    names = text.split(",")
    for name in names:
        if name not in known:
            raise HairclipError(f"{flag} {name}: choose of {', '.join(known)}.")
    return [name for name in known if name in names]


def _read_settings(texts: list[str]) -> dict[str, dict[str, Any]]:
    """Return method -> name of a setting -> value of METHOD.NAME=VALUE."""
    settings: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        method, _, setting = name.rpartition(".")
        if not (method and setting and equals):
            raise HairclipError(f"--set {text}: write METHOD.NAME=VALUE, such as optimize.steps=60.")
        settings.setdefault(method, {})[setting] = _read_value(value)
    return settings


def _read_value(text: str) -> Any:
    """Return a number, true or false, or else the text."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, (int, float, bool)) else text

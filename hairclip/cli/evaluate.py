"""The commands `evaluate`, `evaluate-photos` and `evaluate-inversion`: how good edits and inversions are."""

import argparse
import os
from pathlib import Path
from typing import Any

from hairclip.cli.shared_arguments import BUNDLE_HELP, DEVICE_HELP
from hairclip.common.errors import HairclipError, check_range

INVERSIONS = ("encoder", "optimize", "pivotal")


KINDS_HELP = "text-hairstyle, text-color, text-both, reference-hairstyle, reference-color, reference-both"
ANSWERS_HELP = (
    "measure pictures that other programs made, one folder a program. They are named PHOTO.KIND.png, as "
    "OUT/requests.json lists them"
)
JUDGES = {
    "identity": "network that judges who a face is (default: FaceNet where it was downloaded, else the bundle's)",
    "clip": "CLIP that judges the words, such as ViT-L-14/openai (default: the bundle's)",
    "parser": "network that finds the hair (default: BiSeNet where it was downloaded, else the bundle's)",
}
PHOTO_FLAGS = (
    *("bundle", "answers", "kinds", "aligned", "inversion", "inversion_steps", "steps", "device"),
    *(f"judge_{part}" for part in JUDGES),
)


def add_command(commands: Any) -> None:
    """Add the three commands to the subcommands of a parser."""
    _add_evaluate(commands)
    _add_evaluate_photos(commands)
    _add_evaluate_inversion(commands)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="measure edits of held-out people: rendered ones against the truth, or real photos",
        description="With --config: edit rendered people that no network has seen, and compare each edit with the "
        "rendered truth. With --photos: edit real photos by the protocol of the published comparisons, or measure "
        "pictures that other programs made of them. Prints tables; writes report.json and sheets of pictures.",
    )
    what = evaluate.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", help="a YAML file, such as configs/portraits.yaml")
    what.add_argument("--photos", type=Path, metavar="DIR", help="a folder of photos that no network was trained on")
    evaluate.add_argument("--count", type=int, help="number of edits (default 200), or of photos (default all)")
    evaluate.add_argument("--out", help="folder of the report (default: runs/NAME/evaluation, or runs/real_photos)")
    evaluate.add_argument(
        "--method",
        metavar="NAME[,NAME...]",
        help="with --config: mapper, optimize (also optimization of all edits) or both (default; optimization of the "
        "first 24 edits). With --photos: one or several editing methods (default mapper)",
    )
    evaluate.add_argument("--mapper", help="file of a mapper (default: that of the run, else the bundle's)")
    evaluate.add_argument("--seed", type=int, default=0, help="seed of people, requests and intervals (default 0)")
    rendered = evaluate.add_argument_group("with --config")
    rendered.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    rendered.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the configuration")
    photos = evaluate.add_argument_group("with --photos")
    photos.add_argument("--bundle", metavar="NAME", help="name, YAML file or folder of the networks")
    photos.add_argument("--answers", nargs="+", type=Path, metavar="DIR", help=ANSWERS_HELP)
    photos.add_argument("--kinds", metavar="KIND[,KIND...]", help=f"kinds of requests (default all): {KINDS_HELP}")
    photos.add_argument("--aligned", action="store_true", help="the photos are already cropped to the face")
    photos.add_argument("--inversion", choices=INVERSIONS, help="how photos are inverted (default encoder)")
    photos.add_argument("--inversion-steps", type=int, metavar="N", help="steps of optimize and pivotal (default 100)")
    photos.add_argument("--steps", type=int, metavar="N", help="steps of methods that descend (default 100)")
    for part in JUDGES:
        photos.add_argument(f"--judge-{part}", metavar="NAME|PATH", help=JUDGES[part])
    photos.add_argument("--device", help=DEVICE_HELP)
    evaluate.set_defaults(run=_evaluate)


def _add_evaluate_photos(commands: Any) -> None:
    photos = commands.add_parser(
        "evaluate-photos",
        help="measure edits of whole photos against composed scenes",
        description="Compose rendered people into snapshots, edit these as photos, and compare each with the same "
        "scene rendered with the requested hair. Prints a table; writes report.json and sheets of pictures.",
    )
    photos.add_argument("--count", type=int, default=24, help="number of scenes (default 24)")
    photos.add_argument("--seed", type=int, default=0, help="seed of the scenes (default 0)")
    photos.add_argument("--out", type=Path, default=Path("runs/photos"), help="folder of the report")
    photos.add_argument(
        "--inversion", nargs="+", choices=INVERSIONS, default=["encoder"], help="one or several (default encoder)"
    )
    photos.add_argument("--inversion-steps", type=int, default=100, help="steps of optimize and pivotal (default 100)")
    photos.add_argument("--bundle", default="portraits", help=BUNDLE_HELP)
    photos.add_argument("--mapper", help="file of a mapper (default: the bundle's)")
    photos.add_argument("--device", default="auto", help=DEVICE_HELP)
    photos.set_defaults(run=_evaluate_photos)


def _add_evaluate_inversion(commands: Any) -> None:
    inversion = commands.add_parser(
        "evaluate-inversion",
        help="measure how well each method of inversion rebuilds held-out portraits, and what it costs",
        description="Invert rendered portraits of people that no network has seen by each method. Prints a table; "
        "writes inversions.json and a sheet of pictures.",
    )
    inversion.add_argument("--count", type=int, default=24, help="number of portraits (default 24)")
    inversion.add_argument("--steps", type=int, default=100, help="steps of optimize and pivotal (default 100)")
    inversion.add_argument(
        "--methods", nargs="+", choices=INVERSIONS, default=list(INVERSIONS), help="methods to measure (default all)"
    )
    inversion.add_argument("--seed", type=int, default=0, help="seed of the portraits (default 0)")
    inversion.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    inversion.add_argument("--bundle", default="portraits", help=BUNDLE_HELP)
    inversion.add_argument("--device", default="auto", help=DEVICE_HELP)
    inversion.add_argument("--out", type=Path, default=Path("runs/evaluate_inversion"), help="folder of the report")
    inversion.set_defaults(run=_evaluate_inversion)


def _evaluate(options: argparse.Namespace) -> None:
    """Run the evaluation that --config or --photos asks for; refuse the arguments of the other."""
    if options.count is not None:
        check_range("--count", options.count, 1)
    check_range("--seed", options.seed, 0)
    if options.photos is None:
        for name in PHOTO_FLAGS:
            if getattr(options, name):
                raise HairclipError(f"--{name.replace('_', '-')} is for real photos: give --photos, not --config.")
        _evaluate_rendered(options)
        return
    if options.overrides:
        raise HairclipError(f"{options.overrides[0]} changes a configuration: give --config, or leave it out.")
    _evaluate_real_photos(options)


def _evaluate_rendered(options: argparse.Namespace) -> None:
    from hairclip.common.device import pick_device
    from hairclip.config import load_config
    from hairclip.evaluation.edit_report import evaluate_editor
    from hairclip.evaluation.subject import configured_editor, measuring_networks
    from hairclip.pretrained.loaders import load_mapper

    check_range("--workers", options.workers, 0)
    method, count = options.method or "both", options.count or 200
    if method not in ("mapper", "optimize", "both"):
        raise HairclipError(f"--method {method}: with --config choose mapper, optimize or both.")
    config = load_config(options.config, options.overrides)
    device = pick_device(config.device)
    if config.dry_run:
        raise HairclipError(f"{options.config}: dry_run asks for random networks, which edit nothing: set it to false.")
    networks = measuring_networks(config, device, named=options.config)
    trained = Path("runs") / config.name / "mapper.safetensors"
    mapper = options.mapper or (trained if trained.is_file() else networks.parts.get("mapper"))
    if mapper is None:
        raise HairclipError(f"there is no mapper {trained} and none in {config.networks.bundle}: give one as --mapper.")
    print(f"mapper: {mapper}")
    editor = configured_editor(config, networks, load_mapper(mapper, device))
    optimize_count = {"mapper": 0, "both": 24, "optimize": count}[method]
    evaluate_editor(
        editor,
        networks.judge,
        options.out or Path("runs") / config.name / "evaluation",
        count=count,
        optimize_count=min(optimize_count, count),
        seed=options.seed,
        workers=options.workers,
    )


def _evaluate_real_photos(options: argparse.Namespace) -> None:
    from hairclip.cli.edit_arguments import name_flags_in_errors
    from hairclip.common.device import pick_device
    from hairclip.editing.options import EditOptions, InversionOptions
    from hairclip.editing.photo_editor import PhotoEditor
    from hairclip.evaluation.real.judges import pick_judges
    from hairclip.evaluation.real.requests import KINDS
    from hairclip.evaluation.real.run import evaluate_real_photos
    from hairclip.pretrained.bundle import load_bundle

    if options.bundle is None:
        raise HairclipError("--photos needs the networks to edit and judge with: give --bundle, such as ffhq.")
    kinds = [kind for kind in KINDS if kind in options.kinds.split(",")] if options.kinds else list(KINDS)
    for kind in (options.kinds or "").split(","):
        if kind and kind not in KINDS:
            raise HairclipError(f"--kinds {kind}: choose of {', '.join(KINDS)}.")
    names = options.method.split(",") if options.method else [] if options.answers else ["mapper"]
    with name_flags_in_errors(EditOptions, InversionOptions):
        steps = {} if options.steps is None else {"steps": options.steps}
        methods = [EditOptions(method=name, seed=options.seed, **steps) for name in dict.fromkeys(names)]
        inverting = InversionOptions(
            inversion=options.inversion or "encoder",
            inversion_steps=100 if options.inversion_steps is None else options.inversion_steps,
            seed=options.seed,
        )
        device = pick_device(options.device or "auto")
        editor = PhotoEditor.from_bundle(options.bundle, device=device, mapper=options.mapper)
        editor.editor.check([], methods[0] if methods else EditOptions())
        judges = pick_judges(
            load_bundle(options.bundle, device),
            **{part: getattr(options, f"judge_{part}") for part in JUDGES},
        )
        evaluate_real_photos(
            editor,
            judges,
            options.photos,
            Path(options.out or "runs/real_photos"),
            methods=methods,
            inverting=inverting,
            answers=options.answers or (),
            kinds=kinds,
            count=options.count,
            seed=options.seed,
            aligned=options.aligned,
        )


def _evaluate_photos(options: argparse.Namespace) -> None:
    from hairclip.common.device import pick_device
    from hairclip.editing.photo_editor import PhotoEditor
    from hairclip.evaluation.photos import evaluate_photos

    check_range("--count", options.count, 1)
    check_range("--seed", options.seed, 0)
    check_range("--inversion-steps", options.inversion_steps, 1)
    editor = PhotoEditor.from_bundle(options.bundle, device=pick_device(options.device), mapper=options.mapper)
    evaluate_photos(
        editor,
        options.out,
        count=options.count,
        seed=options.seed,
        inversions=tuple(dict.fromkeys(options.inversion)),
        inversion_steps=options.inversion_steps,
    )


def _evaluate_inversion(options: argparse.Namespace) -> None:
    from hairclip.common.device import pick_device
    from hairclip.editing.editor import HairEditor
    from hairclip.evaluation.inversions import evaluate_inversions
    from hairclip.pretrained.bundle import load_bundle

    check_range("--count", options.count, 1)
    check_range("--steps", options.steps, 1)
    check_range("--seed", options.seed, 0)
    check_range("--workers", options.workers, 0)
    networks = load_bundle(options.bundle, pick_device(options.device))
    evaluate_inversions(
        HairEditor(networks),
        networks.judge,
        options.out,
        count=options.count,
        steps=options.steps,
        methods=tuple(dict.fromkeys(options.methods)),
        seed=options.seed,
        workers=options.workers,
    )

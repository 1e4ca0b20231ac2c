"""The command ``python -m hairclip benchmark``: its options, and the order in which things are measured."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hairclip.common.errors import HairclipError, check_range

if TYPE_CHECKING:
    from hairclip.evaluation.speed.clock import Stopwatch
    from hairclip.evaluation.speed.setting import World

_MEASURES = ("step", "parts", "edit", "startup")
_KINDS = ("text", "reference", "both", "mix")


def add_command(commands: Any) -> None:
    """Add ``benchmark`` to the subcommands of a parser."""
    benchmark = commands.add_parser(
        "benchmark",
        help="measure training and editing, against a plain formulation of the official step",
        description="Measure a training step, its parts, edits and start-up; with --speedup, the step against a plain "
        "formulation of the official code's. Networks have random weights where the configuration describes their "
        "architectures.",
    )
    benchmark.add_argument("--config", required=True, help="a YAML file, such as configs/hairclip.yaml")
    benchmark.add_argument("--resolution", type=int, help="pixels, a power of two (default: the configuration's)")
    benchmark.add_argument("--batch", type=int, help="samples in a step (default: the configuration's)")
    benchmark.add_argument("--dtype", help="float32, bfloat16 or float16 (default: the configuration's)")
    benchmark.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    benchmark.add_argument("--repeats", type=int, help="rounds that count (default: 5, on a GPU 20)")
    benchmark.add_argument("--warmup", type=int, help="rounds before them (default: 1, on a GPU 3)")
    benchmark.add_argument(
        "--measure", default=",".join(_MEASURES), help=f"which of {','.join(_MEASURES)}, comma between them"
    )
    benchmark.add_argument(
        "--speedup",
        action="store_true",
        help="instead of these: reference, float32 and a half precision, in turns, in one table",
    )
    benchmark.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="'key=value ...'",
        help="of --speedup: also a half-precision step with these settings, such as training.compile=true; repeatable",
    )
    benchmark.add_argument(
        "--tasks",
        default="text,reference,both",
        help="of --speedup and --check: text (a hairstyle in words), reference (by a picture), both (a hairstyle in "
        "words and a colour by a picture), mix (as training draws them), comma between them",
    )
    benchmark.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare loss and gradients with the reference first; exit code 1 where float32 is off by more than 1e-3",
    )
    benchmark.add_argument(
        "--cpu-time",
        action="store_true",
        help="take processor time instead of wall time, with one thread: steadier where other programs run",
    )
    benchmark.add_argument("--edit-batch", type=int, default=32, help="pictures of the batched edit, 0 for none")
    benchmark.add_argument(
        "--quality",
        type=int,
        metavar="SEEDS",
        help="instead: train with this step and with the reference, in turns, for each of so many seeds, and measure "
        "what each learnt (training.steps=100 keeps it short)",
    )
    benchmark.add_argument(
        "--quality-against",
        choices=("reference", "float32"),
        default="reference",
        help="what it is compared with: the reference, or this step in float32, which equals it and is several times "
        "faster",
    )
    benchmark.add_argument("--quality-edits", type=int, default=200, help="edits that each mapper is measured on")
    benchmark.add_argument("--quality-out", default="runs/quality", help="folder of these mappers and their reports")
    benchmark.add_argument("--json", metavar="PATH", help="write the figures there, too")
    benchmark.add_argument("overrides", nargs="*", metavar="key=value", help="for example data.cache_sources=true")
    benchmark.set_defaults(run=_benchmark)


def _benchmark(options: argparse.Namespace) -> int:
    import torch

    measures, kinds = _listed("--measure", options.measure, _MEASURES), _listed("--tasks", options.tasks, _KINDS)
    for option, value, least in (
        ("--batch", options.batch, 1),
        ("--repeats", options.repeats, 1),
        ("--warmup", options.warmup, 0),
        ("--edit-batch", options.edit_batch, 0),
        ("--quality", options.quality, 1),
        ("--quality-edits", options.quality_edits, 1),
    ):
        if value is not None:
            check_range(option, value, least)
    if options.cpu_time:
        torch.set_num_threads(1)
    try:
        return _run(options, measures, kinds)
    except torch.OutOfMemoryError:
        raise HairclipError("the device ran out of memory: give a smaller --batch or --edit-batch.") from None


def _run(options: argparse.Namespace, measures: list[str], kinds: list[Any]) -> int:
    from hairclip.evaluation.speed import run
    from hairclip.evaluation.speed.clock import Stopwatch
    from hairclip.evaluation.speed.report import machine
    from hairclip.evaluation.speed.setting import World, build_world
    from hairclip.evaluation.speed.steps import LibraryTraining

    def build(*overrides: str, dtype: str | None = options.dtype) -> World:
        return build_world(
            options.config,
            [*options.overrides, *overrides],
            resolution=options.resolution,
            batch=options.batch,
            dtype=dtype,
            device=options.device,
        )

    world = build()
    if options.cpu_time and world.device.type != "cpu":
        raise HairclipError(f"--cpu-time is for a CPU, and the device is {world.device}: leave it out.")
    watch = Stopwatch(world.device, cpu_time=options.cpu_time)
    on_gpu = world.device.type == "cuda"
    repeats = options.repeats or (20 if on_gpu else 5)
    warmup = (3 if on_gpu else 1) if options.warmup is None else options.warmup
    report: dict[str, Any] = {"machine": machine(world.device), "setting": _setting(world, options)}
    print(_title(world, report["machine"]), end="\n\n")

    if options.quality:
        report["quality"] = _quality(options, watch, build)
        _write(report, options.json)
        return 0
    precision = world.config.training.precision
    half = precision if precision != "float32" or not options.speedup else "bfloat16"
    worlds: dict[str, World] = {name: world.with_precision(name) for name in dict.fromkeys(["float32", half])}
    for variant in options.variant:
        is_set = "training.precision=" in variant
        worlds[variant if is_set else f"{half}, {variant}"] = build(*variant.split(), dtype=None if is_set else half)
    agreed = True
    if options.check:
        found, report["agreement"] = run.check(worlds, kinds)
        agreed = all(one.passes for one in found)
    rounds = {"repeats": repeats, "warmup": warmup}
    peaks = run.Peaks(watch)
    if options.speedup:
        report["speedup"] = run.measure_speedup(worlds, watch, kinds, **rounds)
        measures = []
    if "step" in measures or "parts" in measures:
        training = LibraryTraining(world, world.tasks("mix", world.config.training.batch_size), prefetch=True)
        if "step" in measures:
            report["step"] = run.measure_step(training, watch, peaks, **rounds)
        if "parts" in measures:
            report["parts"] = run.measure_parts(training, watch, peaks, **rounds)
    if "edit" in measures:
        report["edit"] = run.measure_edit(world, watch, options.edit_batch, **rounds)
    if "startup" in measures:
        report["startup"] = run.measure_startup(repeats=repeats, cpu_time=options.cpu_time)
    report["peak_flops"] = peaks.known
    _write(report, options.json)
    if not agreed:
        print("the float32 step and the reference do not agree within the tolerance")
    return 0 if agreed else 1


def _quality(options: argparse.Namespace, watch: "Stopwatch", build: Callable[..., "World"]) -> list[Any]:
    """Train both ways for every seed, one after another, and measure."""
    import os
    from pathlib import Path

    from hairclip.evaluation.speed.learning import compare_figures, evaluate_mapper, train_both
    from hairclip.evaluation.subject import measuring_networks

    found = []
    for seed in range(options.quality):
        world, exact = build(f"seed={seed}"), None
        if world.is_random:
            raise HairclipError("--quality needs networks that can measure: use configs/portraits.yaml.")
        if options.quality_against == "float32":
            exact = build(f"seed={seed}", "training.precision=float32", "losses.precision=float32", dtype=None)
        networks, figures = measuring_networks(world.config, world.device, named=options.config), {}
        for side, trained in train_both(world, watch, exact=exact).items():
            folder = Path(options.quality_out) / f"{side}-{world.config.seed}"
            counted = {"count": options.quality_edits, "workers": os.cpu_count() or 1}
            measured = evaluate_mapper(world.config, networks, trained.mapper, folder, **counted)
            figures[side] = {"seconds": trained.seconds, "validation": trained.validation, **measured}
        found.append(figures)
        print(compare_figures(found), end="\n\n")
    return found


def _write(report: dict[str, Any], path: str | None) -> None:
    from pathlib import Path

    from hairclip.evaluation.tables import write_json

    if path:
        write_json(report, Path(path))
        print(f"wrote {path}")


def _listed(option: str, words: str, known: tuple[str, ...]) -> list[str]:
    chosen = [word.strip() for word in words.split(",") if word.strip()]
    for word in chosen or [words]:
        if word not in known:
            raise HairclipError(f"{option} {words!r}: choose of {', '.join(known)}, comma between them.")
    return list(dict.fromkeys(chosen))


def _setting(world: "World", options: argparse.Namespace) -> dict[str, Any]:
    return {
        "config": options.config,
        "overrides": options.overrides,
        "resolution": world.parts.networks.generator.size,
        "batch": world.config.training.batch_size,
        "precision": world.config.training.precision,
        "random_weights": world.is_random,
        "sources_cached": world.config.data.cache_sources,
    }


def _title(world: "World", machine: dict[str, Any]) -> str:
    size = world.parts.networks.generator.size
    weights = "random weights" if world.is_random else "weights as configured"
    count = machine["threads"]
    threads = "" if world.device.type == "cuda" else f", {count} thread{'' if count == 1 else 's'}"
    return f"{world.config.name}, {size} px, {weights}; {machine['device']}{threads}, torch {machine['torch']}"

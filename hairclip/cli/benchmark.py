"""The commands `benchmark` and `benchmark-learning`: how fast training and editing are, and what fast steps learn."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hairclip.cli.shared_arguments import DEVICE_HELP
from hairclip.common.errors import HairclipError, check_range

if TYPE_CHECKING:
    from hairclip.evaluation.speed.setting import Setting

MEASURES = ("step", "parts", "edit", "startup")
KINDS = ("text", "reference", "both", "mix")


def add_command(commands: Any) -> None:
    """Add the two commands to the subcommands of a parser."""
    _add_benchmark(commands)
    _add_benchmark_learning(commands)


def _add_benchmark(commands: Any) -> None:
    benchmark = commands.add_parser(
        "benchmark",
        help="measure the speed of training and editing, also against the official step",
        description="Measure a training step, its parts, edits and start-up. With --speedup, measure the step against "
        "a plain formulation of the official code's step. Networks have random weights where the configuration "
        "describes their architectures.",
    )
    _add_setting(benchmark)
    benchmark.add_argument("--resolution", type=int, help="pixels, a power of two (default: the configuration's)")
    benchmark.add_argument("--batch", type=int, help="samples in a step (default: the configuration's)")
    benchmark.add_argument("--repeats", type=int, help="rounds that count (default: 5, on a GPU 20)")
    benchmark.add_argument("--warmup", type=int, help="rounds before them (default: 1, on a GPU 3)")
    benchmark.add_argument(
        "--measure", default=",".join(MEASURES), help=f"some of {','.join(MEASURES)}, separated by commas (default all)"
    )
    benchmark.add_argument(
        "--speedup",
        action="store_true",
        help="instead of these: the official step, float32 and a half precision, in turns, in one table",
    )
    benchmark.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="'key=value ...'",
        help="with --speedup: also a half-precision step with these settings, such as training.compile=true; "
        "may be repeated",
    )
    benchmark.add_argument(
        "--tasks",
        default="text,reference,both",
        help="with --speedup and --check: text (a hairstyle by text), reference (a hairstyle by picture), both "
        "(a hairstyle by text and a color by picture), mix (as training draws them), separated by commas",
    )
    benchmark.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare loss and gradients with the official step first; exit code 1 if float32 is off by more than 1e-3",
    )
    benchmark.add_argument("--edit-batch", type=int, default=32, help="pictures of the batched edit, 0 for none")
    benchmark.set_defaults(run=_benchmark)


def _add_benchmark_learning(commands: Any) -> None:
    learning = commands.add_parser(
        "benchmark-learning",
        help="train with this library's step and with the official step, and compare what each learned",
        description="For each seed, train one mapper with this library's step and one with the official step, on the "
        "same tasks in turns. Measure both on held-out people. training.steps=100 keeps it short.",
    )
    _add_setting(learning)
    learning.add_argument("--seeds", type=int, default=1, help="number of seeds (default 1)")
    learning.add_argument(
        "--against",
        choices=("official", "float32"),
        default="official",
        help="official: the official step (default); float32: this library's step in float32, which computes the same "
        "and is several times faster",
    )
    learning.add_argument("--edits", type=int, default=200, help="edits that each mapper is measured on (default 200)")
    learning.add_argument("--out", type=Path, default=Path("runs/learning"), help="folder of mappers and reports")
    learning.set_defaults(run=_benchmark_learning)


def _add_setting(command: argparse.ArgumentParser) -> None:
    """Add the options that both commands have."""
    command.add_argument("--config", required=True, help="a YAML file, such as configs/portraits.yaml")
    command.add_argument("--dtype", help="float32, bfloat16 or float16 (default: the configuration's)")
    command.add_argument("--device", default="auto", help=DEVICE_HELP)
    command.add_argument(
        "--cpu-time",
        action="store_true",
        help="take processor time instead of wall time, with one thread: steadier where other programs run",
    )
    command.add_argument("--json", type=Path, metavar="PATH", help="also write the figures to this file")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="for example data.cache_sources=true")


def _benchmark(options: argparse.Namespace) -> int:
    measures, kinds = _split("--measure", options.measure, MEASURES), _split("--tasks", options.tasks, KINDS)
    for option, least in (("resolution", 8), ("batch", 1), ("repeats", 1), ("warmup", 0), ("edit_batch", 0)):
        value = getattr(options, option)
        if value is not None:
            check_range(f"--{option.replace('_', '-')}", value, least)
    import torch

    try:
        return _measure_speed(options, measures, kinds)
    except torch.OutOfMemoryError:
        raise HairclipError("the device ran out of memory: give a smaller --batch or --edit-batch.") from None


def _measure_speed(options: argparse.Namespace, measures: list[str], kinds: list[Any]) -> int:
    from hairclip.evaluation.speed import run
    from hairclip.evaluation.speed.report import machine
    from hairclip.evaluation.speed.steps import LibraryTraining

    sized = {"resolution": options.resolution, "batch": options.batch}
    setting = _build(options, **sized)
    timer = _clock(options, setting)
    on_gpu = setting.device.type == "cuda"
    rounds = {
        "repeats": options.repeats or (20 if on_gpu else 5),
        "warmup": (3 if on_gpu else 1) if options.warmup is None else options.warmup,
    }
    report: dict[str, Any] = {"machine": machine(setting.device), "setting": _describe(setting, options)}
    print(_title(setting, report["machine"]), end="\n\n")
    precision = setting.config.training.precision
    half = precision if precision != "float32" or not options.speedup else "bfloat16"
    variants: dict[str, Setting] = {name: setting.with_precision(name) for name in dict.fromkeys(["float32", half])}
    for variant in options.variant:
        names_precision = "training.precision=" in variant
        name, dtype = (variant, None) if names_precision else (f"{half}, {variant}", half)
        variants[name] = _build(options, *variant.split(), dtype=dtype, **sized)
    agreed = True
    if options.check:
        found, report["agreement"] = run.check(variants, kinds)
        agreed = all(one.passes for one in found)
    peaks = run.Peaks(timer)
    if options.speedup:
        report["speedup"] = run.measure_speedup(variants, timer, kinds, **rounds)
        measures = []
    if "step" in measures or "parts" in measures:
        training = LibraryTraining(setting, setting.tasks("mix", setting.config.training.batch_size), prefetch=True)
        if "step" in measures:
            report["step"] = run.measure_step(training, timer, peaks, **rounds)
        if "parts" in measures:
            report["parts"] = run.measure_parts(training, timer, peaks, **rounds)
    if "edit" in measures:
        report["edit"] = run.measure_edit(setting, timer, options.edit_batch, **rounds)
    if "startup" in measures:
        report["startup"] = run.measure_startup(repeats=rounds["repeats"], cpu_time=options.cpu_time)
    report["peak_flops"] = peaks.known
    _write(report, options.json)
    if not agreed:
        print("the float32 step and the official step do not agree within the tolerance")
    return 0 if agreed else 1


def _benchmark_learning(options: argparse.Namespace) -> None:
    check_range("--seeds", options.seeds, 1)
    check_range("--edits", options.edits, 1)
    from hairclip.evaluation.speed.learning import compare_figures, evaluate_mapper, train_both
    from hairclip.evaluation.speed.report import machine
    from hairclip.evaluation.subject import measuring_networks

    found: list[dict[str, dict[str, float]]] = []
    report: dict[str, Any] = {}
    for seed in range(options.seeds):
        setting, exact = _build(options, f"seed={seed}"), None
        if setting.is_random:
            raise HairclipError(f"{options.config}: random networks measure nothing: use configs/portraits.yaml.")
        timer = _clock(options, setting)
        if options.against == "float32":
            exact = _build(
                options, f"seed={seed}", "training.precision=float32", "losses.precision=float32", dtype=None
            )
        if not found:
            report |= {"machine": machine(setting.device), "setting": _describe(setting, options)}
            print(_title(setting, report["machine"]), end="\n\n")
        networks, figures = measuring_networks(setting.config, setting.device, named=options.config), {}
        for side, trained in train_both(setting, timer, exact=exact).items():
            folder = options.out / f"{side}-{setting.config.seed}"
            counted = {"count": options.edits, "workers": os.cpu_count() or 1}
            measured = evaluate_mapper(setting.config, networks, trained.mapper, folder, **counted)
            figures[side] = {"seconds": trained.seconds, "validation": trained.validation, **measured}
        found.append(figures)
        print(compare_figures(found), end="\n\n")
    _write({**report, "learning": found}, options.json)


def _build(options: argparse.Namespace, *overrides: str, **changes: Any) -> "Setting":
    """Return the setting of the command line, with further overrides and changes."""
    from hairclip.evaluation.speed.setting import build_setting

    changes = {"dtype": options.dtype, **changes}
    try:
        return build_setting(options.config, [*options.overrides, *overrides], device=options.device, **changes)
    except HairclipError as error:
        is_option = str(error).startswith(("dtype ", "resolution "))
        raise HairclipError(f"--{error}" if is_option else str(error)) from None


def _clock(options: argparse.Namespace, setting: "Setting") -> Any:
    """Return the timer of the command line's setting."""
    import torch

    from hairclip.evaluation.speed.clock import LapTimer

    if options.cpu_time and setting.device.type != "cpu":
        raise HairclipError(f"--cpu-time is for a CPU, and the device is {setting.device}: leave it out.")
    if options.cpu_time:
        torch.set_num_threads(1)
    return LapTimer(setting.device, cpu_time=options.cpu_time)


def _write(report: dict[str, Any], path: Path | None) -> None:
    from hairclip.evaluation.tables import write_json

    if path:
        write_json(report, path)
        print(f"wrote {path}")


def _split(option: str, words: str, known: tuple[str, ...]) -> list[str]:
    """Return the words of a list separated by commas, each once."""
    chosen = [word.strip() for word in words.split(",") if word.strip()]
    for word in chosen or [words]:
        if word not in known:
            raise HairclipError(f"{option} {words!r}: choose some of {', '.join(known)}, separated by commas.")
    return list(dict.fromkeys(chosen))


def _describe(setting: "Setting", options: argparse.Namespace) -> dict[str, Any]:
    return {
        "config": options.config,
        "overrides": options.overrides,
        "resolution": setting.parts.networks.generator.size,
        "batch": setting.config.training.batch_size,
        "precision": setting.config.training.precision,
        "random_weights": setting.is_random,
        "sources_cached": setting.config.data.cache_sources,
    }


def _title(setting: "Setting", machine: dict[str, Any]) -> str:
    size = setting.parts.networks.generator.size
    weights = "random weights" if setting.is_random else "weights as configured"
    count = machine["threads"]
    threads = "" if setting.device.type == "cuda" else f", {count} thread{'' if count == 1 else 's'}"
    return f"{setting.config.name}, {size} px, {weights}; {machine['device']}{threads}, torch {machine['torch']}"

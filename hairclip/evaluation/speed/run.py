"""The measurements of ``python -m hairclip benchmark``: each prints its table and returns its figures for JSON."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

from hairclip.evaluation.speed.agreement import Agreement, compare
from hairclip.evaluation.speed.clock import Memory, Stopwatch, Timing, Work, count_flops, interleave, peak_flops, ratio
from hairclip.evaluation.speed.latency import edit_works, time_first_edit, time_imports
from hairclip.evaluation.speed.report import SAMPLES, agreement_table, hours, show_hours, show_seconds, summary, table
from hairclip.evaluation.speed.setting import Kind, World
from hairclip.evaluation.speed.step_parts import REST, part_precision, part_works
from hairclip.evaluation.speed.steps import LibraryTraining, ReferenceTraining
from hairclip.networks.stylegan2_ops import forms_for_a_compiler
from hairclip.training.setup import PRECISIONS

__all__ = [
    "Figures",
    "Peaks",
    "check",
    "measure_edit",
    "measure_parts",
    "measure_speedup",
    "measure_startup",
    "measure_step",
]

Figures: TypeAlias = dict[str, Any]


class Peaks:
    """Operations per second of the device, measured when first asked for."""

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch
        self.known: dict[str, float] = {}

    def share(self, flops: float, seconds: float, precision: str) -> float:
        """Which part of the peak in `precision` these operations reach."""
        if precision not in self.known:
            self.known[precision] = peak_flops(PRECISIONS[precision], self.watch)
        return flops / seconds / self.known[precision]


def check(worlds: Mapping[str, World], kinds: Sequence[Kind]) -> tuple[list[Agreement], Figures]:
    """One task of each kind, through the library's steps and through the reference."""
    first = next(iter(worlds.values()))
    tasks = [first.tasks(kind, number + 1)[-1] for number, kind in enumerate(kinds)]
    found = compare(worlds, tasks)
    print(agreement_table(found), end="\n\n")
    return found, {one.name: {**vars(one), "passes": one.passes} for one in found}


def measure_step(training: LibraryTraining, watch: Stopwatch, peaks: Peaks, *, repeats: int, warmup: int) -> Figures:
    """The whole training step."""
    world, batch = training.world, len(training.tasks)
    precision = world.config.training.precision
    peak: dict[str, Memory] = {}
    rounds = {"repeats": repeats, "warmup": warmup}
    timing = interleave({"step": training}, watch, **rounds, title="step", memory=peak)["step"]["step"]
    plain = LibraryTraining(world.uncompiled(), training.tasks)
    with _counted_forms(world):
        flops = count_flops(plain, world.device)["step"]
    memory = peak["step"]
    share = peaks.share(flops, timing.median, precision)
    sample = timing.median / batch
    rows = [
        ["ms per step", f"{show_seconds(timing.median)} ± {timing.spread:.0%}"],
        ["ms per sample", show_seconds(sample)],
        ["samples per second", f"{1 / sample:.3g}"],
        [f"hours for {SAMPLES:,} samples", show_hours(sample)],
        ["GFLOP per sample", f"{flops / batch / 1e9:.1f}"],
        [f"share of the {precision} peak ({peaks.known[precision] / 1e9:.0f} GFLOP/s)", f"{share:.1%}"],
        [f"peak memory ({memory.meaning})", f"{memory.bytes / 2**20:.0f} MiB"],
    ]
    print(table([f"training step, batch {batch}, {precision}", ""], rows), end="\n\n")
    return {
        "seconds": summary(timing),
        "samples_per_second": 1 / sample,
        "hours_for_500000_samples": hours(sample),
        "flops": flops,
        "share_of_peak": share,
        "peak_memory": vars(memory),
    }


def measure_parts(training: LibraryTraining, watch: Stopwatch, peaks: Peaks, *, repeats: int, warmup: int) -> Figures:
    """Each part of the step by itself."""
    world, batch = training.world, len(training.tasks)
    works: dict[str, Work] = {**part_works(training), "step": training}
    timings = interleave(works, watch, repeats=repeats, warmup=warmup, title="parts")
    plain = LibraryTraining(world.uncompiled(), training.tasks)
    countable: dict[str, Work] = {**part_works(plain), "step": plain}
    with _counted_forms(world):
        flops = {name: count_flops(work, world.device) for name, work in countable.items()}
    step = timings["step"]["step"].median

    times = batch // training.size
    medians = {part: timing.median for parts in timings.values() for part, timing in parts.items()}
    seconds = _taken_apart(medians, times)
    operations = _taken_apart({part: count for counts in flops.values() for part, count in counts.items()}, times)

    figures: Figures = {}
    rows = []
    for part, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        own = part_precision(part, world.config)
        share = peaks.share(operations[part], spent, own) if spent else 0.0
        count = operations[part]
        figures[part] = {"seconds": spent, "of_step": spent / step, "flops": count, "share_of_peak": share, "in": own}
        cells = [own, show_seconds(spent), f"{spent / step:.1%}", f"{count / 1e9:.1f}", f"{share:.1%}"]
        rows.append([part, *cells])
    total = sum(seconds.values())
    rows.append(["all parts", "", show_seconds(total), f"{total / step:.1%}", "", ""])
    rows.append(["the step itself", "", show_seconds(step), "100.0%", f"{flops['step']['step'] / 1e9:.1f}", ""])
    head = [f"part, batch {batch}", "computes in", "ms", "of the step", "GFLOP", "share of its peak"]
    print(table(head, rows), end="\n\n")
    return {"parts": figures, "step_seconds": step}


def _counted_forms(world: World) -> AbstractContextManager[None]:
    """What is counted computes as the world does, which torch cannot count while it is compiled."""
    return forms_for_a_compiler() if world.config.training.compile else nullcontext()


def _taken_apart(parts: Mapping[str, float], times: int) -> dict[str, float]:
    """`REST` in place of "losses": these without the networks they call. All but the update come `times` a step."""
    rest = {part: value if part == "optimiser" else times * value for part, value in parts.items() if part != "step"}
    forward = rest.pop("losses forward") - rest["CLIP forward"] - rest["identity forward"] - rest["parser"]
    backward = rest.pop("losses backward") - rest["CLIP backward"] - rest["identity backward"]
    return {**rest, f"{REST} forward": max(0, forward), f"{REST} backward": max(0, backward)}


def measure_speedup(
    worlds: Mapping[str, World], watch: Stopwatch, kinds: Sequence[Kind], *, repeats: int, warmup: int
) -> Figures:
    """The reference and the library's steps in turns, per sample, for each kind of task."""
    first = next(iter(worlds.values()))
    batch = first.config.training.batch_size
    figures: Figures = {}
    rows = []
    for kind in kinds:
        tasks = first.tasks(kind, batch)
        # Samples of one kind cost the reference the same, so one stands for all.
        alone = tasks if kind == "mix" else tasks[:1]
        works: dict[str, Work] = {"reference": ReferenceTraining(first, alone)}
        for name, world in worlds.items():
            works[name] = LibraryTraining(world, tasks, prefetch=True)
            if not world.config.data.cache_sources:
                works[f"{name}, sources cached"] = LibraryTraining(world, tasks, cache=True, prefetch=True)
        peak: dict[str, Memory] = {}
        timings = interleave(works, watch, repeats=repeats, warmup=warmup, title=kind, memory=peak)
        per_sample = {
            name: Timing([s / (len(alone) if name == "reference" else batch) for s in parts["step"].seconds])
            for name, parts in timings.items()
        }
        figures[kind] = {}
        for name, timing in per_sample.items():
            faster = ratio(per_sample["reference"], timing)
            figures[kind][name] = {
                "seconds_per_sample": summary(timing),
                "times_faster": summary(faster),
                "peak_memory": vars(peak[name]),
            }
            rows.append(
                [
                    f"{kind}: {name}",
                    f"{show_seconds(timing.median)} ± {timing.spread:.0%}",
                    f"{faster.median:.2f}x",
                    f"{min(faster.seconds):.2f}-{max(faster.seconds):.2f}",
                    show_hours(timing.median),
                    f"{peak[name].bytes / 2**20:.0f}",
                ]
            )
    head = [f"task: step, batch {batch}", "ms per sample", "faster", "range", f"hours for {SAMPLES:,}", "peak MiB"]
    print(table(head, rows), end="\n\n")
    return figures


def measure_edit(world: World, watch: Stopwatch, count: int, *, repeats: int, warmup: int) -> Figures:
    """Edits of pictures with loaded networks."""
    works = edit_works(world, count)
    timings = interleave(works, watch, repeats=repeats, warmup=warmup, title="edit")
    figures: Figures = {}
    rows = []
    for name, parts in timings.items():
        pictures = int(name.split()[1])
        timing = parts["edit"]
        figures[name] = {"seconds": summary(timing), "pictures": pictures}
        each = show_seconds(timing.median / pictures)
        rows.append([name, f"{show_seconds(timing.median)} ± {timing.spread:.0%}", each])
    print(table(["with loaded networks, float32", "ms", "ms per picture"], rows), end="\n\n")
    return figures


def measure_startup(*, repeats: int, cpu_time: bool) -> Figures:
    """Imports and the first edit, each in a new process."""
    imports = time_imports(repeats=repeats, cpu_time=cpu_time)
    first = time_first_edit(repeats=repeats, cpu_time=cpu_time)
    named = {**imports, **{f"edit of the portraits bundle, {name}": timing for name, timing in first.items()}}
    rows = [[name, f"{show_seconds(timing.median)} ± {timing.spread:.0%}"] for name, timing in named.items()]
    print(table(["a new process", "ms of processor time" if cpu_time else "ms"], rows), end="\n\n")
    return {name: summary(timing) for name, timing in named.items()}

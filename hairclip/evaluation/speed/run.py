"""The measurements of `hairclip benchmark`. Each prints its table and returns its figures for JSON."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

from hairclip.common.tables import format_table
from hairclip.evaluation.speed.agreement import Agreement, compare
from hairclip.evaluation.speed.clock import LapTimer, Memory, Timing, Work, count_flops, interleave, peak_flops, ratio
from hairclip.evaluation.speed.latency import edit_works, time_first_edit, time_imports
from hairclip.evaluation.speed.report import SAMPLES, agreement_table, hours, show_hours, show_seconds, summary
from hairclip.evaluation.speed.setting import Kind, Setting
from hairclip.evaluation.speed.step_parts import REST, part_precision, part_works
from hairclip.evaluation.speed.steps import LibraryTraining, OfficialTraining
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
    """Peak operations per second of the device in each precision, measured when first needed.

    Attributes:
        known: name of a precision -> operations per second.
    """

    def __init__(self, timer: LapTimer) -> None:
        self.timer = timer
        self.known: dict[str, float] = {}

    def share(self, flops: float, seconds: float, precision: str) -> float:
        """Return the share of the peak in `precision` that so many operations in so many seconds reach."""
        if precision not in self.known:
            self.known[precision] = peak_flops(PRECISIONS[precision], self.timer)
        return flops / seconds / self.known[precision]


def check(variants: Mapping[str, Setting], kinds: Sequence[Kind]) -> tuple[list[Agreement], Figures]:
    """Compare the library's steps with the official step on one task of each kind."""
    first = next(iter(variants.values()))
    tasks = [first.tasks(kind, number + 1)[-1] for number, kind in enumerate(kinds)]
    agreements = compare(variants, tasks)
    print(agreement_table(agreements), end="\n\n")
    return agreements, {one.name: {**vars(one), "passes": one.passes} for one in agreements}


def measure_step(training: LibraryTraining, timer: LapTimer, peaks: Peaks, *, repeats: int, warmup: int) -> Figures:
    """Measure the whole training step: seconds, operations, share of the device's peak, memory."""
    setting, batch = training.setting, len(training.tasks)
    precision = setting.config.training.precision
    peak: dict[str, Memory] = {}
    rounds = {"repeats": repeats, "warmup": warmup}
    timing = interleave({"step": training}, timer, **rounds, title="step", memory=peak)["step"]["step"]
    plain = LibraryTraining(setting.uncompiled(), training.tasks)
    with _forms_to_count(setting):
        flops = count_flops(plain, setting.device)["step"]
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
    print(format_table([f"training step, batch {batch}, {precision}", ""], rows), end="\n\n")
    return {
        "seconds": summary(timing),
        "samples_per_second": 1 / sample,
        "hours_for_500000_samples": hours(sample),
        "flops": flops,
        "share_of_peak": share,
        "peak_memory": vars(memory),
    }


def measure_parts(training: LibraryTraining, timer: LapTimer, peaks: Peaks, *, repeats: int, warmup: int) -> Figures:
    """Measure each part of the step by itself."""
    setting, batch = training.setting, len(training.tasks)
    works: dict[str, Work] = {**part_works(training), "step": training}
    timings = interleave(works, timer, repeats=repeats, warmup=warmup, title="parts")
    plain = LibraryTraining(setting.uncompiled(), training.tasks)
    countable: dict[str, Work] = {**part_works(plain), "step": plain}
    with _forms_to_count(setting):
        flops = {name: count_flops(work, setting.device) for name, work in countable.items()}
    step = timings["step"]["step"].median

    times = batch // training.size
    medians = {part: timing.median for parts in timings.values() for part, timing in parts.items()}
    seconds = _separate_rest(medians, times)
    operations = _separate_rest({part: count for counts in flops.values() for part, count in counts.items()}, times)

    figures: Figures = {}
    rows = []
    for part, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        own = part_precision(part, setting.config)
        share = peaks.share(operations[part], spent, own) if spent else 0.0
        count = operations[part]
        figures[part] = {"seconds": spent, "of_step": spent / step, "flops": count, "share_of_peak": share, "in": own}
        cells = [own, show_seconds(spent), f"{spent / step:.1%}", f"{count / 1e9:.1f}", f"{share:.1%}"]
        rows.append([part, *cells])
    total = sum(seconds.values())
    rows.append(["all parts", "", show_seconds(total), f"{total / step:.1%}", "", ""])
    rows.append(["the step itself", "", show_seconds(step), "100.0%", f"{flops['step']['step'] / 1e9:.1f}", ""])
    head = [f"part, batch {batch}", "computes in", "ms", "of the step", "GFLOP", "share of its peak"]
    print(format_table(head, rows), end="\n\n")
    return {"parts": figures, "step_seconds": step}


def _forms_to_count(setting: Setting) -> AbstractContextManager[None]:
    """Return a context in which plain code computes in the forms of compiled code, which torch cannot count."""
    return forms_for_a_compiler() if setting.config.training.compile else nullcontext()


def _separate_rest(parts: Mapping[str, float], times: int) -> dict[str, float]:
    """Return the figures of a whole step, with `REST` in place of "losses".

    `REST` is what the losses do beside the networks that they call.

    Args:
        parts: part -> figure of one micro-batch.
        times: micro-batches in a step. The optimizer runs once a step, everything else once per micro-batch.
    """
    rest = {part: value if part == "optimizer" else times * value for part, value in parts.items() if part != "step"}
    forward = rest.pop("losses forward") - rest["CLIP forward"] - rest["identity forward"] - rest["parser"]
    backward = rest.pop("losses backward") - rest["CLIP backward"] - rest["identity backward"]
    return {**rest, f"{REST} forward": max(0, forward), f"{REST} backward": max(0, backward)}


def measure_speedup(
    variants: Mapping[str, Setting], timer: LapTimer, kinds: Sequence[Kind], *, repeats: int, warmup: int
) -> Figures:
    """Measure the official step and the library's steps in turns, per sample, for each kind of task."""
    first = next(iter(variants.values()))
    batch = first.config.training.batch_size
    figures: Figures = {}
    rows = []
    for kind in kinds:
        tasks = first.tasks(kind, batch)
        # The official step takes the same time for every sample of one kind, so one stands for all.
        alone = tasks if kind == "mix" else tasks[:1]
        works: dict[str, Work] = {"official": OfficialTraining(first, alone)}
        for name, setting in variants.items():
            works[name] = LibraryTraining(setting, tasks, prefetch=True)
            if not setting.config.data.cache_sources:
                works[f"{name}, sources cached"] = LibraryTraining(setting, tasks, cache=True, prefetch=True)
        peak: dict[str, Memory] = {}
        timings = interleave(works, timer, repeats=repeats, warmup=warmup, title=kind, memory=peak)
        per_sample = {
            name: Timing([s / (len(alone) if name == "official" else batch) for s in parts["step"].seconds])
            for name, parts in timings.items()
        }
        figures[kind] = {}
        for name, timing in per_sample.items():
            faster = ratio(per_sample["official"], timing)
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
    print(format_table(head, rows), end="\n\n")
    return figures


def measure_edit(setting: Setting, timer: LapTimer, count: int, *, repeats: int, warmup: int) -> Figures:
    """Measure edits of pictures with loaded networks."""
    works = edit_works(setting, count)
    timings = interleave(works, timer, repeats=repeats, warmup=warmup, title="edit")
    figures: Figures = {}
    rows = []
    for name, parts in timings.items():
        pictures = int(name.split()[1])
        timing = parts["edit"]
        figures[name] = {"seconds": summary(timing), "pictures": pictures}
        each = show_seconds(timing.median / pictures)
        rows.append([name, f"{show_seconds(timing.median)} ± {timing.spread:.0%}", each])
    print(format_table(["with loaded networks, float32", "ms", "ms per picture"], rows), end="\n\n")
    return figures


def measure_startup(*, repeats: int, cpu_time: bool) -> Figures:
    """Measure imports and the first edit, each in a new process."""
    imports = time_imports(repeats=repeats, cpu_time=cpu_time)
    first = time_first_edit(repeats=repeats, cpu_time=cpu_time)
    named = {**imports, **{f"edit of the portraits bundle, {name}": timing for name, timing in first.items()}}
    rows = [[name, f"{show_seconds(timing.median)} ± {timing.spread:.0%}"] for name, timing in named.items()]
    print(format_table(["a new process", "ms of processor time" if cpu_time else "ms"], rows), end="\n\n")
    return {name: summary(timing) for name, timing in named.items()}

"""Clocks, interleaved repeats, peak memory, floating-point operations and the device's own peak."""

import contextlib
import ctypes
import gc
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import TypeAlias

import torch
from torch.utils.flop_counter import FlopCounterMode

from hairclip.common.progress import progress_bar

__all__ = ["Memory", "Stopwatch", "Timing", "Work", "count_flops", "interleave", "peak_flops", "peak_memory", "ratio"]


class Stopwatch:
    """Seconds between marks: CUDA events on a GPU, so that nothing is waited for in between; else wall time.

    Args:
        device: whose work is timed.
        cpu_time: take processor time of this process instead, on a CPU: steadier beside other work, and the same as
            wall time where one thread does everything.
    """

    def __init__(self, device: torch.device, *, cpu_time: bool = False) -> None:
        self.device = device
        self._clock = time.process_time if cpu_time else time.perf_counter
        self._marks: list[tuple[str, float | torch.cuda.Event]] = []

    def start(self) -> None:
        """Begin anew, once the device is idle."""
        synchronize(self.device)
        self._marks = []
        self.lap("")

    def lap(self, name: str) -> None:
        """End the part called `name`, which began at the last mark. A name may return: its laps add up."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self._marks.append((name, event))
        else:
            synchronize(self.device)
            self._marks.append((name, self._clock()))

    def seconds(self) -> dict[str, float]:
        """Each part's seconds, in the order in which they first ended."""
        synchronize(self.device)
        parts: dict[str, float] = {}
        for (_, before), (name, after) in zip(self._marks, self._marks[1:]):
            if isinstance(before, float) or isinstance(after, float):
                spent = float(after) - float(before)  # type: ignore[arg-type]
            else:
                spent = before.elapsed_time(after) / 1000
            parts[name] = parts.get(name, 0.0) + spent
        return parts


Work: TypeAlias = Callable[[Stopwatch], None]
"""Something to measure; it marks the ends of its parts."""


def synchronize(device: torch.device) -> None:
    """Wait for what was asked of a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@dataclass
class Timing:
    """Seconds of repeats."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median; 0 for fewer than two repeats."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / 2 / self.median


@dataclass(frozen=True)
class Memory:
    """Most memory held at one time.

    Attributes:
        bytes: how much.
        meaning: what was read.
    """

    bytes: int
    meaning: str


def interleave(
    works: Mapping[str, Work],
    watch: Stopwatch,
    *,
    repeats: int,
    warmup: int,
    title: str,
    memory: dict[str, Memory] | None = None,
) -> dict[str, dict[str, Timing]]:
    """Time several things in turns, so that what else the machine does meets them alike.

    Args:
        works: name -> what to time. Every other round goes through them backwards.
        watch: reads the clock.
        repeats: rounds that count.
        warmup: rounds before them that do not.
        title: of the progress bar.
        memory: takes each one's peak, of the first round, where that does not count; else of one more round.

    Returns:
        Name of the work -> name of its part -> the seconds of each round.
    """
    timings: dict[str, dict[str, Timing]] = {name: {} for name in works}
    with progress_bar(total=(warmup + repeats) * len(works), label=title, leave=False) as bar:
        for number in range(warmup + repeats):
            names = list(works) if number % 2 == 0 else list(works)[::-1]
            for name in names:
                bar.set_postfix_str(name)
                if number == 0 and warmup and memory is not None:
                    memory[name] = peak_memory(works[name], watch.device)
                    bar.update()
                    continue
                watch.start()
                works[name](watch)
                parts = watch.seconds()
                if number >= warmup:
                    for part, seconds in parts.items():
                        timings[name].setdefault(part, Timing()).seconds.append(seconds)
                bar.update()
    if memory is not None and not warmup:
        memory.update({name: peak_memory(work, watch.device) for name, work in works.items()})
    return timings


def ratio(slow: Timing, fast: Timing) -> Timing:
    """How many times faster, round by round: a disturbance that lasts a whole round leaves it as it is."""
    return Timing([a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)])


class _Counter(Stopwatch):
    """Counts operations between marks in place of seconds."""

    def __init__(self, device: torch.device, counter: FlopCounterMode) -> None:
        super().__init__(device)
        self.counted: dict[str, int] = {}
        self._before, self._counter = 0, counter

    def lap(self, name: str) -> None:
        total = int(self._counter.get_total_flops())
        if name:
            self.counted[name] = self.counted.get(name, 0) + total - self._before
        self._before = total


def count_flops(work: Work, device: torch.device) -> dict[str, int]:
    """Floating-point operations per part: of matrix products and convolutions, two to a multiplication and addition."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False  # it would time every algorithm for sizes that only the counting meets
    try:
        with FlopCounterMode(display=False) as mode:
            counter = _Counter(device, mode)
            counter.start()
            work(counter)
    finally:
        torch.backends.cudnn.benchmark = before
    return counter.counted


def peak_flops(dtype: torch.dtype, watch: Stopwatch, *, size: int | None = None, repeats: int = 7) -> float:
    """Operations per second of a large square matrix product in `dtype`, the fastest of some tries.

    On a GPU float32 products are TF32 where convolutions may be, as most of a step is convolutions.
    """
    side = size or (8192 if watch.device.type == "cuda" else 1536)
    a, b = (torch.randn(side, side, device=watch.device).to(dtype) for _ in range(2))
    best = float("inf")
    with _tf32(watch.device, products=torch.backends.cudnn.allow_tf32):
        for _ in range(repeats):
            watch.start()
            torch.mm(a, b)
            watch.lap("product")
            best = min(best, watch.seconds()["product"])
    return 2 * side**3 / best


def peak_memory(work: Work, device: torch.device) -> Memory:
    """Of one call, with everything that was there before it, such as weights and caches."""
    watch = Stopwatch(device)
    gc.collect()
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        watch.start()
        work(watch)
        synchronize(device)
        return Memory(torch.cuda.max_memory_allocated(device), "torch.cuda.max_memory_allocated")
    since_start = not _forget_peak()
    watch.start()
    work(watch)
    if since_start:
        import resource  # not on every system

        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return Memory(peak, "largest resident memory of this process since it began")
    return Memory(_status("VmHWM"), "largest resident memory of this process during the step")


def _forget_peak() -> bool:
    """Give freed memory back and start the kernel's record anew; False where the system cannot."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmHWM") < 1.05 * _status("VmRSS")
    except (OSError, LookupError):
        return False


def _status(key: str) -> int:
    """An entry of this process's ``/proc`` status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(key)


def exact_float32(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Without TF32, which rounds the factors of float32 products to 10 bits on a GPU."""
    return _tf32(device, products=False, convolutions=False)


@contextlib.contextmanager
def _tf32(device: torch.device, *, products: bool, convolutions: bool | None = None) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = products
    if convolutions is not None:
        torch.backends.cudnn.allow_tf32 = convolutions
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before

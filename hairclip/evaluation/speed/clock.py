"""Measure time, memory and floating-point operations of pieces of work."""

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

__all__ = ["LapTimer", "Memory", "Timing", "Work", "count_flops", "interleave", "peak_flops", "peak_memory", "ratio"]


class LapTimer:
    """Measures the seconds of consecutive parts of some work.

    On a GPU it records CUDA events, so that nothing waits between the parts; elsewhere it reads a clock.

    Args:
        device: device that does the work.
        cpu_time: read the processor time of this process instead of wall time. It is steadier beside other programs,
            and equals wall time where one thread does everything.
    """

    def __init__(self, device: torch.device, *, cpu_time: bool = False) -> None:
        self.device = device
        self._clock = time.process_time if cpu_time else time.perf_counter
        self._marks: list[tuple[str, float | torch.cuda.Event]] = []

    def start(self) -> None:
        """Wait until the device is idle, forget all parts and begin the first one."""
        synchronize(self.device)
        self._marks = []
        self.lap("")

    def lap(self, name: str) -> None:
        """End the current part, called `name`, and begin the next. The seconds of parts of one name add up."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self._marks.append((name, event))
        else:
            synchronize(self.device)
            self._marks.append((name, self._clock()))

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part by name, in the order in which the parts first ended."""
        synchronize(self.device)
        parts: dict[str, float] = {}
        for (_, before), (name, after) in zip(self._marks, self._marks[1:]):
            if isinstance(before, float) or isinstance(after, float):
                spent = float(after) - float(before)  # type: ignore[arg-type]
            else:
                spent = before.elapsed_time(after) / 1000
            parts[name] = parts.get(name, 0.0) + spent
        return parts


Work: TypeAlias = Callable[[LapTimer], None]
"""A function to measure. It calls `lap` at the end of each of its parts."""


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@dataclass
class Timing:
    """Seconds of repeated measurements.

    Attributes:
        seconds: one value per repeat.
    """

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles as a share of the median; 0 for fewer than two repeats."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / 2 / self.median


@dataclass(frozen=True)
class Memory:
    """Peak memory.

    Attributes:
        bytes: most bytes held at one time.
        meaning: name of the figure that was read.
    """

    bytes: int
    meaning: str


def interleave(
    works: Mapping[str, Work],
    timer: LapTimer,
    *,
    repeats: int,
    warmup: int,
    title: str,
    memory: dict[str, Memory] | None = None,
) -> dict[str, dict[str, Timing]]:
    """Time several works in turns, so that other programs on the machine slow all of them alike.

    Args:
        works: name -> work. Every other round goes through them backwards.
        timer: reads the clock.
        repeats: rounds that count.
        warmup: rounds before them that do not count.
        title: words before the progress bar.
        memory: if given, receives name -> peak memory. It is read in the first round of the warm-up, or in one more
            round if there is no warm-up.

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
                    memory[name] = peak_memory(works[name], timer.device)
                    bar.update()
                    continue
                timer.start()
                works[name](timer)
                parts = timer.seconds()
                if number >= warmup:
                    for part, seconds in parts.items():
                        timings[name].setdefault(part, Timing()).seconds.append(seconds)
                bar.update()
    if memory is not None and not warmup:
        memory.update({name: peak_memory(work, timer.device) for name, work in works.items()})
    return timings


def ratio(slow: Timing, fast: Timing) -> Timing:
    """Return how many times faster `fast` is in each round. A disturbance that slows a whole round cancels out."""
    return Timing([a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)])


class _Counter(LapTimer):
    """Counts the operations of each part in place of its seconds."""

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
    """Return the floating-point operations of each part by name.

    Matrix products and convolutions count; a multiplication with an addition counts as two operations.
    """
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


def peak_flops(dtype: torch.dtype, timer: LapTimer, *, size: int | None = None, repeats: int = 7) -> float:
    """Return the operations per second of a large square matrix product in `dtype`, the fastest of several tries.

    On a GPU, float32 products use TF32 if convolutions may use it, because most of a step is convolutions.
    """
    side = size or (8192 if timer.device.type == "cuda" else 1536)
    a, b = (torch.randn(side, side, device=timer.device).to(dtype) for _ in range(2))
    best = float("inf")
    with _tf32(timer.device, products=torch.backends.cudnn.allow_tf32):
        for _ in range(repeats):
            timer.start()
            torch.mm(a, b)
            timer.lap("product")
            best = min(best, timer.seconds()["product"])
    return 2 * side**3 / best


def peak_memory(work: Work, device: torch.device) -> Memory:
    """Return the peak memory during one call of `work`. It includes what was allocated before, such as weights."""
    timer = LapTimer(device)
    gc.collect()
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        timer.start()
        work(timer)
        synchronize(device)
        return Memory(torch.cuda.max_memory_allocated(device), "torch.cuda.max_memory_allocated")
    since_start = not _forget_peak()
    timer.start()
    work(timer)
    if since_start:
        import resource  # not on every system

        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return Memory(peak, "largest resident memory of this process since it began")
    return Memory(_status("VmHWM"), "largest resident memory of this process during the step")


def _forget_peak() -> bool:
    """Give freed memory back and reset the kernel's record of the peak. Return False where the system cannot."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmHWM") < 1.05 * _status("VmRSS")
    except (OSError, LookupError):
        return False


def _status(key: str) -> int:
    """Return an entry of this process's `/proc/self/status` in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(key)


def exact_float32(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return a context without TF32, which rounds the factors of float32 products to 10 bits on a GPU."""
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

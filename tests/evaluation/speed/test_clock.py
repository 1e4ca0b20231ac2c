"""Clocks, repeats, peaks and counts, on works whose figures are known."""

import pytest
import torch
from torch.nn import functional

from hairclip.evaluation.speed import clock as measure
from hairclip.evaluation.speed.clock import (
    LapTimer,
    Memory,
    Timing,
    count_flops,
    interleave,
    peak_flops,
    peak_memory,
    ratio,
)

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which passes only when a test says so."""
    now = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    return now


def test_laps_of_one_name_add_up(clock: list[float]):
    timer = LapTimer(CPU)
    clock[0] = 5.0
    timer.start()
    for name, seconds in (("forward", 1.0), ("backward", 2.0), ("forward", 0.5)):
        clock[0] += seconds
        timer.lap(name)
    assert timer.seconds() == {"forward": 1.5, "backward": 2.0}
    timer.start()
    assert timer.seconds() == {}


def test_rounds_alternate_and_the_first_do_not_count(clock: list[float]):
    order = []

    def takes(name: str, seconds: float):
        def work(timer: LapTimer) -> None:
            order.append(name)
            clock[0] += seconds * len(order)
            timer.lap("step")

        return work

    timings = interleave(
        {"a": takes("a", 1.0), "b": takes("b", 10.0)}, LapTimer(CPU), repeats=2, warmup=1, title="test"
    )
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert timings["a"]["step"].seconds == [4.0, 5.0]
    assert timings["b"]["step"].seconds == [30.0, 60.0]
    assert ratio(timings["b"]["step"], timings["a"]["step"]).seconds == [7.5, 12.0]


@pytest.mark.parametrize(("warmup", "calls"), [(0, 3), (1, 3), (2, 4)])
def test_memory_is_read_in_a_round_that_does_not_count(warmup: int, calls: int):
    called = []

    def work(timer: LapTimer) -> None:
        called.append(1)
        timer.lap("step")

    peaks: dict[str, Memory] = {}
    timings = interleave({"a": work}, LapTimer(CPU), repeats=2, warmup=warmup, title="test", memory=peaks)
    assert len(called) == calls
    assert len(timings["a"]["step"].seconds) == 2
    assert peaks["a"].bytes > 0


def test_median_and_spread():
    timing = Timing([1.0, 3.0, 2.0, 10.0, 2.5])
    assert timing.median == 2.5
    assert timing.spread == pytest.approx(0.2)  # quartiles 2 and 3
    assert Timing([4.0]).spread == 0.0


def test_operations_are_counted_per_lap():
    a, b = torch.randn(8, 16, requires_grad=True), torch.randn(16, 4, requires_grad=True)
    image, kernel = torch.randn(2, 3, 9, 9), torch.randn(5, 3, 3, 3)

    def work(timer: LapTimer) -> None:
        product = a @ b
        timer.lap("product")
        product.sum().backward()
        timer.lap("gradients")
        functional.conv2d(image, kernel)
        timer.lap("convolution")

    product = 2 * 8 * 16 * 4
    convolution = 2 * (2 * 7 * 7) * 5 * (3 * 3 * 3)
    assert count_flops(work, CPU) == {"product": product, "gradients": 2 * product, "convolution": convolution}


def test_peak_memory_sees_what_was_held_for_a_moment():
    def hold(megabytes: int):
        def work(timer: LapTimer) -> None:
            block = torch.ones(megabytes, 2**18)
            del block

        return work

    least = peak_memory(hold(1), CPU)
    most = peak_memory(hold(300), CPU)
    assert most.bytes - least.bytes > 200 * 2**20
    again = peak_memory(hold(1), CPU)
    if "during the step" in again.meaning:  # otherwise the system cannot forget
        assert most.bytes - again.bytes > 200 * 2**20


def test_peak_of_the_device_is_operations_over_the_fastest_time(clock: list[float], monkeypatch: pytest.MonkeyPatch):
    times = iter([4.0, 2.0, 3.0])

    def product(a: torch.Tensor, b: torch.Tensor) -> None:
        assert a.dtype == b.dtype == torch.bfloat16
        clock[0] += next(times)

    monkeypatch.setattr(measure.torch, "mm", product)
    assert peak_flops(torch.bfloat16, LapTimer(CPU), size=10, repeats=3) == 2 * 10**3 / 2.0

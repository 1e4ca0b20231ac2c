"""Measure the seconds that each stage of some work takes."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

__all__ = ["Stopwatch", "add_seconds"]


class Stopwatch:
    """Adds up the seconds of named stages: `with watch("read"): ...`.

    Args:
        clock: returns a time in seconds: the wall clock, or `time.process_time` for processor time.

    Attributes:
        seconds: stage -> seconds so far.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of a `with` block towards a stage."""
        started = self._clock()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + self._clock() - started


def add_seconds(seconds: Mapping[str, float], more: Mapping[str, float], share: float = 1.0) -> dict[str, float]:
    """Return the seconds of each stage, with a share of further ones added."""
    added = dict(seconds)
    for stage, spent in more.items():
        added[stage] = added.get(stage, 0.0) + spent * share
    return added

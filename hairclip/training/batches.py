"""Make the batches of a run in a second thread while the step before runs, and measure how long the run waits."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

import torch

from hairclip.training.tasks import Task

Batch = TypeVar("Batch")


class Batches(Generic[Batch]):
    """Gives the batch of any step. Used as a context.

    The content of a batch never depends on when it was made, or by which thread.

    Args:
        tasks: step number -> the tasks of this process, one list per micro-batch.
        collate: makes a batch of tasks.
        device: where the batches go.
        prefetch: whether to make the next micro-batch while the current one is used.
        steps: number of steps of the run; no batch is made ahead for later ones.
    """

    def __init__(
        self,
        tasks: Callable[[int], Sequence[Sequence[Task]]],
        collate: Callable[[Sequence[Task]], Batch],
        device: torch.device,
        *,
        prefetch: bool,
        steps: int,
    ) -> None:
        self.tasks, self.collate, self.device, self.steps = tasks, collate, device, steps
        self._worker = ThreadPoolExecutor(1, "batches", self._enter_thread) if prefetch else None
        self._ahead: dict[tuple[int, int], Future[Batch]] = {}
        self._waited, self._since = 0.0, time.perf_counter()

    def __enter__(self) -> "Batches[Batch]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)

    def get(self, step: int, part: int) -> Batch:
        """Return micro-batch number `part` of a step."""
        start = time.perf_counter()
        made = self._ahead.pop((step, part), None)
        sample = self._make(step, part) if made is None else made.result()
        self._waited += time.perf_counter() - start
        if self._worker is not None:
            following = (step, part + 1) if part + 1 < len(self.tasks(step)) else (step + 1, 0)
            if following[0] < self.steps:
                self._ahead[following] = self._worker.submit(self._make, *following)
        return sample

    def take_wait(self) -> float:
        """Return the share of the time since the last call that the run waited for batches, in [0, 1]."""
        now = time.perf_counter()
        share = self._waited / max(now - self._since, 1e-9)
        self._waited, self._since = 0.0, now
        return share

    def _make(self, step: int, part: int) -> Batch:
        return self.collate(self.tasks(step)[part])

    def _enter_thread(self) -> None:
        if self.device.type == "cuda":  # the current device is a thread's own
            torch.cuda.set_device(self.device)

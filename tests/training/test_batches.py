"""Batches: the same whether made ahead or not, and the wait for them measured."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from hairclip.training.batches import Batches
from hairclip.training.tasks import Task

CPU = torch.device("cpu")


def tasks(step: int) -> list[list[Task]]:
    return [[Task(10 * step + part, None, None)] for part in range(2)]


class Collate:
    """Gives the tasks themselves, and remembers who made which."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, wanted: Sequence[Task]) -> Any:
        self.made.append(wanted[0].latent)
        self.threads.add(threading.current_thread().name)
        return wanted


@pytest.mark.parametrize("prefetch", [False, True])
def test_every_batch_comes_once_and_in_order(prefetch: bool):
    collate = Collate()
    with Batches(tasks, collate, CPU, prefetch=prefetch, steps=3) as batches:
        got = [batches.get(step, part)[0].latent for step in range(3) for part in range(2)]
    assert got == collate.made == [0, 1, 10, 11, 20, 21]
    assert len(collate.threads) == (2 if prefetch else 1)


def test_a_batch_out_of_order_is_right_too():
    with Batches(tasks, Collate(), CPU, prefetch=True, steps=9) as batches:
        assert [batches.get(step, 0)[0].latent for step in (5, 2, 2)] == [50, 20, 20]


def test_a_failure_ahead_is_raised_where_the_batch_is_asked_for():
    def fail(wanted: Sequence[Task]) -> Any:
        if wanted[0].latent == 1:
            raise KeyError("no such picture")
        return wanted

    with Batches(tasks, fail, CPU, prefetch=True, steps=3) as batches:
        batches.get(0, 0)
        with pytest.raises(KeyError, match="no such picture"):
            batches.get(0, 1)


def test_the_wait_is_measured(monkeypatch: pytest.MonkeyPatch):
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def collate(wanted: Sequence[Task]) -> Any:
        clock[0] += 1.0
        return wanted

    with Batches(tasks, collate, CPU, prefetch=False, steps=9) as batches:
        for step in range(4):
            batches.get(step, 0)
            clock[0] += 3.0
        assert batches.take_wait() == 0.25
        batches.get(4, 0)
        assert batches.take_wait() == 1.0
        clock[0] += 1.0
        assert batches.take_wait() == 0.0

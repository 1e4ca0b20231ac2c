"""Processes that share one run: each has its part, signals are a flag, orphans stop."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from hairclip.common.distributed import StopSignal, World

CPU = torch.device("cpu")


def test_processes_share_a_batch_without_overlap():
    batch = list(range(12))
    shares = [World(rank, 3, CPU).share(batch) for rank in range(3)]
    assert [number for share in shares for number in share] == batch
    assert World(0, 1, CPU).share(batch) == batch


def test_an_orphan_of_torchrun_stops(monkeypatch: pytest.MonkeyPatch):
    world = World(0, 2, CPU)
    monkeypatch.setattr(World, "anywhere", lambda self, flags: flags)
    stop = StopSignal()
    assert stop.reason(world) is None
    stopped = stop.reason(replace(world, parent=-1))
    assert stopped is not None
    assert (str(stopped), stopped.exit_code) == ("stopped by the end of torchrun", 1)
    assert not World(0, 1, CPU, parent=-1).is_orphan


@pytest.fixture
def sigint():
    """Python's own handling of SIGINT, which background jobs of a shell start without."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.mark.usefixtures("sigint")
def test_the_first_signal_is_a_flag_the_second_is_not():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        assert stop.received == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == before
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_process_alone_tells_and_sums_for_itself():
    world = World(0, 1, CPU)
    assert world.tell("word") == "word"
    assert int(world.total(torch.tensor(3))) == 3

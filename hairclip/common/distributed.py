"""Let several processes share one run, as `torchrun --nproc-per-node N scripts/train.py` starts them; stop it cleanly.

A single process needs nothing of this but `StopSignal`.
"""

import os
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hairclip.common.device import pick_device

Item = TypeVar("Item")


@dataclass(frozen=True)
class World:
    """This process among the others.

    Attributes:
        rank: number of the process; number 0 writes files and prints.
        size: number of processes.
        device: where its networks are.
        parent: number of the process that started it, for the operating system.
    """

    rank: int
    size: int
    device: torch.device
    parent: int = field(default_factory=os.getppid)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def is_orphan(self) -> bool:
        """Whether torchrun is gone, which started the processes and would end them together."""
        return self.size > 1 and os.getppid() != self.parent

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module with its gradients averaged over the processes."""
        if self.size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(module, device_ids=devices)

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part of the items, whose number must be a multiple of `size`."""
        count = len(items) // self.size
        return items[self.rank * count : (self.rank + 1) * count]

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over the processes; every process must call this."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def anywhere(self, flags: Tensor) -> Tensor:
        """Return, for each flag, whether any process has set it; every process must call this.

        Args:
            flags: bool, any shape, in host memory.
        """
        if self.size == 1:
            return flags
        shared = flags.to(self.device, torch.float32)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return shared.cpu() > 0

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()

    def tell(self, value: Item) -> Item:
        """Return the value that process 0 gives; every process must call this. The others' values do not count.

        Args:
            value: anything that pickle takes.
        """
        if self.size == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, src=0)
        return told[0]


def alone(module: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which backward passes add up gradients in this process alone, without exchanging them."""
    if isinstance(module, nn.parallel.DistributedDataParallel):
        return module.no_sync()
    return nullcontext()


def join(device: str = "auto", *, exchange: Literal["tensors", "words"] = "tensors") -> World:
    """Return this process among those that torchrun announced in the environment; without torchrun, alone.

    Args:
        device: "auto" takes a GPU where there is one; of several processes, each takes the GPU of its local rank.
        exchange: what the processes send each other. "tensors" go from GPU to GPU, and a process that waits for another
            gives up after minutes. "words" go through the CPU; the processes work alone for days before they meet.
    """
    size, rank, local = (int(os.environ.get(key, fallback)) for key, fallback in _ENVIRONMENT)
    chosen = pick_device(device, local_rank=local if size > 1 else None)
    if size > 1:
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        backend = "nccl" if chosen.type == "cuda" and exchange == "tensors" else "gloo"
        patience = None if exchange == "tensors" else timedelta(days=30)
        dist.init_process_group(backend, rank=rank, world_size=size, timeout=patience)
    return World(rank=rank, size=size, device=chosen)


def leave() -> None:
    """Leave the processes that `join` joined."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


_ENVIRONMENT = (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0))


class StopSignal:
    """Turns the first SIGINT or SIGTERM into a flag; a second one ends the process as usual.

    Used as a context. Outside the main thread, where Python handles no signals, it does nothing.

    Attributes:
        received: the signal, None before it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return self.received is not None

    def __enter__(self) -> "StopSignal":
        for number in _STOPPING:
            try:
                self._before[number] = signal.signal(number, self._receive)
            except ValueError:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()

    def reason(self, world: World) -> "Stopped | None":
        """Return why the run must stop, None where it goes on; every process must call this at the same step."""
        flags = [*(self.received == number for number in _STOPPING), world.is_orphan]
        by_signal = world.anywhere(torch.tensor(flags)).tolist()
        for number, is_set in zip(_STOPPING, by_signal):
            if is_set:
                return Stopped(number.name, 128 + number)
        return Stopped("the end of torchrun", 1) if by_signal[-1] else None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


class Stopped(Exception):
    """A run that stopped before its last step, with a checkpoint.

    Attributes:
        cause: what stopped it, such as "SIGTERM".
        exit_code: what the process should return: 128 + number of the signal, as shells do.
    """

    def __init__(self, cause: str, exit_code: int) -> None:
        super().__init__(f"stopped by {cause}")
        self.cause, self.exit_code = cause, exit_code


_STOPPING = (signal.SIGINT, signal.SIGTERM)

"""Several processes, one run: what ``torchrun --nproc-per-node N scripts/train.py`` starts. Alone, all this is idle."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hairclip.common.device import pick_device

Item = TypeVar("Item")


@dataclass(frozen=True)
class World:
    """This process among the others.

    Attributes:
        rank: its number; 0 writes files and talks.
        size: how many there are.
        device: where its networks are.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes and talks."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the processes."""
        if self.size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(module, device_ids=devices)

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part of what all of them do together; their number must be a multiple of `size`."""
        count = len(items) // self.size
        return items[self.rank * count : (self.rank + 1) * count]

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes; every process must ask."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def anywhere(self, flags: Tensor) -> Tensor:
        """Return, for each flag, whether any process has set it; every process must ask.

        Args:
            flags: bool, any shape, in host memory.
        """
        if self.size == 1:
            return flags
        shared = flags.to(self.device, torch.float32)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return shared.cpu() > 0

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()


def alone(module: nn.Module) -> AbstractContextManager[None]:
    """While gradients add up over several backward passes: the processes exchange them with the last one only."""
    if isinstance(module, nn.parallel.DistributedDataParallel):
        return module.no_sync()
    return nullcontext()


def join(device: str = "auto") -> World:
    """Join the processes that torchrun announced in the environment, or be alone.

    Args:
        device: "auto" takes a GPU where there is one, and with several processes the GPU of the local rank.
    """
    size, rank, local = (int(os.environ.get(key, fallback)) for key, fallback in _ENVIRONMENT)
    chosen = pick_device(device, local_rank=local if size > 1 else None)
    if size > 1:
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", rank=rank, world_size=size)
    return World(rank=rank, size=size, device=chosen)


def leave() -> None:
    """Undo `join`."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


_ENVIRONMENT = (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0))

"""Choose how a step uses the machine: precision, parts of a batch, compilation, memory layout."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import torch
from torch import Tensor

from hairclip.common.distributed import World
from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, WPlus
from hairclip.config import Config, TrainingConfig
from hairclip.networks.stylegan2 import Generator
from hairclip.training.data import Networks
from hairclip.training.setup import PRECISIONS

__all__ = ["Synthesis", "autocast_of", "gradient_scaler", "micro_batch_size", "prepare", "training_synthesis"]

Synthesis: TypeAlias = Callable[[WPlus], Images]
"""Turns W+ codes into pictures, with constant noise."""


def micro_batch_size(config: TrainingConfig, world: World) -> int:
    """Return the number of samples that this process takes at once.

    Raises:
        HairclipError: if the batch cannot be shared evenly.
    """
    shares = world.size * config.accumulate
    if config.batch_size % shares:
        raise HairclipError(
            f"training.batch_size: {config.batch_size} samples cannot be shared among {world.size} processes in "
            f"{config.accumulate} parts each: give a multiple of {shares}."
        )
    return config.batch_size // shares


def autocast_of(config: Config, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of mixed precision in which the generator runs; the losses have a precision of their own.

    Raises:
        HairclipError: if the device has no such precision.
    """
    for key, precision in (
        ("training.precision", config.training.precision),
        ("losses.precision", config.losses.precision),
    ):
        if precision == "float16" and device.type != "cuda":
            raise HairclipError(f"{key}: float16 needs a CUDA device, not {device}: choose bfloat16 or float32.")
    precision = config.training.precision
    return nullcontext() if precision == "float32" else torch.autocast(device.type, dtype=PRECISIONS[precision])


def gradient_scaler(config: Config, device: torch.device) -> torch.amp.GradScaler:
    """Return a scaler of the loss, idle unless some part runs in float16."""
    is_half = "float16" in (config.training.precision, config.losses.precision)
    return torch.amp.GradScaler(device.type, enabled=is_half)


def prepare(networks: Networks, settings: TrainingConfig, device: torch.device) -> None:
    """Set the memory layout of the frozen networks and the precision of float32 products."""
    if settings.channels_last:
        for network in (networks.generator, networks.parser, networks.identity, networks.clip):
            network.to(memory_format=torch.channels_last)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # sizes stay the same, so the fastest convolution is looked for once
        if settings.tf32:
            torch.set_float32_matmul_precision("high")  # convolutions are TF32 by torch's own default


def training_synthesis(
    generator: Generator,
    settings: TrainingConfig,
    batch_size: int,
    autocast: AbstractContextManager[object],
    say: Callable[[str], None],
) -> Synthesis:
    """Return the generator as the training step calls it: compiled, or with activations that are recomputed.

    Compilation is tried out at once, forward and backward. Where it fails, `say` gets one sentence, and the plain
    generator is used.

    Args:
        generator: the frozen generator.
        settings: `compile`, `cuda_graphs`, `checkpoint_activations` and `float32_until` count here.
        batch_size: number of codes in one call; compiled code serves that number alone.
        autocast: context in which the generator is called.
        say: prints a line for the user.
    """

    def plain(w_plus: Tensor) -> Tensor:
        return generator(
            w_plus,
            noise="const",
            recompute=settings.checkpoint_activations,
            float32_until=settings.float32_until,
        )

    if not settings.compile:
        return plain
    device = generator.constant.device
    graphs = settings.cuda_graphs and device.type == "cuda"
    trial = torch.zeros(batch_size, generator.n_latent, generator.w_dim, device=device, requires_grad=True)
    try:
        compiled = torch.compile(plain, dynamic=False, mode="reduce-overhead" if graphs else "default")
        with autocast:
            image = compiled(trial)
        torch.autograd.grad(image.float().sum(), trial)
    except Exception as error:  # whatever the compiler, or the C++ compiler and Triton under it, raise
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        say(f"training.compile: torch.compile does not work here ({reason[:200]}): going on without it.")
        return plain
    if not graphs:
        return compiled

    def replay(w_plus: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()  # what the last step made is no longer needed
        return compiled(w_plus)

    return replay

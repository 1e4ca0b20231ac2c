"""How a step uses the machine: compilation, recomputation and memory layout. None of it changes the mathematics."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

import torch
from torch import Tensor

from hairclip.common.images import Images, WPlus
from hairclip.config import TrainingConfig
from hairclip.networks.stylegan2 import Generator
from hairclip.training.data import Networks

Synthesis: TypeAlias = Callable[[WPlus], Images]
"""W+ codes to pictures, with constant noise."""


def prepare(networks: Networks, settings: TrainingConfig, device: torch.device) -> None:
    """Put the frozen networks into the layout, and torch into the precision, that `settings` ask for."""
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
    """The generator as the training step calls it: compiled, or recomputing activations, as `settings` ask.

    Compilation is tried out at once, forwards and backwards. Where it does not work, `say` is told in one sentence and
    the plain generator is used.

    Args:
        generator: the frozen generator.
        settings: of the run.
        batch_size: codes in one call; compiled code is made for that number alone.
        autocast: under which the generator is called.
        say: writes a line for the user.
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

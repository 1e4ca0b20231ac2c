"""What changes the mapper: the optimiser, its learning-rate schedule and the moving average of the weights."""

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hairclip.config import OptimizerConfig
from hairclip.networks.mapper import HairMapper
from hairclip.training.ranger import Ranger


def build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam, or Ranger as in the paper."""
    if config.name == "ranger":
        return Ranger(parameters, lr=config.lr)
    return torch.optim.Adam(parameters, lr=config.lr, fused=True)


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Rate of a step, counted from 0: linear warm-up, then constant or half a cosine down to a fiftieth."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    progress = min(1.0, (step - config.warmup_steps) / max(1, steps - config.warmup_steps))
    return config.lr * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * progress)))


class MovingAverage:
    """Exponential moving average of a module's parameters.

    The decay starts low, ``min(decay, (1 + step) / (10 + step))``, so that the first random weights are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights, parameters = zip(*((self.weights[name], p.detach()) for name, p in module.named_parameters()))
        torch._foreach_lerp_(weights, parameters, 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Put the averaged weights into a module of the same shape."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.weights[name])

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights."""
        return dict(self.weights)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over averaged weights saved before."""
        for name, weight in self.weights.items():
            weight.copy_(state[name])


class Updates:
    """A mapper with all that updates it: one object to step, to save and to restore.

    Args:
        mapper: what is trained.
        config: optimiser, schedule, clipping and average.
        steps: length of the run, which the cosine schedule needs.
        scaler: scales the loss where gradients are float16.
    """

    def __init__(
        self, mapper: HairMapper, config: OptimizerConfig, *, steps: int, scaler: torch.amp.GradScaler
    ) -> None:
        self.mapper = mapper
        self.config = config
        self.steps = steps
        self.scaler = scaler
        self.optimizer = build_optimizer(config, mapper.parameters())
        self.average = None if config.ema is None else MovingAverage(mapper, config.ema)

    def step(self, loss: Tensor, step: int) -> None:
        """Optimiser step number `step`, counted from 0, down the gradient of a scalar loss."""
        self.clear()
        self.backward(loss)
        self.update(step)

    def clear(self) -> None:
        """Forget the gradients of the step before."""
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a scalar loss to what `update` will follow."""
        self.scaler.scale(loss).backward()

    def update(self, step: int) -> None:
        """Optimiser step number `step`, counted from 0, down the gradients that are there; they stay."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step, self.steps)
        if self.config.grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.mapper.parameters(), self.config.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.mapper, step)

    def result(self) -> HairMapper:
        """The mapper to use: a copy with the averaged weights, or the mapper itself where there is no average."""
        if self.average is None:
            return self.mapper
        averaged = copy.deepcopy(self.mapper)
        self.average.copy_to(averaged)
        return averaged

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "mapper": self.mapper.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.mapper.load_state_dict(state["mapper"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

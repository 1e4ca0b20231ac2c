"""Update the mapper: optimizer, learning-rate schedule and moving average of the weights."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hairclip.common.averages import moving_average, update_average
from hairclip.common.errors import HairclipError
from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.conditions.encoder import EditBatch
from hairclip.config import OptimizerConfig
from hairclip.networks.mapper import HairMapper
from hairclip.training.optimizers import build_optimizer

__all__ = ["Updates", "learning_rate"]


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Return the rate of a step: linear warm-up, then constant or half a cosine down to a fiftieth.

    Args:
        config: peak rate, schedule and warm-up.
        step: number of the step, counted from 0. After `steps` the rate stays at the end of the cosine.
        steps: number of steps after which the cosine ends.
    """
    floor = 1.0 if config.schedule == "constant" else 0.02
    return config.lr * warm_up_then_half_cosine(step, steps, warmup=config.warmup_steps, floor=floor)


class Updates:
    """A mapper with all that updates it: one object to step, to save and to restore.

    A parameter that no sample of the batch used is left alone, as in the official code: without its condition a
    modulation network gets no gradient there, so the optimizer neither moves it nor counts a step for it. Here its
    gradient is an exact 0, with which an optimizer with momentum would move it.

    Args:
        mapper: the network that is trained.
        config: optimizer, schedule, clipping and average.
        steps: number of steps after which the cosine schedule ends.
        scaler: scales the loss where gradients are float16.
        anywhere: sets each of two flags that any process has set, bool ``(2,)``. Several processes that share a
            batch must agree on what it used. The default serves a single process.

    Attributes:
        schedule_end: number of steps after which the cosine schedule ends. A checkpoint keeps it.
    """

    def __init__(
        self,
        mapper: HairMapper,
        config: OptimizerConfig,
        *,
        steps: int,
        scaler: torch.amp.GradScaler,
        anywhere: Callable[[Tensor], Tensor] = lambda flags: flags,
    ) -> None:
        self.mapper = mapper
        self.config = config
        self.schedule_end = steps
        self.scaler = scaler
        self.anywhere = anywhere
        self.groups = mapper.parameters_by_condition()
        # One group per condition: some optimizers count steps by group, not by parameter.
        self.optimizer = build_optimizer(config, [group for group in self.groups.values() if group])
        self.average = None if config.ema is None else moving_average(mapper, config.ema)
        self._used: Tensor | None = None

    def rate(self, step: int) -> float:
        """Return the learning rate of step number `step`, counted from 0."""
        return learning_rate(self.config, step, self.schedule_end)

    def schedule_note(self, done: int, steps: int) -> str | None:
        """Return one line for the user where the number of steps differs from that with which the run began.

        Args:
            done: steps that are done.
            steps: steps that the configuration now wants.
        """
        end = self.schedule_end
        if done > steps:
            return f"{done} steps are done already: training.steps={steps} asks for no more."
        if steps == end:
            return None
        note = f"training.steps is {steps}, but the run began with {end}"
        if self.config.schedule == "constant":
            return f"{note}: the learning rate stays as it is."
        then = f"stays at {self.rate(end):.2g} from there" if steps > end else f"is {self.rate(steps):.2g} at the end"
        return (
            f"{note}: its cosine still ends at step {end}, so the learning rate {then}; for a new schedule start "
            "another run with training.init."
        )

    def clear(self) -> None:
        """Forget the gradients of the step before."""
        self.optimizer.zero_grad(set_to_none=True)
        self._used = None

    def backward(self, loss: Tensor, batch: EditBatch | None = None) -> None:
        """Add the gradient of a loss to the gradients that `update` follows.

        Args:
            loss: scalar.
            batch: what was asked of its samples. None, if absent conditions leave no gradient already.
        """
        self.scaler.scale(loss).backward()
        if batch is not None:
            used = batch.on_host[:, :2].any(dim=0)
            self._used = used if self._used is None else self._used | used

    def update(self, step: int) -> None:
        """Take optimizer step number `step`, counted from 0, down the gradients; they stay."""
        if self._used is not None:
            for condition, used in zip(("hairstyle", "color"), self.anywhere(self._used).tolist(), strict=True):
                for parameter in () if used else self.groups[condition]:
                    parameter.grad = None
        groups = self.optimizer.param_groups
        for group in groups:
            group["lr"] = self.rate(step)
        # A group without any gradient is hidden: some optimizers count a step for it all the same.
        moving = [group for group in groups if any(parameter.grad is not None for parameter in group["params"])]
        self.optimizer.param_groups = moving
        try:
            if moving:
                self._descend()
        finally:
            self.optimizer.param_groups = groups
        if self.average is not None:
            update_average(self.average, self.mapper, step)

    def _descend(self) -> None:
        if self.config.grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.mapper.parameters(), self.config.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def result(self) -> HairMapper:
        """Return the mapper to use: the averaged one, or the trained one where there is no average.

        Later steps change it.
        """
        if self.average is None:
            return self.mapper
        averaged: HairMapper = self.average.module
        return averaged

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "mapper": self.mapper.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "scaler": self.scaler.state_dict(),
            "schedule_end": self.schedule_end,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`.

        Raises:
            HairclipError: if the state is of another mapper or optimizer.
        """
        try:
            self.mapper.load_state_dict(state["mapper"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.module.load_state_dict(state["average"])
            if state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
            self.schedule_end = int(state["schedule_end"])
        except Exception as error:  # a damaged file can hold anything
            reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            raise HairclipError(
                f"the checkpoint does not fit the mapper or the optimizer ({reason[:200]}): resume from another one."
            ) from None

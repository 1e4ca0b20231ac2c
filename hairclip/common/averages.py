"""Keep a moving average of a network's weights."""

from typing import Any

from torch import nn

__all__ = ["moving_average", "update_average"]


def moving_average(module: nn.Module, decay: float) -> Any:
    """Return timm's exponential moving average of a module; its attribute `module` is the averaged copy.

    The decay of step number `step`, counted from 0, is ``min(decay, (1 + step) / (10 + step))``. It starts low, so that
    the first random weights are soon forgotten.
    """
    from timm.utils.model_ema import ModelEmaV3  # imports all of timm

    return ModelEmaV3(module, decay, use_warmup=True, warmup_gamma=9, warmup_power=1, exclude_buffers=True)


def update_average(average: Any, module: nn.Module, step: int) -> None:
    """Take the weights after step number `step`, counted from 0, into an average; buffers are copied."""
    average.update(module, step + 2)  # timm counts from 2

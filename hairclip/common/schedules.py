"""Compute the learning rate of a step as a share of the peak rate."""

import math

__all__ = ["warm_up_then_cosine", "warm_up_then_half_cosine"]


def warm_up_then_cosine(progress: float, warmup: float = 0.05, cooldown: float = 0.5) -> float:
    """Return the share of the peak rate at `progress`: a linear warm-up, a flat part, a cosine cool-down.

    This is the schedule of StyleGAN2's projector (Karras et al. 2020, "Analyzing and Improving the Image Quality of
    StyleGAN", appendix D).

    Args:
        progress: share of the steps that are done, in [0, 1).
        warmup: share of the steps in which the rate rises.
        cooldown: share of the steps in which it falls.
    """
    up = min(1.0, (progress + 1e-3) / warmup)
    left = min(1.0, (1.0 - progress) / cooldown)
    return up * (0.5 - 0.5 * math.cos(math.pi * left))


def warm_up_then_half_cosine(step: int, steps: int, *, warmup: int, floor: float = 0.02) -> float:
    """Return the share of the peak rate at a step: a linear warm-up, then half a cosine down to `floor`.

    Args:
        step: number of the step, counted from 0. From `steps` on the share stays at `floor`.
        steps: number of steps after which the cosine ends.
        warmup: number of steps in which the rate rises.
        floor: share at the end.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))

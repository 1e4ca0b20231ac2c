"""Progress of learning rates."""

import math

__all__ = ["warm_up_then_cosine"]


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

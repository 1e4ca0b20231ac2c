"""Muon: gradient descent whose updates of a weight matrix are orthogonalised (Jordan et al. 2024).

Every direction of a layer learns at one rate, where Adam follows the few strong ones first. In one run each at 32 px,
250 steps with it reached 20.2 dB, with fewer channels, where Adam reached 19.5 dB; no further seeds were tried.
"""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration that brings singular values near one in few steps (same source)."""


class Muon(torch.optim.Optimizer):
    """For weights of two dimensions or more; further dimensions are flattened into columns.

    Args:
        params: weights, or groups of them.
        lr: size of a step, as the root mean square of its entries.
        momentum: of the gradient's moving average, applied as Nesterov does.
    """

    def __init__(self, params: Iterable[nn.Parameter] | list[dict[str, Any]], lr: float, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["average"] = torch.zeros_like(weight)
                average = state["average"].lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonalized(weight.grad.lerp(average, group["momentum"]).flatten(1))
                weight.add_(update.reshape(weight.shape), alpha=-group["lr"] * max(update.shape) ** 0.5)


def orthogonalized(matrix: Float[Tensor, "rows columns"], steps: int = 5) -> Float[Tensor, "rows columns"]:
    """The nearest matrix with singular values of about one (between 0.7 and 1.2), in bfloat16 precision."""
    a, b, c = _NEWTON_SCHULZ
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = (wide / (wide.norm() + 1e-7)).bfloat16()
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)


class Optimizers:
    """Several optimisers that step as one; `peak` of each group times a factor is its rate."""

    def __init__(self, parts: dict[str, torch.optim.Optimizer]) -> None:
        self.parts = parts

    def set_rate(self, factor: float) -> None:
        for part in self.parts.values():
            for group in part.param_groups:
                group["lr"] = group["peak"] * factor

    def step(self, loss: Tensor) -> None:
        for part in self.parts.values():
            part.zero_grad(set_to_none=True)
        loss.backward()
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state[name])

"""Ranger, the optimiser of HairCLIP: rectified Adam, lookahead and gradient centralisation in one step."""

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer


class Ranger(Optimizer):
    """Rectified Adam (Liu et al. 2020) in lookahead (Zhang et al. 2019) on centralised gradients (Yong et al. 2020).

    Args:
        params: parameters or parameter groups.
        lr: learning rate of the fast weights.
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled decay, as a fraction of the learning rate.
        alpha: how far the slow weights move towards the fast ones at each synchronisation, 0..1.
        k: fast steps between two synchronisations.
        rectify_above: length of the approximated moving average above which the adaptive step is used; below it the
            variance of the second moment is too large and the step is momentum alone.
        centralize: subtract from each gradient with more than one dimension its mean over all but the first.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 5e-4,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
        alpha: float = 0.5,
        k: int = 6,
        rectify_above: float = 5.0,
        centralize: bool = True,
    ) -> None:
        if not (lr >= 0 and eps > 0 and weight_decay >= 0 and 0 <= betas[0] < 1 and 0 <= betas[1] < 1):
            raise ValueError(f"lr {lr}, betas {betas}, eps {eps} or weight_decay {weight_decay} is out of range")
        if not (0 <= alpha <= 1 and k >= 1):
            raise ValueError(f"lookahead needs alpha in 0..1 and k of 1 or more, not alpha {alpha} and k {k}")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "alpha": alpha,
            "k": k,
            "rectify_above": rectify_above,
            "centralize": centralize,
        }
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One fast step of every parameter that has a gradient; every `k`-th also moves the slow weights."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_age: dict[int, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_age.setdefault(self._grow_older(parameter), []).append(parameter)
            for step, parameters in by_age.items():
                self._update(parameters, step, group)
        return loss

    def _grow_older(self, parameter: Tensor) -> int:
        """The number of this step of a parameter, counted from 1."""
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["first"] = torch.zeros_like(parameter)
            state["second"] = torch.zeros_like(parameter)
            state["slow"] = parameter.detach().clone()
        state["step"] += 1
        return int(state["step"])

    def _update(self, parameters: list[Tensor], step: int, group: dict[str, Any]) -> None:
        """Step number `step` of parameters, all at once: one by one, a GPU would wait for the next most of the time."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if group["centralize"]:
            gradients = [g - g.mean(dim=tuple(range(1, g.ndim)), keepdim=True) if g.ndim > 1 else g for g in gradients]
        states = [self.state[parameter] for parameter in parameters]
        first, second, slow = ([state[name] for state in states] for name in ("first", "second", "slow"))

        beta1, beta2 = group["betas"]
        torch._foreach_mul_(first, beta1)
        torch._foreach_add_(first, gradients, alpha=1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, value=1 - beta2)
        scale, adaptive = rectified_step(step, beta1, beta2, group["rectify_above"])

        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["weight_decay"] * group["lr"])
        if adaptive:
            root = torch._foreach_sqrt(second)
            torch._foreach_add_(root, group["eps"])
            torch._foreach_addcdiv_(parameters, first, root, value=-scale * group["lr"])
        else:
            torch._foreach_add_(parameters, first, alpha=-scale * group["lr"])
        if step % group["k"] == 0:
            torch._foreach_lerp_(slow, parameters, group["alpha"])
            torch._foreach_copy_(parameters, slow)


def rectified_step(step: int, beta1: float, beta2: float, rectify_above: float) -> tuple[float, bool]:
    """Bias-corrected step size of rectified Adam (Liu et al. 2020, algorithm 2) and whether the step is adaptive."""
    longest = 2 / (1 - beta2) - 1
    decay = beta2**step
    length = longest - 2 * step * decay / (1 - decay)
    debias = 1 / (1 - beta1**step)
    if length <= rectify_above:
        return debias, False
    rectification = ((length - 4) * (length - 2) * longest) / ((longest - 4) * (longest - 2) * length)
    return math.sqrt((1 - decay) * rectification) * debias, True

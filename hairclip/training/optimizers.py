"""Optimizers by name: HairCLIP's Ranger, every class of torch.optim and pytorch_optimizer, or the user's own."""

import importlib
import inspect
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from hairclip.common.errors import HairclipError
from hairclip.common.names import NameTable, nearest
from hairclip.config import OptimizerConfig

__all__ = ["build_optimizer", "find_optimizer"]

_OWN_DEFAULTS: dict[str, dict[str, Any]] = {
    "Adam": {"fused": True},
    # Before the second moment is settled, RAdam of HairCLIP's Ranger takes a step of momentum alone. The library's
    # default would take that step uphill.
    "Ranger": {"degenerated_to_sgd": True},
}
"""Options that differ from the defaults of the class. The user's `optimizer.options` come after them."""

_LIBRARIES = ("torch.optim", "pytorch_optimizer")


def find_optimizer(name: str) -> type[Optimizer]:
    """Return the class of an optimizer.

    Args:
        name: A class of torch.optim or of pytorch_optimizer in any case, such as "adamw" or "Lion", or
            ``module:attribute``. Where both libraries have the name, torch.optim's is taken.

    Raises:
        HairclipError: if there is no such optimizer, or if its steps need more than gradients.
    """
    kind: type[Optimizer] = NameTable("optimizer", {}).load(name) if ":" in name else _library_class(name)
    if not (inspect.isclass(kind) and issubclass(kind, Optimizer)):
        raise HairclipError(f"optimizer.name: '{name}' is no class derived from torch.optim.Optimizer: name another.")
    parameters = list(inspect.signature(kind.step).parameters.values())[1:]
    if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters):
        raise HairclipError(
            f"optimizer.name: {name} computes the loss several times a step, which training does not: name another."
        )
    return kind


def build_optimizer(config: OptimizerConfig, groups: Iterable[list[nn.Parameter]]) -> Optimizer:
    """Build the optimizer that a configuration names.

    Args:
        config: its name, rate and options.
        groups: the parameters. Each list becomes a parameter group.

    Raises:
        HairclipError: if the class is unknown or refuses its options or these parameters.
    """
    kind: Any = find_optimizer(config.name)
    options = {**_OWN_DEFAULTS.get(kind.__name__ if ":" not in config.name else "", {}), **config.options}
    try:
        built: Optimizer = kind([{"params": group} for group in groups], lr=config.lr, **options)
    except Exception as error:  # whatever the class raises about options that are the user's
        given = f" with {options}" if config.options else ""
        raise HairclipError(
            f"optimizer: {config.name}{given} cannot be built ({_first_line(error)}): change optimizer.options or "
            "optimizer.name."
        ) from None
    return built


def _library_class(name: str) -> type[Optimizer]:
    known: dict[str, str] = {}
    for library in _LIBRARIES:
        classes = {}
        for attribute, value in vars(importlib.import_module(library)).items():
            if inspect.isclass(value) and issubclass(value, Optimizer) and value is not Optimizer:
                classes[attribute.lower()] = value
        if name.lower() in classes:
            optimizer: type[Optimizer] = classes[name.lower()]
            return optimizer
        known |= dict.fromkeys(classes, library)
    raise HairclipError(
        f"optimizer.name: there is no optimizer '{name}'{nearest(name, list(known))}: name adam, ranger, another class "
        "of torch.optim or pytorch_optimizer, or your own as module:attribute."
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__

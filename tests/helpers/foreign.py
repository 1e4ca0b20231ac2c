"""Build networks from the tensors of official files, without a file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from hairclip.pretrained.network_files import build_network, recognize_network


def build(content: object, kind: str, **overrides: Any) -> nn.Module:
    """Return the network of `kind` in the content of an official file, frozen, with some arguments replaced."""
    file = recognize_network(Path("official.pt"), kind, {}, content)
    return build_network(replace(file, config={**file.config, **overrides}), "cpu").requires_grad_(False)

"""A perceptual distance on the features of any convolutional network.

It is made like LPIPS (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
equation 1): features of several layers are unit-normalized over channels, and their squared differences are averaged
over space. LPIPS weighs the channels by weights learned from human judgments. Here all layers weigh the same, so the
figures compare with each other and not with published LPIPS.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.common.images import Images, Scores
from hairclip.networks.face_parser import FaceParser, UNetParser

__all__ = ["PerceptualDistance", "parser_distance"]

_ACTIVATIONS = (nn.ReLU, nn.PReLU, nn.LeakyReLU, nn.SiLU, nn.GELU)
_SMALLEST = 4
"""Least side of a feature map in pixels; smaller ones say nothing about places."""


class _Enough(Exception):
    """Raised when all features are there, to stop the network."""


class PerceptualDistance:
    """The mean distance of a network's features. Gradients flow through it.

    Args:
        network: a network in eval mode.
        layers: names of the modules whose outputs are compared. None takes the last activation (ReLU, PReLU, ...) at
            each spatial size of at least 4 pixels.
        run: puts pictures through the network; None calls it.
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[str] | None = None, run: Callable[[Tensor], object] | None = None
    ) -> None:
        self.network = network
        self.layers = None if layers is None else list(layers)
        self.run = network if run is None else run

    def __call__(self, images: Images, target: Images) -> Scores:
        """Return the distance of each pair of pictures, (B,), 0 for equal ones."""
        return self.between(self.features(images), self.features(target))

    @staticmethod
    def between(first: Sequence[Tensor], second: Sequence[Tensor]) -> Scores:
        """Return the distance of the features of two batches, (B,)."""
        distances = [(a - b).square().sum(dim=1).mean(dim=(1, 2)) for a, b in zip(first, second, strict=True)]
        return torch.stack(distances).mean(dim=0)

    def features(self, images: Images) -> list[Tensor]:
        """Return unit-normalized features of pictures (B, 3, H, W) in [-1, 1], one tensor (B, C, h, w) per layer."""
        found: dict[object, Tensor] = {}
        waiting: set[object] = set(self.layers or ())

        def keep(key: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-1] >= _SMALLEST:
                found[output.shape[-1] if key is None else key] = output.float()
            waiting.discard(key)
            if self.layers is not None and not waiting:
                raise _Enough  # nothing after the last of these layers is needed

        handles = []
        for name, module in self.network.named_modules():
            wanted = isinstance(module, _ACTIVATIONS) if self.layers is None else name in self.layers
            if wanted:
                key = None if self.layers is None else name
                handles.append(module.register_forward_hook(lambda _m, _i, output, key=key: keep(key, output)))
        try:
            with suppress(_Enough):
                self.run(images)
        finally:
            for handle in handles:
                handle.remove()
        if not found:
            raise ValueError("the perceptual distance found no layer to compare in this network")
        # A larger eps than the default: gradients must not explode where all channels of a pixel are nearly 0.
        return [F.normalize(features, dim=1, eps=1e-6) for features in found.values()]


def parser_distance(parser: FaceParser) -> PerceptualDistance:
    """Return the distance of a face parser's features, which inversion minimizes. No report measures by it.

    The features of a U-Net are those of its contracting half, which still has detail. The rest knows regions only.
    """
    layers = [*(f"down.{i}" for i in range(len(parser.down))), "center"] if isinstance(parser, UNetParser) else None
    return PerceptualDistance(parser, layers, run=parser.logits)

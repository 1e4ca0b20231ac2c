"""A perceptual distance on the features of any convolutional network at hand.

In the manner of LPIPS (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
equation 1): features of several layers, unit-normalised over channels, squared differences averaged over space. The
layer weights learned there from human judgements cannot be had here and are all 1/(number of layers): figures compare
with each other, not with published LPIPS.
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
_SMALLEST = 4  # pixels; smaller maps say nothing about where


class _Enough(Exception):
    """All features are there."""


class PerceptualDistance:
    """Mean distance of a network's features, with gradients unless they are switched off outside.

    Args:
        network: images -> anything; used in eval mode.
        layers: names of the modules whose outputs count; None takes the last activation (ReLU, PReLU, ...) at each
            spatial size met on the way, smallest 4 px.
        run: how pictures are put through the network, None for calling it.
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[str] | None = None, run: Callable[[Tensor], object] | None = None
    ) -> None:
        self.network = network
        self.layers = None if layers is None else list(layers)
        self.run = network if run is None else run

    def __call__(self, images: Images, target: Images) -> Scores:
        """Distance of each pair, (B,), 0 for equal pictures."""
        return self.between(self.features(images), self.features(target))

    @staticmethod
    def between(first: Sequence[Tensor], second: Sequence[Tensor]) -> Scores:
        """Distance of what `features` gave for two batches, (B,)."""
        distances = [(a - b).square().sum(dim=1).mean(dim=(1, 2)) for a, b in zip(first, second, strict=True)]
        return torch.stack(distances).mean(dim=0)

    def features(self, images: Images) -> list[Tensor]:
        """Unit-normalised features of (B, 3, H, W) pictures in [-1, 1], one (B, C, h, w) tensor per layer."""
        found: dict[object, Tensor] = {}
        waiting: set[object] = set(self.layers or ())

        def keep(key: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-1] >= _SMALLEST:
                found[output.shape[-1] if key is None else key] = output.float()
            waiting.discard(key)
            if self.layers is not None and not waiting:
                raise _Enough  # what the network does after the last layer asked for is of no use here

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
        # Far above the smallest float: where all channels of a pixel are nearly 0, gradients must not explode.
        return [F.normalize(features, dim=1, eps=1e-6) for features in found.values()]


def parser_distance(parser: FaceParser) -> PerceptualDistance:
    """The distance that inversion descends on: features of the face parser, which no report judges the result by.

    Of a U-Net it takes the way down, where detail still is; the way up tells regions only.
    """
    layers = [*(f"down.{i}" for i in range(len(parser.down))), "center"] if isinstance(parser, UNetParser) else None
    return PerceptualDistance(parser, layers, run=parser.logits)

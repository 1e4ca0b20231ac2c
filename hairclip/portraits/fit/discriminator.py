"""The discriminator of the generator's recipe: small residual blocks as in StyleGAN2 (Karras et al. 2020, section 4.1).

It judges patches, not whole pictures (Isola et al. 2017, section 3.2.2): what a picture shows follows from its target,
and only how hair and skin look close by is left to the discriminator.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.images import Images


class _Block(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, 1, 1)
        self.conv2 = nn.Conv2d(in_channels, channels, 4, 2, 1)
        self.shortcut = nn.Conv2d(in_channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.conv1(x), 0.2)
        y = F.leaky_relu(self.conv2(y), 0.2)
        return (y + self.shortcut(F.avg_pool2d(x, 2))) * 0.5**0.5


class Discriminator(nn.Module):
    """Images to realness logits, and the feature maps on the way (for feature matching, Wang et al. 2018, equation 3).

    Args:
        size: height and width of the images.
        channels: channels at every resolution from the one of the logits to `size`.
    """

    def __init__(self, size: int, channels: Mapping[int, int]) -> None:
        super().__init__()
        self.from_rgb = nn.Conv2d(3, channels[size], 1)
        resolutions = sorted((r for r in channels if min(channels) < r <= size), reverse=True)
        self.blocks = nn.ModuleList(_Block(channels[r], channels[r // 2]) for r in resolutions)
        self.logit = nn.Conv2d(channels[min(channels)], 1, 1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):  # torch's own scale lets the signal fade from layer to layer
                nn.init.kaiming_normal_(part.weight, a=0.2)

    def forward(self, images: Images) -> tuple[Float[Tensor, "batch rows columns"], list[Tensor]]:
        x = F.leaky_relu(self.from_rgb(images.contiguous(memory_format=torch.channels_last)), 0.2)
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return self.logit(x)[:, 0].float(), features


def gradient_penalty(discriminator: Discriminator, images: Images) -> Float[Tensor, ""]:
    """R1 (Mescheder et al. 2018, equation 9): squared gradient of the mean logit at real images."""
    images = images.detach().requires_grad_()
    logits, _ = discriminator(images)
    (gradient,) = torch.autograd.grad(logits.flatten(1).mean(dim=1).sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()

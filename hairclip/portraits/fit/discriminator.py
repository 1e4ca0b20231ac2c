"""The discriminator of the generator's recipe: StyleGAN2's residual one (Karras et al. 2020, section 4.1), small."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.images import Images, Scores


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
        channels: channels at every resolution from 4 to `size`.
    """

    def __init__(self, size: int, channels: Mapping[int, int]) -> None:
        super().__init__()
        self.from_rgb = nn.Conv2d(3, channels[size], 1)
        resolutions = [size >> i for i in range(size.bit_length()) if size >> i > 4]
        self.blocks = nn.ModuleList(_Block(channels[r], channels[r // 2]) for r in resolutions)
        self.last = nn.Conv2d(channels[4] + 1, channels[4], 3, 1, 1)
        self.logit = nn.Linear(channels[4] * 16, 1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):  # torch's own scale lets the signal fade from layer to layer
                nn.init.kaiming_normal_(part.weight, a=0.2)

    def forward(self, images: Images) -> tuple[Scores, list[Tensor]]:
        x = F.leaky_relu(self.from_rgb(images.contiguous(memory_format=torch.channels_last)), 0.2)
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        spread = x.float().std(dim=0, unbiased=False).mean().expand(len(x), 1, *x.shape[2:]).to(x.dtype)
        x = F.leaky_relu(self.last(torch.cat([x, spread], dim=1)), 0.2)
        return self.logit(x.flatten(1))[:, 0].float(), features


def gradient_penalty(discriminator: Discriminator, images: Images) -> Float[Tensor, ""]:
    """R1 (Mescheder et al. 2018, equation 9): squared gradient of the logit at real images, mean over the batch."""
    images = images.detach().requires_grad_()
    logits, _ = discriminator(images)
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()

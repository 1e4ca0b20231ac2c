"""Find which pixel of a face is hair, skin and so on: two networks with one order of classes.

`UNetParser` is the U-Net of CelebAMask-HQ (``parsenet.pth``), which HairCLIP uses; `BiSeNet` is the common alternative
(Yu et al. 2018; ``79999_iter.pth``). Both answer in the order of `CELEBAMASK_CLASSES`.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.common.face_labels import CELEBAMASK_CLASSES, HAIR
from hairclip.common.images import Images, Labels, Masks, resize_area

#: The order in which BiSeNet files were trained.
_BISENET_CLASSES = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
    "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip

Pixels = Float[Tensor, "batch 3 side side"]
ParserLogits = Float[Tensor, "batch 19 side side"]


class FaceParser(nn.Module):
    """Base of every face parser; a subclass implements `logits`."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.repeat_pixels = False  # how pictures smaller than that are enlarged, see `resize_area`

    def logits(self, images: Images) -> ParserLogits:
        """Return logits (B, 19, input_size, input_size) of images; the classes are `CELEBAMASK_CLASSES` in order."""
        raise NotImplementedError

    @torch.no_grad()
    def labels(self, images: Images) -> Labels:
        """Return class numbers (B, H, W) of images (B, 3, H, W), RGB in [-1, 1], of any size."""
        labels = self.logits(images).argmax(dim=1, keepdim=True)
        return _resize_labels(labels, images)[:, 0].long()

    @torch.no_grad()
    def smooth_labels(self, images: Images) -> Labels:
        """Return `labels`, of interpolated logits where images are larger than the parser's: outlines have no steps."""
        logits = self.logits(images)
        if images.shape[-1] > logits.shape[-1]:
            logits = F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return _resize_labels(logits.argmax(dim=1, keepdim=True), images)[:, 0].long()

    @torch.no_grad()
    def hair_mask(self, images: Images) -> Masks:
        """Return where images show hair, bool (B, 1, H, W)."""
        logits = self.logits(images)
        before, hair, after = logits.tensor_split((HAIR, HAIR + 1), dim=1)
        # The class with the largest logit, of equal ones the first; which of the others it is does not matter.
        is_hair = (hair > before.amax(dim=1, keepdim=True)) & (hair >= after.amax(dim=1, keepdim=True))
        return _resize_labels(is_hair, images).bool()


def _resize_labels(labels: Tensor, images: Images) -> Tensor:
    """Return labels at the size of `images`. Each pixel takes the nearest label, because labels have no average."""
    if labels.shape[-2:] == images.shape[-2:]:
        return labels
    return F.interpolate(labels.float(), size=images.shape[-2:], mode="nearest-exact")


class DoubleConv(nn.Module):
    """3x3 convolution, batch norm and ReLU, twice."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(in_channels, channels, 3, 1, 1), nn.BatchNorm2d(channels), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class UpConcat(nn.Module):
    """Doubles the resolution and joins the encoder's map of that resolution (Ronneberger et al. 2015, figure 1)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, channels, 2, 2)
        self.conv = DoubleConv(2 * channels, channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat((skip, self.up(x)), dim=1))


class UNetParser(FaceParser):
    """U-Net on pixels in [-1, 1]; the defaults are CelebAMask-HQ's.

    Args:
        filters: channels per resolution, from full to coarsest.
        input_size: pixels to which images are resized; divisible by 2 ** (len(filters) - 1).
    """

    def __init__(self, *, filters: Sequence[int] = (16, 32, 64, 128, 256), input_size: int = 512) -> None:
        super().__init__(input_size)
        self.filters = tuple(filters)
        if input_size % 2 ** (len(self.filters) - 1):
            raise ValueError(f"input_size {input_size} cannot be halved {len(self.filters) - 1} times")
        inputs = (3, *self.filters[:-2])
        self.down = nn.ModuleList(DoubleConv(i, o) for i, o in zip(inputs, self.filters[:-1], strict=True))
        self.center = DoubleConv(self.filters[-2], self.filters[-1])
        narrowing = self.filters[::-1]
        self.up = nn.ModuleList(UpConcat(i, o) for i, o in itertools.pairwise(narrowing))
        self.final = nn.Conv2d(self.filters[0], len(CELEBAMASK_CLASSES), 1)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        return {"filters": list(self.filters), "input_size": self.input_size}

    def forward(self, pixels: Pixels) -> ParserLogits:
        """Return logits of prepared pixels (B, 3, input_size, input_size), at the same size."""
        # Channels last: on a CPU a third off the whole network, most of it in convolutions of few channels and pooling.
        x, skips = pixels.contiguous(memory_format=torch.channels_last), []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.center(x)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = block(x, skip)
        return self.final(x)

    def logits(self, images: Images) -> ParserLogits:
        """See `FaceParser.logits`."""
        return self(resize_area(images, self.input_size, repeat_pixels=self.repeat_pixels))


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """ResNet-18's block (He et al. 2015, figure 5 left)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = (
            None
            if stride == 1 and in_channels == channels
            else nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + shortcut)


class ResNet(nn.Module):
    """ResNet-18 or ResNet-34 without its classifier, giving the maps at 1/8, 1/16 and 1/32.

    Args:
        blocks: number of blocks in each of the four layers: (2, 2, 2, 2) or (3, 4, 6, 3).
    """

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__()
        first, second, third, fourth = blocks
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _blocks(64, 64, first, stride=1)
        self.layer2 = _blocks(64, 128, second, stride=2)
        self.layer3 = _blocks(128, 256, third, stride=2)
        self.layer4 = _blocks(256, 512, fourth, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.layer1(F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1))
        eighth = self.layer2(x)
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


def _blocks(in_channels: int, channels: int, count: int, *, stride: int) -> nn.Sequential:
    more = (BasicBlock(channels, channels, 1) for _ in range(count - 1))
    return nn.Sequential(BasicBlock(in_channels, channels, stride), *more)


class AttentionRefinement(nn.Module):
    """A convolution gated per channel by its own mean (Yu et al. 2018, figure 2b)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = ConvNorm(in_channels, channels)
        self.conv_atten = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(x.mean(dim=(2, 3), keepdim=True))))


class ContextPath(nn.Module):
    """A residual network with global context passed down: maps with 128 channels at 1/8 (features, refined context)."""

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__()
        self.resnet = ResNet(blocks)
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = ConvNorm(128, 128)
        self.conv_head16 = ConvNorm(128, 128)
        self.conv_avg = ConvNorm(512, 128, kernel=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        eighth, sixteenth, last = self.resnet(x)
        context = self.arm32(last) + self.conv_avg(last.mean(dim=(2, 3), keepdim=True))
        context = self.conv_head32(F.interpolate(context, size=sixteenth.shape[-2:]))
        context = self.arm16(sixteenth) + context
        return eighth, self.conv_head16(F.interpolate(context, size=eighth.shape[-2:]))


class FeatureFusion(nn.Module):
    """Joins features and context and reweights the channels (Yu et al. 2018, figure 2c)."""

    def __init__(self) -> None:
        super().__init__()
        self.convblk = ConvNorm(256, 256, kernel=1)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, features: Tensor, context: Tensor) -> Tensor:
        x = self.convblk(torch.cat((features, context), dim=1))
        gate = self.conv2(F.relu(self.conv1(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(gate) + x


class OutputHead(nn.Module):
    """3x3 convolution, then one logit per class."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = ConvNorm(256, 256)
        self.conv_out = nn.Conv2d(256, len(_BISENET_CLASSES), 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(FaceParser):
    """BiSeNet with a residual backbone; module names equal those of ``79999_iter.pth``, auxiliary heads left out.

    Args:
        input_size: pixels to which images are resized.
        blocks: of the backbone, see `ResNet`; ResNet-18 by default.
    """

    class_order: Tensor
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, *, input_size: int = 512, blocks: Sequence[int] = (2, 2, 2, 2)) -> None:
        super().__init__(input_size)
        self.blocks = tuple(blocks)
        self.cp = ContextPath(self.blocks)
        self.ffm = FeatureFusion()
        self.conv_out = OutputHead()
        order = torch.tensor([_BISENET_CLASSES.index(name) for name in CELEBAMASK_CLASSES])
        self.register_buffer("class_order", order, persistent=False)
        self.register_buffer("pixel_mean", torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1), persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        return {"input_size": self.input_size, "blocks": list(self.blocks)}

    def forward(self, pixels: Pixels) -> ParserLogits:
        """Return logits at the same size, in the file's order of classes, of pixels standardized as for ImageNet."""
        logits = self.conv_out(self.ffm(*self.cp(pixels)))
        return F.interpolate(logits, size=pixels.shape[-2:], mode="bilinear", align_corners=True)

    def logits(self, images: Images) -> ParserLogits:
        """See `FaceParser.logits`."""
        pixels = resize_area(images, self.input_size, repeat_pixels=self.repeat_pixels) * 0.5 + 0.5
        return self((pixels - self.pixel_mean) / self.pixel_std)[:, self.class_order]

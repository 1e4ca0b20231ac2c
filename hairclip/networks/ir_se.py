"""Recognize faces: the IR-SE network, and the identity encoder built on it.

ArcFace's improved residual network (Deng et al. 2019, section 3.1) with squeeze-and-excitation (Hu et al. 2018), in the
layout of the widely used ``model_ir_se50.pth``: module names equal the names in that file.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.common.images import Images, resize_area

Faces = Float[Tensor, "batch 3 side side"]
Embeddings = Float[Tensor, "batch embedding"]

#: Where HairCLIP crops a 256 px aligned face for the identity network: rows 35:223, columns 32:220.
FACE_CROP = (35 / 256, 223 / 256, 32 / 256, 220 / 256)


class SqueezeExcitation(nn.Module):
    """Scales every channel by a gate computed from its mean (Hu et al. 2018, equations 2 to 4)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class PReLU(nn.PReLU):
    """PReLU on maps (B, C, H, W) with a faster backward pass for frozen slopes on a CPU.

    Torch always computes the gradient of the slopes, and without vector instructions. This class skips that gradient
    for frozen slopes, which cuts the time of the backward pass to a sixth.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or self.weight.requires_grad:
            return super().forward(x)
        return _FrozenPReLU.apply(x, self.weight.to(x.dtype))


class _FrozenPReLU(torch.autograd.Function):
    """Computes ``max(0, x) + slopes * min(0, x)``, differentiable any number of times with respect to x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor) -> Tensor:
        ctx.save_for_backward(x, slopes)
        return F.prelu(x, slopes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, slopes = ctx.saved_tensors
        slopes = slopes.view(1, -1, 1, 1)
        return torch.addcmul(grad * slopes, torch.ops.aten.threshold_backward(grad, x, 0), 1 - slopes), None


class ResidualUnit(nn.Module):
    """Adds a shortcut to BN, conv, PReLU, strided conv, BN and SE.

    The shortcut subsamples if the widths agree. Otherwise it is a strided convolution with BN.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer = (
            None
            if in_channels == channels
            else nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False),
            PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            SqueezeExcitation(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x[:, :, :: self.stride, :: self.stride] if self.shortcut_layer is None else self.shortcut_layer(x)
        return self.res_layer(x) + shortcut


def input_layer(width: int) -> nn.Sequential:
    """Return the layers that turn RGB into `width` channels at full resolution."""
    return nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), PReLU(width))


def residual_body(units: Sequence[int], widths: Sequence[int]) -> nn.Sequential:
    """Return the residual units of all stages in one sequence. The first unit of every stage halves the resolution.

    Args:
        units: number of residual units per stage.
        widths: channels per stage.
    """
    if len(units) != len(widths):
        raise ValueError(f"units and widths describe the same stages, but have lengths {len(units)} and {len(widths)}")
    body: list[nn.Module] = []
    in_channels = widths[0]
    for count, width in zip(units, widths, strict=True):
        for i in range(count):
            body.append(ResidualUnit(in_channels, width, stride=2 if i == 0 else 1))
            in_channels = width
    return nn.Sequential(*body)


class IRSE(nn.Module):
    """IR-SE backbone, in the sizes that `IdentityEncoder` gives it.

    Args:
        units: residual units per stage; every stage halves the resolution.
        widths: channels per stage.
        input_size: pixels of the square input.
        embedding: numbers in the output.
        dropout: rate before the last linear layer, while training.
    """

    def __init__(
        self,
        *,
        units: Sequence[int],
        widths: Sequence[int],
        input_size: int,
        embedding: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.units, self.widths = tuple(units), tuple(widths)
        self.input_size, self.embedding, self.dropout = input_size, embedding, dropout
        self.input_layer = input_layer(self.widths[0])
        self.body = residual_body(self.units, self.widths)
        spatial = input_size
        for _ in self.units:
            spatial = (spatial + 1) // 2  # a 3x3 convolution with stride 2 and padding 1 rounds up
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(self.widths[-1]),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(self.widths[-1] * spatial**2, embedding),
            nn.BatchNorm1d(embedding),
        )

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        return {
            "units": list(self.units),
            "widths": list(self.widths),
            "input_size": self.input_size,
            "embedding": self.embedding,
            "dropout": self.dropout,
        }

    def forward(self, images: Faces) -> Embeddings:
        """Return L2-normalized embeddings (B, embedding) of cropped faces (B, 3, input_size, input_size) in [-1, 1]."""
        if tuple(images.shape[-2:]) != (self.input_size, self.input_size):
            raise ValueError(f"faces must be {self.input_size} px, not {tuple(images.shape[-2:])}")
        return F.normalize(self.output_layer(self.body(self.input_layer(images))), dim=1)


class FaceEncoder(nn.Module):
    """Base of every identity network; a subclass implements `embed`.

    Args:
        input_size: pixels of the square crops that the network sees.
        frame: pixels to which the aligned face is resized before the crop.
        crop: (top, bottom, left, right) of the crop as fractions of the frame.
    """

    def __init__(self, *, input_size: int, frame: int, crop: Sequence[float]) -> None:
        super().__init__()
        self.input_size, self.frame, self.crop = input_size, frame, tuple(crop)
        self.repeat_pixels = False  # how smaller pictures are enlarged, see `resize_area`

    def faces(self, images: Images) -> Faces:
        """Return the part of aligned faces that the network sees, (B, 3, input_size, input_size)."""
        top, bottom, left, right = (round(edge * self.frame) for edge in self.crop)
        framed = resize_area(images, self.frame, repeat_pixels=self.repeat_pixels)
        return resize_area(framed[:, :, top:bottom, left:right], self.input_size, repeat_pixels=self.repeat_pixels)

    def embed(self, faces: Faces) -> Embeddings:
        """Return L2-normalized embeddings of cropped faces, RGB in [-1, 1]."""
        raise NotImplementedError

    def forward(self, images: Images) -> Embeddings:
        """Return L2-normalized embeddings (B, embedding) of aligned faces (B, 3, H, W), RGB in [-1, 1], of any size."""
        return self.embed(self.faces(images))


class IdentityEncoder(FaceEncoder):
    """Embeds aligned faces of any size with the crop of HairCLIP's identity loss.

    The defaults are IR-SE50.

    Args:
        units, widths, input_size, embedding, dropout: of the backbone, see `IRSE`.
        frame, crop: see `FaceEncoder`.
    """

    def __init__(
        self,
        *,
        units: Sequence[int] = (3, 4, 14, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
        input_size: int = 112,
        embedding: int = 512,
        dropout: float = 0.6,
        frame: int = 256,
        crop: Sequence[float] = FACE_CROP,
    ) -> None:
        super().__init__(input_size=input_size, frame=frame, crop=crop)
        self.backbone = IRSE(units=units, widths=widths, input_size=input_size, embedding=embedding, dropout=dropout)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        return {**self.backbone.config, "frame": self.frame, "crop": list(self.crop)}

    def embed(self, faces: Faces) -> Embeddings:
        """See `FaceEncoder.embed`."""
        return self.backbone(faces)

"""The layers of StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN").

Modulated convolution (section 2.2, equations 1 and 3) is written without per-sample weights: scaling a filter's input
channels by ``s`` is scaling the activations by ``s``, and demodulation is a factor per sample and output channel,
``d = 1 / sqrt(sum_i s_i^2 sum_k W_oik^2)``. So one ordinary convolution serves the whole batch, and a frozen generator
needs no gradient of any convolution weight. Nor are activations multiplied by ``d``: as ``lrelu(d x + b) = d lrelu(x +
b / d)``, a layer leaves its factors to those that read it, which scale the activations anyway.
"""

import math
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.images import Images, Latents

__all__ = ["EqualLinear", "MappingNetwork", "ModulatedConv", "Noise", "ToRGB", "full_precision", "upsample_image"]

Noise = Literal["const", "random", "none"]
Activations = Float[Tensor, "batch channels height width"]
Factors = Float[Tensor, "batch channels"]

_MAPPING_RATE = 0.01
_SLOPE = 0.2
_TAPS = (1.0, 3.0, 3.0, 1.0)  # of the blur, in each direction
_GAIN = math.sqrt(2.0)  # keeps the variance of leaky ReLU's output at one


def full_precision(device: torch.device) -> torch.autocast:
    """Styles and demodulation are small and sensitive: they stay out of autocast's half precision."""
    return torch.autocast(device_type=device.type, enabled=False)


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate: weights are stored with unit variance and scaled when used."""

    def __init__(self, in_features: int, out_features: int, *, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        weight = torch.randn(out_features, in_features)
        # Arithmetic on the meta device makes torch import its compiler, which takes longer than to load most networks.
        self.weight = nn.Parameter(weight if weight.is_meta else weight / rate)
        self.bias = nn.Parameter(torch.full((out_features,), bias / rate))
        self.rate = rate

    def forward(self, x: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        gain = self.rate / math.sqrt(self.weight.shape[1])
        return F.linear(x.to(self.weight.dtype) * gain, self.weight, self.bias * self.rate)


class MappingNetwork(nn.Module):
    """z to w: pixel norm, then fully connected layers with leaky ReLU, always in full precision."""

    def __init__(self, z_dim: int, w_dim: int, layers: int) -> None:
        super().__init__()
        widths = [z_dim] + [w_dim] * layers
        self.layers = nn.ModuleList(EqualLinear(i, o, rate=_MAPPING_RATE) for i, o in pairwise(widths))

    def forward(self, z: Float[Tensor, "batch z_dim"]) -> Latents:
        """Standard normal ``(B, z_dim)`` to latents ``(B, w_dim)``."""
        with full_precision(z.device):
            x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
            for layer in self.layers:
                x = F.leaky_relu(layer(x), _SLOPE) * _GAIN
        return x


class ModulatedConv(nn.Module):
    """One styled layer: modulated 3x3 convolution (optionally x2 upsampling), noise, bias, leaky ReLU.

    Args:
        in_channels, out_channels: channels of the activations.
        w_dim: width of the latent that styles the layer.
        size: height and width of the output.
        upsample: the input has half the size.
    """

    noise: Tensor
    blur: Tensor

    def __init__(self, in_channels: int, out_channels: int, *, w_dim: int, size: int, upsample: bool = False) -> None:
        super().__init__()
        self.size = size
        self.upsample = upsample
        self.style = EqualLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(size, size))
        # Sums to 4: zeros are inserted in both directions, and the blur makes up for them.
        blur = torch.tensor([[a * b / 16 for b in _TAPS] for a in _TAPS])
        self.register_buffer("blur", blur, persistent=False)

    def forward(
        self,
        x: Activations,
        factors: Factors,
        w: Latents,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "batch out_channels size size"], Float[Tensor, "batch out_channels"]]:
        """Activations up to factors, these factors and one latent per sample to the same of the next layer.

        Args:
            x: ``(B, in_channels, H, W)``; the activations are ``x`` times `factors`.
            factors: positive, ``(B, in_channels)``, float32.
            w: ``(B, w_dim)``.
            noise: see `Generator.forward`.
            generator: likewise.
        """
        with full_precision(x.device):
            gain = 1.0 / math.sqrt(self.weight[0].numel())
            style = self.style(w) * gain
            norm = torch.sqrt(F.linear(style.square(), self.weight.square().sum(dim=(2, 3))) + 1e-8)
            scale = style * factors
        x = x * scale.to(x.dtype)[:, :, None, None]
        if self.upsample:
            x = F.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2)
            x = F.conv2d(x, self.blur.to(x.dtype).expand(x.shape[1], 1, 4, 4), padding=1, groups=x.shape[1])
        else:
            x = F.conv2d(x, self.weight, padding=1)
        with full_precision(x.device):
            pixels = self._offset(x.permute(0, 2, 3, 1).flatten(1, 2), norm[:, None], noise, generator)
        return F.leaky_relu_(pixels, _SLOPE).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2), _GAIN / norm

    def _offset(
        self,
        pixels: Float[Tensor, "batch pixels channels"],
        norm: Float[Tensor, "batch 1 channels"],
        noise: Noise,
        generator: torch.Generator | None,
    ) -> Float[Tensor, "batch pixels channels"]:
        """Pixels plus ``norm (strength noise + bias)``: the layer's factors divide it by `norm` again."""
        bias = (norm * self.bias).to(pixels.dtype)
        if noise == "none":
            return pixels + bias
        if noise == "const":
            values = self.noise[None]
        else:
            shape = (len(pixels), self.size, self.size)
            device = self.bias.device if generator is None else generator.device
            values = torch.randn(shape, generator=generator, device=device, dtype=self.bias.dtype).to(self.bias.device)
        values = values.flatten(1)[..., None].to(pixels.dtype)
        strength = (norm * self.noise_strength).to(pixels.dtype)
        if torch.compiler.is_compiling():  # and made one with the leaky ReLU
            return pixels + (values * strength + bias)
        # As a product, it needs one pass, and its backward pass one for both sums over the pixels.
        maps = torch.cat((values, torch.ones_like(values)), dim=2).expand(len(pixels), -1, -1)
        return torch.baddbmm(pixels, maps, torch.cat((strength, bias), dim=1))


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to the three colours, without demodulation or activation."""

    def __init__(self, in_channels: int, *, w_dim: int) -> None:
        super().__init__()
        self.style = EqualLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Activations, factors: Factors, w: Latents) -> Images:
        """Activations up to factors, these and one latent per sample to colours, in the parameters' precision."""
        with full_precision(x.device):
            weight = self.weight * (self.style(w) * factors / math.sqrt(self.weight.shape[1]))[:, None, :]
        # Per-sample weights are cheap here (3 x C), and no scaled copy of the activations is made.
        colours = _Mixed.apply(weight.to(x.dtype), x.permute(0, 2, 3, 1).flatten(1, 2))
        return (colours.to(self.bias.dtype) + self.bias[:, None]).unflatten(2, x.shape[2:])


class _Mixed(torch.autograd.Function):
    """``weights @ channels``, weights ``(B, 3, C)``, channels ``(B, P, C)``, to ``(B, 3, P)``.

    Its gradients are those of torch's product, but lie as the channels do: in another layout they would slow down
    everything below. And they are products that no library takes forever for, as MKL does for ``(C, P) @ (P, 3)``.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, channels: Tensor) -> Tensor:
        ctx.save_for_backward(weights, channels)
        return torch.bmm(weights, channels.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        weights, channels = ctx.saved_tensors
        return torch.bmm(grad, channels), torch.bmm(grad.transpose(1, 2), weights)


def upsample_image(image: Images) -> Float[Tensor, "batch 3 2*height 2*width"]:
    """Twice the size: zeros inserted, then blurred with outer([1, 3, 3, 1]) / 16 (zero outside the image)."""
    taps = torch.tensor(_TAPS, dtype=image.dtype, device=image.device)
    kernel = torch.outer(taps, taps)[None, None] / 16
    with full_precision(image.device):
        # Colours as separate one-channel images: faster than a grouped convolution.
        return F.conv_transpose2d(image.flatten(0, 1)[:, None], kernel, stride=2, padding=1).view(
            *image.shape[:2], 2 * image.shape[2], 2 * image.shape[3]
        )

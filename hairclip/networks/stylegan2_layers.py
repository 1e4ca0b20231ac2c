"""The layers of StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN").

Modulated convolution (section 2.2, equations 1 and 3) is written without per-sample weights: scaling a filter's input
channels by ``s`` is scaling the activations by ``s``, and demodulation is a factor per sample and output channel,
``d = 1 / sqrt(sum_i s_i^2 sum_k W_oik^2)``. So one ordinary convolution serves the whole batch, and a frozen generator
needs no gradient of any convolution weight. Nor are activations multiplied by ``d``: as ``lrelu(d x + b) = d lrelu(x +
b / d)``, a layer returns its factors, and the next layer multiplies them into its own scaling of the activations.
"""

import math
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.common.images import Images, Latents
from hairclip.networks.stylegan2_ops import (
    full_precision,
    mix_channels,
    plus_noise_and_bias,
    upsampling_convolution,
)

__all__ = ["EqualLinear", "MappingNetwork", "ModulatedConv", "Noise", "NoiseMaps", "ToRGB"]

Noise = Literal["const", "random", "none"]
NoiseMaps = Float[Tensor, "one_or_batch rows columns"]
Activations = Float[Tensor, "batch channels height width"]
Factors = Float[Tensor, "batch channels"]

_MAPPING_RATE = 0.01
_SLOPE = 0.2
_GAIN = math.sqrt(2.0)  # keeps the variance of leaky ReLU's output at one


class EqualLinear(nn.Module):
    """Linear layer with equalized learning rate: its weights have unit variance, and its input is scaled instead."""

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
    """Maps z to w: pixel norm, then fully connected layers with leaky ReLU, always in full precision."""

    def __init__(self, z_dim: int, w_dim: int, layers: int) -> None:
        super().__init__()
        widths = [z_dim] + [w_dim] * layers
        self.layers = nn.ModuleList(EqualLinear(i, o, rate=_MAPPING_RATE) for i, o in pairwise(widths))

    def forward(self, z: Float[Tensor, "batch z_dim"]) -> Latents:
        """Return the latents w (B, w_dim) of standard normal z (B, z_dim)."""
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
        clamp: the largest absolute value of an activation, None for no limit; see `Generator`.
    """

    noise: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        size: int,
        upsample: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.size, self.clamp = size, clamp
        self.upsample = upsample
        self.style = EqualLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(size, size))

    def forward(
        self,
        x: Activations,
        factors: Factors,
        w: Latents,
        noise: Noise | NoiseMaps = "const",
        generator: torch.Generator | None = None,
        style_offset: Factors | None = None,
    ) -> tuple[Float[Tensor, "batch out_channels size size"], Float[Tensor, "batch out_channels"]]:
        """Return the layer's activations and the factors (B, out_channels) that they must still be multiplied by.

        Args:
            x: ``(B, in_channels, H, W)``; the activations are ``x`` times `factors`.
            factors: positive, ``(B, in_channels)``, float32.
            w: ``(B, w_dim)``.
            noise: see `Generator.forward`; or maps (1, size, size) or (B, size, size).
            generator: see `Generator.forward`.
            style_offset: what is added to the style, ``(B, in_channels)``; None adds nothing.
        """
        with full_precision(x.device):
            gain = 1.0 / math.sqrt(self.weight[0].numel())
            style = (self.style(w) if style_offset is None else self.style(w) + style_offset) * gain
            norm = torch.sqrt(F.linear(style.square(), self.weight.square().sum(dim=(2, 3))) + 1e-8)
            scale = style * factors
        x = x * scale.to(x.dtype)[:, :, None, None]
        x = upsampling_convolution(x, self.weight) if self.upsample else F.conv2d(x, self.weight, padding=1)
        with full_precision(x.device):
            pixels = self._offset(x.permute(0, 2, 3, 1).flatten(1, 2), norm[:, None], noise, generator)
            pixels = F.leaky_relu_(pixels, _SLOPE)
            if self.clamp is not None:  # of the activations, which are the pixels times the factors
                limit = (self.clamp / _GAIN * norm[:, None]).to(pixels.dtype)
                pixels = torch.minimum(torch.maximum(pixels, -limit), limit)
        return pixels.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2), _GAIN / norm

    def noise_maps(
        self, noise: Literal["const", "random"], batch: int, generator: torch.Generator | None = None
    ) -> NoiseMaps:
        """Return the stored noise map (1, size, size), or fresh ones (batch, size, size)."""
        if noise == "const":
            return self.noise[None]
        shape = (batch, self.size, self.size)
        device = self.bias.device if generator is None else generator.device
        return torch.randn(shape, generator=generator, device=device, dtype=self.bias.dtype).to(self.bias.device)

    def _offset(
        self,
        pixels: Float[Tensor, "batch pixels channels"],
        norm: Float[Tensor, "batch 1 channels"],
        noise: Noise | NoiseMaps,
        generator: torch.Generator | None,
    ) -> Float[Tensor, "batch pixels channels"]:
        """Return pixels plus ``norm (strength noise + bias)``. The layer's factors divide the sum by `norm` again."""
        bias = (norm * self.bias).to(pixels.dtype)
        strength = (norm * self.noise_strength).to(pixels.dtype)
        if isinstance(noise, str) and noise == "none":
            return plus_noise_and_bias(pixels, None, strength, bias)
        values = self.noise_maps(noise, len(pixels), generator) if isinstance(noise, str) else noise
        return plus_noise_and_bias(pixels, values.flatten(1)[..., None].to(pixels.dtype), strength, bias)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to the three colors, without demodulation or activation.

    Args:
        in_channels: channels of the activations.
        w_dim: width of the latent that styles the layer.
        clamp: the largest absolute value of a color, None for no limit; see `Generator`.
    """

    def __init__(self, in_channels: int, *, w_dim: int, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.style = EqualLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Activations, factors: Factors, w: Latents) -> Images:
        """Return colors (B, 3, H, W) in the parameters' precision; see `ModulatedConv.forward` for the arguments."""
        with full_precision(x.device):
            weight = self.weight * (self.style(w) * factors / math.sqrt(self.weight.shape[1]))[:, None, :]
        # Per-sample weights are cheap here (3 x C), and no scaled copy of the activations is made.
        colors = mix_channels(weight.to(x.dtype), x.permute(0, 2, 3, 1).flatten(1, 2))
        colors = colors.to(self.bias.dtype) + self.bias[:, None]
        if self.clamp is not None:
            colors = colors.clamp(-self.clamp, self.clamp)
        return colors.unflatten(2, x.shape[2:])

"""The StyleGAN2 generator (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN").

A W+ code gives every layer its own latent: layer ``k`` of the ``2 log2(size) - 3`` convolutions reads ``w_plus[:, k]``,
and the ``j``-th image output reads ``w_plus[:, 2j + 1]``, which it shares with the convolution above it.

Modulated convolution (section 2.2, equations 1 and 3) is written without per-sample weights: scaling a filter's input
channels by ``s`` is scaling the activations by ``s``, and demodulation is a factor per sample and output channel,
``1 / sqrt(sum_i s_i^2 sum_k W_oik^2)``. So one ordinary convolution serves the whole batch, and a frozen generator
needs no gradient of any convolution weight.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hairclip.errors import HairclipError
from hairclip.images import Images, Latents, WPlus

__all__ = ["OFFICIAL_CHANNELS", "Generator", "MappingNetwork", "ModulatedConv", "ToRGB"]

OFFICIAL_CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}
"""Channels at each resolution of configuration F (FFHQ 1024)."""

Noise = Literal["const", "random", "none"]
Activations = Float[Tensor, "batch channels height width"]

_MAPPING_RATE = 0.01
_SLOPE = 0.2
_TAPS = (1.0, 3.0, 3.0, 1.0)  # of the blur, in each direction
_GAIN = math.sqrt(2.0)  # keeps the variance of leaky ReLU's output at one


def _full_precision(device: torch.device) -> torch.autocast:
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
        with _full_precision(z.device):
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
        self, x: Activations, w: Latents, noise: Noise = "const", generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch out_channels size size"]:
        """Activations and one latent per sample to activations ``(B, out_channels, size, size)``."""
        with _full_precision(x.device):
            gain = 1.0 / math.sqrt(self.weight[0].numel())
            style = self.style(w) * gain
            power = self.weight.square().sum(dim=(2, 3))
            demodulation = _GAIN * torch.rsqrt(F.linear(style.square(), power) + 1e-8)
            offset = self._offset(x.shape[0], noise, generator)
        x = x * style.to(x.dtype)[:, :, None, None]
        if self.upsample:
            x = F.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2)
            x = F.conv2d(x, self.blur.to(x.dtype).expand(x.shape[1], 1, 4, 4), padding=1, groups=x.shape[1])
        else:
            x = F.conv2d(x, self.weight, padding=1)
        # lrelu(a) * g = lrelu(a * g) for g > 0, so the gain rides on the two small factors.
        x = torch.addcmul(offset.to(x.dtype), x, demodulation.to(x.dtype)[:, :, None, None])
        return F.leaky_relu_(x, _SLOPE)

    def _offset(self, batch: int, noise: Noise, generator: torch.Generator | None) -> Tensor:
        """Bias plus noise, times the activation's gain: broadcasts against ``(B, C, size, size)``, channels last."""
        bias = self.bias * _GAIN
        if noise == "none":
            return bias[:, None, None]
        if noise == "const":
            values = self.noise[None]
        else:
            shape = (batch, self.size, self.size)
            device = self.bias.device if generator is None else generator.device
            values = torch.randn(shape, generator=generator, device=device, dtype=self.bias.dtype).to(self.bias.device)
        return ((values * (self.noise_strength * _GAIN))[..., None] + bias).permute(0, 3, 1, 2)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to the three colours, without demodulation or activation."""

    def __init__(self, in_channels: int, *, w_dim: int) -> None:
        super().__init__()
        self.style = EqualLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Activations, w: Latents) -> Images:
        """Activations and one latent per sample to colours, in the parameters' precision."""
        with _full_precision(x.device):
            weight = self.weight * (self.style(w) / math.sqrt(self.weight.shape[1]))[:, None, :]
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
    with _full_precision(image.device):
        # Colours as separate one-channel images: faster than a grouped convolution.
        return F.conv_transpose2d(image.flatten(0, 1)[:, None], kernel, stride=2, padding=1).view(
            *image.shape[:2], 2 * image.shape[2], 2 * image.shape[3]
        )


class Generator(nn.Module):
    """StyleGAN2 with skip connections in image space.

    Args:
        size: height and width of the images, a power of two, 8 or more.
        w_dim: width of the latents w.
        z_dim: width of the normal vectors z.
        mapping_layers: fully connected layers from z to w.
        channels: channels at every resolution from 4 to `size`; the official table if None.

    Attributes:
        n_latent: latents in a W+ code, ``2 log2(size) - 2``.
        latent_avg: mean of w over z, ``(w_dim,)``, or None; loading a state dict sets it as it is there or not.
    """

    latent_avg: Tensor | None

    def __init__(
        self,
        size: int,
        w_dim: int = 512,
        z_dim: int = 512,
        mapping_layers: int = 8,
        channels: Mapping[int, int] | Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        if size < 8 or size & (size - 1):
            raise ValueError(f"the generator's size is a power of two, 8 or more, not {size}")
        resolutions = [2**i for i in range(2, size.bit_length())]
        table = {int(k): v for k, v in (OFFICIAL_CHANNELS if channels is None else channels).items()}
        if missing := [r for r in resolutions if r not in table]:
            raise ValueError(f"the channel table of a {size} px generator lacks the resolutions {missing}")
        self.size, self.w_dim, self.z_dim, self.mapping_layers = size, w_dim, z_dim, mapping_layers
        self.channels = {r: table[r] for r in resolutions}
        self.n_latent = 2 * len(resolutions)
        self.mapping = MappingNetwork(z_dim, w_dim, mapping_layers)
        self.constant = nn.Parameter(torch.randn(table[4], 4, 4))
        self.layers = nn.ModuleList([ModulatedConv(table[4], table[4], w_dim=w_dim, size=4)])
        for r in resolutions[1:]:
            self.layers.append(ModulatedConv(table[r // 2], table[r], w_dim=w_dim, size=r, upsample=True))
            self.layers.append(ModulatedConv(table[r], table[r], w_dim=w_dim, size=r))
        self.to_rgb = nn.ModuleList(ToRGB(table[r], w_dim=w_dim) for r in resolutions)
        self.register_buffer("latent_avg", None)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments, fit for JSON."""
        return {
            "size": self.size,
            "w_dim": self.w_dim,
            "z_dim": self.z_dim,
            "mapping_layers": self.mapping_layers,
            "channels": {str(r): c for r, c in self.channels.items()},
        }

    def forward(
        self,
        w_plus: WPlus,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        *,
        recompute: bool = False,
        float32_until: int = 0,
    ) -> Images:
        """Images ``(B, 3, size, size)``, RGB, in about [-1, 1] (not clamped), from W+ codes ``(B, n_latent, w_dim)``.

        Args:
            w_plus: one latent per layer; `expand` makes them from w.
            noise: "const" adds the stored noise maps, "random" fresh ones, "none" nothing.
            generator: source of random noise, on any device; torch's global one if None.
            recompute: keep nothing inside a resolution for the backward pass, which computes it again (Chen et al.
                2016): the same gradients with less memory and a third more work.
            float32_until: resolutions up to this stay out of autocast's half precision. They are few pixels, and most
                of the error of a half-precision gradient arises in them.
        """
        if recompute and generator is not None:
            raise ValueError("noise of a random generator cannot be computed again: give no generator")
        if noise not in ("const", "random", "none"):
            raise ValueError(f'noise is "const", "random" or "none", not {noise!r}')
        if w_plus.shape[1:] != (self.n_latent, self.w_dim):
            raise ValueError(f"codes of shape {tuple(w_plus.shape)} do not fit: (B, {self.n_latent}, {self.w_dim})")
        grow: Callable[..., tuple[Tensor, Tensor]] = self._grow
        if recompute:
            grow = partial(checkpoint, grow, use_reentrant=False, preserve_rng_state=noise == "random")
        # Channels last from the first layer on: two to three times faster in the blurs and convolutions of a CPU.
        x = self.constant.expand(len(w_plus), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        with _full_precision(x.device) if float32_until >= 4 else nullcontext():
            x = self.layers[0](x, w_plus[:, 0], noise, generator)
            image: Tensor = self.to_rgb[0](x, w_plus[:, 1])
        for j in range(1, len(self.to_rgb)):
            with _full_precision(x.device) if float32_until >= 4 * 2**j else nullcontext():
                x, image = grow(j, x, image, w_plus, noise, generator)
        return image

    def _grow(
        self, j: int, x: Tensor, image: Tensor, w_plus: Tensor, noise: Noise, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """The next resolution, number `j`: its activations, and the picture so far."""
        x = self.layers[2 * j - 1](x, w_plus[:, 2 * j - 1], noise, generator)
        x = self.layers[2 * j](x, w_plus[:, 2 * j], noise, generator)
        return x, upsample_image(image) + self.to_rgb[j](x, w_plus[:, 2 * j + 1])

    def expand(self, w: Latents) -> WPlus:
        """The same latent for every layer: ``(B, w_dim)`` to ``(B, n_latent, w_dim)``."""
        return w[:, None].expand(-1, self.n_latent, -1)

    def truncate(self, w: Float[Tensor, "*layers w_dim"], psi: float) -> Float[Tensor, "*layers w_dim"]:
        """Latents pulled towards the average one: ``latent_avg + psi (w - latent_avg)``."""
        if psi == 1.0:
            return w
        if self.latent_avg is None:
            raise HairclipError(
                "this generator has no latent_avg to truncate towards: use psi 1, or give a checkpoint that holds one."
            )
        return torch.lerp(self.latent_avg.to(w.dtype), w, psi)

    @torch.no_grad()
    def mean_latent(self, count: int = 10_000, generator: torch.Generator | None = None) -> Float[Tensor, " w_dim"]:
        """Mean of w over `count` random z, ``(w_dim,)``: what `latent_avg` should be. It is returned, not stored."""
        device = self.constant.device
        total = torch.zeros(self.w_dim, dtype=torch.float64)
        for start in range(0, count, 1000):
            shape = (min(1000, count - start), self.z_dim)
            source = device if generator is None else generator.device
            z = torch.randn(shape, generator=generator, device=source).to(device, self.constant.dtype)
            total += self.mapping(z).sum(dim=0).double().cpu()
        return (total / count).to(device, self.constant.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        # latent_avg is there or not as the checkpoint says; torch by itself refuses a tensor where the buffer is None.
        average = state_dict.get(prefix + "latent_avg")
        self.latent_avg = None if average is None else torch.zeros_like(average, device=self.constant.device)
        super()._load_from_state_dict(state_dict, prefix, *args)

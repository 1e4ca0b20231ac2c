"""The networks in the plain formulation of the official code, with which the library's faster ones are compared.

They are written from the papers and from the known structure of the official code. They read the parameters of the
library's modules, so both formulations compute with the same weights and give gradients to the same parameters.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.common.errors import HairclipError
from hairclip.common.images import Embeddings, Images, Masks, WPlus
from hairclip.networks.clip import Clip, Pixels
from hairclip.networks.face_parser import HAIR, FaceParser
from hairclip.networks.mapper import HairMapper, ModulationModule, SubMapper
from hairclip.networks.stylegan2 import Generator
from hairclip.networks.stylegan2_layers import EqualLinear, ModulatedConv, ToRGB

__all__ = ["generate", "hair_mask", "mapper_output", "text_pixels"]

_SLOPE = 0.2


def generate(generator: Generator, w_plus: WPlus) -> Images:
    """Run StyleGAN2 with modulated weights: each sample is one group of a convolution, and the blur is generic.

    Args:
        generator: gives its parameters.
        w_plus: ``(B, n_latent, w_dim)``.

    Returns:
        Images ``(B, 3, size, size)`` with the stored noise, like those of `Generator` with ``noise="const"``.

    Raises:
        HairclipError: for a generator with strands, which the official code does not have.
    """
    if generator.strands is not None:
        raise HairclipError(
            "the official code has no strands of hair, but this generator does: measure one without strands."
        )
    w_plus = generator.layer_codes(w_plus)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=w_plus.dtype, device=w_plus.device)
    blur = torch.outer(taps, taps) / 16  # sums to 4, the number of pixels that each one becomes
    x = generator.constant[None].repeat(len(w_plus), 1, 1, 1)
    x = _styled(generator.layers[0], x, w_plus[:, 0], blur)
    image = _colors(generator.to_rgb[0], x, w_plus[:, 1])
    for j in range(1, len(generator.to_rgb)):
        x = _styled(generator.layers[2 * j - 1], x, w_plus[:, 2 * j - 1], blur)
        x = _styled(generator.layers[2 * j], x, w_plus[:, 2 * j], blur)
        image = _filter(image, blur, up=2, pad=(2, 1)) + _colors(generator.to_rgb[j], x, w_plus[:, 2 * j + 1])
    return image


def _styled(layer: nn.Module, x: Tensor, w: Tensor, blur: Tensor) -> Tensor:
    """Apply modulated convolution, noise, bias and leaky ReLU, one operator after the other."""
    assert isinstance(layer, ModulatedConv)
    x = _modulated(x, _affine(layer.style, w), layer.weight, demodulate=True, blur=blur if layer.upsample else None)
    x = x + layer.noise_strength * layer.noise[None, None]
    return F.leaky_relu(x + layer.bias[None, :, None, None], _SLOPE) * math.sqrt(2.0)


def _colors(layer: nn.Module, x: Tensor, w: Tensor) -> Tensor:
    assert isinstance(layer, ToRGB)
    weight = layer.weight[:, :, None, None]
    return _modulated(x, _affine(layer.style, w), weight, demodulate=False) + layer.bias[None, :, None, None]


def _affine(linear: EqualLinear, w: Tensor) -> Tensor:
    return F.linear(w, linear.weight * (linear.rate / math.sqrt(linear.weight.shape[1])), linear.bias * linear.rate)


def _modulated(x: Tensor, style: Tensor, weight: Tensor, *, demodulate: bool, blur: Tensor | None = None) -> Tensor:
    """Modulate the weights of every sample and convolve (Karras et al. 2020, equations 1 and 3).

    With `blur` the result has twice the size.
    """
    batch, channels, height, width = x.shape
    out, _, side, _ = weight.shape
    kernels = weight[None] * style[:, None, :, None, None] / math.sqrt(channels * side * side)
    if demodulate:
        kernels = kernels * torch.rsqrt(kernels.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, batch * channels, height, width)
    if blur is None:
        x = F.conv2d(x, kernels.reshape(batch * out, channels, side, side), padding=side // 2, groups=batch)
        return x.view(batch, out, height, width)
    kernels = kernels.transpose(1, 2).reshape(batch * channels, out, side, side)
    x = F.conv_transpose2d(x, kernels, stride=2, groups=batch)
    return _filter(x.view(batch, out, *x.shape[-2:]), blur, up=1, pad=(1, 1))


def _filter(x: Tensor, kernel: Tensor, *, up: int, pad: tuple[int, int]) -> Tensor:
    """Insert zeros, pad and correlate with the flipped kernel, each channel as a one-channel map of its own."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch * channels, 1, height, 1, width, 1)
    x = F.pad(x, (0, up - 1, 0, 0, 0, up - 1)).reshape(batch * channels, 1, height * up, width * up)
    x = F.conv2d(F.pad(x, (*pad, *pad)), kernel.flip(0, 1)[None, None])
    return x.view(batch, channels, *x.shape[-2:])


def mapper_output(mapper: HairMapper, w_plus: WPlus, hairstyle: Embeddings | None, color: Embeddings | None) -> WPlus:
    """Return the change of the codes, ``(B, n_latent, w_dim)``, of samples that all have the same kinds of condition.

    The official network decides for a whole batch whether a condition is there (None: absent), and repeats its
    embedding for every layer.
    """
    first_medium, first_fine = mapper.groups
    groups = (
        (mapper.coarse, w_plus[:, :first_medium], hairstyle),
        (mapper.medium, w_plus[:, first_medium:first_fine], hairstyle),
        (mapper.fine, w_plus[:, first_fine:], color),
    )
    moves = []
    for network, codes, embedding in groups:
        if network is None or (embedding is None and mapper.absent == "zero"):
            moves.append(torch.zeros_like(codes))
        else:
            moves.append(_sub_mapper(network, codes, embedding))
    return torch.cat(moves, dim=1) * mapper.scale


def _sub_mapper(network: SubMapper, w: Tensor, embedding: Embeddings | None) -> Tensor:
    x = w * torch.rsqrt(w.square().mean(dim=network.norm_dim, keepdim=True) + 1e-8)
    repeated = None if embedding is None else embedding[:, None].repeat(1, w.shape[1], 1)
    for block in network.blocks:
        assert isinstance(block, ModulationModule)
        x = F.layer_norm(block.fc(x), x.shape[1:])
        if repeated is not None:
            x = x * (1 + block.gamma(repeated)) + block.beta(repeated)
            x = F.leaky_relu(x, 0.01) if block.activated else x
    return x


def hair_mask(parser: FaceParser, images: Images) -> Masks:
    """Return where images show hair, bool (B, 1, H, W). As in the official code, autograd records a graph in vain."""
    mask = (parser.logits(images).detach().argmax(dim=1, keepdim=True) == HAIR).float()
    return F.interpolate(mask, size=images.shape[-2:], mode="nearest-exact") > 0.5


def text_pixels(clip: Clip, images: Images) -> Pixels:
    """Return what CLIP sees in the official text loss: pixels repeated (7 times for 224 px), then average-pooled."""
    size = images.shape[-1]
    common = math.gcd(size, clip.image_size)
    enlarged = F.interpolate(images, scale_factor=clip.image_size // common, mode="nearest")
    return F.avg_pool2d(enlarged, size // common)

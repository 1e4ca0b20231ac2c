"""The operations of StyleGAN2's layers that torch lacks, each in the fastest exact form for the device.

On a CPU they are few large products and convolutions. On a CUDA device, depthwise convolutions and products with one
short side are far slower than reading their inputs, so the same sums are computed in other ways. If torch compiles the
generator, the sums are written out, because the compiler fuses them with the operations around them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.images import Images, constant

__all__ = [
    "forms_for_a_compiler",
    "full_precision",
    "mix_channels",
    "plus_noise_and_bias",
    "upsample_image",
    "upsampling_convolution",
]

Pixels = Float[Tensor, "batch pixels channels"]
Row = Float[Tensor, "batch 1 channels"]

_TAPS = (1.0, 3.0, 3.0, 1.0)  # of the blur, in each direction
_PIECE = 4096


_as_compiled = False


def _is_compiling() -> bool:
    return _as_compiled or torch.compiler.is_compiling()


@contextmanager
def forms_for_a_compiler() -> Iterator[None]:
    """Use the forms of compiled code without compiling, so that the operations can be counted."""
    global _as_compiled
    _as_compiled = True
    try:
        yield
    finally:
        _as_compiled = False


def full_precision(device: torch.device) -> torch.autocast:
    """Return a context without autocast's half precision, for styles and demodulation, which need float32."""
    return torch.autocast(device_type=device.type, enabled=False)


def upsampling_convolution(
    x: Float[Tensor, "batch in_channels height width"], weight: Float[Tensor, "out_channels in_channels 3 3"]
) -> Float[Tensor, "batch out_channels 2*height 2*width"]:
    """Insert zeros in both directions, convolve (3x3), blur with outer([1, 3, 3, 1]) / 16, which sums to 4."""
    if x.is_cuda and not _is_compiling():
        return F.conv_transpose2d(x, _blurred(weight).transpose(0, 1), stride=2, padding=2)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    if x.is_cuda:
        return _Blur.apply(x)
    taps = constant(_TAPS, like=x) / 4
    return F.conv2d(x, torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4), padding=1, groups=x.shape[1])


def _blurred(weight: Float[Tensor, "out_channels in_channels 3 3"]) -> Float[Tensor, "out_channels in_channels 6 6"]:
    """Return the filters convolved with the blur."""
    with full_precision(weight.device):
        columns = [F.pad(constant(_TAPS, like=weight) / 4, (shift, 2 - shift)) for shift in range(3)]
        spread = torch.stack(columns, dim=1)
        return spread @ weight @ spread.T


class _Blur(torch.autograd.Function):
    """The blur of `upsampling_convolution`, ``(B, C, H, W)`` to ``(B, C, H - 1, W - 1)``; its own transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _blur(F.pad(x, (1, 1, 1, 1)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _blur(F.pad(grad, (2, 2, 2, 2)))


def _blur(x: Tensor) -> Tensor:
    for dim in (2, 3):
        size = x.shape[dim] - 3
        first, second, third, fourth = (x.narrow(dim, start, size) for start in range(4))
        x = 0.25 * (first + fourth) + 0.75 * (second + third)
    return x


def plus_noise_and_bias(
    pixels: Pixels, values: Float[Tensor, "one_or_batch pixels 1"] | None, strength: Row, bias: Row
) -> Pixels:
    """Return pixels plus `values * strength + bias`, or plus the bias without values; the pixels are overwritten.

    Args:
        pixels: of nothing else that a gradient needs.
        values: the noise.
        strength: what it is multiplied by.
        bias: in the pixels' precision, as the others are.
    """
    if values is None:
        return pixels + bias
    if _is_compiling():  # and made one with the leaky ReLU
        return pixels + (values * strength + bias)
    if pixels.is_cuda:
        return pixels.add_(bias).addcmul_(values, strength)
    # As a product, it needs one pass, and its backward pass one for both sums over the pixels.
    maps = torch.cat((values, torch.ones_like(values)), dim=2).expand(len(pixels), -1, -1)
    return torch.baddbmm(pixels, maps, torch.cat((strength, bias), dim=1))


def mix_channels(weights: Float[Tensor, "batch 3 channels"], pixels: Pixels) -> Float[Tensor, "batch 3 pixels"]:
    """Return three weighted sums of each pixel's channels, (B, 3, P)."""
    mixed: Tensor = _Mixed.apply(weights, pixels)
    return mixed


class _Mixed(torch.autograd.Function):
    """Computes the product (B, 3, P) of weights (B, 3, C) and transposed pixels (B, P, C).

    The gradients have the values of torch's product and the memory layout of the pixels, because another layout would
    slow down every layer below. They are computed as products that all libraries do fast; MKL is very slow at
    ``(C, P) @ (P, 3)``.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, pixels: Tensor) -> Tensor:
        ctx.save_for_backward(weights, pixels)
        return torch.bmm(weights, pixels.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        weights, pixels = ctx.saved_tensors
        product = _product_in_pieces if pixels.is_cuda else torch.bmm
        return product(grad, pixels), torch.bmm(grad.transpose(1, 2), weights)


def _product_in_pieces(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a @ b``, (B, 3, P) and (B, P, C), as a sum of products of pieces that a GPU computes in parallel."""
    if b.shape[1] % _PIECE:
        return torch.bmm(a, b)
    a = a.unflatten(2, (-1, _PIECE)).transpose(1, 2).flatten(0, 1)
    pieces = torch.bmm(a, b.unflatten(1, (-1, _PIECE)).flatten(0, 1))
    return pieces.unflatten(0, (len(b), -1)).sum(dim=1)


def upsample_image(image: Images) -> Float[Tensor, "batch 3 2*height 2*width"]:
    """Return images at twice the size: zeros inserted, then blurred with outer([1, 3, 3, 1]) / 16."""
    if image.is_cuda and _is_compiling():
        return _doubled(_doubled(image, 2), 3)
    taps = constant(_TAPS, like=image)
    kernel = torch.outer(taps, taps)[None, None] / 16
    with full_precision(image.device):
        # Colors as separate one-channel images: faster than a grouped convolution.
        return F.conv_transpose2d(image.flatten(0, 1)[:, None], kernel, stride=2, padding=1).view(
            *image.shape[:2], 2 * image.shape[2], 2 * image.shape[3]
        )


def _doubled(image: Tensor, dim: int) -> Tensor:
    """Double one dimension as `upsample_image` does. A new pixel is 3/4 its old pixel and 1/4 the nearer neighbor."""
    size = image.shape[dim]
    nothing = torch.zeros_like(image.narrow(dim, 0, 1))
    before = torch.cat((nothing, image.narrow(dim, 0, size - 1)), dim)
    after = torch.cat((image.narrow(dim, 1, size - 1), nothing), dim)
    pairs = torch.stack((0.75 * image + 0.25 * before, 0.75 * image + 0.25 * after), dim + 1)
    return pairs.flatten(dim, dim + 1)

"""The StyleGAN2 generator (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN").

A W+ code gives every layer its own latent: layer ``k`` of the ``2 log2(size) - 3`` convolutions reads ``w_plus[:, k]``,
and the ``j``-th image output reads ``w_plus[:, 2j + 1]``, which it shares with the convolution above it. A generator
that has grown may keep the codes of the smaller one: layers without a latent of their own read the last one.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, Latents, WPlus
from hairclip.networks.strands import StrandField, line_integral
from hairclip.networks.stylegan2_layers import MappingNetwork, ModulatedConv, Noise, NoiseMaps, ToRGB
from hairclip.networks.stylegan2_ops import full_precision, upsample_image

__all__ = ["OFFICIAL_CHANNELS", "Generator"]

OFFICIAL_CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}
"""Channels at each resolution of configuration F (FFHQ 1024)."""


class Generator(nn.Module):
    """StyleGAN2 with skip connections in image space.

    Args:
        size: height and width of the images, a power of two, 8 or more.
        w_dim: width of the latents w.
        z_dim: width of the normal vectors z.
        mapping_layers: fully connected layers from z to w.
        channels: channels at every resolution from 4 to `size`; the official table if None.
        clamp: the largest absolute value of activations and of each resolution's colors, as NVIDIA's `conv_clamp`;
            None, as in config F, for no limit.
        strands: what makes strands of hair out of the noise of the last layers, fit for JSON; None for noise as it is:

            - ``read_at``: the resolution whose activations `StrandField` reads. The layers of all higher resolutions
              get strands.
            - ``width``: channels of `StrandField`; 48 if missing.
            - ``steps``: `line_integral`'s, one number, or one for each higher resolution.
        n_latent: latents in a W+ code; ``2 log2(size) - 2`` if None. With fewer, all layers and image outputs beyond
            the last one read the last one.

    Attributes:
        n_latent: latents in a W+ code.
        strands: the `StrandField`, or None.
        latent_avg: mean of w over z, (w_dim,), or None. Loading a state dict sets it to the entry there, or to None.
    """

    latent_avg: Tensor | None

    def __init__(
        self,
        size: int,
        w_dim: int = 512,
        z_dim: int = 512,
        mapping_layers: int = 8,
        channels: Mapping[int, int] | Mapping[str, int] | None = None,
        clamp: float | None = None,
        strands: Mapping[str, Any] | None = None,
        n_latent: int | None = None,
    ) -> None:
        super().__init__()
        if size < 8 or size & (size - 1):
            raise ValueError(f"the generator's size is a power of two, 8 or more, not {size}")
        resolutions = [2**i for i in range(2, size.bit_length())]
        table = {int(k): v for k, v in (OFFICIAL_CHANNELS if channels is None else channels).items()}
        if missing := [r for r in resolutions if r not in table]:
            raise ValueError(f"the channel table of a {size} px generator lacks the resolutions {missing}")
        self.size, self.w_dim, self.z_dim, self.mapping_layers = size, w_dim, z_dim, mapping_layers
        self.channels, self.clamp = {r: table[r] for r in resolutions}, clamp
        self._layer_codes = 2 * len(resolutions)
        self.n_latent = self._layer_codes if n_latent is None else n_latent
        if not 1 <= self.n_latent <= self._layer_codes:
            raise ValueError(f"a {size} px generator has 1 to {self._layer_codes} latents in a code, not {n_latent}")
        self.mapping = MappingNetwork(z_dim, w_dim, mapping_layers)
        self.constant = nn.Parameter(torch.randn(table[4], 4, 4))
        self.layers = nn.ModuleList([ModulatedConv(table[4], table[4], w_dim=w_dim, size=4, clamp=clamp)])
        for r in resolutions[1:]:
            self.layers.append(ModulatedConv(table[r // 2], table[r], w_dim=w_dim, size=r, upsample=True, clamp=clamp))
            self.layers.append(ModulatedConv(table[r], table[r], w_dim=w_dim, size=r, clamp=clamp))
        self.to_rgb = nn.ModuleList(ToRGB(table[r], w_dim=w_dim, clamp=clamp) for r in resolutions)
        self.register_buffer("latent_avg", None)
        self.read_at, self.strand_steps = _read_strands(strands, resolutions)
        self.strands = None if strands is None else StrandField(table[self.read_at], strands.get("width", 48))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        config = {
            "size": self.size,
            "w_dim": self.w_dim,
            "z_dim": self.z_dim,
            "mapping_layers": self.mapping_layers,
            "channels": {str(r): c for r, c in self.channels.items()},
        }
        if self.clamp is not None:
            config["clamp"] = self.clamp
        if self.strands is not None:
            steps = {str(resolution): steps for resolution, steps in self.strand_steps.items()}
            config["strands"] = {"read_at": self.read_at, "width": self.strands.width, "steps": steps}
        if self.n_latent != self._layer_codes:
            config["n_latent"] = self.n_latent
        return config

    def forward(
        self,
        w_plus: WPlus,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        *,
        recompute: bool = False,
        float32_until: int = 0,
        style_offsets: Sequence[Float[Tensor, "batch _"] | None] | None = None,
    ) -> Images:
        """Return images (B, 3, size, size), RGB in about [-1, 1], not clamped, of W+ codes (B, n_latent, w_dim).

        Args:
            w_plus: one latent per layer; `expand` makes them from w.
            noise: "const" adds the stored noise maps, "random" fresh ones, "none" nothing. Where strands are made,
                both kinds of noise become strands on hair and nothing elsewhere; no gradient goes through them.
            generator: source of random noise, on any device; torch's global one if None.
            recompute: keep nothing inside a resolution for the backward pass, which computes it again (Chen et al.
                2016): the same gradients with less memory and a third more work.
            float32_until: resolutions up to this stay out of autocast's half precision. They are few pixels, and most
                of the error of a half-precision gradient arises in them.
            style_offsets: what is added to the style of each convolution, (B, width) with the widths of
                `style_widths`, or None for a convolution that keeps its style: an edit in the space S (Wu et al. 2021,
                "StyleSpace Analysis"). Image outputs keep their styles. Offsets of zero change no bit of the image.
        """
        if recompute and generator is not None:
            raise ValueError("noise of a random generator cannot be computed again: give no generator")
        if noise not in ("const", "random", "none"):
            raise ValueError(f'noise is "const", "random" or "none", not {noise!r}')
        if w_plus.shape[1:] != (self.n_latent, self.w_dim):
            raise ValueError(f"codes of shape {tuple(w_plus.shape)} do not fit: (B, {self.n_latent}, {self.w_dim})")
        offsets = self._check_offsets(style_offsets)
        w_plus = self.layer_codes(w_plus)
        grow: Callable[..., tuple[Tensor, Tensor, Tensor]] = self._grow
        if recompute:
            grow = partial(checkpoint, grow, use_reentrant=False, preserve_rng_state=noise == "random")
        # Channels last from the first layer on: two to three times faster in the blurs and convolutions of a CPU.
        x = self.constant.expand(len(w_plus), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        with full_precision(x.device) if float32_until >= 4 else nullcontext():
            x, factors = self.layers[0](x, torch.ones_like(x[:, :, 0, 0]), w_plus[:, 0], noise, generator, offsets[0])
            image: Tensor = self.to_rgb[0](x, factors, w_plus[:, 1])
        field: Tensor | None = None
        for j in range(1, len(self.to_rgb)):
            with full_precision(x.device) if float32_until >= 4 * 2**j else nullcontext():
                if self.strands is not None and self.read_at == 2 * 2**j:
                    field = self._hair_field(x, factors)
                given = self._strands(j, field, noise, generator)
                x, factors, image = grow(j, x, factors, image, w_plus, given, generator, offsets)
        return image

    def _grow(
        self,
        j: int,
        x: Tensor,
        factors: Tensor,
        image: Tensor,
        w_plus: Tensor,
        noise: Noise | NoiseMaps,
        generator: torch.Generator | None,
        offsets: Sequence[Tensor | None],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute resolution number `j`; return its activations, their factors, and the picture so far."""
        for k in (2 * j - 1, 2 * j):
            x, factors = self.layers[k](x, factors, w_plus[:, k], noise, generator, offsets[k])
        return x, factors, upsample_image(image) + self.to_rgb[j](x, factors, w_plus[:, 2 * j + 1])

    @torch.no_grad()
    def _hair_field(self, x: Tensor, factors: Tensor) -> Tensor:
        """Return direction and coverage of hair in one tensor (B, 3, H, W)."""
        assert self.strands is not None
        return torch.cat(self.strands(x * factors.to(x.dtype)[:, :, None, None]), dim=1)

    @torch.no_grad()
    def _strands(
        self, j: int, field: Tensor | None, noise: Noise, generator: torch.Generator | None
    ) -> Noise | NoiseMaps:
        """Return the noise of both layers of resolution number `j`: `noise` itself, or strands on hair alone.

        Both layers get the same strands, made of the first one's noise: two sets of strands in one place would
        contradict each other. Noise beside hair would be as strong as strands are, because a layer has one strength.
        """
        first = self._convolutions[2 * j - 1]
        if field is None or noise == "none":
            return noise
        white = first.noise_maps(noise, len(field), generator)
        field = F.interpolate(field, size=first.size, mode="bilinear", align_corners=False)
        strands = line_integral(white, field[:, :2], steps=self.strand_steps[first.size])
        return strands * field[:, 2].to(strands.dtype)

    def activations(self, w_plus: WPlus, size: int) -> Float[Tensor, "batch channels size size"]:
        """Return the activations after the last layer of a resolution, with stored noise, of W+ codes."""
        codes = self.layer_codes(w_plus)
        x = self.constant.expand(len(codes), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        factors = torch.ones_like(x[:, :, 0, 0])
        for k, layer in enumerate(self._convolutions):
            if layer.size <= size:
                x, factors = layer(x, factors, codes[:, k])
        return x * factors.to(x.dtype)[:, :, None, None]

    def layer_codes(self, w_plus: WPlus) -> Float[Tensor, "batch layers w_dim"]:
        """Return one latent for every layer and the last image output, (B, 2 log2(size) - 2, w_dim), of W+ codes."""
        missing = self._layer_codes - self.n_latent
        return torch.cat((w_plus, w_plus[:, -1:].expand(-1, missing, -1)), dim=1) if missing else w_plus

    @property
    def style_widths(self) -> tuple[int, ...]:
        """The width of each convolution's style, in order: the sizes of the space S without image outputs."""
        return tuple(layer.style.weight.shape[0] for layer in self._convolutions)

    def styles(self, w_plus: WPlus) -> list[Float[Tensor, "batch _"]]:
        """Return the style of every convolution, (B, width) each, of W+ codes (B, n_latent, w_dim)."""
        w_plus = self.layer_codes(w_plus)
        with full_precision(w_plus.device):
            return [layer.style(w_plus[:, k]) for k, layer in enumerate(self._convolutions)]

    @property
    def _convolutions(self) -> list[ModulatedConv]:
        return [layer for layer in self.layers if isinstance(layer, ModulatedConv)]

    def _check_offsets(self, offsets: Sequence[Tensor | None] | None) -> Sequence[Tensor | None]:
        """Return one offset or None for each convolution."""
        if offsets is None:
            return [None] * len(self.layers)
        widths = tuple(width if one is None else one.shape[-1] for one, width in zip(offsets, self.style_widths))
        if len(offsets) != len(self.layers) or widths != self.style_widths:
            raise ValueError(f"style offsets of widths {widths} do not fit: {self.style_widths}")
        return offsets

    def expand(self, w: Latents) -> WPlus:
        """Return W+ codes (B, n_latent, w_dim) with the same latent (B, w_dim) in every layer."""
        return w[:, None].expand(-1, self.n_latent, -1)

    def truncate(self, w: Float[Tensor, "*layers w_dim"], psi: float) -> Float[Tensor, "*layers w_dim"]:
        """Return latents pulled towards the average one: `latent_avg + psi (w - latent_avg)`."""
        if psi == 1.0:
            return w
        if self.latent_avg is None:
            raise HairclipError(
                "this generator has no latent_avg to truncate towards: use psi 1, or give a checkpoint that holds one."
            )
        return torch.lerp(self.latent_avg.to(w.dtype), w, psi)

    @torch.no_grad()
    def mean_latent(self, count: int = 10_000, generator: torch.Generator | None = None) -> Float[Tensor, " w_dim"]:
        """Return the mean of w over `count` random z, (w_dim,). It is the value for `latent_avg`, but is not stored."""
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


def _read_strands(strands: Mapping[str, Any] | None, resolutions: Sequence[int]) -> tuple[int, dict[int, int]]:
    """Return where `Generator`'s strands are read, and their steps at every higher resolution."""
    if strands is None:
        return 0, {}
    if unknown := sorted(strands.keys() - {"read_at", "width", "steps"}):
        raise ValueError(f"strands have read_at, width and steps, but not {', '.join(unknown)}")
    read_at, steps = strands["read_at"], strands["steps"]
    higher = [resolution for resolution in resolutions if resolution > read_at]
    if read_at not in resolutions or not higher:
        raise ValueError(f"strands are read at one of the resolutions {list(resolutions[:-1])}, not at {read_at}")
    table = {int(r): n for r, n in steps.items()} if isinstance(steps, Mapping) else dict.fromkeys(higher, steps)
    if missing := [resolution for resolution in higher if resolution not in table]:
        raise ValueError(f"the strands' steps lack the resolutions {missing}")
    return read_at, {resolution: int(table[resolution]) for resolution in higher}

"""The StyleGAN2 generator (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN").

A W+ code gives every layer its own latent: layer ``k`` of the ``2 log2(size) - 3`` convolutions reads ``w_plus[:, k]``,
and the ``j``-th image output reads ``w_plus[:, 2j + 1]``, which it shares with the convolution above it. A generator
that has grown may keep the codes of the smaller one: layers without a latent of their own read the last one.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, Latents, WPlus
from hairclip.networks.strands import (
    HairField,
    StrandField,
    draw_directions,
    fixed_noise,
    lay_strands,
    strand_maps,
)
from hairclip.networks.stylegan2_layers import MappingNetwork, ModulatedConv, Noise, ToRGB
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
        strands: lays strands of hair over the picture (`hairclip.networks.strands`), fit for JSON; None for none:

            - ``read_at``: the resolution whose activations `StrandField` reads. From there on layers get no noise.
            - ``width``: channels of `StrandField`; 48 if missing.
            - ``widths``: number of strands' widths. Each next one is twice as wide; 3 if missing.
            - ``half_length``: of a strand, in sides of the picture; 0.08 if missing.
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
        self.strand_settings = None if strands is None else _read_strands(strands, resolutions)
        self.strands: StrandField | None = None
        if self.strand_settings is not None:
            settings = self.strand_settings
            self.strands = StrandField(table[settings["read_at"]], settings["width"], settings["widths"])

    @property
    def read_at(self) -> int | None:
        """The resolution at which strands are read; None where none are made."""
        return None if self.strand_settings is None else int(self.strand_settings["read_at"])

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
        if self.strand_settings is not None:
            config["strands"] = dict(self.strand_settings)
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
            noise: "const" adds the stored noise maps, "random" fresh ones, "none" nothing, not even strands.
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
        grow: Callable[..., tuple[Tensor, Tensor, Tensor]] = self._grow
        if recompute:
            grow = partial(checkpoint, grow, use_reentrant=False, preserve_rng_state=noise == "random")
        image, hair = self._smooth(w_plus, noise, generator, grow, float32_until, offsets)
        return image if hair is None or noise == "none" else self.with_strands(image, hair, noise, generator)

    def smooth(self, w_plus: WPlus) -> tuple[Images, HairField]:
        """Return pictures without strands, with stored noise, and the hair that strands are to be laid over."""
        image, hair = self._smooth(w_plus, "const", None, self._grow, 0, [None] * len(self.layers))
        if hair is None:
            raise HairclipError("this generator makes no strands: give `strands` when it is made.")
        return image, hair

    def with_strands(
        self,
        images: Float[Tensor, "batch 3 rows columns"],
        hair: HairField,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        *,
        size: int | None = None,
    ) -> Images:
        """Return pictures of `smooth` with strands, whose directions are drawn where the hair is curly.

        Args:
            images: the pictures without strands.
            hair: how hair runs.
            noise: "const" or "random", see `forward`.
            generator: see `forward`.
            size: height and width of what is returned, the generator's size times a power of two; None for its size.
                A larger picture has the same strands, and thinner ones that are as strong as the thinnest of them.
        """
        drawn, maps, outline = self.draw_strands(hair, noise, generator, size=size)
        enlarged: Tensor = images
        while enlarged.shape[-1] < maps.shape[-1]:
            enlarged = F.interpolate(enlarged, scale_factor=2, mode="bicubic", align_corners=False)
        return lay_strands(enlarged, drawn, maps, outline=outline)

    def draw_strands(
        self,
        hair: HairField,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        *,
        size: int | None = None,
    ) -> tuple[HairField, Float[Tensor, "batch widths size size"], int]:
        """Return what `with_strands` lays over pictures: hair with drawn directions, the maps, and the outline's map.

        Args:
            hair: how hair runs.
            noise, generator, size: see `with_strands`.
        """
        settings = self.strand_settings
        assert settings is not None
        count, layers = (
            len(hair.coverage),
            {layer.size: layer for layer in self._convolutions},
        )  # the last one of each size

        def maps(side: int) -> Tensor:
            if side > self.size:
                return fixed_noise(side).to(hair.coverage.device)[None]
            found: Tensor = layers[side].noise_maps("const" if noise == "const" else "random", count, generator)
            return found

        with full_precision(hair.coverage.device):
            drawn = replace(hair, direction=draw_directions(hair.direction, maps(settings["read_at"])))
            white = [maps(self.size >> step) for step in range(settings["widths"])]
            outline = min(1, settings["widths"] - 1)  # locks, not single strands, make it
            while size is not None and white[0].shape[-1] < size:
                white.insert(0, maps(2 * white[0].shape[-1]))
                outline += 1
                drawn = replace(drawn, strength=torch.cat((drawn.strength[:, :1], drawn.strength), dim=1))
            return drawn, strand_maps(drawn.direction, white, half_length=settings["half_length"]), outline

    def _smooth(
        self,
        w_plus: WPlus,
        noise: Noise,
        generator: torch.Generator | None,
        grow: Callable[..., tuple[Tensor, Tensor, Tensor]],
        float32_until: int,
        offsets: Sequence[Tensor | None],
    ) -> tuple[Tensor, HairField | None]:
        """Return pictures without strands, and their hair; None where no strands are made."""
        w_plus = self.layer_codes(w_plus)
        # Channels last from the first layer on: two to three times faster in the blurs and convolutions of a CPU.
        x = self.constant.expand(len(w_plus), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        with full_precision(x.device) if float32_until >= 4 else nullcontext():
            x, factors = self.layers[0](x, torch.ones_like(x[:, :, 0, 0]), w_plus[:, 0], noise, generator, offsets[0])
            image: Tensor = self.to_rgb[0](x, factors, w_plus[:, 1])
        hair: HairField | None = None
        for j in range(1, len(self.to_rgb)):
            with full_precision(x.device) if float32_until >= 4 * 2**j else nullcontext():
                reads = self.strands is not None and self.read_at == 4 * 2**j
                noise = "none" if reads else noise
                x, factors, image = grow(j, x, factors, image, w_plus, noise, generator, offsets)
                if reads and self.strands is not None:
                    # No gradient goes from strands to layers or codes.
                    hair = self.strands((x * factors.to(x.dtype)[:, :, None, None]).detach())
        return image, hair

    def _grow(
        self,
        j: int,
        x: Tensor,
        factors: Tensor,
        image: Tensor,
        w_plus: Tensor,
        noise: Noise,
        generator: torch.Generator | None,
        offsets: Sequence[Tensor | None],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute resolution number `j`; return its activations, their factors, and the picture so far."""
        for k in (2 * j - 1, 2 * j):
            x, factors = self.layers[k](x, factors, w_plus[:, k], noise, generator, offsets[k])
        return x, factors, upsample_image(image) + self.to_rgb[j](x, factors, w_plus[:, 2 * j + 1])

    def activations(self, w_plus: WPlus, size: int) -> Float[Tensor, "batch channels size size"]:
        """Return the activations after the last layer of a resolution, with stored noise, of W+ codes."""
        codes = self.layer_codes(w_plus)
        x = self.constant.expand(len(codes), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        factors = torch.ones_like(x[:, :, 0, 0])
        for k, layer in enumerate(self._convolutions):
            if layer.size <= size:
                quiet = self.read_at is not None and layer.size >= self.read_at
                x, factors = layer(x, factors, codes[:, k], "none" if quiet else "const")
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


def _read_strands(strands: Mapping[str, Any], resolutions: Sequence[int]) -> dict[str, Any]:
    """Return the settings of `Generator`'s strands, with defaults for those that are missing."""
    defaults = {"read_at": resolutions[-2], "width": 48, "widths": 3, "half_length": 0.08}
    if unknown := sorted(strands.keys() - defaults):
        raise ValueError(f"strands have {', '.join(defaults)}, but not {', '.join(unknown)}")
    settings = {**defaults, **strands}
    if settings["read_at"] not in resolutions[:-1]:
        raise ValueError(f"strands are read at one of {resolutions[:-1]}, not at {settings['read_at']}")
    if not 1 <= settings["widths"] <= len(resolutions):
        raise ValueError(f"strands have 1 to {len(resolutions)} widths, not {settings['widths']}")
    return settings

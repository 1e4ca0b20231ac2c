"""Recipe of the generator and its encoder: rendered quads teach W+ what HairCLIP relies on.

The encoder gives two portraits of a quad a W+ code each: head a in one hair colour, head b in the other. Asked for is a
head in the other's colour, from a *mixture* of codes: coarse and medium ones of the head, fine ones of the colour. So
coarse and medium layers must hold people, scenes and hairstyles, and fine layers hair colour: exactly, because the
renderer knows the answer. A share of the quads is read as one code for all layers, the encoder's first, which makes W a
space of portraits too.

Three stages: half resolution (pixels four times cheaper), full resolution, full resolution with a discriminator.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.images import Images, WPlus
from hairclip.networks.pca_encoder import PcaEncoder
from hairclip.networks.stylegan2 import Generator
from hairclip.portraits.fit.data import Quads, images_at, pick
from hairclip.portraits.fit.discriminator import Discriminator, gradient_penalty
from hairclip.portraits.fit.loop import Stateful, StepLog, autocast, cosine, run

HAIR_GROUPS = (4, 8)
"""First medium and first fine layer: HairCLIP's split."""


@dataclass(frozen=True)
class GeneratorRecipe:
    """Everything that was chosen."""

    size: int = 128
    w_dim: int = 128
    channels: dict[int, int] = field(default_factory=lambda: {4: 128, 8: 128, 16: 128, 32: 96, 64: 64, 128: 32})
    encoder: dict[str, object] = field(default_factory=dict)
    component_images: int = 4000
    critic_channels: dict[int, int] = field(default_factory=lambda: {4: 128, 8: 128, 16: 96, 32: 64, 64: 32, 128: 16})
    quads_per_batch: int = 8
    half_steps: int = 1300
    full_steps: int = 800
    adversarial_steps: int = 600
    share_w: float = 0.25
    rate: float = 7e-4
    generator_rate: float = 1.5e-2  # its weights are stored with unit variance: a step moves them little
    adversarial_share: float = 0.3  # of both rates, in the adversarial stage
    critic_rate: float = 2e-3
    adversarial_weight: float = 0.1
    matching_weight: float = 0.5
    penalty_weight: float = 0.2
    penalty_every: int = 16
    ema: float = 0.99


class Pair(nn.Module):
    """Encoder and generator, trained together."""

    def __init__(self, encoder: PcaEncoder, generator: Generator) -> None:
        super().__init__()
        self.encoder, self.generator = encoder, generator

    def forward(self, images: Images, mixture: "Mixture") -> Float[Tensor, "targets 3 size size"]:
        """Images of the encoder's size to images of the generator's, from mixed codes."""
        return self.generator(mixture.apply(self.encoder(images))[:, : self.generator.n_latent])


@dataclass(frozen=True)
class Mixture:
    """Which encoded image each target takes its codes from.

    Attributes:
        shape: ``(T,)`` source of the coarse and medium codes.
        color: ``(T,)`` source of the fine codes.
        single: ``(B,)`` True where an encoded image is read as one code for all layers (W instead of W+).
    """

    shape: Tensor
    color: Tensor
    single: Tensor

    def apply(self, codes: WPlus) -> WPlus:
        fine = HAIR_GROUPS[1]
        codes = torch.where(self.single[:, None, None], codes[:, :1], codes)
        return torch.cat([codes[self.shape, :fine], codes[self.color, fine:]], dim=1)


@dataclass(frozen=True)
class Draw:
    """What one step looks at: portraits to encode and portraits to make, by flat index, and how codes are mixed."""

    encoded: np.ndarray
    targets: np.ndarray
    mixture: Mixture


def draw(quads: Quads, chosen: np.ndarray, share_w: float, rng: np.random.Generator) -> Draw:
    """Two portraits of every chosen quad are encoded: head a in one colour, head b in the other.

    Asked for are head a or b in the other's colour, and one of the two as it is. A bald head lends no colour.
    """
    count = len(chosen)
    color = rng.integers(0, 2, count)
    encoded = np.stack([chosen * 4 + color, chosen * 4 + 2 + (1 - color)], 1)
    first = np.arange(count) * 2  # position of head a among the encoded
    bald = quads.style_names.index("bald") if "bald" in quads.style_names else -1
    swapped, kept = rng.integers(0, 2, count), rng.integers(0, 2, count)
    lends = quads.styles[chosen, 1 - swapped, 0] != bald
    lender = np.where(lends, 1 - swapped, swapped)
    swap_color = np.where(lender == 0, color, 1 - color)
    targets = np.stack([chosen * 4 + swapped * 2 + swap_color, np.where(kept == 0, encoded[:, 0], encoded[:, 1])], 1)
    shape = np.stack([first + swapped, first + kept], 1)
    source = np.stack([first + lender, first + kept], 1)
    # W or W+ is drawn for the whole quad: a code is read as one or the other, never half and half.
    single = np.repeat(rng.random(count) < share_w, 2)
    mixture = Mixture(*(torch.from_numpy(part.reshape(-1)) for part in (shape, source, single)))
    return Draw(encoded.reshape(-1), targets.reshape(-1), mixture)


def reconstruction_loss(made: Images, real: Images, weight: Float[Tensor, "batch 1 height width"]) -> Tensor:
    """L1 and L2 of pixels, L1 of smaller copies (form) and of neighbour differences (strands)."""
    error = made - real
    loss = (weight * (error.abs() + error.square())).mean()
    loss = (
        loss
        + (weight[..., 1:] * error.diff(dim=3).abs()).mean()
        + (weight[..., 1:, :] * error.diff(dim=2).abs()).mean()
    )
    for factor in (4, 16):
        loss = loss + F.avg_pool2d(error, factor).abs().mean()
    return loss


def region_weight(labels: np.ndarray) -> Float[Tensor, "batch 1 height width"]:
    """Background half as heavy as the person."""
    return torch.from_numpy(np.where(labels == 0, 0.6, 1.2).astype(np.float32))[:, None]


class GeneratorFit:
    """One stage at a time; `fit` runs all of them."""

    def __init__(self, quads: Quads, recipe: GeneratorRecipe, folder: Path, device: torch.device) -> None:
        self.quads, self.recipe, self.folder, self.device = quads, recipe, folder, device
        torch.manual_seed(0)  # initial weights
        n_latent = 2 * (recipe.size.bit_length() - 1) - 2
        encoder = PcaEncoder(n_latent=n_latent, w_dim=recipe.w_dim, **recipe.encoder)  # type: ignore[arg-type]
        sample = np.random.default_rng(0).permutation(len(quads) * 4)[: recipe.component_images]
        encoder.fit_components(images_at(quads, sample, torch.device("cpu")))
        self.pair = Pair(encoder, self._generator(recipe.size)).to(device)
        self.mean = copy.deepcopy(self.pair).requires_grad_(False)

    def _generator(self, size: int) -> Generator:
        recipe = self.recipe
        return Generator(size=size, w_dim=recipe.w_dim, z_dim=recipe.w_dim, mapping_layers=4, channels=recipe.channels)

    def fit(self) -> Pair:
        recipe = self.recipe
        full = self.pair.generator
        if not (self.folder / "generator-full.pt").exists():
            self.pair.generator = self._generator(recipe.size // 2).to(self.device)
            self.mean = copy.deepcopy(self.pair).requires_grad_(False)
            self._reconstruct("generator-half", recipe.half_steps)
            full.load_state_dict({**full.state_dict(), **_shared(self.pair.generator, full)})
        self.pair.generator = full
        self.mean = copy.deepcopy(self.pair).requires_grad_(False)
        self._reconstruct("generator-full", recipe.full_steps)
        self._adversarial("generator", recipe.adversarial_steps)
        return self.mean.eval()

    def _batch(self, rng: np.random.Generator) -> tuple[Images, Images, Tensor, Mixture]:
        """Images to encode, images to make with the weight of each pixel, and how codes are mixed."""
        chosen = rng.choice(len(self.quads), self.recipe.quads_per_batch, replace=False)
        drawn = draw(self.quads, chosen, self.recipe.share_w, rng)
        images, real = (images_at(self.quads, index, self.device) for index in (drawn.encoded, drawn.targets))
        weight = region_weight(pick(self.quads.labels, drawn.targets)).to(self.device)
        if rng.random() < 0.5:
            images, real, weight = (x.flip(3) for x in (images, real, weight))
        return images, real.contiguous(memory_format=torch.channels_last), weight, drawn.mixture

    def _reconstruct(self, name: str, steps: int) -> None:
        size = self.pair.generator.size
        optimizer = self._optimizer(share=1.0, betas=(0.9, 0.99))

        def step(index: int, rng: np.random.Generator) -> StepLog:
            images, real, weight, mixture = self._batch(rng)
            _set_rate(optimizer, cosine(index, steps, floor=0.3))
            with autocast(self.device):
                made = self.pair(images, mixture).float()
            factor = real.shape[-1] // size
            real, weight = F.avg_pool2d(real, factor), F.avg_pool2d(weight, factor)
            loss = reconstruction_loss(made, real, weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            self._average(index)
            return {"loss": loss.item(), "psnr": _psnr(made, real)}

        state: dict[str, Stateful] = {"pair": self.pair, "mean": self.mean, "optimizer": optimizer}
        run(name, steps=steps, state=state, step=step, folder=self.folder, seed=1)

    def _adversarial(self, name: str, steps: int) -> None:
        recipe = self.recipe
        critic = Discriminator(recipe.size, recipe.critic_channels).to(self.device)
        optimizer = self._optimizer(share=recipe.adversarial_share, betas=(0.5, 0.99))
        critic_optimizer = torch.optim.Adam(critic.parameters(), lr=recipe.critic_rate, betas=(0.0, 0.99))

        def step(index: int, rng: np.random.Generator) -> StepLog:
            images, real, weight, mixture = self._batch(rng)
            _set_rate(optimizer, cosine(index, steps))
            with autocast(self.device):
                made = self.pair(images, mixture).float()
                critic.requires_grad_(False)
                fake_logits, fake_features = critic(made)
                with torch.no_grad():
                    _, real_features = critic(real)
            pairs = zip(fake_features, real_features, strict=True)
            matching = torch.stack([F.l1_loss(f.float(), r.float()) for f, r in pairs]).sum()
            loss = reconstruction_loss(made, real, weight) + recipe.matching_weight * matching
            loss = loss + recipe.adversarial_weight * F.softplus(-fake_logits).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            critic.requires_grad_(True)
            with autocast(self.device):
                logits, _ = critic(torch.cat([made.detach(), real]))
            fake_logits, real_logits = logits.chunk(2)
            critic_loss = F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()
            if index % recipe.penalty_every == 0:
                penalty = gradient_penalty(critic, real[: len(real) // 2])
                critic_loss = critic_loss + recipe.penalty_weight / 2 * recipe.penalty_every * penalty
            critic_optimizer.zero_grad(set_to_none=True)
            critic_loss.backward()
            critic_optimizer.step()
            self._average(index + 1000)
            return {
                "psnr": _psnr(made, real),
                "match": float(matching.detach()),
                "fake": fake_logits.mean().item(),
                "real": real_logits.mean().item(),
            }

        parts: dict[str, Stateful] = {"pair": self.pair, "mean": self.mean, "critic": critic}
        state = {**parts, "optimizer": optimizer, "critic_optimizer": critic_optimizer}
        run(name, steps=steps, state=state, step=step, folder=self.folder, seed=2)

    def _optimizer(self, *, share: float, betas: tuple[float, float]) -> torch.optim.Adam:
        """One group of parameters for the encoder and one for the generator, each with its own peak rate."""
        rates = {"encoder": share * self.recipe.rate, "generator": share * self.recipe.generator_rate}
        groups = [{"params": [*getattr(self.pair, part).parameters()], "peak": rate} for part, rate in rates.items()]
        return torch.optim.Adam(groups, betas=betas)

    @torch.no_grad()
    def _average(self, index: int) -> None:
        """Exponential moving average of the weights; shorter at the beginning."""
        decay = min(self.recipe.ema, (index + 1) / (index + 10))
        for mean, value in zip(self.mean.parameters(), self.pair.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)
        for kept, latest in zip(self.mean.buffers(), self.pair.buffers(), strict=True):
            kept.copy_(latest)


def _set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def _shared(source: nn.Module, target: nn.Module) -> dict[str, Tensor]:
    """Tensors that a smaller generator shares with a larger one."""
    wanted = target.state_dict()
    return {k: v for k, v in source.state_dict().items() if k in wanted and wanted[k].shape == v.shape}


def _psnr(made: Images, real: Images) -> float:
    """Mean over images, dB, for values in [-1, 1]."""
    error = (made.detach().clamp(-1, 1) - real).square().mean(dim=(1, 2, 3))
    return (10 * torch.log10(4 / error.clamp(min=1e-10))).mean().item()

"""Train the generator and its encoder from rendered quads, so that W+ holds what HairCLIP relies on.

1. The generator learns to draw portraits from their traits (`hairclip.portraits.fit.traits`). A *coder* turns traits
   into a latent w. The target is a head of one portrait in the hair color of another. Its code is a *mixture*: coarse
   and medium layers come from the head, fine layers from the color. So coarse and medium layers must hold people,
   scenes and hairstyles, and fine layers must hold hair color. The renderer has drawn the exact answer. The generator
   grows from 32 pixels to full size (Karras et al. 2018, "Progressive Growing of GANs"), because small pictures cost
   little.
2. The encoder learns to read codes from pictures. They start near the coder's codes and may leave them, layer by
   layer, where that brings the generated picture closer. `code_weight` sets how far: the trade-off between distortion
   and editability (Tov et al. 2021).
3. Generator and encoder train together for a while, then the encoder alone.

Faces and scenes are compared pixel by pixel. Strands are compared less so, because a few hundred numbers cannot say
where each one lies; their energy is compared as well (`hairclip.portraits.fit.texture`). The frozen recognizers
(parser, CLIP, identity) must see in a generated picture what they see in the rendered one, because edits are steered
by them. They take part from the start: with an encoder that was trained on pixels alone, 85 % of the hairstyles could
be recognized in the generated pictures; with recognizers 98 %.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.common.averages import moving_average, update_average
from hairclip.common.images import Images, Latents, WPlus
from hairclip.common.metrics import psnr
from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.networks.pca_encoder import PcaEncoder
from hairclip.networks.stylegan2 import Generator
from hairclip.networks.stylegan2_growth import shared_tensors
from hairclip.portraits.fit.data import Quads, images_at, labels_at
from hairclip.portraits.fit.likeness import Recognizers, reconstruction_loss, region_weight
from hairclip.portraits.fit.loop import Stateful, StepLog, autocast, run
from hairclip.portraits.fit.mixture import Batch, draw
from hairclip.portraits.fit.optimizers import Group, Optimizers
from hairclip.portraits.fit.texture import OrientedEnergy
from hairclip.portraits.fit.traits import TraitCoder, quad_traits


@dataclass(frozen=True)
class GeneratorRecipe:
    """All settings of the recipe. Rates are those of the optimizers, weights those of the loss terms."""

    size: int = 128
    w_dim: int = 128
    channels: dict[int, int] = field(default_factory=lambda: {4: 128, 8: 128, 16: 128, 32: 96, 64: 64, 128: 32})
    coder_width: int = 384
    encoder: dict[str, object] = field(
        default_factory=lambda: {"input_size": 128, "widths": (32, 64, 128, 256), "blocks": (1, 1, 2, 3), "neck": 16}
    )
    component_images: int = 4000
    quads_per_batch: int = 8
    growth: dict[int, int] = field(default_factory=lambda: {32: 1800, 64: 1400, 128: 4200})  # steps at each size
    first_reading: int = 1500  # steps of the encoder, before generator and encoder train together
    joint_steps: int = 360
    last_reading: int = 14300
    told: float = 0.15  # share of quads that stay told, not read, while both train together
    coder_rate: float = 2e-3
    encoder_rate: float = 1e-3
    read_out_rate: float = 5e-4  # of the encoder's linear maps to codes
    generator_rate: float = 8e-3  # of biases and noise strengths
    filter_rate: float = 2.5e-2  # of its weight matrices, which are stored with unit variance
    encoder_filter_rate: float = 2e-3  # likewise of the encoder's
    code_weight: float = 0.01
    square_weight: float = 40.0  # of squared errors, while the encoder learns to read
    texture_weight: float = 4.0
    parser_weight: float = 0.03
    clip_weight: float = 0.2
    identity_weight: float = 0.1
    guided: int = 6  # samples of a batch that the recognizers look at
    read_guided: int = 4  # likewise while the encoder learns to read
    joint_shares: dict[str, float] = field(default_factory=lambda: {"encoder": 0.3, "generator": 0.15})  # of the rates
    ema: float = 0.995


class Networks(nn.Module):
    """The networks that are trained: coder and encoder make codes, the generator makes pictures of them."""

    def __init__(self, coder: TraitCoder, encoder: PcaEncoder, generator: Generator) -> None:
        super().__init__()
        self.coder, self.encoder, self.generator = coder, encoder, generator


class GeneratorFit:
    """Train the networks of `GeneratorRecipe`, stage by stage.

    Args:
        quads: rendered pictures of training people.
        recipe: all settings.
        recognizers: frozen networks that compare generated with rendered pictures.
        folder: where the checkpoints of the stages are kept.
        device: where to train.
        compiled: whether to run the generator through `torch.compile`.
    """

    def __init__(
        self,
        quads: Quads,
        recipe: GeneratorRecipe,
        recognizers: Recognizers,
        folder: Path,
        device: torch.device,
        *,
        compiled: bool = False,
    ) -> None:
        self.quads, self.recipe, self.folder, self.device = quads, recipe, folder, device
        self.recognizers, self.energy = recognizers, OrientedEnergy().to(device)
        self.compiled = compiled
        recognizers.freeze(device)
        self.traits = quad_traits(quads)
        torch.manual_seed(0)  # initial weights
        n_latent = 2 * (recipe.size.bit_length() - 1) - 2
        encoder = PcaEncoder(n_latent=n_latent, w_dim=recipe.w_dim, **recipe.encoder)  # type: ignore[arg-type]
        sample = np.random.default_rng(0).permutation(len(quads) * 4)[: recipe.component_images]
        encoder.fit_components(images_at(quads, sample, torch.device("cpu")))
        coder = TraitCoder(self.traits.shape[1], recipe.w_dim, recipe.coder_width)
        self.networks = Networks(coder, encoder, self._generator(min(recipe.growth))).to(device)
        self.average = moving_average(self.networks, recipe.ema)

    @property
    def mean(self) -> Networks:
        """The networks with averaged weights."""
        mean: Networks = self.average.module
        return mean

    def _generator(self, size: int) -> Generator:
        recipe = self.recipe
        made = Generator(size=size, w_dim=recipe.w_dim, z_dim=recipe.w_dim, mapping_layers=4, channels=recipe.channels)
        for output in made.to_rgb:  # a new resolution adds nothing at first: no noise has to be unlearned
            nn.init.zeros_(output.weight)  # type: ignore[arg-type]
        return made

    def fit(self) -> Networks:
        """Train all stages and return the networks with averaged weights."""
        for size, steps in sorted(self.recipe.growth.items()):
            if size > self.networks.generator.size:
                self._grow(size)
            self._draw_what_is_told(f"generator-{size}", steps)
        self._read("encoder-first", self.recipe.first_reading)
        self._train_both(self.recipe.joint_steps)
        self._read("encoder", self.recipe.last_reading)
        return self.mean.eval().requires_grad_(False)

    @torch.no_grad()
    def told_latents(self) -> Latents:
        """Return the latent w that the averaged coder makes of each portrait's traits, by flat index."""
        return self.mean.coder(self.traits.to(self.device)).cpu()

    def _grow(self, size: int) -> None:
        """Replace the generator by a larger one that starts from the averaged weights."""
        self.networks.load_state_dict(self.mean.state_dict())
        larger = self._generator(size).to(self.device)
        larger.load_state_dict({**larger.state_dict(), **shared_tensors(self.networks.generator, larger)})
        self.networks.generator = larger
        self.average = moving_average(self.networks, self.recipe.ema)

    def _batch(self, rng: np.random.Generator) -> Batch:
        chosen = rng.choice(len(self.quads), self.recipe.quads_per_batch, replace=False)
        drawn = draw(self.quads, chosen, rng)
        images, real = (images_at(self.quads, index, self.device) for index in (drawn.encoded, drawn.targets))
        return Batch(
            traits=self.traits[torch.from_numpy(drawn.encoded)].to(self.device),
            images=images,
            real=real.contiguous(memory_format=torch.channels_last),
            labels=labels_at(self.quads, drawn.targets, self.device),
            mixture=drawn.mixture,
        )

    def _told(self, batch: Batch) -> WPlus:
        """Return the codes that the coder makes of a batch's traits, the same in all layers."""
        return self.networks.coder(batch.traits)[:, None].expand(-1, self.networks.encoder.n_latent, -1)

    def _loss(self, made: Images, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of generated pictures, and its terms as numbers; below the full size only pixels count."""
        recipe = self.recipe
        factor = batch.real.shape[-1] // made.shape[-1]
        real, weight = batch.real, region_weight(batch.labels)
        if factor > 1:
            real, weight = F.avg_pool2d(real, factor), F.avg_pool2d(weight, factor)
        loss = reconstruction_loss(made, real, weight)
        figures = {"psnr": psnr(made.detach(), real).mean().item()}
        if factor > 1:
            return loss, figures
        texture = self.energy.distance(made, real)
        guidance, terms = self._guidance(made, batch, recipe.guided)
        return loss + guidance + recipe.texture_weight * texture, figures | terms | {"texture": texture.item()}

    def _guidance(self, made: Images, batch: Batch, count: int) -> tuple[Tensor, dict[str, float]]:
        """Return the weighted loss of the recognizers on the first `count` samples, and its terms as numbers."""
        recipe, some = self.recipe, slice(None, count)
        terms = self.recognizers.disagreement(made[some], batch.real[some], batch.labels[some])
        weights = {"parser": recipe.parser_weight, "clip": recipe.clip_weight, "identity": recipe.identity_weight}
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return total, {name: term.item() for name, term in terms.items()}

    def _draw_what_is_told(self, name: str, steps: int) -> None:
        """Train coder and generator."""
        optimizer = self._optimizers(["coder", "generator"])
        generator = self._fast(self.networks.generator)
        floor = 0.02 if self.networks.generator.size == self.recipe.size else 0.3

        def step(index: int, rng: np.random.Generator) -> StepLog:
            batch = self._batch(rng)
            optimizer.set_rate(warm_up_then_half_cosine(index, steps, floor=floor, warmup=100))
            with autocast(self.device):
                codes = batch.mixture.apply(self._told(batch))[:, : self.networks.generator.n_latent]
                loss, figures = self._loss(generator(codes).float(), batch)
            self._descend(optimizer, loss, index)
            return figures

        state: dict[str, Stateful] = {"networks": self.networks, "mean": self.mean, "optimizer": optimizer}
        run(name, steps=steps, state=state, step=step, folder=self.folder, seed=1)

    def _read(self, name: str, steps: int) -> None:
        """Train the encoder, towards pictures, what is recognized in them, and the codes that the coder tells."""
        recipe = self.recipe
        self.networks.load_state_dict(self.mean.state_dict())
        self.networks.requires_grad_(False).encoder.requires_grad_(True)
        optimizer = self._optimizers(["encoder"])
        generator = self._fast(self.networks.generator)

        def step(index: int, rng: np.random.Generator) -> StepLog:
            batch = self._batch(rng)
            optimizer.set_rate(warm_up_then_half_cosine(index, steps, warmup=30))
            with autocast(self.device):
                read = self.networks.encoder(batch.images)
                off = self._code_error(read, batch)
                made = generator(batch.mixture.apply(read)).float()
                guidance, terms = self._guidance(made, batch, recipe.read_guided)
            everywhere = torch.ones_like(made[:, :1])  # alike: what an encoder is asked for is the picture as it is
            loss = reconstruction_loss(made, batch.real, everywhere)
            loss = loss + recipe.square_weight * (made - batch.real).square().mean()
            self._descend(optimizer, loss + guidance + recipe.code_weight * off, index)
            return {"psnr": psnr(made.detach(), batch.real).mean().item(), "code": off.item(), **terms}

        state: dict[str, Stateful] = {"networks": self.networks, "mean": self.mean, "optimizer": optimizer}
        run(name, steps=steps, state=state, step=step, folder=self.folder, seed=2)

    def _train_both(self, steps: int) -> None:
        """Train encoder and generator together; the coder stays, and with it what codes mean."""
        recipe = self.recipe
        self.networks.load_state_dict(self.mean.state_dict())
        self.networks.requires_grad_(True).coder.requires_grad_(False)
        optimizer = self._optimizers(["encoder", "generator"], shares=recipe.joint_shares)
        generator = self._fast(self.networks.generator)

        def step(index: int, rng: np.random.Generator) -> StepLog:
            batch = self._batch(rng)
            optimizer.set_rate(warm_up_then_half_cosine(index, steps, warmup=100))
            with autocast(self.device):
                read = self.networks.encoder(batch.images)
                off = self._code_error(read, batch)
                stay = torch.from_numpy(np.repeat(rng.random(recipe.quads_per_batch) < recipe.told, 2))
                codes = torch.where(stay.to(self.device)[:, None, None], self._told(batch), read)
                loss, figures = self._loss(generator(batch.mixture.apply(codes)).float(), batch)
            self._descend(optimizer, loss + recipe.code_weight * off, index)
            return {**figures, "code": off.item()}

        state: dict[str, Stateful] = {"networks": self.networks, "mean": self.mean, "optimizer": optimizer}
        run("joint", steps=steps, state=state, step=step, folder=self.folder, seed=3)

    def _code_error(self, read: WPlus, batch: Batch) -> Float[Tensor, ""]:
        """Return the mean squared distance of the encoder's codes from the coder's, in units of their variance."""
        with torch.no_grad():
            told = self._told(batch)
            unit = told.var(dim=0).mean()
        return (read - told).square().mean() / unit

    def _fast(self, generator: Generator) -> Callable[[WPlus], Images]:
        """Return the generator, compiled if asked for: about a quarter faster, after a minute or two."""
        return torch.compile(generator, dynamic=False) if self.compiled else generator

    def _optimizers(self, names: Sequence[str], *, shares: Mapping[str, float] | None = None) -> Optimizers:
        """Return Muon for the weight matrices of the named networks, and Adam for everything else of them.

        Args:
            names: some of "coder", "encoder", "generator".
            shares: factor of a network's rates, by name; 1 where it is missing.
        """
        recipe = self.recipe
        rates = {"coder": recipe.coder_rate, "encoder": recipe.encoder_rate, "generator": recipe.generator_rate}
        matrix_rates = {"encoder": recipe.encoder_filter_rate, "generator": recipe.filter_rate}
        matrices: list[Group] = []
        others: list[Group] = []
        for name in names:
            share = (shares or {}).get(name, 1.0)
            kinds: dict[str, list[nn.Parameter]] = {"filter": [], "read_out": [], "other": []}
            for key, parameter in getattr(self.networks, name).named_parameters():
                kinds[_kind(name, key, parameter)].append(parameter)
            others.append((kinds["other"], share * rates[name]))
            if kinds["read_out"]:
                others.append((kinds["read_out"], share * recipe.read_out_rate))
            if kinds["filter"]:
                matrices.append((kinds["filter"], share * matrix_rates[name]))
        return Optimizers(matrices, others)

    def _descend(self, optimizers: Optimizers, loss: Tensor, index: int) -> None:
        """Take step number `index` down the gradient of a loss, and average the weights."""
        optimizers.descend(loss)
        update_average(self.average, self.networks, index)


def _kind(name: str, key: str, parameter: nn.Parameter) -> str:
    """Return how a parameter is trained: "filter" by Muon, "read_out" and "other" by Adam at rates of their own.

    The encoder's linear maps to codes are too wide for it: orthogonalizing them took a third of every step.
    """
    if name == "coder" or parameter.ndim < 2 or key.startswith("mapping"):
        return "other"
    return "read_out" if name == "encoder" and key.startswith(("linear", "correction")) else "filter"

"""Grow a finished generator by one resolution or more, and teach it strands that lie where hair flows.

1. The *strand field*, a small head, learns to read from the generator's activations where hair is and which way it
   flows. The renderer knows the true direction at every pixel. The pictures are encoded first, so that the head reads
   what the generator makes of codes.
2. The generator grows. Its new layers, and those of its last old resolution, learn to draw the rendered picture from
   noise that is smeared along the field (`hairclip.networks.strands`). They need not say where each strand lies, only
   how strong strands are: hair is compared by its local energy and by its blurred colors, everything else by pixels.

The lower layers stay, and with them what codes mean: encoder, mapper and latents of the smaller generator fit the
larger one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.common.averages import moving_average, update_average
from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, Labels, resize_area
from hairclip.common.metrics import psnr
from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.networks.stylegan2 import Generator
from hairclip.networks.stylegan2_growth import grow
from hairclip.networks.stylegan2_layers import ModulatedConv
from hairclip.portraits.fit.likeness import reconstruction_loss, region_weight
from hairclip.portraits.fit.loop import Stateful, StepLog, autocast, run
from hairclip.portraits.fit.optimizers import Optimizers
from hairclip.portraits.fit.people import RenderedPeople
from hairclip.portraits.fit.texture import OrientedEnergy

__all__ = ["StrandRecipe", "direction_loss", "fit_strands", "hair_texture_loss"]


@dataclass(frozen=True)
class StrandRecipe:
    """All settings. Rates are peaks; weights are those of the loss terms.

    Attributes:
        channels: channels of the new resolutions.
        field_steps, field_batch, field_rate: of the strand field.
        steps, batch: of the grown generator.
        filter_rate: of its weight matrices (Muon).
        rate: of its biases, styles and noise strengths (Adam).
        hair_pixels: factor of the errors of single hair pixels: where each strand lies is not asked.
        blurred: weight of hair's error after each blur.
        energy: weight of the difference of local energies.
        scales: octaves of these energies.
        read_at: the resolution whose activations tell the field.
        half_length: of a strand, in sides of the picture.
        first_noise: noise strength that the layers above `read_at` start from.
    """

    channels: Mapping[int, int] = field(default_factory=lambda: {256: 20})
    field_steps: int = 1200
    field_batch: int = 16
    field_rate: float = 2e-3
    steps: int = 1800
    batch: int = 8
    filter_rate: float = 2.5e-2
    rate: float = 8e-3
    hair_pixels: float = 0.1
    blurred: float = 0.7
    energy: float = 14.0
    scales: int = 3
    read_at: int = 64
    half_length: float = 0.05
    first_noise: float = 0.1


@dataclass(frozen=True)
class _Batch:
    """Rendered people.

    Attributes:
        images: (B, 3, S, S) in [-1, 1].
        labels: (B, S, S).
        coverage: (B, 1, S, S), how much of each pixel hair covers.
        direction: (B, 2, S, S), double-angle direction of hair, as long as strands agree.
    """

    images: Images
    labels: Labels
    coverage: Float[Tensor, "batch 1 height width"]
    direction: Float[Tensor, "batch 2 height width"]


def fit_strands(
    people: RenderedPeople,
    encoder: nn.Module,
    generator: Generator,
    folder: Path,
    device: torch.device,
    *,
    recipe: StrandRecipe | None = None,
) -> Generator:
    """Return a generator of the size of `people` that draws strands, with averaged weights.

    Args:
        people: rendered pictures of training people, with coverage and direction of hair.
        encoder: frozen, from pictures to W+ codes of `generator`.
        generator: a smaller one, without strands. It stays as it is.
        folder: where the checkpoints of the two stages are kept; a training continues from them.
        device: where to train.
        recipe: all settings; None takes the defaults.

    Raises:
        HairclipError: if the people are not larger than the generator's pictures, or for a checkpoint that cannot be
            continued.
    """
    recipe = recipe or StrandRecipe()
    if people.size <= generator.size:
        raise HairclipError(
            f"the people are rendered at {people.size} px and the generator draws {generator.size} px: render them "
            "larger, so that there are strands to learn."
        )
    return _StrandFit(people, encoder, generator, folder, device, recipe).fit()


class _StrandFit:
    def __init__(
        self,
        people: RenderedPeople,
        encoder: nn.Module,
        generator: Generator,
        folder: Path,
        device: torch.device,
        recipe: StrandRecipe,
    ) -> None:
        self.people, self.recipe, self.folder, self.device = people, recipe, folder, device
        self.encoder = encoder.to(device).eval().requires_grad_(False)
        torch.manual_seed(0)  # initial weights
        higher = [size for size in (recipe.read_at << step for step in range(1, 8)) if size <= people.size]
        steps = {size: max(1, round(recipe.half_length * size)) for size in higher}
        strands = {"read_at": recipe.read_at, "steps": steps}
        self.grown = grow(generator, people.size, recipe.channels, strands=strands).to(device)
        for layer in self._layers_above():
            nn.init.constant_(layer.noise_strength, recipe.first_noise)
        self.energy = OrientedEnergy(scales=recipe.scales).to(device)

    def fit(self) -> Generator:
        """Train both stages."""
        self._learn_field()
        return self._learn_strands()

    def _layers_above(self) -> list[ModulatedConv]:
        """Return the layers that get strands."""
        return [one for one in self.grown.layers if isinstance(one, ModulatedConv) and one.size > self.recipe.read_at]

    def _batch(self, rng: np.random.Generator, count: int) -> _Batch:
        people = [self.people.draw(rng) for _ in range(count)]
        return _Batch(
            images=torch.stack([one.pixels for one in people]).to(self.device) * 2 - 1,
            labels=torch.stack([one.labels for one in people]).to(self.device),
            coverage=torch.stack([one.coverage for one in people])[:, None].to(self.device),
            direction=torch.stack([one.direction for one in people]).to(self.device),
        )

    def _learn_field(self) -> None:
        """Train the strand field on the activations that codes of rendered people give."""
        recipe, grown = self.recipe, self.grown
        grown.requires_grad_(False)
        head = grown.strands
        assert head is not None
        head.requires_grad_(True)
        optimizer = torch.optim.AdamW(head.parameters(), lr=recipe.field_rate, weight_decay=1e-3)

        def step(index: int, rng: np.random.Generator) -> StepLog:
            batch = self._batch(rng, recipe.field_batch)
            with torch.no_grad():
                activations = grown.activations(self.encoder(batch.images), recipe.read_at)
            with autocast(self.device):
                read = head.layers(activations).float()
            loss, agreement = direction_loss(read[:, :2], read[:, 2:], batch.direction, batch.coverage)
            for group in optimizer.param_groups:
                group["lr"] = recipe.field_rate * warm_up_then_half_cosine(index, recipe.field_steps, warmup=20)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return {"loss": loss.item(), "agreement": agreement.item()}

        state: dict[str, Stateful] = {"generator": grown, "optimizer": optimizer}
        run("strand-field", steps=recipe.field_steps, state=state, step=step, folder=self.folder, seed=11)

    def _learn_strands(self) -> Generator:
        """Train the layers above `read_at`."""
        recipe, grown = self.recipe, self.grown
        layers = self._layers_above()
        trained = nn.ModuleList([*layers, *grown.to_rgb[len(grown.to_rgb) - len(layers) // 2 :]])
        grown.requires_grad_(False)
        trained.requires_grad_(True)
        parameters = list(trained.parameters())
        optimizer = Optimizers(
            [([p for p in parameters if p.ndim == 4], recipe.filter_rate)],
            [([p for p in parameters if p.ndim < 4], recipe.rate)],
        )
        average = moving_average(grown, 0.99)

        def step(index: int, rng: np.random.Generator) -> StepLog:
            batch = self._batch(rng, recipe.batch)
            with torch.no_grad():
                codes = self.encoder(batch.images)
            optimizer.set_rate(warm_up_then_half_cosine(index, recipe.steps, warmup=50, floor=0.02))
            with autocast(self.device):
                made = grown(codes).float()
            loss, figures = self._loss(made, batch)
            optimizer.descend(loss)
            update_average(average, grown, index)
            return figures

        state: dict[str, Stateful] = {"generator": grown, "average": average, "optimizer": optimizer}
        run("strands", steps=recipe.steps, state=state, step=step, folder=self.folder, seed=12)
        averaged: Generator = average.module
        return averaged.eval().requires_grad_(False)

    def _loss(self, made: Images, batch: _Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of generated pictures, and its terms as numbers."""
        recipe = self.recipe
        kept = batch.images + (made - batch.images) * (1 - (1 - recipe.hair_pixels) * batch.coverage)
        pixels = reconstruction_loss(kept, batch.images, region_weight(batch.labels))
        texture, blurred = hair_texture_loss(self.energy, made, batch.images, batch.coverage)
        figures = {"psnr": psnr(made.detach(), batch.images).mean().item(), "energy": texture.item()}
        return pixels + recipe.blurred * blurred + recipe.energy * texture, figures


def direction_loss(
    direction: Float[Tensor, "batch 2 rows columns"],
    logits: Float[Tensor, "batch 1 rows columns"],
    true_direction: Float[Tensor, "batch 2 height width"],
    true_coverage: Float[Tensor, "batch 1 height width"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the loss of a strand field, and how well its directions agree with the true ones.

    The loss is the squared error of the vectors, which makes their length the confidence, plus one minus the cosine of
    the double angles where strands agree, plus the binary cross entropy of the coverage. The agreement is the mean
    |cos| of the angle between strands, weighted by how far the true strands agree.

    Args:
        direction: (cos 2a, sin 2a) times the confidence.
        logits: of the coverage.
        true_direction: of the renderer, at a multiple of the field's size.
        true_coverage: of the renderer, in [0, 1].
    """
    wanted, covered = (resize_area(part, direction.shape[-1]) for part in (true_direction, true_coverage))
    length = wanted.norm(dim=1)
    along = (direction * wanted).sum(dim=1) / (direction.norm(dim=1) + 0.05)
    loss = 4 * F.mse_loss(direction, wanted) + (length - along).mean()
    loss = loss + 0.5 * F.binary_cross_entropy_with_logits(logits, covered)
    with torch.no_grad():
        cosine = F.cosine_similarity(direction, wanted, dim=1)
        agreement = ((length * ((1 + cosine) / 2).clamp_min(0).sqrt()).sum() / length.sum().clamp_min(1e-6)).float()
    return loss, agreement


def hair_texture_loss(
    energy: OrientedEnergy, made: Images, real: Images, coverage: Float[Tensor, "batch 1 height width"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return how far the local energies of hair are from the true ones, and how far its blurred colors are.

    Args:
        energy: the filters.
        made, real: pictures.
        coverage: how much of each pixel hair covers. Elsewhere energies count 0.2.
    """
    texture = energy.distance(made, real, 0.2 + coverage)
    error = (made - real) * coverage
    blurred = torch.stack([F.avg_pool2d(error, factor).abs().mean() for factor in (8, 16)]).sum()
    return texture, blurred

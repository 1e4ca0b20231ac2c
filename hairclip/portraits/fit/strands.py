"""Grow a finished generator by one resolution or more, and teach it strands that lie where hair flows.

1. The *strand field*, a small head, learns to read from the generator's activations where hair is and which way it
   flows. The renderer knows the true direction at every pixel. The pictures are encoded first, so that the head reads
   what the generator makes of codes.
2. The grown generator learns two things at once. Its layers learn to draw the rendered picture without strands: no code
   says where each strand lies, so pixels ask for a smooth picture. The strand field learns how strong strands of each
   width are, and how far they stick out of the outline: hair with strands must have the local energy of the rendered
   hair (`hairclip.portraits.fit.texture`). The energy of hair does not change the smooth picture, in which layers would
   draw blotches to reach it.

The target of half of the samples is a head of one portrait in the hair color of another, as where the smaller generator
was trained (`hairclip.portraits.fit.mixture`), so that the fine codes keep the color of hair. The codes come from a
frozen encoder and keep their meaning: encoder, mapper and latents of the smaller generator fit the larger one.
"""

import copy
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
from hairclip.networks.strands import HairField, StrandField, lay_strands
from hairclip.networks.stylegan2 import Generator
from hairclip.networks.stylegan2_growth import grow
from hairclip.portraits.fit.likeness import Recognizers, reconstruction_loss, region_weight
from hairclip.portraits.fit.loop import Stateful, StepLog, autocast, run
from hairclip.portraits.fit.mixture import FIRST_FINE
from hairclip.portraits.fit.optimizers import Optimizers
from hairclip.portraits.fit.people import RenderedPeople
from hairclip.portraits.fit.texture import OrientedEnergy

__all__ = ["StrandRecipe", "direction_loss", "fit_strands", "strand_loss"]


@dataclass(frozen=True)
class StrandRecipe:
    """All settings. Rates are peaks; weights are those of the loss terms.

    Attributes:
        channels: channels of the new resolutions.
        strands: settings of the grown generator's strands, see `Generator`.
        field_steps, field_batch, field_rate: of the strand field alone.
        steps, batch: of the grown generator.
        filter_rate: of its weight matrices (Muon).
        rate: of its biases and styles (Adam).
        strand_rate: of the strand field meanwhile (Adam).
        direction: weight of the strand field's own loss meanwhile.
        energy: weight of the difference of hair's local energies.
        face_energy: weight of the difference of all other local energies.
        scales: octaves of these energies.
        window: of hair's energies, pixels of each scale.
        swapped: share of the samples with the hair color of another portrait.
        guided: samples of a batch that the recognizers look at.
        parser, clip, identity: weights of the recognizers' terms.
    """

    channels: Mapping[int, int] = field(default_factory=lambda: {256: 20})
    strands: Mapping[str, float] = field(default_factory=lambda: {"read_at": 64})
    field_steps: int = 1200
    field_batch: int = 16
    field_rate: float = 2e-3
    steps: int = 2400
    batch: int = 8
    filter_rate: float = 1.2e-2
    rate: float = 4e-3
    strand_rate: float = 2e-3
    direction: float = 0.2
    energy: float = 0.3
    face_energy: float = 4.0
    scales: int = 3
    window: int = 16
    swapped: float = 0.5
    guided: int = 4
    parser: float = 0.03
    clip: float = 0.2
    identity: float = 0.2


@dataclass(frozen=True)
class _Batch:
    """Rendered people.

    Attributes:
        shape: (B, 3, S, S) in [-1, 1], pictures whose coarse and medium codes are taken.
        color: (B, 3, S, S), pictures whose fine codes are taken.
        images: (B, 3, S, S), pictures to make.
        labels: (B, S, S), their labels.
        coverage: (B, 1, S, S), how much of each of their pixels hair covers.
        direction: (B, 2, S, S), double-angle direction of their hair, as long as strands agree.
    """

    shape: Images
    color: Images
    images: Images
    labels: Labels
    coverage: Float[Tensor, "batch 1 height width"]
    direction: Float[Tensor, "batch 2 height width"]


def fit_strands(
    people: RenderedPeople,
    encoder: nn.Module,
    generator: Generator,
    recognizers: Recognizers,
    folder: Path,
    device: torch.device,
    *,
    recipe: StrandRecipe | None = None,
) -> Generator:
    """Return a generator of the size of `people` that draws strands, with averaged weights.

    Args:
        people: rendered pictures of training people, with coverage and direction of hair.
        encoder: frozen, from pictures to W+ codes of `generator`.
        generator: a smaller one without strands, which grows; or one of the size of `people` with strands, which is
            trained on. It stays as it is.
        recognizers: frozen networks that compare generated with rendered pictures.
        folder: where the checkpoints of the two stages are kept; a training continues from them.
        device: where to train.
        recipe: all settings; None takes the defaults.

    Raises:
        HairclipError: if the people are not larger than the pictures of a generator without strands, or for a
            checkpoint that cannot be continued.
    """
    recipe = recipe or StrandRecipe()
    if people.size < generator.size or (people.size == generator.size and generator.strands is None):
        raise HairclipError(
            f"the people are rendered at {people.size} px and the generator draws {generator.size} px: render them "
            "larger, so that there are strands to learn."
        )
    return _StrandFit(people, encoder, generator, recognizers, folder, device, recipe).fit()


class _StrandFit:
    def __init__(
        self,
        people: RenderedPeople,
        encoder: nn.Module,
        generator: Generator,
        recognizers: Recognizers,
        folder: Path,
        device: torch.device,
        recipe: StrandRecipe,
    ) -> None:
        self.people, self.recipe, self.folder, self.device = people, recipe, folder, device
        self.encoder = encoder.to(device).eval().requires_grad_(False)
        self.recognizers = recognizers
        recognizers.freeze(device)
        torch.manual_seed(0)  # initial weights
        if people.size > generator.size:
            self.grown = grow(generator, people.size, recipe.channels, strands=recipe.strands).to(device)
        else:
            self.grown = copy.deepcopy(generator).to(device)
        self.energy = OrientedEnergy(scales=recipe.scales).to(device)
        # Larger neighborhoods: where strands lie is chance, and smaller ones would make weak strands the best answer.
        self.hair_energy = OrientedEnergy(scales=recipe.scales, window=recipe.window).to(device)

    def fit(self) -> Generator:
        """Train both stages."""
        self._learn_field()
        return self._learn_all()

    @property
    def _head(self) -> StrandField:
        head = self.grown.strands
        assert head is not None
        return head

    def _batch(self, rng: np.random.Generator, count: int, swapped: float) -> _Batch:
        drawn = [self.people.draw_swapped(rng, swapped) for _ in range(count)]
        people = [one.person for one in drawn]
        return _Batch(
            shape=torch.stack([one.shape for one in drawn]).to(self.device) * 2 - 1,
            color=torch.stack([one.color for one in drawn]).to(self.device) * 2 - 1,
            images=torch.stack([one.pixels for one in people]).to(self.device) * 2 - 1,
            labels=torch.stack([one.labels for one in people]).to(self.device),
            coverage=torch.stack([one.coverage for one in people])[:, None].to(self.device),
            direction=torch.stack([one.direction for one in people]).to(self.device),
        )

    @torch.no_grad()
    def _codes(self, batch: _Batch) -> Tensor:
        """Return coarse and medium codes of one picture with the fine codes of another."""
        shape, color = self.encoder(torch.cat((batch.shape, batch.color))).chunk(2)
        return torch.cat((shape[:, :FIRST_FINE], color[:, FIRST_FINE:]), dim=1)

    def _learn_field(self) -> None:
        """Train the strand field on the activations that codes of rendered people give."""
        recipe, grown, head = self.recipe, self.grown, self._head
        grown.requires_grad_(False)
        head.requires_grad_(True)
        read_at = grown.read_at
        assert read_at is not None
        optimizer = torch.optim.AdamW(head.parameters(), lr=recipe.field_rate, weight_decay=1e-3)

        def step(index: int, rng: np.random.Generator) -> StepLog:
            batch = self._batch(rng, recipe.field_batch, 0.0)
            with torch.no_grad():
                activations = grown.activations(self.encoder(batch.images), read_at)
            with autocast(self.device):
                hair = head(activations)
            loss, agreement = direction_loss(hair, batch.direction, batch.coverage)
            for group in optimizer.param_groups:
                group["lr"] = recipe.field_rate * warm_up_then_half_cosine(index, recipe.field_steps, warmup=20)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return {"loss": loss.item(), "agreement": agreement.item()}

        state: dict[str, Stateful] = {"generator": grown, "optimizer": optimizer}
        run("strand-field", steps=recipe.field_steps, state=state, step=step, folder=self.folder, seed=11)

    def _learn_all(self) -> Generator:
        """Train all layers and the strand field."""
        recipe, grown = self.recipe, self.grown
        grown.requires_grad_(True).mapping.requires_grad_(False)
        field_parameters = list(self._head.parameters())
        known = {id(p) for p in (*field_parameters, *grown.mapping.parameters())}
        parameters = [p for p in grown.parameters() if id(p) not in known]
        optimizer = Optimizers(
            [([p for p in parameters if p.ndim == 4], recipe.filter_rate)],
            [([p for p in parameters if p.ndim < 4], recipe.rate), (field_parameters, recipe.strand_rate)],
        )
        average = moving_average(grown, 0.99)

        def step(index: int, rng: np.random.Generator) -> StepLog:
            batch = self._batch(rng, recipe.batch, recipe.swapped)
            optimizer.set_rate(warm_up_then_half_cosine(index, recipe.steps, warmup=50, floor=0.02))
            loss, figures = self._loss(batch)
            optimizer.descend(loss)
            update_average(average, grown, index)
            return figures

        state: dict[str, Stateful] = {"generator": grown, "average": average, "optimizer": optimizer}
        run("strands", steps=recipe.steps, state=state, step=step, folder=self.folder, seed=12)
        averaged: Generator = average.module
        return averaged.eval().requires_grad_(False)

    def _loss(self, batch: _Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of generated pictures, and its terms as numbers."""
        recipe, grown, some = self.recipe, self.grown, slice(None, self.recipe.guided)
        with autocast(self.device):
            smooth, hair = grown.smooth(self._codes(batch))
            smooth = smooth.float()
        drawn, maps, outline = grown.draw_strands(hair)
        made, apart = (lay_strands(one, drawn, maps, outline=outline) for one in (smooth, smooth.detach()))
        texture = strand_loss(self.hair_energy, apart, batch.images, batch.coverage)
        with autocast(self.device):
            terms = self.recognizers.disagreement(made[some], batch.images[some], batch.labels[some])
        direction, agreement = direction_loss(hair, batch.direction, batch.coverage)
        loss = reconstruction_loss(smooth, batch.images, region_weight(batch.labels))
        loss = loss + recipe.energy * texture + recipe.direction * direction
        loss = loss + recipe.face_energy * self.energy.distance(smooth, batch.images, 1 - batch.coverage)
        weights = {"parser": recipe.parser, "clip": recipe.clip, "identity": recipe.identity}
        loss = loss + torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        figures = {"psnr": psnr(smooth.detach(), batch.images).mean().item(), "energy": texture.item()}
        return loss, {**figures, **{name: term.item() for name, term in terms.items()}, "agree": agreement.item()}


def direction_loss(
    hair: HairField,
    true_direction: Float[Tensor, "batch 2 height width"],
    true_coverage: Float[Tensor, "batch 1 height width"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the loss of a strand field, and how well its directions agree with the true ones.

    The loss is the squared error of the vectors, which makes their length the confidence, plus one minus the cosine of
    the double angles where strands agree, plus the binary cross entropy of the coverage. The agreement is the mean
    |cos| of the angle between strands, weighted by how far the true strands agree.

    Args:
        hair: the output of the strand field.
        true_direction: of the renderer, at a multiple of the field's size.
        true_coverage: of the renderer, in [0, 1].
    """
    direction = hair.direction
    wanted, covered = (resize_area(part, direction.shape[-1]) for part in (true_direction, true_coverage))
    length = wanted.norm(dim=1)
    along = (direction * wanted).sum(dim=1) / (direction.norm(dim=1) + 0.05)
    loss = 4 * F.mse_loss(direction, wanted) + (length - along).mean()
    loss = loss + 0.5 * F.binary_cross_entropy(hair.coverage.clamp(1e-6, 1 - 1e-6), covered)
    with torch.no_grad():
        cosine = F.cosine_similarity(direction, wanted, dim=1)
        agreement = ((length * ((1 + cosine) / 2).clamp_min(0).sqrt()).sum() / length.sum().clamp_min(1e-6)).float()
    return loss, agreement


def strand_loss(
    energy: OrientedEnergy, made: Images, real: Images, coverage: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, ""]:
    """Return how far the local energies of hair are from the true ones, as a share of these, the mean of all scales.

    Args:
        energy: the filters.
        made, real: pictures.
        coverage: how much of each pixel hair covers. Hair a few pixels away counts as well: tips stick out there.
    """
    reached = F.max_pool2d(coverage, 9, stride=1, padding=4)
    return energy.distance(made, real, reached, relative=True)

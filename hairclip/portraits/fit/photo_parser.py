"""Recipe of the photo parser: a U-Net that finds the hair of real photos, though it never saw one.

It learns from rendered people in random surroundings (`hairclip.portraits.randomize`) to tell all classes, and to say
how much of each pixel hair covers.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hairclip.common.averages import moving_average, update_average
from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import HAIR
from hairclip.common.images import Images, Labels
from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.networks.face_parser import FaceParser, ParserLogits, UNetParser
from hairclip.portraits.fit.loop import StepLog, autocast, run, step_generator
from hairclip.portraits.fit.people import RenderedPeople
from hairclip.portraits.randomize.person import Person, Picture
from hairclip.portraits.randomize.portrait import FACTORS, randomize_portrait
from hairclip.portraits.randomize.textures import TextureBank

__all__ = ["RandomPictures", "fit_photo_parser", "parsing_loss"]

Coverage: TypeAlias = Float[Tensor, "batch height width"]
Batch: TypeAlias = tuple[Images, Labels, Coverage]

FILTERS = (16, 32, 64, 96, 160, 224)
_RATE = 3e-3
"""Peak learning rate of a training that starts from random weights."""
_WARMUP = 200
"""Steps in which the rate rises, at most a tenth of all."""
_WIDE_SHARE = 0.35
"""Share of people in wide poses, where there are any."""
_LONG_SHARE = 0.5
"""Share of pictures that show, of two people, the one with more hair: long hair is rarer and harder to find."""
_PLAIN_SHARE = 0.25
"""Share of renders in which nothing is random, so that these are not forgotten."""
_SEED = 5


def fit_photo_parser(
    people: RenderedPeople,
    folder: Path,
    device: torch.device,
    *,
    steps: int,
    wide: RenderedPeople | None = None,
    batch: int = 8,
    textures: int = 400,
    workers: int = 0,
    filters: tuple[int, ...] = FILTERS,
    initial: FaceParser | None = None,
    rate: float = _RATE,
    save_every: int = 200,
) -> UNetParser:
    """Train the parser at the size of the rendered pictures, and return it with averaged weights.

    Args:
        people: rendered people in narrow poses.
        folder: where the checkpoint is kept; a training continues from it.
        device: where to train.
        steps: number of steps.
        wide: rendered people in wide poses, of the same size.
        batch: pictures of a step.
        textures: number of textures that backdrops, clothes and hats are cut from.
        workers: processes that make pictures; 0 makes them in this process.
        filters: channels of the network per resolution, where it starts from random weights.
        initial: a trained parser whose weights the training starts from. It stays as it is.
        rate: peak learning rate.
        save_every: steps between two checkpoints.

    Raises:
        HairclipError: if `wide` has another size, if `initial` is another kind of network or of another size, or for a
            checkpoint that cannot be continued.
    """
    if wide is not None and wide.size != people.size:
        raise HairclipError(f"wide poses of {wide.size} px beside others of {people.size} px: render both at one size.")
    network = _first_network(people, filters, initial).to(device)
    network.to(memory_format=torch.channels_last)
    average = moving_average(network, 0.995)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
    pictures = RandomPictures(people, wide, TextureBank(textures, people.size * 3 // 2, progress=True), batch, steps)
    stream: Iterator[Batch] | None = None
    warmup = min(_WARMUP, steps // 10)

    def step(index: int, _: np.random.Generator) -> StepLog:
        nonlocal stream
        if stream is None:  # only now is it known where the checkpoint ended
            stream = pictures.batches_from(index, workers)
        images, labels, coverage = (part.to(device) for part in next(stream))
        for group in optimizer.param_groups:
            group["lr"] = rate * warm_up_then_half_cosine(index, steps, warmup=warmup, floor=0.01)
        with autocast(device):
            logits = network.logits(images)
        loss = parsing_loss(logits.float(), labels, coverage)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        update_average(average, network, index)
        return {"loss": loss.item()}

    state = {"network": network, "average": average, "optimizer": optimizer}
    run("photo_parser", steps=steps, state=state, step=step, folder=folder, save_every=save_every)
    averaged: UNetParser = average.module
    return averaged.eval()


def _first_network(people: RenderedPeople, filters: tuple[int, ...], initial: FaceParser | None) -> UNetParser:
    """Return the network before the first step: with random weights, or a trainable copy of `initial`."""
    if initial is None:
        torch.manual_seed(0)  # initial weights
        return UNetParser(filters=filters, input_size=people.size)
    if not isinstance(initial, UNetParser):
        raise HairclipError(f"a training starts from the weights of a UNetParser, not of a {type(initial).__name__}.")
    if initial.input_size != people.size:
        raise HairclipError(
            f"pictures of {people.size} px for a parser of {initial.input_size} px: render at the parser's size."
        )
    return copy.deepcopy(initial).train().requires_grad_(True)


def parsing_loss(logits: ParserLogits, labels: Labels, coverage: Coverage) -> Float[Tensor, ""]:
    """Return the loss of a parser's answer.

    It is the cross entropy of all classes, plus the binary cross entropy of hair against its coverage, plus half of the
    soft Dice loss of hair (Milletari et al. 2016), which counts a thin strand as much as a wide area.
    """
    others = torch.cat([logits[:, :HAIR], logits[:, HAIR + 1 :]], dim=1)
    hair = logits[:, HAIR] - torch.logsumexp(others, dim=1)  # logit of hair against everything else
    share = torch.sigmoid(hair)
    both = 2 * (share * coverage).sum(dim=(1, 2))
    dice = 1 - (both + 50) / (share.sum(dim=(1, 2)) + coverage.sum(dim=(1, 2)) + 50)
    classes = F.cross_entropy(logits, labels)
    return classes + F.binary_cross_entropy_with_logits(hair, coverage) + 0.5 * dice.mean()


class RandomPictures(Dataset[Batch]):
    """The batch of each step. It follows from the number of the step, whichever process makes it."""

    def __init__(
        self, people: RenderedPeople, wide: RenderedPeople | None, textures: TextureBank, batch: int, steps: int
    ) -> None:
        self.people, self.wide, self.textures, self.batch, self.steps = people, wide, textures, batch, steps

    def __getitem__(self, index: int) -> Batch:
        rng = step_generator(_SEED, index)
        pictures = [self.make(rng) for _ in range(self.batch)]
        images = torch.stack([picture.pixels for picture in pictures]) * 2 - 1
        labels = torch.stack([picture.labels for picture in pictures])
        return images, labels, torch.stack([picture.coverage for picture in pictures])

    def batches_from(self, first: int, workers: int) -> Iterator[Batch]:
        """Yield the batches of the steps from `first` on."""
        order = range(first, self.steps)
        return iter(DataLoader(self, batch_size=None, sampler=order, num_workers=workers))

    def make(self, rng: np.random.Generator) -> Picture:
        """Return a random picture of a random person."""
        person = self.draw(rng)
        factors = () if rng.random() < _PLAIN_SHARE else tuple(FACTORS)
        return randomize_portrait(rng, person, other=lambda: self.draw(rng), textures=self.textures, factors=factors)

    def draw(self, rng: np.random.Generator) -> Person:
        """Return a random person, more often one with much hair."""
        people = self.wide if self.wide is not None and rng.random() < _WIDE_SHARE else self.people
        person = people.draw(rng)
        if rng.random() >= _LONG_SHARE:
            return person
        return max(person, people.draw(rng), key=lambda one: float(one.coverage.mean()))

"""From tasks to batches: codes, what the losses need of their pictures, and what is asked of each."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TypeAlias

import torch
from torch import Tensor

from hairclip.common.images import WPlus
from hairclip.conditions.encoder import ConditionEncoder, EditBatch, Wish
from hairclip.losses.hair_edit import HairEditLoss, SourceFeatures
from hairclip.networks.clip import Clip
from hairclip.networks.face_parser import FaceParser
from hairclip.networks.ir_se import FaceEncoder
from hairclip.networks.stylegan2 import Generator
from hairclip.training.latents import LatentSet
from hairclip.training.references import ReferencePool
from hairclip.training.sources import SourceFolder, SourceMemory
from hairclip.training.tasks import Task

Sources: TypeAlias = SourceMemory | SourceFolder

_BLOCK = 16


@dataclass(frozen=True)
class Networks:
    """The frozen networks, each built once and shared by everything."""

    generator: Generator
    clip: Clip
    parser: FaceParser
    identity: FaceEncoder


@dataclass(frozen=True)
class Sample:
    """One batch, ready for the mapper and its losses.

    Attributes:
        w_plus: source codes, ``(B, n_latent, w_dim)``.
        source: what the losses compare with.
        batch: what is asked of each.
    """

    w_plus: WPlus
    source: SourceFeatures
    batch: EditBatch


@dataclass
class EditData:
    """Turns tasks into batches.

    Attributes:
        latents: source codes.
        networks: the frozen networks.
        loss: knows what the losses need of a source picture.
        encoder: encodes texts and references.
        hairstyle_references: numbered pictures for hairstyles.
        color_references: numbered pictures for colours.
        cache: keep what was computed of every source. Nothing then depends on the batch it first came in: each is
            computed alone, or, where all of them are kept, in a block of neighbours that is always the same.
        minimum_hair: share of hair below which a color reference changes no color.
    """

    latents: LatentSet
    networks: Networks
    loss: HairEditLoss
    encoder: ConditionEncoder
    hairstyle_references: ReferencePool
    color_references: ReferencePool
    cache: bool = False
    minimum_hair: float = 0.005
    _sources: Sources = field(default_factory=SourceMemory, repr=False)

    @property
    def device(self) -> torch.device:
        return self.encoder.device

    @torch.no_grad()
    def collate(self, tasks: Sequence[Task]) -> Sample:
        """The batch of these tasks, on the networks' device."""
        numbers = [task.latent for task in tasks]
        styles: list[Wish] = [
            self.hairstyle_references[task.hairstyle] if isinstance(task.hairstyle, int) else task.hairstyle
            for task in tasks
        ]
        return Sample(
            w_plus=_moved(self.latents[numbers], self.device),
            source=self._source(numbers),
            batch=self.encoder.encode(styles, [self._color(task) for task in tasks]),
        )

    def _color(self, task: Task) -> Wish:
        if not isinstance(task.color, int):
            return task.color
        has_hair = self.color_references.hair_share(task.color) >= self.minimum_hair
        return self.color_references[task.color] if has_hair else None

    def _source(self, numbers: Sequence[int]) -> SourceFeatures:
        if not self.cache:
            return self._features(numbers)
        rows: dict[int, SourceFeatures] = {}
        for number in numbers:
            if number in rows:
                continue
            known = self._sources.get(number)
            rows[number] = self._compute(number) if known is None else known
        parts = ([getattr(rows[number], part.name) for number in numbers] for part in fields(SourceFeatures))
        return SourceFeatures(*(_joined(part, self.device) for part in parts))

    def _compute(self, number: int) -> SourceFeatures:
        """What the losses need of one source, kept in host memory, of which there is more; likewise its neighbours."""
        keeps_all = isinstance(self._sources, SourceMemory) and self._sources.budget is None
        first = number - number % _BLOCK
        block = range(first, min(first + _BLOCK, len(self.latents))) if keeps_all else [number]
        features = self._features(block)
        kept = [getattr(features, part.name).cpu() for part in fields(SourceFeatures)]
        for row, one in enumerate(block):
            # cloned: a row alone would hold the memory of all
            self._sources[one] = SourceFeatures(*(part[row : row + 1].clone() for part in kept))
        row = number - block[0]
        return SourceFeatures(*(part[row : row + 1] for part in kept))

    def _features(self, numbers: Sequence[int]) -> SourceFeatures:
        codes = _moved(self.latents[numbers], self.device)
        return self.loss.source_features(self.networks.generator(codes, noise="const"))


def _moved(values: Tensor, device: torch.device) -> Tensor:
    """From host memory to the device; to CUDA without waiting for it."""
    return _joined([values], device)


def _joined(rows: list[Tensor], device: torch.device) -> Tensor:
    """Batches in host memory as one on the device; to CUDA without waiting for it."""
    if device.type != "cuda":
        return torch.cat(rows).to(device)
    shape = (sum(map(len, rows)), *rows[0].shape[1:])
    pinned = torch.cat(rows, out=torch.empty(shape, dtype=rows[0].dtype, pin_memory=True))
    return pinned.to(device, non_blocking=True)

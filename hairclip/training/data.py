"""Turn tasks into batches: source codes, what the losses need of their pictures, and conditions."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from hairclip.common.images import WPlus
from hairclip.conditions.encoder import ConditionEncoder, ConditionInput, EditBatch
from hairclip.losses.hair_edit import HairEditLoss, SourceFeatures
from hairclip.networks.clip import Clip
from hairclip.networks.face_parser import FaceParser
from hairclip.networks.ir_se import FaceEncoder
from hairclip.networks.stylegan2 import Generator
from hairclip.training.latents import LatentSet
from hairclip.training.references import ReferencePool
from hairclip.training.sources import SourceMemory, Sources
from hairclip.training.tasks import Task

_BLOCK = 16  # sources that are computed together where all of them are kept


@dataclass(frozen=True)
class Networks:
    """The frozen networks. Each is built once and shared.

    Attributes:
        generator: makes pictures of W+ codes.
        clip: encodes texts and pictures.
        parser: finds hair.
        identity: recognizes faces.
    """

    generator: Generator
    clip: Clip
    parser: FaceParser
    identity: FaceEncoder


@dataclass(frozen=True)
class Sample:
    """One batch, ready for the mapper and its losses.

    Attributes:
        w_plus: source codes, (B, n_latent, w_dim).
        source: what the losses compare the edits with.
        batch: the conditions, one per sample.
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
        loss: computes what the losses need of a source picture.
        encoder: encodes texts and references.
        hairstyle_references: numbered pictures for hairstyles.
        color_references: numbered pictures for colors.
        cache: whether to keep what was computed of every source. Each source is then computed alone or, if all are
            kept, in a fixed block of sources. The numbers therefore never depend on the batch.
        minimum_hair: share of hair below which a color reference changes no color.
        sources: the store of what was computed.
    """

    latents: LatentSet
    networks: Networks
    loss: HairEditLoss
    encoder: ConditionEncoder
    hairstyle_references: ReferencePool
    color_references: ReferencePool
    cache: bool = False
    minimum_hair: float = 0.005
    sources: Sources = field(default_factory=SourceMemory, repr=False)

    @property
    def device(self) -> torch.device:
        return self.encoder.device

    @torch.no_grad()
    def collate(self, tasks: Sequence[Task]) -> Sample:
        """Return the batch of these tasks, on the device of the networks."""
        numbers = [task.latent for task in tasks]
        return Sample(w_plus=self.codes(numbers), source=self._source(numbers), batch=self.conditions(tasks))

    def codes(self, numbers: Sequence[int]) -> WPlus:
        """Return the source codes with these numbers, on the device of the networks."""
        return _moved(self.latents[numbers], self.device)

    def conditions(self, tasks: Sequence[Task]) -> EditBatch:
        """Return what these tasks ask for."""
        styles: list[ConditionInput] = [
            self.hairstyle_references[task.hairstyle] if isinstance(task.hairstyle, int) else task.hairstyle
            for task in tasks
        ]
        return self.encoder.encode(styles, [self._color(task) for task in tasks])

    def _color(self, task: Task) -> ConditionInput:
        """Return the color of a task; None where its reference shows too little hair."""
        if not isinstance(task.color, int):
            return task.color
        has_hair = self.color_references.hair_share(task.color) >= self.minimum_hair
        return self.color_references[task.color] if has_hair else None

    def _source(self, numbers: Sequence[int]) -> SourceFeatures:
        """Return what the losses need of these sources, from the store where it has them."""
        if not self.cache:
            return self._features(numbers)
        rows: dict[int, SourceFeatures] = {}
        for number in numbers:
            if number in rows:
                continue
            known = self.sources.get(number)
            rows[number] = self._compute(number) if known is None else known
        parts = ([getattr(rows[number], part.name) for number in numbers] for part in fields(SourceFeatures))
        return SourceFeatures(*(_joined(part, self.device) for part in parts))

    def _compute(self, number: int) -> SourceFeatures:
        """Compute what the losses need of one source, and keep it in host memory; its block of neighbors too."""
        keeps_all = isinstance(self.sources, SourceMemory) and self.sources.budget is None
        first = number - number % _BLOCK
        block = range(first, min(first + _BLOCK, len(self.latents))) if keeps_all else [number]
        features = self._features(block)
        kept = [getattr(features, part.name).cpu() for part in fields(SourceFeatures)]
        for row, one in enumerate(block):
            # cloned: a row alone would hold the memory of all
            self.sources[one] = SourceFeatures(*(part[row : row + 1].clone() for part in kept))
        row = number - block[0]
        return SourceFeatures(*(part[row : row + 1] for part in kept))

    def _features(self, numbers: Sequence[int]) -> SourceFeatures:
        codes = _moved(self.latents[numbers], self.device)
        return self.loss.source_features(self.networks.generator(codes, noise="const"))


def _moved(values: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from host memory to the device; to CUDA without waiting for it."""
    return _joined([values], device)


def _joined(rows: list[Tensor], device: torch.device) -> Tensor:
    """Join batches in host memory to one on the device; to CUDA without waiting for it."""
    if device.type != "cuda":
        return torch.cat(rows).to(device)
    shape = (sum(map(len, rows)), *rows[0].shape[1:])
    pinned = torch.cat(rows, out=torch.empty(shape, dtype=rows[0].dtype, pin_memory=True))
    return pinned.to(device, non_blocking=True)

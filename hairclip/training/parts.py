"""From a configuration to the parts that a training run is made of: networks, mapper, data, loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import nn

from hairclip.condition import ConditionEncoder, EditBatch, Wish
from hairclip.config import TRAINED_WITH, Config
from hairclip.errors import HairclipError
from hairclip.images import WPlus
from hairclip.losses.total import HairEditLoss, LossWeights, SourceFeatures
from hairclip.networks.clip import Clip
from hairclip.networks.face_parser import BiSeNet, FaceParser, UNetParser
from hairclip.networks.ir_se import FaceEncoder, IdentityEncoder
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained import BUNDLES, Bundle, HairMapper, Source, load_bundle
from hairclip.prompts import COLORS, HAIRSTYLES
from hairclip.training.latents import LatentSet, training_and_validation
from hairclip.training.references import ReferencePool, folder_references, synthesized_references
from hairclip.training.tasks import Task, TaskSampler

_MINIMUM_HAIR = 0.005
"""Smallest share of hair in a colour reference: with less, its colour cannot be read and the colour stays as it is."""
_DRY_RUN_CODES = 64


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
        cache: keep what was computed of every source in memory; each is then computed alone, so that nothing depends on
            the batch it first came in.
    """

    latents: LatentSet
    networks: Networks
    loss: HairEditLoss
    encoder: ConditionEncoder
    hairstyle_references: ReferencePool
    color_references: ReferencePool
    cache: bool = False
    _sources: dict[int, SourceFeatures] = field(default_factory=dict, repr=False)

    @torch.no_grad()
    def collate(self, tasks: Sequence[Task]) -> Sample:
        """The batch of these tasks, on the networks' device."""
        numbers = [task.latent for task in tasks]
        styles: list[Wish] = [
            self.hairstyle_references[task.hairstyle] if isinstance(task.hairstyle, int) else task.hairstyle
            for task in tasks
        ]
        return Sample(
            w_plus=self.latents[numbers].to(self.encoder.device),
            source=self._source(numbers),
            batch=self.encoder.encode(styles, [self._color(task) for task in tasks]),
        )

    def _color(self, task: Task) -> Wish:
        if not isinstance(task.color, int):
            return task.color
        reference = self.color_references[task.color]
        return reference if float(reference.hair_share) >= _MINIMUM_HAIR else None

    def _source(self, numbers: Sequence[int]) -> SourceFeatures:
        if not self.cache:
            return self._features(numbers)
        for number in numbers:
            if number not in self._sources:
                self._sources[number] = self._features([number])
        rows = [self._sources[number] for number in numbers]
        return SourceFeatures(
            *(torch.cat([getattr(row, part.name) for row in rows]) for part in fields(SourceFeatures))
        )

    def _features(self, numbers: Sequence[int]) -> SourceFeatures:
        codes = self.latents[numbers].to(self.encoder.device)
        return self.loss.source_features(self.networks.generator(codes, noise="const"))


@dataclass(frozen=True)
class Parts:
    """Everything that a run trains with."""

    networks: Networks
    mapper: HairMapper
    loss: HairEditLoss
    training: EditData
    validation: EditData
    sampler: TaskSampler
    validation_tasks: list[Task]


def build_parts(config: Config, device: torch.device) -> Parts:
    """Load or build everything that `config` names, on one device."""
    networks = build_networks(config, device)
    latents, held_out = _latents(config, networks.generator)
    mapper = build_mapper(config, networks).to(device)
    if latents.codes.shape[1:] != (mapper.n_latent, mapper.w_dim):
        raise HairclipError(
            f"data.latents: {config.data.latents} holds codes of {tuple(latents.codes.shape[1:])}, but the generator "
            f"takes ({mapper.n_latent}, {mapper.w_dim}): give codes of this generator."
        )
    if mapper.whiten:
        mapper.fit_whitening(latents[_spread_out(len(latents))].to(device))
    loss = build_loss(config, networks)
    encoder = ConditionEncoder(
        networks.clip, networks.parser, gamma=config.losses.gamma, references=config.mapper.references
    )
    colors = _vocabulary(config.data.colors, latents.colors, COLORS)
    styles, shades = _references(config, latents, networks.generator, encoder, colors)
    training = EditData(latents, networks, loss, encoder, styles, shades, cache=config.data.cache_sources)
    validation = EditData(held_out, networks, loss, encoder, styles, shades)
    sampler = TaskSampler(
        latents=len(latents),
        hairstyles=_vocabulary(config.data.hairstyles, latents.hairstyles, HAIRSTYLES),
        colors=colors,
        hairstyle_references=len(styles),
        color_references=len(shades),
        references_of_color=shades.of_color,
        **config.tasks.model_dump(),
    )
    tasks = sampler.sample(config.validation.count, config.validation.seed)
    # The sampler knows the training codes: the validation list goes through the held-out ones in order.
    tasks = [Task(number % len(held_out), task.hairstyle, task.color) for number, task in enumerate(tasks)]
    return Parts(networks, mapper, loss, training, validation, sampler, tasks)


def _spread_out(count: int, most: int = 10_000) -> list[int]:
    """At most that many numbers below `count`, evenly spaced."""
    return list(range(0, count, -(-count // most)))


def build_networks(config: Config, device: torch.device) -> Networks:
    """The frozen networks: files and names as configured, or random ones for a dry run."""
    if config.dry_run:
        parts: dict[str, Any] = _random_networks(config.networks.architectures, seed=config.seed)
    else:
        bundle = Bundle(network_sources(config), device)
        parts = {name: getattr(bundle, name) for name in TRAINED_WITH}
    for network in parts.values():
        network.to(device).eval().requires_grad_(False)
    return Networks(**parts)


def build_loss(config: Config, networks: Networks | Bundle) -> HairEditLoss:
    """What `config` trains with, judged by these networks."""
    return HairEditLoss(
        networks.clip,
        networks.parser,
        networks.identity,
        LossWeights(**config.losses.model_dump(exclude={"text_pixels", "gamma"})),
        text_pixels=config.losses.text_pixels,
        gamma=config.losses.gamma,
        references=config.mapper.references,
    )


def network_sources(config: Config) -> dict[str, Source]:
    """Part -> name or path: the bundle's, replaced by what the configuration names itself."""
    named = config.networks.model_dump(include=set(TRAINED_WITH), exclude_none=True)
    if set(named) == set(TRAINED_WITH):
        return named
    bundle = config.networks.bundle
    return {**(BUNDLES.get(bundle) or load_bundle(bundle).sources), **named}


def build_mapper(config: Config, networks: Networks) -> HairMapper:
    """A fresh mapper in the sizes of the generator and CLIP, the same for the same seed."""
    generator = networks.generator
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            return HairMapper(
                n_latent=generator.n_latent,
                w_dim=generator.w_dim,
                condition_dim=networks.clip.width,
                **config.mapper.model_dump(),
            )
        except ValueError as error:
            raise HairclipError(f"mapper: {error}.") from None


def _random_networks(architectures: Mapping[str, Mapping[str, Any]], *, seed: int) -> dict[str, nn.Module]:
    settings = {name: dict(architectures[name]) for name in TRAINED_WITH}
    parsers: dict[str, type[FaceParser]] = {"UNetParser": UNetParser, "BiSeNet": BiSeNet}
    parser = parsers.get(str(settings["parser"].pop("class", "UNetParser")))
    if parser is None:
        raise HairclipError(f"networks.architectures.parser.class: choose one of {', '.join(parsers)}.")
    classes = {"generator": Generator, "clip": Clip, "parser": parser, "identity": IdentityEncoder}
    networks: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, cls in classes.items():
            try:
                networks[name] = cls(**settings[name])
            except (TypeError, ValueError, KeyError) as error:
                raise HairclipError(f"networks.architectures.{name} builds no {name}: {error}.") from None
    return networks


@torch.no_grad()
def _latents(config: Config, generator: Generator) -> tuple[LatentSet, LatentSet]:
    if not config.dry_run:
        return training_and_validation(config.data.latents, config.data.validation_latents)
    random = torch.Generator().manual_seed(config.seed)
    z = torch.randn(_DRY_RUN_CODES, generator.z_dim, generator=random)
    codes = LatentSet(generator.expand(generator.mapping(z.to(generator.constant.device))).cpu().contiguous())
    half = _DRY_RUN_CODES // 2
    return codes.subset(range(half)), codes.subset(range(half, _DRY_RUN_CODES))


def _vocabulary(configured: Sequence[str], labels: Sequence[str] | None, everything: Sequence[str]) -> list[str]:
    """The configured words, else those that label a latent, else HairCLIP's; in HairCLIP's order."""
    if configured:
        return list(configured)
    if labels is None:
        return list(everything)
    present = set(labels)
    return [name for name in everything if name in present] + sorted(present - set(everything))


def _references(
    config: Config, latents: LatentSet, generator: Generator, encoder: ConditionEncoder, colors: Sequence[str]
) -> tuple[ReferencePool, ReferencePool]:
    """Pictures to take hairstyles from, and colours."""
    data, count = config.data, config.data.reference_pool
    synthesized = synthesized_references(latents, generator, encoder, count=count, seed=config.seed)
    styles = shades = synthesized
    if config.dry_run:
        return styles, shades
    if data.hairstyle_images is not None:
        styles = folder_references(data.hairstyle_images, encoder, count=count, seed=config.seed)
    if data.color_images is not None or data.color_folders is not None:
        shades = folder_references(
            data.color_images,
            encoder,
            count=count,
            seed=config.seed,
            color_folders=data.color_folders,
            colors=colors,
        )
    return styles, shades

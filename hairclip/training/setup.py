"""Build the parts of a training run from its configuration: networks, mapper, data, loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hairclip.common.errors import HairclipError
from hairclip.conditions.encoder import ConditionEncoder
from hairclip.conditions.prompts import COLORS, HAIRSTYLES, color_prompt, hairstyle_prompt, in_vocabulary_order
from hairclip.config import TRAINED_WITH, Config
from hairclip.losses.hair_edit import HairEditLoss
from hairclip.networks.stylegan2 import Generator
from hairclip.networks.text_encoder import TextEncoder
from hairclip.pretrained.bundle import Bundle, BundleWords, load_bundle
from hairclip.pretrained.loaders import load_mapper, load_text_encoder
from hairclip.pretrained.mapper import HairMapper
from hairclip.pretrained.network_classes import CLASSES
from hairclip.pretrained.network_files import Device
from hairclip.training.data import EditData, Networks
from hairclip.training.latents import LatentSet, training_and_validation
from hairclip.training.optimizers import find_optimizer
from hairclip.training.references import (
    ReferenceFolder,
    ReferencePool,
    ReferenceStore,
    folder_references,
    join_references,
    synthesized_references,
)
from hairclip.training.sampled_codes import SAMPLED, SampledCodes, Stream
from hairclip.training.sources import SourceFolder, SourceMemory, Sources, features_key
from hairclip.training.tasks import Task, TaskSampler
from hairclip.training.teacher import check_teacher

_DRY_RUN_CODES = 64
_REFERENCE_FOLDERS = (
    "hairstyle_images",
    "hairstyle_folders",
    "color_images",
    "color_folders",
    "validation_hairstyle_images",
    "validation_color_images",
)

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Names that the configuration uses."""


@dataclass(frozen=True)
class Parts:
    """Everything that a run trains with.

    Attributes:
        networks: the frozen networks.
        mapper: the mapper that is trained.
        loss: judges the edits.
        training: makes batches of the codes to train on.
        validation: makes batches of the held-out codes.
        sampler: draws the training requests.
        validation_tasks: the fixed list of validation requests.
        teacher: what the mapper learns from before the first step; None for none.
    """

    networks: Networks
    mapper: HairMapper
    loss: HairEditLoss
    training: EditData
    validation: EditData
    sampler: TaskSampler
    validation_tasks: list[Task]
    teacher: TextEncoder | None = None


def build_parts(config: Config, device: torch.device) -> Parts:
    """Load or build everything that a configuration names, on one device.

    Raises:
        HairclipError: if a name, a file or the sizes of two parts do not fit.
    """
    find_optimizer(config.optimizer.name)  # a wrong name is told before anything is loaded
    if not config.dry_run:
        _require_files(config)
    networks = build_networks(config, device)
    latents, held_out = _latents(config, networks.generator)
    mapper = build_mapper(config, networks).to(device)
    if latents.codes.shape[1:] != (mapper.n_latent, mapper.w_dim):
        raise HairclipError(
            f"data.latents: {config.data.latents} holds codes of {tuple(latents.codes.shape[1:])}, but the generator "
            f"takes ({mapper.n_latent}, {mapper.w_dim}): give codes of this generator."
        )
    size, reduced = networks.generator.size, config.losses.resolution
    if reduced is not None and reduced > size:
        raise HairclipError(
            f"losses.resolution: {reduced} px is more than the generator's {size} px: give less or null."
        )
    loss = build_loss(config, networks, latents)
    encoder = ConditionEncoder(
        networks.clip, networks.parser, gamma=config.losses.gamma, references=config.mapper.references
    )
    hairstyles, colors = _words(config, latents)
    styles, shades = _references(config, latents, networks, encoder, hairstyles, colors)
    data = config.data
    sources = _source_store(config, networks, loss, latents) if data.cache_sources else SourceMemory()
    training = EditData(
        latents, networks, loss, encoder, styles, shades, data.cache_sources, data.minimum_hair, sources
    )
    sampler = TaskSampler(
        latents=len(latents),
        hairstyles=hairstyles,
        colors=colors,
        **_numbers(styles, shades),
        **config.tasks.model_dump(),
    )
    styles, shades = _validation_references(config, styles, shades, hairstyles, colors)
    validation = EditData(held_out, networks, loss, encoder, styles, shades, minimum_hair=data.minimum_hair)
    validation_sampler = replace(
        sampler,
        **_numbers(styles, shades),
    )
    tasks = validation_sampler.sample(config.validation.count, config.validation.seed)
    # The sampler knows the training codes: the validation list goes through the held-out ones in order.
    tasks = [Task(number % len(held_out), task.hairstyle, task.color) for number, task in enumerate(tasks)]
    teacher = None
    if config.training.teacher is not None and not config.dry_run:
        teacher = load_text_encoder(config.training.teacher, device)
        check_teacher(teacher, mapper, network_bundle(config).parts)
    return Parts(networks, mapper, loss, training, validation, sampler, tasks, teacher)


def build_networks(config: Config, device: torch.device) -> Networks:
    """Load the frozen networks of a configuration, or build random ones for a dry run."""
    if config.dry_run:
        parts: dict[str, Any] = _random_networks(config.networks.architectures, seed=config.seed)
    else:
        bundle = network_bundle(config, device)
        parts = {name: getattr(bundle, name) for name in TRAINED_WITH}
    for network in parts.values():
        network.to(device).eval().requires_grad_(False)
    for name in ("parser", "identity"):
        parts[name].repeat_pixels = config.networks.enlarging == "official"
    return Networks(**parts)


def _require_files(config: Config) -> None:
    """Refuse a run for which weights, codes or folders are missing, before anything is loaded; fetch nothing."""
    data = config.data
    codes = {"latents": data.latents, "validation_latents": data.validation_latents}
    fetched = {key: name for key, name in codes.items() if name is not None and name != SAMPLED}
    network_bundle(config).with_parts(fetched).require((*TRAINED_WITH, *fetched))
    for key in _REFERENCE_FOLDERS:
        folder = getattr(data, key)
        if folder is not None and not Path(folder).is_dir():
            kind = key.removesuffix("_folders")
            made = f"make it by python -m hairclip references --kind {kind} --out {folder}, " if kind != key else ""
            raise HairclipError(
                f"data.{key}: there is no folder {folder}: {made}put reference pictures there, name another folder, or "
                "give null for references that are made of the codes."
            )


def build_loss(config: Config, networks: Networks | Bundle, latents: LatentSet | None = None) -> HairEditLoss:
    """Build the loss of a configuration.

    Args:
        config: weights of the terms and settings.
        networks: CLIP, parser, identity network and generator.
        latents: the codes to train on, whose labels may be the words of the contrast terms. None reads them if needed.
    """
    hairstyles: list[str] = []
    colors: list[str] = []
    if latents is not None or config.losses.contrast:
        hairstyles, colors = _words(config, latents or _latents(config, networks.generator)[0])
    return HairEditLoss(
        networks.clip,
        networks.parser,
        networks.identity,
        config.losses.weights,
        text_pixels=config.losses.text_pixels,
        gamma=config.losses.gamma,
        resolution=config.losses.resolution,
        precision=PRECISIONS[config.losses.precision],
        references=config.mapper.references,
        hairstyles=hairstyles,
        colors=colors,
    )


def _source_store(config: Config, networks: Networks, loss: HairEditLoss, latents: LatentSet) -> Sources:
    data = config.data
    budget = None if data.cache_budget_gb is None else int(data.cache_budget_gb * 1e9)
    if data.cache_folder is None:
        return SourceMemory(budget)
    settings = {"gamma": loss.gamma, "resolution": loss.resolution, "precision": str(loss.precision)}
    settings["enlarging"] = config.networks.enlarging
    key = features_key((networks.generator, networks.parser, networks.identity), settings, latents)
    return SourceFolder(data.cache_folder, key, len(latents), budget)


def network_bundle(config: Config, device: Device = "cpu") -> Bundle:
    """Return the configured bundle, in which the networks that the configuration names replace the bundle's own.

    A configuration that names all networks of `TRAINED_WITH` takes nothing from a bundle.
    """
    named = config.networks.model_dump(include=set(TRAINED_WITH), exclude_none=True)
    if set(named) == set(TRAINED_WITH):
        return Bundle(named, device=device)
    return load_bundle(config.networks.bundle, device).with_parts(named)


def build_mapper(config: Config, networks: Networks) -> HairMapper:
    """Build the mapper that training starts with, in the sizes of the generator and CLIP.

    Its weights are those of `training.init`, or random and the same for the same seed.

    Raises:
        HairclipError: if the mapper of `training.init` has other settings than the configuration.
    """
    mapper = _random_mapper(config, networks)
    if config.training.init is not None:
        start = load_mapper(config.training.init)
        ours, theirs = mapper.config, start.config
        changed = [key for key in ours if ours[key] != theirs[key]]
        if changed:
            key = changed[0]
            raise HairclipError(
                f"training.init: the mapper {config.training.init} has {key}={theirs[key]}, but this run has "
                f"{key}={ours[key]}: give mapper.{key} and the networks that it was trained with."
            )
        mapper.load_state_dict(start.state_dict())
    return mapper


def _random_mapper(config: Config, networks: Networks) -> HairMapper:
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
    networks: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in TRAINED_WITH:
            settings = dict(architectures[name])
            cls = CLASSES[name].load(str(settings.pop("class", next(iter(CLASSES[name])))))
            try:
                networks[name] = cls(**settings)
            except (TypeError, ValueError, KeyError) as error:
                raise HairclipError(f"networks.architectures.{name} builds no {name}: {error}.") from None
    return networks


@torch.no_grad()
def _latents(config: Config, generator: Generator) -> tuple[LatentSet, LatentSet]:
    if not config.dry_run:
        data = config.data
        counts: dict[Stream, int] = {"train": data.sampled_count, "val": data.sampled_validation_count}

        def draw(stream: Stream) -> SampledCodes:
            psi = data.sampled_truncation
            return SampledCodes(generator, count=counts[stream], truncation=psi, seed=config.seed, stream=stream)

        return training_and_validation(data.latents, data.validation_latents, draw)
    random = torch.Generator().manual_seed(config.seed)
    z = torch.randn(_DRY_RUN_CODES, generator.z_dim, generator=random)
    codes = LatentSet(generator.expand(generator.mapping(z.to(generator.constant.device))).cpu().contiguous())
    half = _DRY_RUN_CODES // 2
    return codes.subset(range(half)), codes.subset(range(half, _DRY_RUN_CODES))


def _words(config: Config, latents: LatentSet) -> tuple[list[str], list[str]]:
    """Return the hairstyles and the colors that training requests by name.

    They are the configured words, else those that label a code, else the bundle's, else HairCLIP's.
    """
    known = BundleWords() if config.dry_run else network_bundle(config).known_words()
    return (
        config.data.hairstyles or in_vocabulary_order(latents.hairstyles or known.hairstyles, HAIRSTYLES),
        config.data.colors or in_vocabulary_order(latents.colors or known.colors, COLORS),
    )


def _references(
    config: Config,
    latents: LatentSet,
    networks: Networks,
    encoder: ConditionEncoder,
    hairstyles: Sequence[str],
    colors: Sequence[str],
) -> tuple[ReferencePool, ReferencePool]:
    """Return the references of hairstyles and those of colors."""
    data, count = config.data, config.data.reference_pool
    store: ReferenceStore = {}
    if data.cache_folder is not None:
        settings = {"gamma": encoder.gamma, "seen": encoder.seen, "enlarging": config.networks.enlarging}
        key = features_key((networks.generator, networks.parser, networks.clip), settings)
        store = ReferenceFolder(data.cache_folder, key)
    shades = synthesized_references(latents, networks.generator, encoder, store, count=count, seed=config.seed)
    styles = replace(shades, of_word={})
    if config.dry_run:
        return styles, shades
    hairstyles = _with_folders(hairstyles, data.hairstyle_folders)
    styles = _from_folders(config, data.hairstyle_images, styles, hairstyles, hairstyle_prompt, data.hairstyle_folders)
    shades = _from_folders(config, data.color_images, shades, colors, color_prompt, data.color_folders)
    return styles, shades


def _validation_references(
    config: Config,
    styles: ReferencePool,
    shades: ReferencePool,
    hairstyles: Sequence[str],
    colors: Sequence[str],
) -> tuple[ReferencePool, ReferencePool]:
    """Return the references of the validation, which are the training's where the configuration names no others."""
    data = config.data
    if config.dry_run:
        return styles, shades
    if (images := data.validation_hairstyle_images) is not None:
        hairstyles = _with_folders(hairstyles, data.hairstyle_folders)
        styles = _from_folders(config, images, styles, hairstyles, hairstyle_prompt, data.hairstyle_folders)
    if (images := data.validation_color_images) is not None:
        shades = _from_folders(config, images, shades, colors, color_prompt, data.color_folders)
    return styles, shades


def _with_folders(hairstyles: Sequence[str], folders: str | None) -> list[str]:
    """Return the hairstyles that have a folder of references.

    Training may request more than a set shows: "bald" labels codes of the portraits, and no edit makes people bald.

    Raises:
        HairclipError: if no hairstyle has one.
    """
    found = [word for word in hairstyles if (Path(folders or "") / hairstyle_prompt(word)).is_dir()]
    if folders is not None and not found:
        wanted = hairstyle_prompt(hairstyles[0])
        raise HairclipError(
            f"data.hairstyle_folders: {folders} holds no folder such as '{wanted}': run python -m hairclip references "
            f"--kind hairstyle --out {folders}, or give null."
        )
    return found


def _from_folders(
    config: Config,
    images: str | None,
    otherwise: ReferencePool,
    words: Sequence[str],
    folder_of: Callable[[str], str],
    word_folders: str | None,
) -> ReferencePool:
    """Return the pictures of a folder, which are drawn freely, and those of the folders of each word.

    Without `images`, the pictures of `otherwise` are drawn freely.
    """
    if images is None and word_folders is None:
        return otherwise
    read = folder_references(
        images,
        otherwise.encoder,
        otherwise.store,
        count=config.data.reference_pool,
        seed=config.seed,
        word_folders=word_folders,
        words=words,
        folder_of=folder_of,
    )
    return join_references(otherwise, read) if images is None else read


def _numbers(styles: ReferencePool, shades: ReferencePool) -> dict[str, Any]:
    """Return how many references a `TaskSampler` draws from, and which of them show what."""
    return {
        "hairstyle_references": styles.free or len(styles),
        "color_references": shades.free or len(shades),
        "references_of_hairstyle": styles.of_word,
        "references_of_color": shades.of_word,
    }

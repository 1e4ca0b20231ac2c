"""Train StyleCLIP's latent mappers of many texts at once (Patashnik et al. 2021, section 5).

The loss of a text is the official one: the distance in CLIP's space, the mean square of the change, and the distance of
the identity embeddings. A step holds samples of every text, and no text shares a weight with another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.errors import HairclipError
from hairclip.common.files import digest, open_atomic
from hairclip.common.images import Embeddings, Scores, WPlus
from hairclip.common.precision import mixed_precision
from hairclip.common.progress import progress_bar
from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.networks.clip import Clip
from hairclip.networks.ir_se import FaceEncoder
from hairclip.networks.style_mappers import LEVELS, StyleMappers
from hairclip.networks.stylegan2 import Generator
from hairclip.training.latents import LatentSet

__all__ = ["StyleMapperOptions", "mapper_loss", "train_style_mappers"]

Faces = Float[Tensor, "batch face"]

_SEED, _WARMUP = 11, 20
_EXACT_UNTIL = 16  # resolutions whose gradients bfloat16 would spoil


@dataclass(frozen=True)
class StyleMapperOptions:
    """How mappers are trained. The published values, for FFHQ at 1024 px, are in brackets.

    Attributes:
        steps: number of steps.
        color_samples: samples of each color in a step; a hairstyle has one.
        lr: peak rate of Adam on effective weights; it falls to 0 as a cosine. [Ranger, about 2e-4, constant]
        scale: factor on the mappers' output. [0.1]
        clip_weight: weight of CLIP's distance. [1]
        latent_weight: weight of the mean square of the change. [0.8]
        identity_weight: weight of the identity's distance. [0.1]
        text_pixels: what CLIP sees: pixels in [-1, 1] as they are, "official", or as it was trained, "normalized".
            ["official"]
        seed: of first weights, codes and their order.
        precision: of the generator and the judging networks.
    """

    steps: int = 500
    color_samples: int = 1
    lr: float = 1e-3
    scale: float = 0.4
    clip_weight: float = 1.0
    latent_weight: float = 0.4
    identity_weight: float = 0.1
    text_pixels: str = "normalized"
    seed: int = 0
    precision: str = "float32"


def train_style_mappers(
    generator: Generator,
    clip: Clip,
    identity: FaceEncoder,
    codes: LatentSet,
    hairstyles: Sequence[str],
    colors: Sequence[str],
    folder: Path,
    options: StyleMapperOptions,
    *,
    groups: tuple[int, int],
    save_every: int = 25,
    progress: bool = True,
) -> StyleMappers:
    """Train a mapper for each word and return them; a training that was stopped continues, and gives the same bits.

    Hairstyles move the coarse and medium layers, colors move all, as in the official trainings.

    Args:
        generator: the generator.
        clip: the CLIP, on the same device.
        identity: tells who a face is.
        codes: codes of the people that are edited.
        hairstyles: names of the hairstyles.
        colors: names of the colors.
        folder: where the checkpoint is kept.
        options: how they are trained.
        groups: first medium and first fine layer.
        save_every: steps between two checkpoints.
        progress: show a progress bar.

    Raises:
        HairclipError: for a checkpoint of another training.
    """
    device = generator.constant.device
    words: dict[str, Sequence[str]] = {**dict.fromkeys(hairstyles, LEVELS[:2]), **dict.fromkeys(colors, LEVELS)}
    if len(words) < len(hairstyles) + len(colors):
        raise HairclipError("a word names a hairstyle and a color: leave out one of the two.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        mappers = StyleMappers(generator.n_latent, generator.w_dim, words, groups, options.scale).to(device)
    optimizer = torch.optim.Adam(mappers.parameters(), lr=options.lr)
    batch = [*hairstyles, *(color for color in colors for _ in range(options.color_samples))]
    with torch.no_grad():
        prompts = [hairstyle_prompt(word) for word in hairstyles] + [color_prompt(word) for word in colors]
        texts = dict(zip(words, clip.encode_text(prompts)))
    wanted = torch.stack([texts[word] for word in batch])
    pixels = clip.raw_pixels if options.text_pixels == "official" else clip.pixels
    chosen = [
        np.random.default_rng([_SEED, options.seed, step]).integers(len(codes), size=len(batch)).tolist()
        for step in range(options.steps)
    ]
    key = digest(generator, clip, identity, codes.digest(), words, groups, options)
    path = folder / "style_mappers.pt"
    begin = _restore(path, key, mappers, optimizer) if path.exists() else 0
    people = sorted({number for numbers in chosen for number in numbers}) if begin < options.steps else []
    faces = _identities(generator, identity, codes, people, options.precision, progress)
    shown: dict[str, float] = {}
    bar = progress_bar(
        range(begin, options.steps),
        label="style mappers",
        initial=begin,
        total=options.steps,
        show=progress,
        log_every=30,
        unit="step",
    )
    for step in bar:
        w_plus = codes[chosen[step]].to(device)
        who = torch.stack([faces[number] for number in chosen[step]])
        for group in optimizer.param_groups:
            group["lr"] = options.lr * warm_up_then_half_cosine(step, options.steps, warmup=_WARMUP)
        with mixed_precision(options.precision, device):
            edited = w_plus + mappers(w_plus, batch)
            images = generator(edited.float(), float32_until=_EXACT_UNTIL).float()
            seen = clip.encode_pixels(pixels(images)).float()
            terms = mapper_loss(seen, wanted, edited.float(), w_plus, identity(images).float(), who, options)
        optimizer.zero_grad(set_to_none=True)
        # The sum, not the mean: each text descends as if it were alone.
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        for name, values in terms.items():
            mean = float(values.detach().mean())
            shown[name] = 0.9 * shown.get(name, mean) + 0.1 * mean
        bar.set_postfix({name: f"{value:.4f}" for name, value in shown.items()}, refresh=False)
        if (step + 1) % save_every == 0 or step + 1 == options.steps:
            _save(path, key, step + 1, mappers, optimizer)
    return mappers.eval().requires_grad_(False)


def mapper_loss(
    seen: Embeddings,
    wanted: Embeddings,
    edited: WPlus,
    w_plus: WPlus,
    face: Faces,
    source_face: Faces,
    options: StyleMapperOptions,
) -> dict[str, Scores]:
    """Return the weighted terms of each sample, (B,), by name (section 5, equation 4).

    Args:
        seen: CLIP's embeddings of the edited pictures.
        wanted: CLIP's embeddings of the texts.
        edited: codes after the edit.
        w_plus: codes before it.
        face: identity embeddings after the edit, of length 1.
        source_face: those before it.
        options: the weights.
    """
    return {
        "clip": options.clip_weight * (1 - F.cosine_similarity(seen, wanted, dim=1)),
        "latent": options.latent_weight * (edited - w_plus).square().mean(dim=(1, 2)),
        "identity": options.identity_weight * (1 - (face * source_face).sum(dim=1)),
    }


@torch.no_grad()
def _identities(
    generator: Generator,
    identity: FaceEncoder,
    codes: LatentSet,
    people: Sequence[int],
    precision: str,
    progress: bool,
    size: int = 32,
) -> dict[int, Tensor]:
    """Return number of a code -> identity embedding of its picture. Batches do not depend on where a training is."""
    device = generator.constant.device
    found: dict[int, Tensor] = {}
    with progress_bar(total=len(people), label="faces", show=progress, log_every=30) as bar:
        for first in range(0, len(people), size):
            numbers = people[first : first + size]
            with mixed_precision(precision, device):
                images = generator(codes[numbers].to(device), float32_until=_EXACT_UNTIL).float()
                found.update(zip(numbers, identity(images).float()))
            bar.update(len(numbers))
    return found


def _save(path: Path, key: str, step: int, mappers: StyleMappers, optimizer: torch.optim.Optimizer) -> None:
    with open_atomic(path) as file:
        torch.save(
            {"key": key, "step": step, "mappers": mappers.state_dict(), "optimizer": optimizer.state_dict()}, file
        )


def _restore(path: Path, key: str, mappers: StyleMappers, optimizer: torch.optim.Optimizer) -> int:
    try:
        saved = torch.load(path, weights_only=True)
        own = saved["key"] == key
        if own:
            mappers.load_state_dict(saved["mappers"])
            optimizer.load_state_dict(saved["optimizer"])
        step = int(saved["step"])
    except Exception as error:  # a damaged file raises almost anything
        raise HairclipError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}): delete it to train anew."
        ) from error
    if not own:
        raise HairclipError(
            f"the checkpoint {path} is one of other networks, words or settings: give another folder, or delete it."
        )
    return step

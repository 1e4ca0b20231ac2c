"""Recipe of the denoisers of the method `diffusion`: they learn to paint hair back into labeled pictures.

A region that hides the hair, and often more, is cut out. The denoisers are told hairstyle and color by a text's
embedding or by that of a picture, and so learn to take both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from hairclip.common.averages import moving_average, update_average
from hairclip.common.color import flat_hair_color, gray_hair
from hairclip.common.errors import HairclipError
from hairclip.common.images import Embeddings, Images, Masks
from hairclip.common.progress import progress_bar
from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.conditions.encoder import ConditionEncoder
from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.networks.denoiser import Canvas, Denoiser, HairPainter, unit_embeddings
from hairclip.networks.diffusion import noised, velocity
from hairclip.portraits.fit.labeled_pictures import LabeledPictures
from hairclip.portraits.fit.loop import StepLog, autocast, run
from hairclip.pretrained.bundle import Networks
from hairclip.pretrained.network_files import save_network

__all__ = ["Told", "fit_painter", "random_region", "read_told", "save_painter"]

_RATE = 1e-3
_DROPPED = (0.08, 0.06, 0.06)
"""Shares of samples that are told nothing, no hairstyle, no color."""
_AS_TEXT, _AS_OWN = 0.5, 0.3
"""Shares of samples that are told by a text, and by their own picture. The others are told by another picture."""
_SHADED = 0.3
"""Share of samples whose hair keeps its shape, and which see its brightness."""
_NOISE = 0.35
"""Largest deviation of the noise in the codes that the fine stage starts from."""
_SMALL = 65_000
"""Numbers up to which a tensor is stored with 16 bits."""
_CROP = 64
"""Side of the crops that the fine stage learns from, in pixels. It sees no farther, and more of them fit an hour."""


@dataclass(frozen=True)
class Told:
    """What denoisers can be told of labeled pictures, as embeddings of mean square 1.

    Attributes:
        styles: of the pictures' gray hair, (N, width).
        colors: of the pictures' hair color, (N, width).
        style_texts: name of a hairstyle -> (width,).
        color_texts: name of a color -> (width,).
    """

    styles: Embeddings
    colors: Embeddings
    style_texts: dict[str, Tensor]
    color_texts: dict[str, Tensor]


@torch.no_grad()
def read_told(pictures: LabeledPictures, networks: Networks, *, batch: int = 64, progress: bool = False) -> Told:
    """Let CLIP read the pictures' hair, and the names of their hairstyles and colors.

    Args:
        pictures: what is read.
        networks: CLIP and parser.
        batch: pictures that are read together.
        progress: show a progress bar.
    """
    encoder = ConditionEncoder(networks.clip, networks.parser, references="separated")
    styles, colors = [], []
    for first in progress_bar(range(0, len(pictures), batch), label="reading pictures", show=progress):
        rows = slice(first, first + batch)
        images, hair = pictures.images(rows).to(encoder.device), pictures.hair(rows).to(encoder.device)
        styles.append(unit_embeddings(networks.clip.encode_image(gray_hair(images, hair))).cpu())
        colors.append(unit_embeddings(networks.clip.encode_image(flat_hair_color(images, hair))).cpu())
    return Told(
        torch.cat(styles),
        torch.cat(colors),
        {name: _text(encoder, hairstyle_prompt(name)) for name in set(pictures.hairstyles)},
        {name: _text(encoder, color_prompt(name)) for name in set(pictures.colors)},
    )


def _text(encoder: ConditionEncoder, prompt: str) -> Tensor:
    return unit_embeddings(encoder.texts([prompt]))[0].cpu()


def fit_painter(
    pictures: LabeledPictures,
    told: Told,
    folder: Path,
    device: torch.device,
    *,
    steps: int,
    fine_steps: int,
    batch: int = 32,
    save_every: int = 100,
    seed: int = 0,
    painter: HairPainter | None = None,
) -> HairPainter:
    """Train both stages one after the other, and return them with averaged weights.

    Args:
        pictures: what they learn from.
        told: what they are told of each picture.
        folder: where the checkpoints are kept; a training continues from them.
        device: where to train.
        steps: steps of the coarse stage.
        fine_steps: steps of the fine stage.
        batch: pictures of a step.
        save_every: steps between two checkpoints.
        seed: of weights, order and noise.
        painter: networks of other sizes than the default.

    Raises:
        HairclipError: for a checkpoint that cannot be continued, or pictures that are too small.
    """
    size = pictures.pixels.shape[-1]
    if size < _CROP or size % 16:
        raise HairclipError(f"the denoiser needs pictures of {_CROP} px or more, by 16 px, and these have {size} px.")
    torch.manual_seed(seed)  # initial weights
    painter = painter or HairPainter(told.styles.shape[1])
    _fit_codecs(painter, pictures)
    painter.to(device).to(memory_format=torch.channels_last)
    maker = _Samples(pictures, told, device)

    def coarse_loss(rng: np.random.Generator) -> Tensor:
        images, canvas, style, color = maker.draw(rng, batch)
        with torch.no_grad():
            codes, context = painter.codec.encode(images), painter.coarse_context(canvas)
            weight = F.avg_pool2d(canvas.region, painter.codec.patch) + 0.05
        return _loss(painter.coarse, codes, context, style, color, weight, rng)

    def fine_loss(rng: np.random.Generator) -> Tensor:
        images, canvas, style, color = maker.draw(rng, batch)
        with torch.no_grad():
            disturbed = _normal(rng, (batch,), device, uniform=True) * _NOISE
            codes = painter.codec.encode(images)
            noise = _normal(rng, codes.shape, device)
            coarse = painter.codec.decode(codes + disturbed[:, None, None, None] * noise)
            corners = _corners(rng, canvas.region)
            images, coarse, region, picture, shading = (
                _cropped(part, corners) for part in (images, coarse, canvas.region, canvas.picture, canvas.shading)
            )
            context = painter.fine_context(Canvas(picture, region, shading), coarse, disturbed)
            weight = F.avg_pool2d(region, painter.detail.patch) + 0.02
            residual = painter.detail.encode(images - coarse)
        return _loss(painter.fine, residual, context, style, color, weight, rng)

    settings: dict[str, Any] = {"folder": folder, "seed": seed, "save_every": save_every}
    _train("coarse", painter.coarse, coarse_loss, steps=steps, **settings)
    _train("fine", painter.fine, fine_loss, steps=fine_steps, **settings)
    return painter.eval()


def _train(
    name: str,
    network: Denoiser,
    loss: Callable[[np.random.Generator], Tensor],
    *,
    steps: int,
    folder: Path,
    seed: int,
    save_every: int,
) -> None:
    """Minimize a loss of one network, and leave it with averaged weights."""
    average = moving_average(network, 0.998)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, betas=(0.9, 0.99), weight_decay=1e-2)

    def step(index: int, rng: np.random.Generator) -> StepLog:
        for group in optimizer.param_groups:
            group["lr"] = _RATE * warm_up_then_half_cosine(index, steps, warmup=50, floor=0.01)
        value = loss(rng)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        update_average(average, network, index)
        return {"loss": value.item()}

    state = {"network": network, "average": average, "optimizer": optimizer}
    run(name, steps=steps, state=state, step=step, folder=folder, seed=seed, save_every=save_every)
    network.load_state_dict(average.module.state_dict())


def save_painter(path: Path, painter: HairPainter) -> None:
    """Write finished weights: 8 bits for a number of a large tensor, 16 bits for others."""
    save_network(path, "denoiser", painter, half=True, quarter_above=_SMALL)


def random_region(
    rng: np.random.Generator, hair: Masks, others: Masks, alike: Masks
) -> Float[Tensor, "batch 1 height width"]:
    """Return regions that hide hair and do not tell its outline: 1 where to paint.

    An edit hides the hair that a person has and what the new hairstyle may cover. So six regions in ten hide what the
    hair of another person covers too, and half of them what hair of the same hairstyle covers. All are widened by 1 to
    5 pixels.

    Args:
        rng: random numbers.
        hair: where the pictures show hair, (B, 1, H, W).
        others: the hair of other people.
        alike: where people of the same hairstyle have hair.
    """
    regions = []
    for own, other, same in zip(hair, others, alike, strict=True):
        region = own | (other & bool(rng.random() < 0.6)) | (same & bool(rng.random() < 0.5))
        regions.append(_widened(region.float(), int(rng.integers(1, 6))))
    return torch.stack(regions)


def _widened(region: Tensor, radius: int) -> Tensor:
    """Return a region widened by a square. Rows and then columns cost less than squares."""
    side = 2 * radius + 1
    rows = F.max_pool2d(region, (1, side), stride=1, padding=(0, radius))
    return F.max_pool2d(rows, (side, 1), stride=1, padding=(radius, 0))


@torch.no_grad()
def _fit_codecs(painter: HairPainter, pictures: LabeledPictures, count: int = 1500) -> None:
    """Compute the codecs: the fine one from what the coarse one loses of hair."""
    rows = np.random.default_rng(4).choice(len(pictures), min(count, len(pictures)), replace=False)
    images = pictures.images(rows)
    painter.codec.fit(images, power=0.5)
    lost = (images - painter.codec(images)) * _widened(pictures.hair(rows).float(), 2)
    painter.detail.fit(lost, power=0.5, patches=300_000)
    # Patches without hair are zeros and make the codes look quieter than they are.
    codes = painter.detail.encode(lost)
    covered = (F.avg_pool2d(pictures.hair(rows).float(), painter.detail.patch) > 0.5).expand_as(codes)
    painter.detail.scale.mul_(codes[covered].square().mean().sqrt())


class _Samples:
    """Draws what one step looks at."""

    def __init__(self, pictures: LabeledPictures, told: Told, device: torch.device) -> None:
        self.pictures, self.told, self.device = pictures, told, device
        self.same_style, self.same_color = _groups(pictures.hairstyles), _groups(pictures.colors)

    def draw(self, rng: np.random.Generator, batch: int) -> tuple[Images, Canvas, Embeddings, Embeddings]:
        """Return pictures, what the denoiser sees of them, and what it is told of hairstyle and color."""
        rows = rng.integers(0, len(self.pictures), batch)
        flipped = torch.from_numpy(rng.random(batch) < 0.5)[:, None, None, None]
        images, hair = self.pictures.images(rows), self.pictures.hair(rows)
        images, hair = torch.where(flipped, images.flip(-1), images), torch.where(flipped, hair.flip(-1), hair)
        others = self.pictures.hair(rng.integers(0, len(self.pictures), batch))
        alike = torch.stack([self._hair_of_style(rng, self.pictures.hairstyles[row]) for row in rows])
        shaded = torch.from_numpy(rng.random(batch) < _SHADED)[:, None, None, None]
        region = torch.where(shaded, _widened(hair.float(), 3), random_region(rng, hair, others, alike))
        canvas = Canvas(*(part.to(self.device) for part in (images, region, gray_hair(images, hair) * shaded)))
        told, names = self.told, self.pictures
        style = self._tell(rng, rows, names.hairstyles, told.style_texts, told.styles, self.same_style)
        color = self._tell(rng, rows, names.colors, told.color_texts, told.colors, self.same_color)
        nothing, no_style, no_color = (torch.from_numpy(rng.random(batch) < share) for share in _DROPPED)
        style[nothing | no_style], color[nothing | no_color] = 0.0, 0.0
        return canvas.picture, canvas, style.to(self.device), color.to(self.device)

    def _hair_of_style(self, rng: np.random.Generator, hairstyle: str) -> Bool[Tensor, "1 height width"]:
        """Return where any of three people of a hairstyle has hair, (1, H, W)."""
        return self.pictures.hair(rng.choice(self.same_style[hairstyle], 3)).any(dim=0)

    def _tell(
        self,
        rng: np.random.Generator,
        rows: np.ndarray,
        names: Sequence[str],
        texts: dict[str, Tensor],
        read: Tensor,
        same: dict[str, np.ndarray],
    ) -> Embeddings:
        told = []
        for row, chance in zip(rows, rng.random(len(rows)), strict=True):
            if chance < _AS_TEXT:
                told.append(texts[names[row]])
            elif chance < _AS_TEXT + _AS_OWN:
                told.append(read[row])
            else:
                told.append(read[rng.choice(same[names[row]])])
        return torch.stack(told)


def _groups(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the rows of each name."""
    array = np.array(names)
    return {str(name): np.flatnonzero(array == name) for name in np.unique(array)}


def _loss(
    network: Denoiser,
    clean: Tensor,
    context: Tensor,
    style: Tensor,
    color: Tensor,
    weight: Tensor,
    rng: np.random.Generator,
) -> Tensor:
    """Return the weighted mean square of the velocity's error at random times."""
    time = _normal(rng, (len(clean),), clean.device, uniform=True)
    noise = _normal(rng, clean.shape, clean.device)
    with autocast(clean.device):
        predicted = network(noised(clean, noise, time), time, context, style, color)
    error = (predicted.float() - velocity(clean, noise, time)).square()
    return (error * weight).mean() / weight.mean()


def _normal(rng: np.random.Generator, shape: Sequence[int], device: torch.device, *, uniform: bool = False) -> Tensor:
    """Return normal random numbers, or uniform ones of [0, 1)."""
    values = rng.random(shape, np.float32) if uniform else rng.standard_normal(shape, np.float32)
    return torch.from_numpy(values).to(device)


def _corners(rng: np.random.Generator, region: Tensor) -> list[tuple[int, int]]:
    """Return the upper left corner of one crop per sample, on the grid of patches, around a place in the region."""
    corners = []
    for one in region:
        places = one[0].nonzero()
        y, x = places[int(rng.integers(len(places)))].tolist() if len(places) else (one.shape[1] // 2,) * 2
        most = one.shape[-1] - _CROP
        corners.append(tuple(min(max(place - _CROP // 2, 0), most) // 8 * 8 for place in (y, x)))
    return corners


def _cropped(images: Tensor, corners: Sequence[tuple[int, int]]) -> Tensor:
    return torch.stack(
        [one[:, y : y + _CROP, x : x + _CROP] for one, (y, x) in zip(images, corners, strict=True)]
    ).contiguous(memory_format=torch.channels_last)

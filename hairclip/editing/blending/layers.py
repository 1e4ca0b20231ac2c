"""What was behind the hair: the photo as it would be with the hair taken away.

Skin is the generator's, shifted to meet the photo's; background and clothes are the photo's own, stretched smoothly
under the hair, because the generator's never match. Where which of them is to be seen follows the parsed edit, bent
so that its outlines (jaw, shoulders) meet the photo's where the hair ends.
"""

import torch
from torch import Tensor

from hairclip.common.images import Images, Labels, Masks, SoftMasks
from hairclip.editing.blending.fill import solve_membrane, solve_membranes
from hairclip.editing.blending.matte import BACKGROUND, CLOTHES, PERSON
from hairclip.editing.blending.regions import dilate, select_labels, soften, to_pixels

__all__ = ["add_grain", "measure_noise", "uncover", "weigh_layers"]

LAYERS = (BACKGROUND, CLOTHES, PERSON)
SHARPNESS = 0.05  # of the change from one layer to another, in units of their membranes' weights
GRAIN_LIMIT = 0.04  # about 5 of 255 levels; what varies more is a pattern


def uncover(
    source: Images,
    edited: Images,
    source_labels: Labels,
    edited_labels: Labels,
    removed: Masks,
    edited_hair: Masks,
) -> Images:
    """Take the hair away.

    Args:
        source: the photo, (B, 3, H, W) in [-1, 1].
        edited: the generator's picture after the edit.
        source_labels: parsed photo, (B, H, W).
        edited_labels: parsed edit.
        removed: what goes, (B, 1, H, W); everything else stays as it is, bit for bit.
        edited_hair: where `edited` shows hair, whose pixels are of no use here.

    Returns:
        The photo without hair (under the edit's hair too, where it is a guess).
    """
    margin = to_pixels(1 / 128, source.shape[-2])
    shown, rendered = [], []
    for classes in LAYERS:
        layer = select_labels(source_labels, classes)
        # Pixels along an outline hold some of what lies on its other side.
        shown.append(layer & ~removed & ~dilate(~layer & ~removed, margin))
        rendered.append(select_labels(edited_labels, classes) & ~edited_hair)
    enough = [here.float().mean(dim=(1, 2, 3), keepdim=True) > 0.0005 for here in shown]
    # The photo's own, continued. Skin is never: it is the generator's, as is what the photo shows too little of.
    own = [i for i, classes in enumerate(LAYERS) if classes != PERSON]
    drawn = [i for i in range(len(LAYERS)) if i not in own or not enough[i].all()]
    shifts = [(source - edited, shown[i] & rendered[i]) for i in drawn]
    found = solve_membranes(*((source, shown[i]) for i in own), *shifts)
    moved = {i: edited + shift for i, shift in zip(drawn, found[len(own) :], strict=True)}  # to where the photo is
    hidden = solve_membranes(*((moved[i], rendered[i]) for i in drawn))
    layers = {i: torch.where(edited_hair, behind, moved[i]) for i, behind in zip(drawn, hidden, strict=True)}
    for i, continued in zip(own, found[: len(own)], strict=True):
        grainy = add_grain(continued, measure_noise(source, shown[i]))
        layers[i] = torch.where(enough[i], grainy, layers.get(i, grainy))
    weights = weigh_layers(source_labels, edited_labels, removed, edited_hair)
    filled = torch.stack([weight * layers[i] for i, weight in enumerate(weights)]).sum(dim=0)
    return torch.where(removed, filled.clamp(-1.0, 1.0), source)


def weigh_layers(
    source_labels: Labels, edited_labels: Labels, removed: Masks, edited_hair: Masks
) -> tuple[SoftMasks, SoftMasks, SoftMasks]:
    """How much of background, clothes and person each pixel shows without the hair; they sum to 1.

    A seamless cloning of the label maps: the edit's indicator of each layer plus a membrane of its difference to the
    photo's, so that they agree all around `removed`.
    """
    height = source_labels.shape[-2]
    blur = to_pixels(1 / 256, height)
    here, there = (
        torch.cat([select_labels(labels, classes).float() for classes in LAYERS], dim=1)
        for labels in (source_labels, edited_labels)
    )
    there = solve_membrane(there, ~edited_hair)
    logits = soften(there + solve_membrane(here - there, ~removed), blur)
    weights = torch.softmax(logits / SHARPNESS, dim=1)
    background, clothes, person = weights.split(1, dim=1)
    return background, clothes, person


def measure_noise(images: Images, masks: Masks) -> Tensor:
    """Standard deviation of the grain within `masks`, (B, 3, 1, 1), after Immerkaer (1996).

    The median of the absolute second difference in both directions: edges and gradients hardly touch it.
    """
    second = images - soften(images, 1)
    second = second - soften(second, 1)
    count = masks.sum(dim=(2, 3))
    size = images.shape[-2] * images.shape[-1]
    ordered = torch.where(masks, second.abs(), torch.inf).flatten(2).sort(dim=-1).values
    middle = (count // 2).clamp(max=size - 1).expand(-1, 3)[..., None]
    median = ordered.gather(-1, middle)[..., 0]
    return torch.where(count > 64, (median / 0.6745 / _GRAIN_GAIN).clamp(max=GRAIN_LIMIT), torch.zeros_like(median))[
        ..., None, None
    ]


def add_grain(images: Images, sigma: Tensor, seed: int = 0) -> Images:
    """Add white noise of the given strength, the same for every sample, so that batches equal single pictures."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, *images.shape[1:], generator=generator).to(images)
    return images + sigma * noise


def _grain_gain() -> float:
    """Root of the energy that white noise keeps in `measure_noise`'s second difference."""
    impulse = torch.zeros(1, 1, 11, 11, dtype=torch.float64)
    impulse[..., 5, 5] = 1.0
    second = impulse - soften(impulse, 1)
    second = second - soften(second, 1)
    return float(second.square().sum().sqrt())


_GRAIN_GAIN = _grain_gain()

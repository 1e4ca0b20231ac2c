"""Take the hair out of a photo and show what was behind it.

Three layers lie behind the hair. Skin comes from the generator's picture, shifted in color to meet the photo's skin.
Background and clothes come from the photo, extended smoothly under the hair, because the generator's never match. The
labels of the edit say which layer a pixel shows. They are bent so that outlines such as jaw and shoulders meet those
of the photo where the hair ends.
"""

import torch
from torch import Tensor

from hairclip.common.images import Images, Labels, Masks, SoftMasks
from hairclip.editing.blending.fill import solve_membrane, solve_membranes
from hairclip.editing.blending.matte import BACKGROUND, CLOTHES, PERSON
from hairclip.editing.blending.regions import dilate, select_labels, soften, to_pixels

__all__ = ["add_grain", "measure_noise", "uncover", "weigh_layers"]

LAYERS = (BACKGROUND, CLOTHES, PERSON)
SHARPNESS = 0.05
"""Difference of two layers' weights over which one layer changes into the other."""
GRAIN_LIMIT = 0.04
"""Largest standard deviation that counts as grain, about 5 of 255 levels; what varies more is a pattern."""


def uncover(
    source: Images,
    edited: Images,
    source_labels: Labels,
    edited_labels: Labels,
    removed: Masks,
    edited_hair: Masks,
) -> Images:
    """Return the photo without its hair.

    Args:
        source: the photo, (B, 3, H, W) in [-1, 1].
        edited: the generator's picture after the edit, (B, 3, H, W).
        source_labels: parsed photo, (B, H, W).
        edited_labels: parsed edit, (B, H, W).
        removed: pixels to replace, (B, 1, H, W); all others keep their bits.
        edited_hair: hair of `edited`, (B, 1, H, W). Its pixels say nothing about what is behind hair.

    Returns:
        (B, 3, H, W) in [-1, 1]. Under the hair of the edit it is a guess.
    """
    margin = to_pixels(1 / 128, source.shape[-2])
    shown, rendered = [], []
    for classes in LAYERS:
        layer = select_labels(source_labels, classes)
        # Pixels along an outline mix both of its sides.
        shown.append(layer & ~removed & ~dilate(~layer & ~removed, margin))
        rendered.append(select_labels(edited_labels, classes) & ~edited_hair)
    enough = [here.float().mean(dim=(1, 2, 3), keepdim=True) > 0.0005 for here in shown]
    # Background and clothes continue the photo's. Skin, and a layer that the photo shows too little of, is drawn: it is
    # the generator's.
    extended = [i for i, classes in enumerate(LAYERS) if classes != PERSON]
    drawn = [i for i in range(len(LAYERS)) if i not in extended or not enough[i].all()]
    shifts = [(source - edited, shown[i] & rendered[i]) for i in drawn]
    membranes = solve_membranes(*((source, shown[i]) for i in extended), *shifts)
    moved = {i: edited + shift for i, shift in zip(drawn, membranes[len(extended) :], strict=True)}  # meets the photo
    hidden = solve_membranes(*((moved[i], rendered[i]) for i in drawn))
    layers = {i: torch.where(edited_hair, behind, moved[i]) for i, behind in zip(drawn, hidden, strict=True)}
    for i, continued in zip(extended, membranes[: len(extended)], strict=True):
        grainy = add_grain(continued, measure_noise(source, shown[i]))
        layers[i] = torch.where(enough[i], grainy, layers.get(i, grainy))
    weights = weigh_layers(source_labels, edited_labels, removed, edited_hair)
    filled = torch.stack([weight * layers[i] for i, weight in enumerate(weights)]).sum(dim=0)
    return torch.where(removed, filled.clamp(-1.0, 1.0), source)


def weigh_layers(
    source_labels: Labels, edited_labels: Labels, removed: Masks, edited_hair: Masks
) -> tuple[SoftMasks, SoftMasks, SoftMasks]:
    """Return how much of background, clothes and person each pixel shows without the hair; the three sum to 1.

    This is a seamless cloning of label maps: each layer's indicator in the edit plus the membrane of its difference to
    the photo. So the layers agree with the photo all around `removed`.
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
    """Return the standard deviation of the grain within `masks`, (B, 3, 1, 1), after Immerkaer 1996.

    It is the median of the absolute second difference in both directions, which edges and gradients hardly change.
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
    """Return pictures with white noise of a given standard deviation, the same for every sample of a batch."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, *images.shape[1:], generator=generator).to(images)
    return images + sigma * noise


def _grain_gain() -> float:
    """Return the factor by which the second difference of `measure_noise` scales white noise."""
    impulse = torch.zeros(1, 1, 11, 11, dtype=torch.float64)
    impulse[..., 5, 5] = 1.0
    second = impulse - soften(impulse, 1)
    second = second - soften(second, 1)
    return float(second.square().sum().sqrt())


_GRAIN_GAIN = _grain_gain()

"""Losses at the resolution that their networks see, and in half precision: what stays the same, and how nearly."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.images import area_resample
from hairclip.conditions.encoder import ConditionEncoder
from hairclip.losses.hair_edit import HairEditLoss, LossOutput
from hairclip.networks.clip import VIT_B_32
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks

SIZE = 128


def smooth(seed: int, batch: int = 4) -> Tensor:
    """Pictures without detail finer than a few pixels, as photographs are."""
    small = torch.randn(batch, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(small, size=(SIZE, SIZE), mode="bicubic").mul(0.5).clamp(-1, 1)


def judged(edited: Tensor, **options: object) -> tuple[LossOutput, Tensor]:
    """The loss of four edits of each kind, and its gradient in the pictures."""
    networks = tiny_networks()
    loss = HairEditLoss(networks.clip, networks.parser, networks.identity, **options)
    encoder = ConditionEncoder(networks.clip, networks.parser)
    batch = encoder.encode(["afro", smooth(3, 1), None, "bob cut"], [None, None, "red", smooth(4, 1)])
    w_plus = torch.zeros(4, N_LATENT, W_DIM)
    edited = edited.clone().requires_grad_()
    output = loss(loss.source_features(smooth(1)), edited, w_plus, w_plus + 0.1, batch)
    (gradient,) = torch.autograd.grad(output.total, edited)
    return output, gradient


def test_the_seven_fold_enlargement_is_an_area_resample():
    """HairCLIP enlarges by 7 and pools by size / 32 (its text loss); reduced in between or not, it is one resample."""
    side = VIT_B_32["vision_cfg"]["image_size"]
    image = smooth(0, 1)
    for size, between in ((128, None), (512, 448), (256, 224)):
        full = F.interpolate(image, size=(size, size), mode="bilinear")
        official = F.avg_pool2d(F.interpolate(full, scale_factor=7), size // 32)
        ours = full if between is None else area_resample(full, between)
        torch.testing.assert_close(area_resample(ours, side), official, rtol=0, atol=1e-5)


@pytest.mark.parametrize("resolution", [64, 32])
def test_reduced_pictures_are_judged_as_whole_ones(resolution):
    edited = smooth(2)
    whole, whole_gradient = judged(edited)
    output, gradient = judged(edited, resolution=resolution)
    exact = {"text_hairstyle", "text_color", "identity", "latent"}  # their networks see 32 px, by dyadic means
    for name, term in output.terms.items():
        if name in exact:
            torch.testing.assert_close(term, whole.terms[name], rtol=1e-4, atol=1e-5, msg=name)
    # the parser sees 32 px too, but masks and colors then hold fewer pixels
    torch.testing.assert_close(output.total, whole.total, rtol=0.1, atol=0)
    assert gradient.shape == edited.shape
    assert F.cosine_similarity(gradient.flatten(), whole_gradient.flatten(), dim=0) > 0.8


def test_a_resolution_that_does_not_divide_is_an_exact_mean_too():
    loss = HairEditLoss(*(getattr(tiny_networks(), name) for name in ("clip", "parser", "identity")), resolution=96)
    image = smooth(0)
    reduced = loss.reduced(image)
    assert reduced.shape == (4, 3, 96, 96)
    torch.testing.assert_close(reduced.mean(dim=(2, 3)), image.mean(dim=(2, 3)), rtol=0, atol=1e-6)
    # 32 divides 96: what sees 32 px sees the same
    torch.testing.assert_close(area_resample(reduced, 32), area_resample(image, 32), rtol=0, atol=1e-6)
    assert loss.reduced(reduced) is reduced
    assert loss.source_features(image).hair_mask.shape == (4, 1, 96, 96)


def test_half_precision_is_the_networks_alone():
    edited = smooth(2)
    exact, _ = judged(edited)
    output, gradient = judged(edited, precision=torch.bfloat16)
    assert torch.equal(output.terms["latent"], exact.terms["latent"])
    assert output.total.dtype == gradient.dtype == torch.float32
    assert not torch.equal(output.total, exact.total)
    torch.testing.assert_close(output.total, exact.total, rtol=0.05, atol=0)

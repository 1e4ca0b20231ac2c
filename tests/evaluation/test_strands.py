"""Figures of strands, on stripes whose direction and energy are known."""

import math

import pytest
import torch
from torch import Tensor

from hairclip.evaluation.strands import BANDS, band_energies, direction_agreement, measured_direction

SIZE = 96


def stripes(degrees: float, wavelength: float, strength: float = 0.5) -> Tensor:
    """Gray stripes that run along an angle from the x axis, to the right, towards the y axis, down."""
    angle = math.radians(degrees)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    across = -math.sin(angle) * x + math.cos(angle) * y
    return strength * (2 * math.pi / wavelength * across).sin().expand(1, 3, SIZE, SIZE)


def direction(degrees: float) -> Tensor:
    angle = math.radians(2 * degrees)
    return torch.tensor([math.cos(angle), math.sin(angle)])[None, :, None, None].expand(1, 2, SIZE, SIZE)


def hair(margin: int = 8) -> Tensor:
    mask = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
    mask[..., margin : SIZE - margin, margin : SIZE - margin] = True
    return mask


@pytest.mark.parametrize("degrees", [0, 35, 90, 130])
def test_the_direction_of_stripes_is_measured(degrees: float):
    picture = stripes(degrees, 8)
    inner = (measured_direction(picture) * direction(degrees)).sum(dim=1)[:, 8:-8, 8:-8]
    assert float(inner.min()) > 0.97
    assert float(direction_agreement(picture, direction(degrees), hair())) > 0.995


@pytest.mark.parametrize("off", [30, 60, 90])
def test_the_agreement_is_the_cosine_of_the_angle_between_them(off: float):
    agreement = direction_agreement(stripes(20, 8), direction(20 + off), hair())
    assert float(agreement) == pytest.approx(math.cos(math.radians(off)), abs=0.03)


def test_directions_at_random_agree_by_two_over_pi():
    noise = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    agreement = direction_agreement(noise, direction(20).expand(4, -1, -1, -1), hair().expand(4, -1, -1, -1))
    assert float(agreement.mean()) == pytest.approx(2 / math.pi, abs=0.04)


def test_only_hair_with_a_direction_counts():
    picture = stripes(0, 8)
    picture = torch.cat((picture[..., : SIZE // 2], stripes(90, 8)[..., SIZE // 2 :]), dim=3)
    left = hair()
    left[..., SIZE // 2 - 8 :] = False
    assert float(direction_agreement(picture, direction(0), left)) > 0.99
    known = direction(0).clone()
    known[..., SIZE // 2 - 8 :] = 0.0
    assert float(direction_agreement(picture, known, hair())) > 0.99
    assert math.isnan(direction_agreement(picture, known, torch.zeros_like(left)))


@pytest.mark.parametrize("band", BANDS)
def test_each_band_is_the_share_of_its_own_wavelength(band: int):
    target = sum(stripes(30, wavelength, 0.25) for wavelength in BANDS)
    picture = target - 0.5 * stripes(30, band, 0.25)
    shares = {b: float(share) for b, share in band_energies(picture, target, hair()).items()}
    assert list(shares) == list(BANDS)
    assert shares[band] == pytest.approx(0.5, abs=0.15)
    assert min(shares.values()) == shares[band]
    assert all(share > 0.7 for b, share in shares.items() if b != band)
    same = band_energies(target, target, hair())
    assert all(float(share) == pytest.approx(1.0) for share in same.values())


def test_energy_outside_the_hair_does_not_count():
    target = stripes(30, 6)
    picture = torch.where(hair(), target, torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
    small = hair(20)
    assert all(float(share) == pytest.approx(1.0) for share in band_energies(picture, target, small).values())
    assert all(math.isnan(share) for share in band_energies(picture, target, torch.zeros_like(small)).values())

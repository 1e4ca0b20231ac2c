import pytest
import torch

from hairclip.blend import alpha_from_masks, composite, dilate, fill_smoothly, harmonize


def box(top: int, bottom: int, left: int, right: int, size: int = 32) -> torch.Tensor:
    mask = torch.zeros(1, 1, size, size, dtype=torch.bool)
    mask[..., top:bottom, left:right] = True
    return mask


def pictures(seed: int) -> torch.Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_outside_the_mask_the_photo_keeps_its_bits():
    source, edited = pictures(0), pictures(1)
    alpha = alpha_from_masks(box(8, 16, 8, 16), box(10, 20, 10, 20), feather=2, grow=1)
    mixed = composite(source, edited, alpha)
    outside = (alpha == 0).expand_as(source)
    assert outside.any()
    assert torch.equal(mixed[outside], source[outside])
    assert not torch.equal(mixed, source)


def test_all_of_both_hairs_comes_from_the_edit():
    """Long to short: the old hair, however far it reached, must not shine through anywhere."""
    source, edited = pictures(0), pictures(1)
    long_hair, short_hair = box(4, 30, 4, 28), box(4, 12, 8, 24)
    mixed = composite(source, edited, alpha_from_masks(long_hair, short_hair))
    old = (long_hair | short_hair).expand_as(source)
    torch.testing.assert_close(mixed[old], edited[old], rtol=0, atol=1e-6)


def test_the_ramp_falls_steadily_from_one_to_zero_within_its_width():
    alpha = alpha_from_masks(box(0, 32, 0, 8), box(0, 32, 0, 8), feather=4, grow=1)
    row = alpha[0, 0, 16]
    assert (row[:9] == 1).all()
    assert (row[13:] == 0).all()
    assert (row[8:13].diff() < 0).all()


def test_a_wider_feather_is_softer():
    narrow = alpha_from_masks(box(8, 16, 8, 16), box(8, 16, 8, 16), feather=1)
    wide = alpha_from_masks(box(8, 16, 8, 16), box(8, 16, 8, 16), feather=6)
    assert ((narrow > 0) & (narrow < 1)).sum() < ((wide > 0) & (wide < 1)).sum()


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_dilate_grows_by_the_radius_along_the_axes(radius: int):
    grown = dilate(box(16, 17, 16, 17), radius)
    assert int(grown[0, 0, 16].sum()) == 2 * radius + 1
    assert int(grown[0, 0, :, 16].sum()) == 2 * radius + 1


def test_filling_keeps_what_is_known_and_continues_it():
    values = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32).clone()
    known = (~box(12, 20, 12, 20)).float()
    filled = fill_smoothly(values * known, known)
    torch.testing.assert_close(filled * known, values * known)
    assert (filled - values).abs().max() < 0.2


def test_harmonizing_removes_a_constant_shift_of_the_uncovered_area_but_not_of_the_hair():
    source = torch.full((1, 3, 32, 32), 0.3)
    edited = source - 0.2
    edited_hair = box(4, 8, 8, 24)
    matched = harmonize(source, edited, box(4, 24, 8, 24), edited_hair)
    uncovered = (box(4, 24, 8, 24) & ~edited_hair).expand_as(source)
    torch.testing.assert_close(matched[uncovered], source[uncovered], atol=1e-5, rtol=0)
    assert torch.equal(matched[edited_hair.expand_as(source)], edited[edited_hair.expand_as(source)])


def test_no_hair_at_all_gives_the_photo():
    nothing = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    source = pictures(0)
    assert torch.equal(composite(source, pictures(1), alpha_from_masks(nothing, nothing)), source)


def test_everything_hair_is_filled_without_nan():
    everything = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    assert harmonize(pictures(0), pictures(1), everything, everything).isfinite().all()
    assert harmonize(pictures(0), pictures(1), everything, ~everything).isfinite().all()

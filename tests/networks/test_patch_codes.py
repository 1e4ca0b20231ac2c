"""Patch codes against the definition of principal components, and how much of a picture they keep."""

import pytest
import torch

from hairclip.networks.patch_codes import PatchCodec


def smooth_pictures(count: int = 24, size: int = 32) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, size // 4, size // 4, generator=random) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(-1, 1)


def patches_of(images: torch.Tensor, patch: int) -> torch.Tensor:
    """All patches as rows (N, 3 * patch ** 2), cut out by loops."""
    rows = range(0, images.shape[-1], patch)
    cut = [image[:, y : y + patch, x : x + patch].flatten() for image in images for y in rows for x in rows]
    return torch.stack(cut)


@pytest.mark.parametrize("patch", [4, 8])
def test_with_all_components_nothing_is_lost(patch: int) -> None:
    images = smooth_pictures(60)
    codec = PatchCodec(patch, 3 * patch**2).fit(images)
    assert codec.encode(images).shape == (60, 3 * patch**2, 32 // patch, 32 // patch)
    torch.testing.assert_close(codec(images), images, atol=2e-4, rtol=0)


def test_what_is_lost_is_what_the_singular_values_of_the_patches_say() -> None:
    images = smooth_pictures()
    codec = PatchCodec(4, 6).fit(images)
    rows = patches_of(images, 4).double()
    dropped = torch.linalg.svdvals(rows - rows.mean(dim=0))[6:]
    expected = dropped.square().sum() / rows.numel()
    torch.testing.assert_close((codec(images) - images).square().mean().double(), expected, rtol=1e-3, atol=0)


def test_without_a_power_distances_of_codes_are_distances_of_pixels() -> None:
    images = smooth_pictures(60)
    codec = PatchCodec(4, 48).fit(images)
    pixels = (images[:30] - images[30:]).square().sum()
    torch.testing.assert_close((codec.encode(images[:30]) - codec.encode(images[30:])).square().sum(), pixels)


def test_with_power_one_half_codes_have_mean_square_one_and_coarse_channels_stay_louder() -> None:
    images = smooth_pictures()
    codes = PatchCodec(8, 16).fit(images, power=0.5).encode(images)
    assert float(codes.square().mean()) == pytest.approx(1.0, rel=1e-3)
    deviations = codes.std(dim=(0, 2, 3))
    plain = PatchCodec(8, 16).fit(images).encode(images).std(dim=(0, 2, 3))
    torch.testing.assert_close(deviations / deviations[0], (plain / plain[0]).sqrt(), rtol=1e-3, atol=1e-3)


def test_the_state_of_a_codec_is_all_that_another_needs() -> None:
    images = smooth_pictures(4)
    codec = PatchCodec(8, 5).fit(images, power=0.5)
    copy = PatchCodec(**codec.config)
    copy.load_state_dict(codec.state_dict())
    assert torch.equal(copy.encode(images), codec.encode(images))


def test_more_channels_than_numbers_of_a_patch_are_refused() -> None:
    with pytest.raises(ValueError, match="4 x 4 pixels has 48 numbers, not 49"):
        PatchCodec(4, 49)

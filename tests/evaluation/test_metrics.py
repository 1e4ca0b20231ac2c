from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from hairclip.evaluation.metrics import (
    auc,
    cosine,
    lpips,
    mask_iou,
    masked_psnr,
    ms_ssim,
    named_hair_color,
)


def pictures(seed: int = 0, batch: int = 2, size: int = 64) -> torch.Tensor:
    coarse = torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, size=size, mode="bicubic").clamp(-1, 1)


def test_psnr_counts_only_the_mask():
    images = torch.zeros(2, 3, 8, 8)
    target = torch.zeros(2, 3, 8, 8)
    target[:, :, :4] = 0.2
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[:, :, :4] = True
    torch.testing.assert_close(masked_psnr(images, target, mask), torch.full((2,), 20.0))
    assert (masked_psnr(images, target, ~mask) == 100).all()


def test_iou_of_shifted_boxes_and_of_two_bald_heads():
    first, second = torch.zeros(2, 1, 4, 4, dtype=torch.bool), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    first[0, :, :2], second[0, :, 1:3] = True, True
    torch.testing.assert_close(mask_iou(first, second), torch.tensor([1 / 3, 1.0]))


def test_auc_is_the_share_of_pairs_in_order_and_ties_count_half():
    scores = torch.tensor([0.9, 0.4, 0.5, 0.1, 0.4])
    positive = torch.tensor([True, True, False, False, False])
    # 0.9 beats all three, 0.4 beats one, ties one, loses one
    assert auc(scores, positive) == pytest.approx((3 + 1 + 0.5) / 6)
    assert auc(scores, scores > 0.45) == 1.0
    with pytest.raises(ValueError, match="pairs"):
        auc(scores, torch.ones(5, dtype=torch.bool))


def test_similarity_is_one_for_equal_pictures_and_falls_with_noise():
    images = pictures(size=128)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ms_ssim(images, images), torch.ones(2))
    little, much = ms_ssim(images, images + 0.1 * noise), ms_ssim(images, images + 0.5 * noise)
    assert (little < 1).all()
    assert (much < little).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [(128, (0.941497, 0.930533)), (256, (0.941308, 0.93429))],
)
def test_similarity_keeps_the_figures_of_the_formula_written_out(size: int, expected: tuple[float, float]):
    """The figures of the written-out formula ignore the border. torchmetrics mirrors it at the coarsest scale."""
    images, others = pictures(0, size=size), pictures(1, size=size)
    found = ms_ssim(images, (0.8 * images + 0.2 * others).clamp(-1, 1))
    torch.testing.assert_close(found, torch.tensor(expected), atol=6e-3, rtol=0)


@pytest.mark.parametrize("size", [11, 12, 31, 44, 90, 176])
def test_similarity_takes_pictures_of_any_size_from_its_window_on(size: int):
    images = pictures(0, size=size)
    torch.testing.assert_close(ms_ssim(images, images), torch.ones(2))


def test_lpips_is_absent_without_its_backbone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert lpips(pictures(0), pictures(1)) is None


def test_single_scale_similarity_agrees_with_the_formula_on_flat_pictures():
    """Flat pictures leave only the luminance term: 2ab / (a^2 + b^2), with a and b in [0, 1]."""
    first, second = torch.full((1, 3, 16, 16), -0.5), torch.full((1, 3, 16, 16), 0.5)
    a, b = 0.25, 0.75
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    torch.testing.assert_close(ms_ssim(first, second), torch.tensor([expected]), atol=1e-3, rtol=0)


def test_hair_colors_are_named_where_there_is_hair():
    images = torch.tensor([[0.7, -0.8, -0.8], [-0.9, -0.9, -0.9]])[:, :, None, None].expand(2, 3, 16, 16).contiguous()
    masks = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    assert named_hair_color(images, masks) == ["red", "black"]
    masks[1] = False
    assert named_hair_color(images, masks)[1] is None


def test_cosine():
    torch.testing.assert_close(cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])), torch.tensor([0.5**0.5]))

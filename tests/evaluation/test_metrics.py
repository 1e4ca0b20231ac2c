from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg, ndimage, stats
from torch.nn import functional as F

from hairclip.evaluation.metrics import (
    auc,
    cosine,
    frechet_distance,
    kernel_distance,
    lpips,
    lpips_file,
    mask_iou,
    masked_psnr,
    masked_ssim,
    ms_ssim,
    named_hair_color,
    rank_of,
)
from hairclip.evaluation.tables import bootstrap_interval


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


def test_psnr_of_noise_is_that_of_its_variance_and_of_the_formula_in_numpy():
    target = torch.zeros(1, 3, 64, 64)
    noisy = target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1)) < 0.5
    found = float(masked_psnr(noisy, target, mask))
    assert found == pytest.approx(10 * np.log10(4 / 0.01), abs=0.2)
    inside = mask[0, 0].numpy()
    pixels = [np.moveaxis((image[0].numpy() + 1) * 127.5, 0, -1)[inside] for image in (noisy, target)]
    assert found == pytest.approx(10 * np.log10(255**2 / np.mean((pixels[0] - pixels[1]) ** 2)), abs=1e-3)


def ssim_map(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Wang et al. 2004 in scipy, one channel in [0, 1]: a Gaussian window of 11 pixels and sigma 1.5."""

    def blur(field: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(field, 1.5, truncate=3.5, mode="mirror")

    a, b = blur(first), blur(second)
    variance, other = blur(first * first) - a * a, blur(second * second) - b * b
    covariance = blur(first * second) - a * b
    return (2 * a * b + 1e-4) * (2 * covariance + 9e-4) / ((a * a + b * b + 1e-4) * (variance + other + 9e-4))


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_ssim_over_a_mask_agrees_with_scipy(share: float):
    images, target = pictures(0), pictures(1)
    masks = ndimage.uniform_filter(np.random.default_rng(0).random((2, 1, 64, 64)), (0, 0, 9, 9))
    masks = masks <= np.quantile(masks, share)
    found = masked_ssim(images, target, torch.from_numpy(masks))
    for i in range(2):
        a, b = (((image[i].numpy() + 1) / 2).astype(np.float64) for image in (images, target))
        a = np.where(masks[i], a, b)
        expected = np.mean([ssim_map(a[c], b[c])[masks[i, 0]].mean() for c in range(3)])
        assert float(found[i]) == pytest.approx(expected, abs=1e-4)


def test_ssim_is_one_for_equal_pixels_of_the_mask_and_falls_with_shift_and_noise():
    target = pictures(0)
    mask = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    mask[..., :32] = True
    other = torch.where(mask, target, -target)  # all that differs is outside the mask
    torch.testing.assert_close(masked_ssim(other, target, mask), torch.ones(2))
    shifts = [masked_ssim(target.roll(pixels, dims=-1), target, mask).mean() for pixels in (0, 1, 3)]
    assert shifts[0] == pytest.approx(1.0)
    assert shifts[0] > shifts[1] > shifts[2]
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    noisy = [masked_ssim(target + size * noise, target, mask).mean() for size in (0.05, 0.3)]
    assert 1 > noisy[0] > noisy[1]
    assert (masked_ssim(-target, target, torch.zeros_like(mask)) == 1).all()


def test_the_rank_of_a_word_is_its_place_by_cosine():
    random = torch.Generator().manual_seed(0)
    pictured, words = torch.randn(20, 7, generator=random), torch.randn(11, 7, generator=random)
    wanted = torch.arange(20) % 11
    a, b = pictured.numpy(), words.numpy()
    cosines = a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    places = [int(np.argwhere(np.argsort(-row) == i)[0, 0]) + 1 for row, i in zip(cosines, wanted.tolist())]
    assert rank_of(wanted, pictured, words).tolist() == places
    assert rank_of(torch.tensor([3]), 5 * words[3:4], words).tolist() == [1.0]


def features(seed: int, count: int = 60, width: int = 6) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(size=(count, width)) @ random.normal(size=(width, width)))


def test_the_frechet_distance_agrees_with_scipy_and_with_a_known_shift():
    first, second = features(0), features(1)
    a, b = np.cov(first.numpy().T), np.cov(second.numpy().T)
    gap = first.numpy().mean(axis=0) - second.numpy().mean(axis=0)
    expected = gap @ gap + np.trace(a + b - 2 * np.real(linalg.sqrtm(a @ b)))
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(first + 2.0, first) == pytest.approx(4.0 * 6, rel=1e-6)
    assert frechet_distance(first[:1], second) is None


def test_the_kernel_distance_agrees_with_the_estimator_written_out():
    first, second = features(0), features(1)
    a, b = first.numpy(), second.numpy()

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def off_diagonal(x: np.ndarray) -> float:
        return (kernel(x, x).sum() - np.trace(kernel(x, x))) / (len(x) * (len(x) - 1))

    expected = off_diagonal(a) + off_diagonal(b) - 2 * kernel(a, b).mean()
    assert kernel_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert kernel_distance(first, first[:40], seed=1) == kernel_distance(first, first[:40], seed=1)
    assert kernel_distance(first, second[:1]) is None


def test_the_interval_of_a_mean_is_that_of_scipy_and_covers_its_spread():
    values = np.random.default_rng(3).normal(5.0, 2.0, 400).tolist()
    low, high = bootstrap_interval(values, seed=1)
    assert (low, high) == bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.03)
    half = 1.96 * np.std(values) / 20
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert bootstrap_interval([2.0]) == (2.0, 2.0)


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


@pytest.mark.slow
def test_lpips_agrees_with_its_formula_over_the_backbone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Zhang et al. 2018, equation 1, over an AlexNet with random weights and the learned weights of the layers."""
    import torchmetrics
    from torchvision.models import alexnet

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    backbone = alexnet(weights=None).eval()
    lpips_file().parent.mkdir(parents=True)
    torch.save(backbone.state_dict(), lpips_file())
    images, target = pictures(0), pictures(1)
    package = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models" / "alex.pth"
    weights = list(torch.load(package, map_location="cpu", weights_only=True).values())
    mean, scale = (torch.tensor(v).view(3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    expected = torch.zeros(2)
    first, second = (images - mean) / scale, (target - mean) / scale
    with torch.no_grad():
        for number, layer in enumerate(backbone.features):
            first, second = layer(first), layer(second)
            if number in (1, 4, 7, 9, 11):
                a, b = (x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for x in (first, second))
                weighted = ((a - b).square() * weights[(1, 4, 7, 9, 11).index(number)]).sum(dim=1)
                expected += weighted.mean(dim=(1, 2))
    found = lpips(images, target)
    assert found is not None
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    same = lpips(images, images)
    assert same is not None
    torch.testing.assert_close(same, torch.zeros(2))


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

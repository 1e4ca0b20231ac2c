"""Lab as the losses define it, mean hair color, the nearest named color."""

import pytest
import torch

from hairclip.common.color import (
    NAMED_COLORS,
    flat_hair_color,
    gray_hair,
    lab_to_rgb,
    load_named_colors,
    mean_lab,
    nearest_color,
    rgb_to_lab,
    save_named_colors,
)
from hairclip.common.errors import HairclipError
from tests.golden.fill import relative_error, tensor


def pixels(*colors: tuple[float, float, float]) -> torch.Tensor:
    """Colors in 0..1 as a picture one pixel high."""
    return torch.tensor(colors).T[None, :, None] * 2 - 1


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((0.5, 0.5, 0.5), (76.069, 0.0, 0.0)),
        ((0.8, 0.2, 0.1), (63.375, 38.562, 37.287)),
        ((0.01, 0.005, 0.0), (5.151, 2.017, 7.752)),
        ((0.25, 0.5, 0.75), (73.861, -7.333, -23.804)),
    ],
)
def test_known_colors(rgb, lab):
    torch.testing.assert_close(rgb_to_lab(pixels(rgb))[0, :, 0, 0], torch.tensor(lab), rtol=0, atol=1e-3)


def test_pixels_agree_with_the_official_ones():
    assert relative_error(rgb_to_lab(tensor("lab:rgb", (1, 3, 4, 4), 0.5, 0.3) * 2 - 1), "loss.lab_pixels") < 1e-6


def test_srgb_gamma_gives_true_lab():
    # CIE Lab (D65) of sRGB (128, 64, 32), from the standard's formulas
    lab = rgb_to_lab(pixels((128 / 255, 64 / 255, 32 / 255)), gamma="srgb")[0, :, 0, 0]
    torch.testing.assert_close(lab, torch.tensor([34.725, 25.0, 31.372]), rtol=0, atol=0.05)


@pytest.mark.parametrize("gamma", ["none", "srgb"])
def test_gradients_are_finite_everywhere(gamma):
    images = pixels((0, 0, 0), (-0.2, 0.0, 1.3), (0.008856, 0.008856, 0.008856), (1, 1, 1)).requires_grad_()
    rgb_to_lab(images, gamma).square().sum().backward()
    assert images.grad.isfinite().all()


def test_the_mean_is_over_the_mask_of_each_sample():
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    masks = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    masks[0, :, :4] = True
    masks[1, :, 3, 5] = True
    means = mean_lab(images, masks)
    lab = rgb_to_lab(images)
    torch.testing.assert_close(means[0], lab[0, :, :4].mean(dim=(1, 2)))
    torch.testing.assert_close(means[1], lab[1, :, 3, 5])
    assert means[2].tolist() == [0, 0, 0]


def test_every_named_color_is_nearest_to_itself_with_room_to_spare():
    assert len(NAMED_COLORS) == 12
    table = torch.tensor(list(NAMED_COLORS.values()))
    assert nearest_color(table) == list(NAMED_COLORS)
    assert torch.cdist(table, table).fill_diagonal_(1e9).min() > 15
    shaded = table + torch.tensor([5.0, -2.0, 2.0])
    assert nearest_color(shaded) == list(NAMED_COLORS)


def test_color_tables_can_be_replaced(tmp_path):
    path = tmp_path / "colors.json"
    save_named_colors({"ash": (60.0, 0.0, 3.12345), "coal": (20, 0, 0)}, path)
    named = load_named_colors(path)
    assert named == {"ash": (60.0, 0.0, 3.123), "coal": (20.0, 0.0, 0.0)}
    assert nearest_color(torch.tensor([[30.0, 2.0, 1.0], [70.0, 5.0, 5.0]]), named) == ["coal", "ash"]


@pytest.mark.parametrize("content", [None, "red", "[1, 2]", '{"red": [1, 2]}', '{"red": "dark"}', '{"red": 3}', "{}"])
def test_broken_color_tables_are_user_errors(content, tmp_path):
    path = tmp_path / "colors.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(HairclipError, match=r"colors\.json"):
        load_named_colors(path)


def test_a_color_table_that_cannot_be_written_is_a_user_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HairclipError, match="cannot write"):
        save_named_colors({"ash": (60.0, 0.0, 3.0)}, tmp_path / "file" / "colors.json")
    save_named_colors({"ash": (60.0, 0.0, 3.0)}, tmp_path / "new" / "colors.json")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["colors.json"]


def test_gray_hair_keeps_the_pattern_and_nothing_of_the_color():
    pattern = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    red, pale = pattern * torch.tensor([1.0, 0.2, 0.1]).view(3, 1, 1), 0.6 * pattern + 0.3
    masks = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    masks[..., 2:7, 1:6] = True
    gray = gray_hair(red.expand(1, 3, 8, 8), masks)
    torch.testing.assert_close(gray, gray_hair(pale.expand(1, 3, 8, 8), masks), rtol=0, atol=1e-5)
    assert torch.equal(gray[:, 0], gray[:, 2])
    inside = gray[0, 0][masks[0, 0]]
    assert inside.mean().abs() < 1e-6
    torch.testing.assert_close(inside.std(correction=0), torch.tensor(0.2))
    assert not gray[~masks.expand(1, 3, 8, 8)].any()


@pytest.mark.parametrize("masked", ["nothing", "flat"])
def test_hair_without_any_pattern_has_finite_gradients(masked):
    images = torch.full((1, 3, 8, 8), 0.3, requires_grad=True)
    masks = torch.zeros(1, 1, 8, 8, dtype=torch.bool) if masked == "nothing" else torch.ones(1, 1, 8, 8) > 0
    (gray_hair(images, masks).square().sum() + flat_hair_color(images, masks).square().sum()).backward()
    assert images.grad.isfinite().all()


def test_flat_hair_color_is_the_mean_of_the_hair_everywhere():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1
    masks = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    masks[0, :, 3:5] = True
    flat = flat_hair_color(images, masks)
    assert flat.shape == images.shape
    torch.testing.assert_close(flat[0, :, 7, 7], images[0, :, 3:5].mean(dim=(1, 2)))
    assert not flat[1].any()


def test_lab_goes_back_to_rgb():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images[..., 0] = -0.999  # the straight part of the curve
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(images)), images, atol=1e-4, rtol=0)

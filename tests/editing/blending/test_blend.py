import pytest
import torch
from torch.nn import functional as F

from hairclip.editing.blending import hair, laplace
from hairclip.editing.blending.beyond import continue_beyond, fade_at_border
from hairclip.editing.blending.fill import fill_smoothly, plain_background, solve_membrane, solve_membranes
from hairclip.editing.blending.hair import blend_hair
from hairclip.editing.blending.layers import add_grain, measure_noise
from hairclip.editing.blending.matte import estimate_matte, keep_main_hair
from hairclip.editing.blending.regions import (
    alpha_from_masks,
    dilate,
    erode,
    keep_connected,
    ramp_outwards,
    select_labels,
    soften,
)
from hairclip.editing.blending.seams import SEAMS, composite, join, laplacian_blend, poisson_blend
from hairclip.networks.face_parser import CELEBAMASK_CLASSES, HAIR

SKIN, CLOTH = CELEBAMASK_CLASSES.index("skin"), CELEBAMASK_CLASSES.index("cloth")
BLUE, RED, GREEN, PINK = (-0.8, -0.6, 0.7), (0.8, -0.7, -0.7), (-0.6, 0.4, -0.6), (0.6, 0.3, 0.1)


def box(top: int, bottom: int, left: int, right: int, size: int = 32) -> torch.Tensor:
    mask = torch.zeros(1, 1, size, size, dtype=torch.bool)
    mask[..., top:bottom, left:right] = True
    return mask


def pictures(seed: int, size: int = 32, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def painted(*areas: tuple[torch.Tensor, tuple[float, float, float]], size: int = 32) -> torch.Tensor:
    image = torch.tensor(BLUE)[None, :, None, None].repeat(1, 1, size, size)
    for mask, color in areas:
        image = torch.where(mask, torch.tensor(color)[None, :, None, None], image)
    return image


def labeled(*areas: tuple[torch.Tensor, int], size: int = 32) -> torch.Tensor:
    labels = torch.zeros(1, size, size, dtype=torch.long)
    for mask, label in areas:
        labels = torch.where(mask[:, 0], label, labels)
    return labels


# ------------------------------------------------------------------ masks


def test_the_ramp_falls_steadily_from_one_to_zero_within_its_width():
    alpha = alpha_from_masks(box(0, 32, 0, 8), box(0, 32, 0, 8), feather=4, grow=1)
    row = alpha[0, 0, 16]
    assert (row[:9] == 1).all()
    assert (row[13:] == 0).all()
    assert (row[8:13].diff() < 0).all()


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_dilate_grows_by_the_radius_and_erode_takes_it_back(radius: int):
    grown = dilate(box(16, 17, 16, 17), radius)
    assert int(grown[0, 0, 16].sum()) == 2 * radius + 1
    assert int(grown[0, 0, :, 16].sum()) == 2 * radius + 1
    assert torch.equal(erode(grown, radius), box(16, 17, 16, 17))


def test_dilation_alternates_crosses_and_squares_as_pooling_does():
    masks = torch.rand(2, 1, 33, 40, generator=torch.Generator().manual_seed(0)) > 0.995
    pooled = masks.float()
    for radius in range(1, 6):
        square = F.max_pool2d(pooled, 3, stride=1, padding=1)
        cross = torch.maximum(F.max_pool2d(pooled, (3, 1), 1, (1, 0)), F.max_pool2d(pooled, (1, 3), 1, (0, 1)))
        pooled = square if radius % 2 == 0 else cross
        assert torch.equal(dilate(masks, radius), pooled > 0)
    assert masks.sum() < 40  # they were not changed


def test_the_ramp_is_as_wide_on_every_side_and_for_every_sample():
    masks = torch.cat([box(14, 18, 14, 18), box(0, 32, 0, 32), box(0, 0, 0, 0)])
    ramps = ramp_outwards(masks, 3)
    torch.testing.assert_close(ramps[0, 0, 16, 18:23], torch.tensor([27 / 32, 0.5, 5 / 32, 0.0, 0.0]))
    assert torch.equal(ramps[0], ramps[0].mT)
    assert torch.equal(ramps[1:], masks[1:].float())


def test_labels_are_told_by_their_class():
    labels = torch.arange(19)[None, None]
    assert select_labels(labels, (2, 17)).squeeze().nonzero().squeeze().tolist() == [2, 17]


def test_softening_is_a_binomial_blur():
    impulse = torch.zeros(1, 1, 9, 9)
    impulse[..., 4, 4] = 1.0
    row = torch.tensor([0.0, 0.0, 1.0, 4.0, 6.0, 4.0, 1.0, 0.0, 0.0]) / 16
    torch.testing.assert_close(soften(impulse, 2)[0, 0], torch.outer(row, row))


def test_only_what_hangs_together_with_the_seeds_is_connected():
    both = box(4, 8, 4, 28) | box(20, 24, 4, 28)
    assert torch.equal(keep_connected(box(5, 6, 5, 6), both), box(4, 8, 4, 28))
    assert not keep_connected(box(12, 14, 4, 8), both).any()


def test_softening_keeps_flat_fields_flat_up_to_the_border():
    flat = torch.full((1, 2, 9, 13), 0.7)
    torch.testing.assert_close(soften(flat, 3), flat)


# ------------------------------------------------------------------ membranes


@pytest.mark.parametrize("size", [(40, 56), (33, 17), (128, 128)])
def test_a_membrane_solves_laplaces_equation(size: tuple[int, int]):
    """x^2 - y^2 and x y are harmonic, also on the grid: the membrane finds them again in a hole."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size[0]), torch.linspace(-1, 1, size[1]), indexing="ij")
    step_y, step_x = y[1, 0] - y[0, 0], x[0, 1] - x[0, 0]
    values = torch.stack([x * x * (step_y / step_x) ** 2 - y * y, x * y])[None]
    known = torch.hypot(x, y)[None, None] > 0.6
    filled = solve_membrane(values, known)
    assert torch.equal(filled * known, values * known)
    assert (filled - values).abs().max() < 0.002
    assert (fill_smoothly(values * known, known.float()) - values).abs().max() > 0.02  # the quick guess is only that


@pytest.mark.parametrize(("size", "share"), [((24, 31), 0.5), ((32, 32), 0.1), ((27, 40), 0.02)])
def test_a_membrane_is_the_solution_of_its_linear_system(size: tuple[int, int], share: float):
    """Against a direct solver; the border is open, known pixels lie scattered and in a block."""
    draw = torch.Generator().manual_seed(0)
    values = torch.rand(2, 3, *size, generator=draw) * 2 - 1
    known = torch.rand(2, 1, *size, generator=draw) < share
    known[:, :, :5, 3:9] = True
    filled = solve_membrane(values, known)
    for picture, mask, found in zip(values.double(), known.flatten(1), filled, strict=True):
        system = torch.diag(mask.double()) + torch.diag((~mask).double()) @ neighbor_differences(*size)
        right = picture.flatten(1).T * mask[:, None]
        torch.testing.assert_close(found.flatten(1).T.double(), torch.linalg.solve(system, right), atol=0.01, rtol=0)


def neighbor_differences(height: int, width: int) -> torch.Tensor:
    """The matrix that takes a picture to the sums of its pixels' differences to their neighbors."""
    numbers = torch.arange(height * width).view(height, width)
    matrix = torch.zeros(height * width, height * width, dtype=torch.float64)
    for one, other in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
        for a, b in ((one.flatten(), other.flatten()), (other.flatten(), one.flatten())):
            matrix[a, a] += 1.0
            matrix[a, b] -= 1.0
    return matrix


def test_large_holes_are_filled_as_exactly_as_small_ones():
    """A ramp between two walls, further apart than any detail: its middle is the mean of both."""
    known = box(0, 512, 0, 4, 512) | box(0, 512, 508, 512, 512)
    ramp = ((torch.arange(512) - 3) / 505).clamp(0, 1).expand(1, 1, 512, 512)
    assert (solve_membrane(ramp, known) - ramp).abs().max() < 0.01


def test_membranes_at_once_and_in_pieces_are_those_alone(monkeypatch: pytest.MonkeyPatch):
    first, second = box(4, 20, 8, 30), box(10, 28, 2, 12)
    alone = solve_membrane(pictures(0), ~first), solve_membrane(pictures(1), ~second)
    torch.testing.assert_close(solve_membranes((pictures(0), ~first), (pictures(1), ~second)), alone)
    monkeypatch.setattr(laplace, "TOGETHER_ON_CPU", 1)
    torch.testing.assert_close(solve_membrane(pictures(0), ~first), alone[0])


@pytest.mark.parametrize("size", [(8, 8), (9, 14), (5, 3)])
def test_shrinking_is_the_transpose_of_enlarging(size: tuple[int, int]):
    fine = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    coarse = torch.randn(2, *((side + 1) // 2 for side in size), generator=torch.Generator().manual_seed(1))
    there, back = laplace.enlarge(coarse, fine) * fine, coarse * laplace.shrink(fine)
    torch.testing.assert_close(there.sum(), back.sum())


def test_a_membrane_over_a_constant_is_that_constant_and_over_nothing_is_zero():
    known = torch.rand(1, 1, 40, 56, generator=torch.Generator().manual_seed(0)) > 0.97
    flat = torch.full((1, 3, 40, 56), 0.37)
    torch.testing.assert_close(solve_membrane(flat, known), flat, atol=1e-6, rtol=0)
    assert torch.equal(
        solve_membrane(pictures(0), torch.zeros(1, 1, 32, 32, dtype=torch.bool)), torch.zeros(1, 3, 32, 32)
    )


def test_a_plain_background_keeps_its_colors_and_leaves_the_person_alone():
    ramp = torch.linspace(-0.6, 0.6, 64).expand(2, 3, 64, 64)
    busy = ramp + 0.3 * torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    person = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    person[:, :, 20:, 16:48] = True
    picture = torch.where(person, torch.ones(()), busy)
    plain = plain_background(picture, ~person)
    assert torch.equal(plain * person, picture * person)
    behind = (~person).expand_as(plain)
    assert (plain - ramp)[behind].abs().mean() < 0.05  # neither the detail nor anything of the person
    everything = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    assert torch.equal(plain_background(picture[:1], ~everything), picture[:1])


def test_filling_keeps_what_is_known_and_continues_it():
    values = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32).clone()
    known = (~box(12, 20, 12, 20)).float()
    filled = fill_smoothly(values * known, known)
    torch.testing.assert_close(filled * known, values * known)
    assert (filled - values).abs().max() < 0.2


# ------------------------------------------------------------------ three ways to join


@pytest.mark.parametrize("seam", SEAMS)
def test_outside_the_mask_the_photo_keeps_its_bits(seam: str):
    source, edited = pictures(0), pictures(1)
    alpha = alpha_from_masks(box(8, 16, 8, 16), box(10, 20, 10, 20), feather=2, grow=1)
    mixed = join(source, edited, alpha, seam)
    outside = (alpha == 0).expand_as(source)
    assert outside.any()
    assert torch.equal(mixed[outside], source[outside])
    assert (mixed - source)[~outside].abs().mean() > 0.1
    nothing = torch.zeros_like(alpha)
    assert torch.equal(join(source, edited, nothing, seam), source)


def test_poisson_takes_away_a_constant_offset_exactly_and_keeps_gradients():
    source = soften(pictures(0), 3) * 0.5
    alpha = box(8, 24, 8, 24).float()
    torch.testing.assert_close(poisson_blend(source, source + 0.25, alpha), source, atol=1e-6, rtol=0)
    edited = soften(pictures(1), 3) * 0.5
    mixed = poisson_blend(source, edited, alpha)
    moved = (mixed - edited)[..., 8:24, 8:24]  # the mean of its neighbors everywhere inside
    laplacian = 4 * moved[..., 1:-1, 1:-1] - moved[..., 2:, 1:-1] - moved[..., :-2, 1:-1]
    laplacian = laplacian - moved[..., 1:-1, 2:] - moved[..., 1:-1, :-2]
    assert laplacian.abs().max() < 0.01


@pytest.mark.parametrize("size", [32, 37])
def test_laplacian_returns_either_picture_and_mixes_coarse_bands_further_than_fine_ones(size: int):
    source, edited = pictures(0, size), pictures(1, size)
    torch.testing.assert_close(laplacian_blend(source, edited, torch.ones(1, 1, size, size)), edited)
    assert torch.equal(laplacian_blend(source, edited, torch.zeros(1, 1, size, size)), source)
    half = torch.linspace(0, 1, size).expand(1, 1, size, size)
    flat = laplacian_blend(torch.zeros(1, 3, size, size), torch.ones(1, 3, size, size), half)[0, 0, size // 2]
    one_level = laplacian_blend(torch.zeros(1, 3, size, size), torch.ones(1, 3, size, size), half, levels=1)
    assert flat.diff().max() < one_level[0, 0, size // 2].diff().max() / 2


def test_feathering_mixes_by_alpha():
    mixed = composite(torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32), torch.full((1, 1, 32, 32), 0.25))
    torch.testing.assert_close(mixed, torch.full_like(mixed, 0.25))


# ------------------------------------------------------------------ hair


def portrait(size: int = 64) -> dict[str, torch.Tensor]:
    """Long red hair, soft at its edge, before blue; the edit has short green hair before other colors."""
    face, clothes = box(16, 44, 22, 42, size), box(48, size, 8, 56, size)
    long_hair, short_hair = box(8, 56, 14, 50, size) & ~face, box(8, 18, 20, 44, size)
    source = painted((clothes, PINK), (face, (0.5, 0.2, 0.0)), size=size)
    soft = soften(dilate(long_hair, 1).float(), 3)
    soft = torch.where(face, 0.0, soft)
    source = torch.lerp(source, torch.tensor(RED)[None, :, None, None].expand_as(source), soft)
    edited = painted((clothes, GREEN), (face, (0.3, 0.1, -0.1)), (short_hair, (0.1, 0.9, 0.1)), size=size) * 0.8
    return {
        "source": source,
        "edited": edited,
        "source_labels": labeled((clothes, CLOTH), (face, SKIN), (long_hair, HAIR), size=size),
        "edited_labels": labeled((clothes, CLOTH), (face, SKIN), (short_hair, HAIR), size=size),
    }


def test_the_matte_finds_soft_strands_that_the_parser_left_out():
    given = portrait()
    matte = estimate_matte(given["source"], given["source_labels"])
    parsed = (given["source_labels"] == HAIR)[:, None]
    assert (matte.alpha[parsed] == 1).all()
    row = matte.alpha[0, 0, 30]
    assert 0 < row[12] < 1  # two pixels outside the parser's hair
    assert row[:6].max() == 0
    reddest = given["source"][0, 0, 30, 52]  # the color of hair alone does not fade with the soft edge
    assert matte.color[0, 0, 30, 52] > reddest + 0.1


@pytest.mark.parametrize("seam", SEAMS)
def test_long_to_short_leaves_nothing_of_the_old_hair_and_continues_the_photo(seam: str):
    given = portrait()
    blended = blend_hair(**given, seam=seam)
    redness = blended.image[:, :1] - blended.image[:, 1:].amax(dim=1, keepdim=True)
    new_hair = dilate((given["edited_labels"] == HAIR)[:, None], 3)
    skin = dilate((given["edited_labels"] == SKIN)[:, None], 2)
    clothes = dilate(box(48, 64, 8, 56, 64), 3)
    assert redness[~(new_hair | skin | clothes)].max() < 0.0  # blue as the backdrop of the photo
    behind = blended.image[..., 24:44, 10:18]
    torch.testing.assert_close(behind, painted(size=64)[..., 24:44, 10:18], atol=0.03, rtol=0)
    below = blended.image[..., 54:64, 24:40]  # the photo's clothes, not the edit's
    torch.testing.assert_close(below, torch.tensor(PINK)[None, :, None, None].expand_as(below), atol=0.05, rtol=0)
    outside = (blended.alpha == 0).expand_as(blended.image)
    assert torch.equal(blended.image[outside], given["source"][outside])


def test_the_new_hair_keeps_the_color_that_was_asked_for():
    given = portrait()
    image = blend_hair(**given, seam="feather").image
    assert torch.equal(image[..., 10:16, 24:40], given["edited"][..., 10:16, 24:40])


def test_the_generators_background_is_taken_where_asked():
    given = portrait()
    image = blend_hair(**given, behind="edit").image
    torch.testing.assert_close(image[..., 24:44, 16:18], given["edited"][..., 24:44, 16:18])


@pytest.mark.parametrize("seam", SEAMS)
def test_a_batch_equals_single_pictures(seam: str):
    first = portrait()
    second = {name: value.flip(-1).roll(3, -1) for name, value in portrait().items()}
    batch = blend_hair(**{name: torch.cat([first[name], second[name]]) for name in first}, seam=seam)
    for i, one in enumerate((first, second)):
        single = blend_hair(**one, seam=seam)
        torch.testing.assert_close(batch.image[i : i + 1], single.image, atol=1e-5, rtol=0)
        assert torch.equal(batch.alpha[i : i + 1], single.alpha)


@pytest.mark.parametrize("behind", ["photo", "edit"])
def test_a_large_batch_is_blended_in_pieces(behind: str, monkeypatch: pytest.MonkeyPatch):
    many = {name: one.repeat_interleave(3, dim=0) for name, one in portrait().items()}
    whole = blend_hair(**many, behind=behind)
    monkeypatch.setattr(hair, "PIXELS_TOGETHER", 2 * many["source"][0, 0].numel())
    for name, value in vars(blend_hair(**many, behind=behind)).items():
        if value is None:
            assert getattr(whole, name) is None
        else:
            torch.testing.assert_close(value, getattr(whole, name), atol=1e-5, rtol=0)


@pytest.mark.parametrize("everything", [0, HAIR, SKIN])
def test_degenerate_parses_give_finite_pictures(everything: int):
    labels = torch.full((1, 32, 32), everything)
    for other in (torch.zeros_like(labels), torch.full_like(labels, HAIR)):
        assert blend_hair(pictures(0), pictures(1), labels, other).image.isfinite().all()
    none = torch.zeros(1, 32, 32, dtype=torch.long)
    assert torch.equal(blend_hair(pictures(0), pictures(1), none, none).image, pictures(0))


def test_grain_is_measured_and_laid_on_alike():
    flat = torch.linspace(-0.5, 0.5, 64).expand(1, 3, 64, 64)
    everywhere = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    assert measure_noise(flat, everywhere).max() < 1e-3  # a gradient is no grain
    sigma = measure_noise(add_grain(flat, torch.tensor(0.02)), everywhere)
    torch.testing.assert_close(sigma, torch.full_like(sigma, 0.02), atol=0.003, rtol=0)


# ------------------------------------------------------------------ beyond the crop


def crossing() -> dict[str, torch.Tensor]:
    """A red streak that leaves the crop (the middle 64 of 96 pixels) at its lower edge."""
    inner, streak = box(16, 80, 16, 80, 96), box(40, 92, 40, 50, 96)
    return {"before": painted((streak, RED), size=96), "inner": inner, "old_hair": streak & inner}


def test_old_hair_goes_on_the_other_side_of_the_border_too():
    given = crossing()
    inner, nothing = given["inner"], torch.zeros_like(given["inner"])
    after = torch.where(inner, painted(size=96), given["before"])
    picture, weight = continue_beyond(**given, after=after, new_hair=nothing)
    joined = composite(after, picture, weight)
    torch.testing.assert_close(joined, painted(size=96), atol=0.05, rtol=0)
    far = ~dilate(box(72, 92, 40, 50, 96), 8)
    assert (weight[far] == 0).all()


def test_hair_that_stays_takes_its_new_color_along():
    given = crossing()
    green = painted((box(40, 92, 40, 50, 96), GREEN), size=96)
    after = torch.where(given["inner"], green, given["before"])
    picture, weight = continue_beyond(**given, after=after, new_hair=given["old_hair"])
    joined = composite(after, picture, weight)
    torch.testing.assert_close(joined[..., 82:90, 43:47], green[..., 82:90, 43:47], atol=0.05, rtol=0)


def test_a_wall_of_the_hairs_color_is_left_alone():
    given = crossing()
    before = torch.where(given["inner"], given["before"], torch.tensor(RED)[None, :, None, None])
    nothing = torch.zeros_like(given["inner"])
    _, weight = continue_beyond(before, before, given["inner"], given["old_hair"], nothing)
    assert (weight == 0).all()


def test_new_hair_thins_out_at_the_border_unless_old_hair_goes_on_there():
    hair = box(10, 64, 28, 36, 64)
    bare, foreground = painted(size=64), painted((hair, RED), size=64)
    nothing = torch.zeros_like(hair)
    faded = fade_at_border(foreground, bare, nothing, hair)
    torch.testing.assert_close(faded[..., 63, 32], bare[..., 63, 32], atol=0.3, rtol=0)
    torch.testing.assert_close(faded[..., :50, :], foreground[..., :50, :])
    going_on = fade_at_border(foreground, bare, hair, hair)
    torch.testing.assert_close(going_on[..., 63, 32], foreground[..., 63, 32], atol=0.1, rtol=0)
    inside = box(10, 40, 28, 36, 64)
    assert torch.equal(fade_at_border(foreground, bare, nothing, inside), foreground)


def test_hair_at_the_border_far_from_the_head_is_neither_removed_nor_replaced():
    head, far = box(12, 30, 24, 40, 64), box(56, 64, 0, 12, 64)
    labels = labeled((head, HAIR), (far, HAIR), size=64)
    photo = painted((head, RED), (far, RED), size=64)
    edited = painted((head, GREEN), size=64)
    blended = blend_hair(photo, edited, labels, labeled((head, HAIR), size=64))
    assert not blended.removed[far].any()
    assert not blended.alpha[far].any()
    assert torch.equal(blended.image[..., 54:, :14], photo[..., 54:, :14])
    assert blended.alpha[head].min() == 1


def test_hair_that_begins_below_the_mouth_is_none():
    """A ring high on a suit lies within the middle of the crop, but no hair begins there."""
    hair = torch.zeros(2, 1, 128, 128, dtype=torch.bool)
    hair[:, :, 20:60, 40:90] = True  # on the head
    hair[:, :, 85:92, 50:70] = True  # on the suit
    hair[1, :, 55:90, 84:90] = True  # long hair joins the two
    hair[1, :, 88:90, 66:90] = True
    labels = torch.ones(2, 128, 128, dtype=torch.long)
    labels[:, 72:78, 56:72] = CELEBAMASK_CLASSES.index("mouth")
    kept = keep_main_hair(hair, labels)
    assert kept[0, 0, 20:60, 40:90].all()
    assert not kept[0, 0, 70:].any()
    assert torch.equal(kept[1], hair[1])

"""Noise smeared along the direction of hair, and generators that lay it over hair."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.networks.strands import (
    HairField,
    StrandField,
    draw_directions,
    lay_strands,
    line_integral,
    sharpen_outline,
    strand_maps,
)
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained import load_generator, save_network

CHANNELS = {4: 8, 8: 8, 16: 8, 32: 6}
STRANDS = {"read_at": 8, "width": 4, "widths": 2, "half_length": 0.2}


def field_of(angle: float, size: int = 64) -> Tensor:
    return torch.tensor([math.cos(2 * angle), math.sin(2 * angle)])[None, :, None, None].expand(1, 2, size, size)


def white(size: int = 64, seed: int = 0) -> Tensor:
    return torch.randn(1, size, size, generator=torch.Generator().manual_seed(seed))


def curved(size: int = 64) -> Tensor:
    """Directions that turn by a quarter of a circle from one side to the other."""
    angle = torch.linspace(0.3, 0.3 + math.pi / 2, size).expand(size, size)
    return torch.stack(((2 * angle).cos(), (2 * angle).sin()))[None]


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1])


def measured_direction(map_: Tensor) -> Tensor:
    """The doubled angle along the stripes of a map, (2, H, W), from its structure tensor."""
    x, y = torch.gradient(map_, dim=(1, 0))
    products = F.avg_pool2d(torch.stack((y * y - x * x, -2 * x * y))[None], 9, stride=1, padding=4)[0]
    return F.normalize(products, dim=0)


@pytest.mark.parametrize("degrees", [0, 7, 22.5, 45, 80, 90, 135, 171])
def test_white_noise_keeps_unit_variance_at_every_angle(degrees: float):
    noise = torch.randn(4, 128, 128, generator=torch.Generator().manual_seed(0))
    smeared = line_integral(noise, field_of(math.radians(degrees), 128).expand(4, -1, -1, -1), steps=4)
    assert float(smeared[:, 8:-8, 8:-8].var()) == pytest.approx(1.0, abs=0.05)


def test_a_line_is_smooth_along_and_white_across():
    smeared = line_integral(white(128), field_of(0.0, 128), steps=13)[0]
    assert correlation(smeared[:, 1:], smeared[:, :-1]) > 0.94  # 26 of 27 samples are the same
    assert abs(correlation(smeared[1:], smeared[:-1])) < 0.06


def test_a_field_turned_by_a_quarter_gives_the_turned_map():
    field, noise = curved(), white()
    turned = torch.rot90(-field, 1, (2, 3))  # a quarter turn is half a turn of the doubled angle
    ours = line_integral(torch.rot90(noise, 1, (1, 2)), turned, steps=7)
    # Looking up the nearest pixel breaks ties in one direction.
    assert correlation(ours, torch.rot90(line_integral(noise, field, steps=7), 1, (1, 2))) > 0.99


@pytest.mark.parametrize("degrees", [0, 30, 60, 100, 155])
def test_the_measured_direction_is_that_of_the_field(degrees: float):
    field = field_of(math.radians(degrees), 96)
    measured = measured_direction(line_integral(white(96), field, steps=10)[0])
    cosine = ((1 + (measured * field[0]).sum(dim=0)) / 2).clamp_min(0).sqrt()
    assert float(cosine[12:-12, 12:-12].mean()) > 0.97


def test_the_measured_direction_follows_a_curve():
    field = curved(96)
    measured = measured_direction(line_integral(white(96), field, steps=10)[0])
    cosine = ((1 + (measured * field[0]).sum(dim=0)) / 2).clamp_min(0).sqrt()
    assert float(cosine[12:-12, 12:-12].mean()) > 0.97


def test_neither_autocast_nor_the_memory_layout_nor_the_batch_changes_a_map():
    field, noise = torch.cat((curved(32), field_of(0.4, 32))), white(32)
    expected = line_integral(noise, field, steps=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(line_integral(noise, field.to(memory_format=torch.channels_last), steps=4), expected)
    torch.testing.assert_close(line_integral(noise, field[1:], steps=4)[0], expected[1])
    assert not line_integral(noise.requires_grad_(), field, steps=4).requires_grad


def test_drawn_directions_have_the_mean_and_the_spread_that_were_asked_for():
    noise = torch.randn(4, 160, 160, generator=torch.Generator().manual_seed(3))
    for length in (0.9, 0.5, 0.2):
        field = length * field_of(0.6, 160).expand(4, -1, -1, -1)
        drawn = draw_directions(field, noise)
        torch.testing.assert_close(drawn.norm(dim=1), field.norm(dim=1))  # turned, as long as before
        mean = F.normalize(drawn, dim=1).mean(dim=(0, 2, 3))
        torch.testing.assert_close(mean, field[0, :, 0, 0], atol=0.04, rtol=0)
    sure = 1.0 * field_of(0.6)
    assert correlation(draw_directions(sure, white())[0, 0] + 1e-6 * white()[0], sure[0, 0] + 1e-6 * white()[0]) < 1.01
    torch.testing.assert_close(draw_directions(sure, white()), sure, atol=0.2, rtol=0)


def test_drawn_directions_turn_smoothly():
    drawn = draw_directions(0.4 * field_of(0.0), white())
    neighbors = F.cosine_similarity(drawn[..., 1:], drawn[..., :-1], dim=1).mean()
    apart = F.cosine_similarity(drawn[..., 8:], drawn[..., :-8], dim=1).mean()
    assert neighbors > apart + 0.2


def test_each_map_has_strands_twice_as_wide_as_the_one_before():
    fine, coarse = strand_maps(field_of(0.0, 16), [white(64), white(32)], half_length=0.2)[0]
    assert fine.shape == coarse.shape == (64, 64)
    assert abs(correlation(fine[1:], fine[:-1])) < 0.15  # across the strands
    assert correlation(coarse[1:], coarse[:-1]) > 0.6
    assert correlation(coarse[:, 1:], coarse[:, :-1]) > 0.9  # along them
    assert float(coarse.var()) == pytest.approx(1.0, abs=0.45)


def test_long_strands_are_smooth_along_in_two_passes():
    (fine,) = strand_maps(field_of(0.0, 16), [white(256)], half_length=0.2)[0]
    assert correlation(fine[:, 1:], fine[:, :-1]) > 0.97
    assert abs(correlation(fine[1:], fine[:-1])) < 0.1
    steps = [float(fine[:, k + 60 : k + 160].diff(dim=1).square().mean()) for k in range(3)]
    assert max(steps) < 1.2 * min(steps)  # no comb
    line = line_integral(white(256), field_of(0.0, 256), steps=51)[0]
    assert correlation(fine, line) > 0.9


def hair_of(cells: int, *, coverage: float = 1.0, strength: float = 0.0, reach: float = 0.0) -> HairField:
    whole = torch.ones(1, 1, cells, cells)
    return HairField(field_of(0.0, cells), coverage * whole, strength * whole.expand(-1, 2, -1, -1), reach * whole)


def test_strands_change_the_brightness_alone_and_keep_its_mean():
    maps = strand_maps(field_of(0.0, 16), [white(64), white(32)], half_length=0.2)
    gray = torch.tensor([0.2, -0.2, -0.6])[None, :, None, None].expand(1, 3, 64, 64)
    laid = lay_strands(gray, hair_of(16, strength=0.2), maps)
    light, before = (laid + 1) / 2, (gray + 1) / 2
    ratio = light / before
    torch.testing.assert_close(ratio[:, 0], ratio[:, 2])
    assert float(light.mean() / before.mean()) == pytest.approx(1.0, abs=0.03)
    assert float(ratio.log().std()) == pytest.approx(0.2 * 2**0.5, rel=0.25)
    torch.testing.assert_close(lay_strands(gray, hair_of(16, coverage=0.0, strength=0.2), maps), gray)
    torch.testing.assert_close(lay_strands(gray, hair_of(16), maps), gray)
    laid = lay_strands(gray, hair_of(16, strength=0.2, reach=9.0), maps)
    torch.testing.assert_close(laid, lay_strands(gray, hair_of(16, strength=0.2), maps))  # no outline, no tips


def hair_on_the_left(cells: int, reach: float = 0.0) -> HairField:
    """Hair whose coverage falls from 1 to 0 over two cells in the middle."""
    coverage = ((cells / 2 + 1 - torch.arange(cells) - 0.5) / 2).clamp(0, 1).expand(1, 1, cells, cells)
    return HairField(field_of(0.0, cells), coverage, torch.zeros(1, 2, cells, cells), 0 * coverage + reach)


def soft_edge(cells: int, size: int) -> Tensor:
    """A picture that is soft where that hair ends, bright on the hair."""
    coverage = hair_on_the_left(cells).coverage
    return F.interpolate(2 * coverage - 1, size=size, mode="bilinear", align_corners=False).expand(-1, 3, -1, -1)


def test_a_soft_outline_becomes_sharp_and_stays_where_it_is():
    before, straight = soft_edge(16, 128), torch.zeros(1, 128, 128)
    after, coverage = sharpen_outline(before, hair_on_the_left(16), straight)
    steepest = [float(one[0, 0, 64].diff().abs().amax()) for one in (before, after)]
    assert steepest[1] > 3 * steepest[0]
    crossing = [int((one[0, 0, 64] < 0).int().argmax()) for one in (before, after)]
    assert crossing == [64, 64]
    torch.testing.assert_close(coverage[:, 0], (after[:, 0] + 1) / 2, atol=0.1, rtol=0)
    torch.testing.assert_close(after[..., :24], before[..., :24])  # hair and background stay
    torch.testing.assert_close(after[..., 104:], before[..., 104:])


def test_noise_frays_the_outline():
    tips = strand_maps(field_of(0.0, 16), [white(128)], half_length=0.05)[:, 0]
    places = {}
    for reach in (0.0, 0.3):
        after, _ = sharpen_outline(soft_edge(16, 128), hair_on_the_left(16, reach), tips)
        places[reach] = (after[0, 0] < 0).float().argmax(dim=1).float()
    assert float(places[0.0].std()) == 0
    assert float(places[0.3].std()) == pytest.approx(0.3 * 8, rel=0.5)  # a cell is 8 pixels
    assert float(places[0.3].mean()) == pytest.approx(64, abs=1.5)


def test_gradients_through_an_outline_are_finite_where_hair_is_flat():
    flat = HairField(field_of(0.0, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, 8, 8), torch.ones(1, 1, 8, 8))
    flat.coverage.requires_grad_()
    images, _ = sharpen_outline(torch.rand(1, 3, 32, 32), flat, white(32))
    images.sum().backward()
    assert flat.coverage.grad.isfinite().all()


def made(seed: int = 0, **options) -> Generator:
    torch.manual_seed(seed)
    generator = Generator(**{"size": 32, "w_dim": 6, "z_dim": 6, "mapping_layers": 1, "channels": CHANNELS} | options)
    for layer in generator.layers:
        torch.nn.init.constant_(layer.noise_strength, 0.5)
    return generator.requires_grad_(False)


def same_weights(generator: Generator, **options) -> Generator:
    other = made(1, **options)
    other.load_state_dict(generator.state_dict(), strict=False)
    return other


def hair_where(generator: Generator, side: str) -> None:
    """Let the field find hair on one side of every picture."""

    def coverage(_, __, read: Tensor) -> Tensor:
        read = read.clone()
        half = read.shape[3] // 2
        read[:, 2] = -torch.inf
        read[:, 2, :, slice(half) if side == "left" else slice(half, None)] = torch.inf
        return read

    generator.strands.layers[-1].register_forward_hook(coverage)


def code(generator: Generator, count: int = 2) -> Tensor:
    return torch.randn(count, generator.n_latent, 6, generator=torch.Generator().manual_seed(5))


def test_strands_change_pictures_on_hair_alone():
    generator = made(strands=STRANDS)
    hair_where(generator, "left")
    smooth, _ = generator.smooth(code(generator))
    difference = (generator(code(generator)) - smooth).abs().amax(dim=1)
    assert float(difference[:, :, :10].amax()) > 0.05
    assert float(difference[:, :, 24:].amax()) < 1e-6  # a cell of the field blurs the border


def test_layers_from_the_field_on_get_no_noise():
    generator = made(strands=STRANDS)
    smooth, _ = generator.smooth(code(generator))
    for layer in generator.layers:
        if layer.size >= 8:
            layer.noise_strength.data.fill_(9.0)
    assert torch.equal(smooth, generator.smooth(code(generator))[0])
    hair = generator.strands(generator.activations(code(generator), 8))
    assert torch.equal(hair.direction, generator.smooth(code(generator))[1].direction)


def test_without_noise_there_are_no_strands():
    with_strands = made(strands=STRANDS)
    without = same_weights(with_strands)
    assert torch.equal(with_strands(code(without), noise="none"), without(code(without), noise="none"))
    assert not torch.equal(with_strands(code(without)), without(code(without)))
    with pytest.raises(HairclipError, match="makes no strands"):
        without.smooth(code(without))


def test_a_larger_picture_has_the_same_strands_and_thinner_ones():
    generator = made(strands=STRANDS)
    smooth, hair = generator.smooth(code(generator))
    usual, large = generator.with_strands(smooth, hair), generator.with_strands(smooth, hair, size=128)
    assert large.shape == (2, 3, 128, 128)
    reduced = F.avg_pool2d(large, 4)
    assert correlation(reduced, usual) > 0.9
    detail = large - F.interpolate(F.avg_pool2d(large, 2), size=128, mode="bilinear")
    assert float(detail.std()) > 0.01
    assert torch.equal(large, generator.with_strands(smooth, hair, size=128))


def test_fresh_noise_becomes_strands_too():
    with_strands = made(strands=STRANDS)
    without = same_weights(with_strands)

    def drawn(generator: Generator, seed: int) -> Tensor:
        return generator(code(without), "random", torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(with_strands, 1), drawn(with_strands, 1))
    assert not torch.equal(drawn(with_strands, 1), drawn(with_strands, 2))
    assert not torch.equal(drawn(with_strands, 1), drawn(without, 1))


@pytest.mark.parametrize("noise", ["const", "random"])
def test_recomputing_gives_equal_pictures_and_gradients_with_strands(noise: str):
    generator, found = made(strands=STRANDS), []
    generator.strands.requires_grad_(True)
    for recompute in (False, True):
        w_plus = code(generator).requires_grad_()
        torch.manual_seed(4)
        image = generator(w_plus, noise, recompute=recompute)
        found.append((image, torch.autograd.grad(image.square().sum(), w_plus)[0]))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_a_stored_generator_makes_equal_pictures(tmp_path):
    generator = made(strands={"read_at": 8, "half_length": 0.1}, n_latent=6)
    generator.latent_avg = torch.zeros(6)
    save_network(tmp_path / "g.safetensors", "generator", generator)
    again = load_generator(tmp_path / "g.safetensors")
    assert again.config == generator.config == json.loads(json.dumps(generator.config))
    assert again.config["strands"] == {"read_at": 8, "width": 48, "widths": 3, "half_length": 0.1}
    assert again.n_latent == 6
    assert torch.equal(again(code(generator)), generator(code(generator)))


def test_bfloat16_stays_close_with_strands():
    generator = made(strands=STRANDS)
    exact = generator(code(generator))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = generator(code(generator))
    assert 1e-6 < float((image - exact).norm() / exact.norm()) < 0.05


def test_shared_codes_are_read_by_all_layers_beyond_them():
    shared = made(n_latent=6)
    full = same_weights(shared)
    w_plus = code(shared)
    repeated = torch.cat((w_plus, w_plus[:, -1:], w_plus[:, -1:]), dim=1)
    assert full.n_latent == 8
    assert torch.equal(shared(w_plus), full(repeated))
    assert shared.expand(w_plus[:, 0]).shape == (2, 6, 6)
    assert shared.style_widths == full.style_widths
    for ours, theirs in zip(shared.styles(w_plus), full.styles(repeated), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match=r"\(B, 6, 6\)"):
        shared(repeated)


def test_wrong_strands_and_numbers_of_codes_are_named():
    for options, words in (
        ({"strands": {"read_at": 32}}, "not at 32"),
        ({"strands": {"read_at": 8, "widths": 5}}, "1 to 4 widths, not 5"),
        ({"strands": {**STRANDS, "sharpness": 1}}, "but not sharpness"),
        ({"n_latent": 9}, "1 to 8 latents"),
    ):
        with pytest.raises(ValueError, match=words):
            made(**options)
    with pytest.raises(ValueError, match="steps"):
        line_integral(white(16), field_of(0.0, 16), steps=0)


def test_a_field_is_in_its_ranges():
    torch.manual_seed(0)
    hair = StrandField(8, 4, 2).requires_grad_(False)(torch.randn(2, 8, 16, 16))
    assert hair.direction.shape == hair.strength.shape == (2, 2, 16, 16)
    assert hair.coverage.shape == hair.reach.shape == (2, 1, 16, 16)
    assert 0 < float(hair.coverage.min()) < float(hair.coverage.max()) < 1
    assert min(float(hair.strength.min()), float(hair.reach.min())) > 0


def test_gradients_reach_strength_reach_and_coverage():
    generator = made(strands=STRANDS)
    generator.strands.requires_grad_(True)
    generator(code(generator)).square().mean().backward()
    last = generator.strands.layers[-1].weight.grad
    assert last[2:].flatten(1).abs().sum(dim=1).min() > 0
    assert not last[:2].any()  # no picture tells the direction

"""Noise smeared along the direction of hair, and generators whose last layers get it."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hairclip.networks.strands import StrandField, line_integral
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained import load_generator, save_network

CHANNELS = {4: 8, 8: 8, 16: 8, 32: 6}
STRANDS = {"read_at": 8, "width": 4, "steps": {"16": 4, "32": 7}}


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
    with_strands = made(strands=STRANDS)
    hair_where(with_strands, "left")
    without = same_weights(with_strands)
    for layer in without.layers:
        if layer.size > with_strands.read_at:
            layer.noise_strength.data.zero_()  # beside hair there is no noise either
    difference = (with_strands(code(without)) - without(code(without))).abs().amax(dim=1)
    # Half a cell of the field blurs the border, and two convolutions and two blurs carry a change some pixels further.
    assert float(difference[:, :, :12].amax()) > 0.05
    assert float(difference[:, :, 28:].amax()) == 0.0


def test_without_noise_there_are_no_strands():
    with_strands = made(strands=STRANDS)
    without = same_weights(with_strands)
    assert torch.equal(with_strands(code(without), noise="none"), without(code(without), noise="none"))
    assert not torch.equal(with_strands(code(without)), without(code(without)))


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
    generator = made(strands={**STRANDS, "steps": 5}, n_latent=6)
    generator.latent_avg = torch.zeros(6)
    save_network(tmp_path / "g.safetensors", "generator", generator)
    again = load_generator(tmp_path / "g.safetensors")
    assert again.config == generator.config == json.loads(json.dumps(generator.config))
    assert again.config["strands"] == {"read_at": 8, "width": 4, "steps": {"16": 5, "32": 5}}
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
        ({"strands": {"read_at": 32, "steps": 3}}, "not at 32"),
        ({"strands": {"read_at": 8, "steps": {"16": 3}}}, r"lack the resolutions \[32\]"),
        ({"strands": {**STRANDS, "sharpness": 1}}, "but not sharpness"),
        ({"n_latent": 9}, "1 to 8 latents"),
    ):
        with pytest.raises(ValueError, match=words):
            made(**options)
    with pytest.raises(ValueError, match="steps"):
        line_integral(white(16), field_of(0.0, 16), steps=0)


def test_a_field_is_a_direction_and_a_coverage():
    torch.manual_seed(0)
    direction, coverage = StrandField(8, 4).requires_grad_(False)(torch.randn(2, 8, 16, 16))
    assert direction.shape == (2, 2, 16, 16)
    assert coverage.shape == (2, 1, 16, 16)
    assert 0 < float(coverage.min()) < float(coverage.max()) < 1

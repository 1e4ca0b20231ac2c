"""A grown generator takes the same codes and starts with the same pictures, enlarged."""

import pytest
import torch

from hairclip.networks.stylegan2 import Generator
from hairclip.networks.stylegan2_growth import grow
from hairclip.networks.stylegan2_ops import upsample_image


def small(**options) -> Generator:
    torch.manual_seed(0)
    generator = Generator(16, 6, 6, 1, {4: 8, 8: 8, 16: 6}, **options).requires_grad_(False)
    generator.latent_avg = torch.randn(6)
    for layer in generator.layers:
        torch.nn.init.constant_(layer.noise_strength, 0.5)
    return generator.eval()


def test_a_grown_generator_makes_the_enlarged_picture_of_the_same_codes():
    smaller = small()
    larger = grow(smaller, 64, {32: 5, 64: 4}, strands={"read_at": 16, "widths": 2})
    w_plus = torch.randn(2, smaller.n_latent, 6)
    enlarged = upsample_image(upsample_image(smaller(w_plus, noise="none")))
    torch.testing.assert_close(larger(w_plus, noise="none"), enlarged)
    assert larger.n_latent == smaller.n_latent == 6
    assert larger.channels == {4: 8, 8: 8, 16: 6, 32: 5, 64: 4}
    assert torch.equal(larger.latent_avg, smaller.latent_avg)
    assert not larger.training
    z = torch.randn(3, 6)
    assert torch.equal(larger.mapping(z), smaller.mapping(z))


def test_growing_keeps_the_settings_of_the_smaller_generator():
    smaller = small(clamp=256.0, strands={"read_at": 8, "width": 4, "widths": 2})
    larger = grow(smaller, 32, strands={"read_at": 8, "width": 4, "widths": 2})
    assert larger.channels[32] == 6
    assert larger.clamp == 256.0
    assert all(torch.equal(a, b) for a, b in zip(larger.strands.parameters(), smaller.strands.parameters()))
    with pytest.raises(ValueError, match="not to 16"):
        grow(smaller, 16)

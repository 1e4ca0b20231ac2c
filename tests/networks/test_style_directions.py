"""Global directions against their equations, written out one channel at a time."""

import math

import numpy as np
import pytest
import torch

from hairclip.networks.style_directions import StyleDirections, channel_statistics, split_channels
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks

CHANNELS, WIDTH = 12, 6


def random_directions() -> StyleDirections:
    random = torch.Generator().manual_seed(0)
    directions = StyleDirections(CHANNELS, WIDTH)
    directions.relevance = torch.nn.functional.normalize(torch.randn(CHANNELS, WIDTH, generator=random), dim=1)
    directions.deviation = torch.rand(CHANNELS, generator=random) + 0.1
    return directions


def literal_moves(directions: StyleDirections, difference: np.ndarray, keep: "callable") -> np.ndarray:
    """r_c = DI_c . DT; 0 where it does not count; divided by the largest |r| (section 6 and the official code)."""
    unit = difference / math.sqrt(sum(v * v for v in difference))
    r = [float(sum(a * b for a, b in zip(row, unit))) for row in directions.relevance.double().numpy()]
    r = [value if keep(value, r) else 0.0 for value in r]
    largest = max(abs(value) for value in r)
    return np.array([value / largest for value in r])


@pytest.fixture
def difference() -> torch.Tensor:
    return torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(1)) * 3


def test_beta_keeps_the_channels_whose_cosine_is_as_large(difference: torch.Tensor):
    directions = random_directions()
    found = directions.choose(difference, beta=0.3)
    for row, wanted in zip(found, difference.double().numpy()):
        expected = literal_moves(directions, wanted, lambda value, _: abs(value) >= 0.3)
        assert 0 < (expected == 0).sum() < CHANNELS
        np.testing.assert_allclose(row.numpy(), expected, atol=1e-6)


def test_a_number_of_channels_keeps_those_of_the_largest_cosine(difference: torch.Tensor):
    directions = random_directions()
    found = directions.choose(difference, channels=4)
    assert (found != 0).sum(dim=1).tolist() == [4, 4]
    for row, wanted in zip(found, difference.double().numpy()):
        expected = literal_moves(directions, wanted, lambda value, r: abs(value) >= sorted(map(abs, r))[-4])
        np.testing.assert_allclose(row.numpy(), expected, atol=1e-6)


def test_no_channel_moves_where_none_is_left(difference: torch.Tensor):
    assert torch.equal(random_directions().choose(difference, beta=1.0), torch.zeros(2, CHANNELS))


def test_offsets_are_moves_times_the_deviation_of_each_channel():
    generator = tiny_networks().generator
    channels = sum(generator.style_widths)
    directions = StyleDirections(channels, WIDTH)
    directions.deviation = torch.arange(1.0, channels + 1)
    moves = torch.ones(1, channels)
    offsets = directions.offsets(moves, generator)
    assert [offset.shape[1] for offset in offsets if offset is not None] == list(generator.style_widths)
    assert torch.equal(torch.cat([offset for offset in offsets if offset is not None], dim=1)[0], directions.deviation)


def test_channels_of_the_first_convolutions_leave_the_others_alone():
    first, second, third = split_channels(torch.arange(5.0)[None], [2, 3, 4])
    assert (first.tolist(), second.tolist(), third) == ([[0, 1]], [[2, 3, 4]], None)
    with pytest.raises(ValueError, match="no whole number of convolutions"):
        split_channels(torch.zeros(1, 4), [2, 3, 4])


def test_statistics_are_mean_and_deviation_of_the_affine_maps_outputs():
    generator = tiny_networks().generator
    codes = torch.randn(7, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(2))
    mean, deviation = channel_statistics(generator, codes.split(3))
    start = 0
    for k, layer in enumerate(generator.layers):
        weight, bias = layer.style.weight.double(), layer.style.bias.double()
        values = (codes[:, k].double() @ weight.T / math.sqrt(W_DIM) + bias).numpy()
        end = start + values.shape[1]
        np.testing.assert_allclose(mean[start:end].numpy(), values.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(deviation[start:end].numpy(), values.std(axis=0), atol=1e-5)
        start = end
    assert start == len(mean)

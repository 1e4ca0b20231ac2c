"""Relevance against its definition, and runs that are stopped."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from hairclip.common.errors import HairclipError
from hairclip.networks.style_directions import StyleDirections
from hairclip.networks.stylegan2 import Generator
from hairclip.training.directions import compute_directions, drawn_codes
from hairclip.training.latents import LatentSet
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks

NETWORKS = tiny_networks()
CODES = LatentSet(torch.randn(9, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(3)))


def compute(folder: Path, images: int = 3, **settings: object) -> StyleDirections:
    return compute_directions(
        NETWORKS.generator, NETWORKS.clip, CODES, folder, images=images, progress=False, **settings
    )


def test_a_channels_direction_is_the_mean_unit_difference_of_clip_between_five_deviations_up_and_down(tmp_path: Path):
    found = compute(tmp_path)
    generator, clip = NETWORKS.generator, NETWORKS.clip
    codes = CODES[range(9)]
    values = torch.cat(generator.styles(codes), dim=1).double()
    mean, deviation = values.mean(dim=0), values.std(dim=0, correction=0)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))[:3]
    layer, place = 2, 5  # a channel of the third convolution, moved by its affine map's bias
    number = sum(generator.style_widths[:layer]) + place
    total = torch.zeros(clip.width, dtype=torch.float64)
    for i in order.tolist():
        ends = []
        for sign in (1, -1):
            shift = mean[number] + sign * 5 * deviation[number] - values[i, number]
            generator.layers[layer].style.bias[place] += shift
            ends.append(F.normalize(clip.encode_image(generator(codes[i : i + 1])), dim=1)[0].double())
            generator.layers[layer].style.bias[place] -= shift
        total += F.normalize(ends[0] - ends[1], dim=0)
    torch.testing.assert_close(found.relevance[number].double(), F.normalize(total, dim=0), atol=2e-4, rtol=0)
    torch.testing.assert_close(found.deviation.double(), deviation, atol=1e-5, rtol=1e-5)


def test_a_run_that_was_stopped_gives_the_same_bits(tmp_path: Path):
    whole = compute(tmp_path / "whole", images=4)
    compute(tmp_path / "parts", images=2)  # as if it had been killed after two images
    continued = compute(tmp_path / "parts", images=4)
    assert torch.equal(continued.relevance, whole.relevance)
    assert continued.notes == whole.notes
    assert len(list((tmp_path / "parts").iterdir())) == 1


def test_another_network_begins_a_file_of_its_own(tmp_path: Path):
    compute(tmp_path, images=1)
    other = tiny_networks(seed=1)
    compute_directions(other.generator, NETWORKS.clip, CODES, tmp_path, images=1, progress=False)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_file_of_sums_is_named(tmp_path: Path):
    compute(tmp_path, images=1)
    next(tmp_path.iterdir()).write_bytes(b"broken")
    with pytest.raises(HairclipError, match="delete the file to begin anew"):
        compute(tmp_path, images=2)


def test_more_images_than_codes_are_refused(tmp_path: Path):
    with pytest.raises(HairclipError, match="there are 9 codes for 10 images"):
        compute(tmp_path, images=10)


def test_drawn_codes_are_truncated_in_the_first_eight_layers_alone():
    generator = Generator(64, 4, 4, 1, dict.fromkeys((4, 8, 16, 32, 64), 2))  # ten layers
    generator.latent_avg = torch.arange(4.0)
    codes = drawn_codes(generator, 3, 0)[range(3)]
    w = codes[:, 9]
    assert torch.equal(codes[:, 8], w)
    for layer in range(8):
        torch.testing.assert_close(codes[:, layer], generator.latent_avg + 0.7 * (w - generator.latent_avg))

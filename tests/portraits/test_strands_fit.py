"""The recipe of strands on tiny pictures: what its losses ask for, and that codes keep their meaning."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.networks.pca_encoder import PcaEncoder
from hairclip.networks.strands import HairField
from hairclip.networks.stylegan2 import Generator
from hairclip.networks.stylegan2_growth import grow
from hairclip.networks.stylegan2_ops import upsample_image
from hairclip.portraits.fit.likeness import Recognizers
from hairclip.portraits.fit.people import RenderedPeople
from hairclip.portraits.fit.strands import StrandRecipe, direction_loss, fit_strands, strand_loss
from hairclip.portraits.fit.texture import OrientedEnergy
from tests.helpers.quads import write_quads
from tests.helpers.tiny_networks import tiny_networks

CPU = torch.device("cpu")
RECIPE = StrandRecipe(
    channels={32: 4},
    strands={"read_at": 8, "half_length": 0.125},
    field_steps=3,
    field_batch=2,
    steps=4,
    batch=2,
    scales=1,
    window=4,
    guided=1,
)


def small_generator() -> Generator:
    torch.manual_seed(1)
    return Generator(16, w_dim=8, z_dim=8, mapping_layers=1, channels={4: 8, 8: 8, 16: 8}).eval()


def small_encoder() -> PcaEncoder:
    torch.manual_seed(2)
    return PcaEncoder(n_latent=6, w_dim=8, components=4, component_size=8, input_size=16, widths=(4,), blocks=(1,))


def fit(folder: Path, recipe: StrandRecipe = RECIPE) -> Generator:
    people = RenderedPeople(write_quads(folder.parent / "quads"))
    return fit_strands(people, small_encoder(), small_generator(), recognizers(), folder, CPU, recipe=recipe)


def recognizers() -> Recognizers:
    tiny = tiny_networks()
    return Recognizers(tiny.parser, tiny.clip, tiny.identity)


def hair(direction: Tensor, coverage: Tensor) -> HairField:
    return HairField(direction, coverage, strength=coverage, reach=coverage)


def test_directions_are_right_up_to_half_a_turn_and_wrong_across():
    angle = torch.rand(2, 4, 4) * torch.pi
    true = torch.stack([(2 * angle).cos(), (2 * angle).sin()], dim=1)
    covered = torch.ones(2, 1, 4, 4)
    right, agreement = direction_loss(hair(true, covered), true, covered)
    half_a_turn = torch.stack([(2 * (angle + torch.pi)).cos(), true[:, 1]], 1)
    turned, same = direction_loss(hair(half_a_turn, covered), true, covered)
    across, none = direction_loss(hair(-true, covered), true, covered)
    assert agreement.item() == pytest.approx(1, abs=1e-3)
    assert same.item() == pytest.approx(1, abs=1e-3)
    assert none.item() == pytest.approx(0, abs=1e-2)
    assert right < 0.1 < across
    assert turned == pytest.approx(right.item(), abs=1e-4)


def test_where_each_strand_lies_is_not_asked_for_but_strands_are():
    stripes = torch.sin(torch.arange(48.0) * 2 * torch.pi / 4).expand(1, 3, 48, 48)
    covered = torch.ones(1, 1, 48, 48)
    energy = OrientedEnergy(scales=1)
    shifted = strand_loss(energy, stripes.roll(1, -1), stripes, covered)
    smooth = strand_loss(energy, torch.zeros_like(stripes), stripes, covered)
    turned = strand_loss(energy, stripes.transpose(2, 3), stripes, covered)
    assert shifted < 0.1 * smooth
    assert shifted < 0.1 * turned
    assert strand_loss(energy, torch.zeros_like(stripes), stripes, 0 * covered) == 0


def test_hair_in_the_color_of_another_portrait_is_said_by_two_pictures(tmp_path: Path):
    people, rng = RenderedPeople(write_quads(tmp_path / "quads")), np.random.default_rng(0)
    for _ in range(8):
        alone, swapped = people.draw_swapped(rng, 0.0), people.draw_swapped(rng, 1.0)
        assert torch.equal(alone.shape, alone.person.pixels)
        assert torch.equal(alone.color, alone.person.pixels)
        assert not torch.equal(swapped.shape, swapped.person.pixels)
        assert not torch.equal(swapped.color, swapped.shape)


def test_a_bald_head_lends_no_color(tmp_path: Path):
    folder = write_quads(tmp_path / "quads")
    for path in folder.glob("*.npz"):
        with np.load(path) as file:
            arrays = dict(file)
        arrays["coverage"][:] = 0
        np.savez(path, **arrays)
    drawn = RenderedPeople(folder).draw_swapped(np.random.default_rng(0), 1.0)
    assert torch.equal(drawn.color, drawn.person.pixels)


def test_a_generator_that_has_grown_reads_the_same_codes_and_draws_strands(tmp_path: Path):
    small, grown = small_generator(), fit(tmp_path / "runs")
    assert (grown.size, grown.n_latent) == (32, small.n_latent)
    assert grown.strand_settings == {"read_at": 8, "width": 48, "widths": 3, "half_length": 0.125}
    before, after = small.state_dict(), grown.state_dict()
    assert torch.equal(before["mapping.layers.0.weight"], after["mapping.layers.0.weight"])
    assert not torch.equal(before["layers.0.weight"], after["layers.0.weight"])
    codes = torch.randn(2, 6, 8)
    assert not torch.equal(grown(codes), grown.smooth(codes)[0])


def test_a_generator_with_strands_is_trained_on(tmp_path: Path):
    grown = fit(tmp_path / "runs")
    people = RenderedPeople(tmp_path / "quads")
    recipe = replace(RECIPE, field_steps=1, steps=1)
    further = fit_strands(people, small_encoder(), grown, recognizers(), tmp_path / "more", CPU, recipe=recipe)
    assert further.config == grown.config
    change = (further.to_rgb[3].weight - grown.to_rgb[3].weight).abs().max()
    assert 0 < change < 0.1


def test_hair_is_asked_for_strands_and_the_smooth_picture_for_pixels(tmp_path: Path):
    """The energy of hair moves the strand field alone."""
    people = RenderedPeople(write_quads(tmp_path / "quads"))
    nothing = dict.fromkeys(("direction", "face_energy", "parser", "clip", "identity"), 0.0)
    recipes = [replace(RECIPE, energy=energy, **nothing) for energy in (0.0, 14.0)]
    states = [
        fit_strands(
            people, small_encoder(), small_generator(), recognizers(), tmp_path / str(k), CPU, recipe=recipe
        ).state_dict()
        for k, recipe in enumerate(recipes)
    ]
    moved = {key for key in states[0] if not torch.equal(states[0][key], states[1][key])}
    assert moved
    assert all(key.startswith("strands.") for key in moved)


def test_before_training_it_draws_the_smaller_picture_enlarged():
    small = small_generator()
    grown = grow(small, 32, {32: 4})
    codes = torch.randn(1, 6, 8)
    assert torch.allclose(grown(codes), upsample_image(small(codes)), atol=1e-5)


def test_a_training_that_was_stopped_ends_like_one_that_was_not(tmp_path: Path):
    whole = fit(tmp_path / "whole")
    folder = tmp_path / "parts"
    fit(folder)
    (folder / "strands.pt").unlink()  # the field is finished, the strands start again
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), fit(folder).state_dict().values()))


def test_people_that_are_not_larger_are_refused(tmp_path: Path):
    people = RenderedPeople(write_quads(tmp_path / "quads", 16))
    with pytest.raises(HairclipError, match="rendered at 16 px and the generator draws 16 px"):
        fit_strands(people, small_encoder(), small_generator(), recognizers(), tmp_path, CPU, recipe=RECIPE)

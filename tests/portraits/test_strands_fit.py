"""The recipe of strands on tiny pictures: what its losses ask for, and that codes keep their meaning."""

from pathlib import Path

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.networks.pca_encoder import PcaEncoder
from hairclip.networks.stylegan2 import Generator
from hairclip.networks.stylegan2_growth import grow
from hairclip.networks.stylegan2_ops import upsample_image
from hairclip.portraits.fit.people import RenderedPeople
from hairclip.portraits.fit.strands import StrandRecipe, direction_loss, fit_strands, hair_texture_loss
from hairclip.portraits.fit.texture import OrientedEnergy
from tests.helpers.quads import write_quads

CPU = torch.device("cpu")
RECIPE = StrandRecipe(
    channels={32: 4}, field_steps=3, field_batch=2, steps=4, batch=2, scales=1, read_at=8, half_length=0.125
)


def small_generator() -> Generator:
    torch.manual_seed(1)
    return Generator(16, w_dim=8, z_dim=8, mapping_layers=1, channels={4: 8, 8: 8, 16: 8}).eval()


def small_encoder() -> PcaEncoder:
    torch.manual_seed(2)
    return PcaEncoder(n_latent=6, w_dim=8, components=4, component_size=8, input_size=16, widths=(4,), blocks=(1,))


def fit(folder: Path, recipe: StrandRecipe = RECIPE) -> Generator:
    people = RenderedPeople(write_quads(folder.parent / "quads"))
    return fit_strands(people, small_encoder(), small_generator(), folder, CPU, recipe=recipe)


def test_directions_are_right_up_to_half_a_turn_and_wrong_across():
    angle = torch.rand(2, 4, 4) * torch.pi
    true = torch.stack([(2 * angle).cos(), (2 * angle).sin()], dim=1)
    covered = torch.ones(2, 1, 4, 4)
    sure = 9 * covered
    right, agreement = direction_loss(true, sure, true, covered)
    turned, same = direction_loss(torch.stack([(2 * (angle + torch.pi)).cos(), true[:, 1]], 1), sure, true, covered)
    across, none = direction_loss(-true, sure, true, covered)
    assert agreement.item() == pytest.approx(1, abs=1e-3)
    assert same.item() == pytest.approx(1, abs=1e-3)
    assert none.item() == pytest.approx(0, abs=1e-2)
    assert right < 0.1 < across
    assert turned == pytest.approx(right.item(), abs=1e-4)


def test_where_each_strand_lies_is_not_asked_for_but_strands_are():
    stripes = torch.sin(torch.arange(48.0) * 2 * torch.pi / 4).expand(1, 3, 48, 48)
    covered = torch.ones(1, 1, 48, 48)
    energy = OrientedEnergy(scales=1)
    shifted, blurred = hair_texture_loss(energy, stripes.roll(1, -1), stripes, covered)
    smooth, same = hair_texture_loss(energy, torch.zeros_like(stripes), stripes, covered)
    turned, _ = hair_texture_loss(energy, stripes.transpose(2, 3), stripes, covered)
    assert shifted < 0.1 * smooth
    assert shifted < 0.1 * turned
    assert max(blurred, same) < 0.05  # a blur sees no stripes
    brighter = hair_texture_loss(energy, stripes + 0.5, stripes, covered)[1]
    assert brighter.item() == pytest.approx(1.0, abs=0.1)  # half a unit, after each of two blurs


def test_a_generator_that_has_grown_reads_the_same_codes_and_keeps_its_lower_layers(tmp_path: Path):
    small, grown = small_generator(), fit(tmp_path / "runs")
    assert (grown.size, grown.n_latent) == (32, small.n_latent)
    assert (grown.read_at, grown.strand_steps) == (8, {16: 2, 32: 4})
    before, after = small.state_dict(), grown.state_dict()
    lower = [key for key in before if key.startswith(("constant", "mapping", "layers.0", "layers.1.", "layers.2."))]
    assert lower
    assert all(torch.equal(before[key], after[key]) for key in lower)
    assert not torch.equal(before["layers.4.weight"], after["layers.4.weight"])
    codes = torch.randn(2, 6, 8)
    assert torch.equal(grown.activations(codes, 8), small.activations(codes, 8))
    assert not torch.equal(grown(codes), grown(codes, noise="none"))


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
        fit_strands(people, small_encoder(), small_generator(), tmp_path, CPU, recipe=RECIPE)

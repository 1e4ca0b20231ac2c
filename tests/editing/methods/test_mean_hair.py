"""The mean hair of a hairstyle, pasted."""

import pytest
import torch

from hairclip.common.color import mean_lab, rgb_to_lab
from hairclip.common.errors import HairclipError
from hairclip.editing.editor import HairEditor
from hairclip.editing.methods.region import edit_region
from tests.helpers.tiny_networks import SIZE, tiny_networks


@pytest.fixture(scope="module")
def editor() -> HairEditor:
    return HairEditor(tiny_networks(), groups=(3, 5))


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3


def test_the_mean_hair_has_the_mean_color_where_all_people_have_hair(editor: HairEditor, portrait: torch.Tensor):
    result = editor.edit(portrait, "afro", "red", method="mean-hair", blend=False)
    painted = rgb_to_lab(result.image)[0, :, : SIZE // 4]  # of the upper rows, 3/8 are hair of everybody
    open_to_it = edit_region((result.source_mask[:, 0] * 13).long(), ["afro"], [True], editor.networks.hair_priors)
    inside = open_to_it[0, 0, : SIZE // 4]
    torch.testing.assert_close(painted[:, inside].mean(dim=1), torch.tensor([50.0, 40.0, 20.0]), atol=0.1, rtol=0)


def test_a_color_alone_moves_the_mean_color_of_the_own_hair(editor: HairEditor, portrait: torch.Tensor):
    result = editor.edit(portrait, color="blond", method="mean-hair", blend=False)
    before, after = (mean_lab(image, result.source_mask) for image in (result.aligned, result.image))
    wanted = torch.tensor([[80.0, 0.0, 20.0]])
    assert (after - wanted).norm() < 0.5 * (before - wanted).norm()


def test_pixels_outside_the_region_are_the_photos(editor: HairEditor, portrait: torch.Tensor):
    result = editor.edit(portrait, color="blond", method="mean-hair", blend=False)
    region = edit_region((result.source_mask[:, 0] * 13).long(), [None], [True], editor.networks.hair_priors, grow=1)
    outside = ~region.expand_as(result.image)
    assert outside.any()
    assert torch.equal(result.image[outside], result.aligned[outside])


def test_pictures_and_unknown_words_are_refused(editor: HairEditor, portrait: torch.Tensor):
    with pytest.raises(HairclipError, match="texts alone, and the hairstyle is a picture"):
        editor.edit(portrait, portrait, method="mean-hair")
    with pytest.raises(HairclipError, match="knows no color 'green': it knows blond, red"):
        editor.edit(portrait, color="green", method="mean-hair")

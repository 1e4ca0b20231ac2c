"""Editing by tokens of a vector-quantized codec."""

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.editing.editor import HairEditor
from hairclip.editing.methods.region import edit_region
from tests.helpers.tiny_networks import SIZE, tiny_networks


@pytest.fixture(scope="module")
def editor() -> HairEditor:
    return HairEditor(tiny_networks(), groups=(3, 5))


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_pixels_outside_the_region_are_the_photos_bit_for_bit(editor: HairEditor, portrait: torch.Tensor):
    for words in ({"color": "red"}, {"hairstyle": "afro", "color": "blond"}):
        result = editor.edit(portrait, method="vq", blend=False, **words)
        labels = editor.networks.parser.labels(result.aligned)
        region = edit_region(labels, [words.get("hairstyle")], [True], editor.networks.hair_priors)
        outside = ~region.expand_as(result.image)
        assert 0 < int(outside.sum()) < outside.numel()
        assert torch.equal(result.image[outside], result.aligned[outside])
        assert not torch.equal(result.image, result.aligned)


def test_a_seed_gives_the_same_picture_and_another_seed_another(editor: HairEditor, portrait: torch.Tensor):
    settings = {"method": "vq", "blend": False, "method_settings": {"temperature": 1.0}}
    first, again, other = (editor.edit(portrait, "afro", seed=seed, **settings).image for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_strength_mixes_with_the_photo(editor: HairEditor, portrait: torch.Tensor):
    whole, half = (editor.edit(portrait, "afro", method="vq", blend=False, strength=s) for s in (1.0, 0.5))
    torch.testing.assert_close(half.image, (whole.aligned + whole.image) / 2)


def test_a_reference_picture_is_read_as_a_word(editor: HairEditor, portrait: torch.Tensor):
    random = torch.Generator().manual_seed(5)
    picture = torch.rand(1, 3, SIZE, SIZE, generator=random) * 2 - 1
    read = editor.edit(portrait, picture, method="vq", blend=False).image
    words = [editor.edit(portrait, name, method="vq", blend=False).image for name in ("afro", "bob cut", "mohawk")]
    assert any(torch.equal(read, one) for one in words)


def test_another_size_than_the_generators_is_refused(portrait: torch.Tensor):
    networks = tiny_networks()
    networks.token_transformer.grid = 8
    with pytest.raises(HairclipError, match="paints pictures of 64 px here, and the generator those of 32 px"):
        HairEditor(networks, groups=(3, 5)).edit(portrait, "afro", method="vq")

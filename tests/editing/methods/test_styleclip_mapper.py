"""The method styleclip-mapper: what it adds to codes, and what it refuses."""

from pathlib import Path

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.editing.editor import HairEditor
from hairclip.editing.methods.method import load_method
from hairclip.editing.methods.styleclip_mapper import check_style_mappers
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.networks.style_mappers import StyleMappers
from hairclip.pretrained import load_bundle, save_network
from tests.helpers.tiny_networks import N_LATENT, SIZE, W_DIM, save_bundle, tiny_networks

OPTIONS = EditOptions(method="styleclip-mapper", blend=False)


def tiny_mappers() -> StyleMappers:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        words = {"afro": ["coarse", "medium"], "bob cut": ["coarse"], "red": ["coarse", "medium", "fine"]}
        return StyleMappers(N_LATENT, W_DIM, words, (3, 5)).requires_grad_(False)


@pytest.fixture(scope="module")
def editor() -> HairEditor:
    networks = tiny_networks()
    networks.style_mappers = tiny_mappers()
    return HairEditor(networks, groups=(3, 5))


@pytest.fixture(scope="module")
def portraits() -> torch.Tensor:
    return torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_hairstyle_and_a_color_are_two_changes_that_are_added(editor: HairEditor, portraits: torch.Tensor):
    prepared = editor.prepare(list(portraits[:, None].unbind()))
    requests = [EditRequest("bob cut", "red"), EditRequest(color="red"), EditRequest()]
    codes = load_method(OPTIONS).edit(prepared, requests, OPTIONS, editor).codes
    w, mappers = prepared.inversion.w_plus, editor.networks.style_mappers
    assert codes is not None
    torch.testing.assert_close(codes[:1], w[:1] + mappers(w[:1], ["bob cut"]) + mappers(w[:1], ["red"]))
    torch.testing.assert_close(codes[1:2], w[1:2] + mappers(w[1:2], ["red"]))
    assert torch.equal(codes[2], w[2])


def test_what_it_cannot_do_is_refused_in_one_sentence(editor: HairEditor, portraits: torch.Tensor):
    for request, said in (
        (EditRequest(portraits[:1]), "the hairstyle is a picture: name it in words"),
        (EditRequest("afros"), r"no latent mapper for 'afros' \(did you mean afro\?\)"),
    ):
        with pytest.raises(HairclipError, match=said):
            editor.check([request], OPTIONS)


def test_a_bundle_without_mappers_names_the_command_that_trains_them(tmp_path: Path):
    bare = HairEditor(load_bundle(save_bundle(tmp_path)))
    with pytest.raises(HairclipError, match="make it with python -m hairclip train-style-mappers"):
        bare.check([EditRequest("afro")], OPTIONS)


def test_a_file_of_one_text_serves_whatever_word_is_asked(editor: HairEditor, tmp_path: Path, portraits: torch.Tensor):
    single = StyleMappers(N_LATENT, W_DIM, {"a person with an afro": ["coarse"]}, (3, 5))
    path = tmp_path / "one.safetensors"
    save_network(path, "style_mappers", single)
    options = EditOptions(method="styleclip-mapper", method_settings={"mapper": str(path)}, blend=False)
    prepared = editor.prepare([portraits[:1]])
    codes = load_method(options).edit(prepared, [EditRequest("perm")], options, editor).codes
    assert codes is not None
    w = prepared.inversion.w_plus
    torch.testing.assert_close(codes, w + single(w, ["a person with an afro"]).detach())
    with pytest.raises(HairclipError, match="knows one text, but a hairstyle and a color are asked for"):
        editor.check([EditRequest("perm", "red")], options)


def test_mappers_of_another_generator_are_named():
    generator = tiny_networks().generator
    mappers = tiny_mappers()
    mappers.constant = generator.constant.half().float()
    check_style_mappers(mappers, generator, "afro.pt")
    mappers.constant = mappers.constant.roll(1)
    with pytest.raises(HairclipError, match=r"afro\.pt was trained with another generator"):
        check_style_mappers(mappers, generator, "afro.pt")
    with pytest.raises(HairclipError, match="it takes 8 layers of width 16, but the generator has 8 layers of width 4"):
        check_style_mappers(tiny_mappers(), type(generator)(SIZE, 4, 4, 1, dict.fromkeys((4, 8, 16, 32), 2)), "afro.pt")

"""The method styleclip-global: its direction against the published formulas, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hairclip.common.errors import HairclipError
from hairclip.editing.editor import HairEditor
from hairclip.editing.methods.method import load_method
from hairclip.editing.methods.styleclip_global import official_templates, text_embedding
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from hairclip.networks.style_directions import StyleDirections
from hairclip.pretrained import load_bundle
from tests.helpers.tiny_networks import SIZE, WIDTH, save_bundle, tiny_networks


def options(strength: float = 1.0, **settings: object) -> EditOptions:
    return EditOptions(method="styleclip-global", method_settings=settings, blend=False, strength=strength)


@pytest.fixture(scope="module")
def editor() -> HairEditor:
    networks = tiny_networks()
    random = torch.Generator().manual_seed(0)
    channels = sum(networks.generator.style_widths)
    networks.directions = StyleDirections(channels, WIDTH)
    networks.directions.relevance = F.normalize(torch.randn(channels, WIDTH, generator=random), dim=1)
    networks.directions.deviation = torch.rand(channels, generator=random) * 0.3
    return HairEditor(networks, groups=(3, 5))


@pytest.fixture(scope="module")
def prepared(editor: HairEditor) -> Prepared:
    portraits = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return editor.prepare(list(portraits[:, None].unbind()))


def run(editor: HairEditor, prepared: Prepared, requests: list[EditRequest], chosen: EditOptions) -> torch.Tensor:
    images = load_method(chosen).edit(prepared, requests, chosen, editor).images
    assert images is not None
    return images


def test_zero_alpha_returns_the_inversion_bit_for_bit(editor: HairEditor, prepared: Prepared):
    requests = [EditRequest("afro"), EditRequest(color="red")]
    assert torch.equal(run(editor, prepared, requests, options(alpha=0.0)), prepared.inversion.images)
    edited = run(editor, prepared, [EditRequest("afro"), EditRequest()], options(alpha=3.0))
    assert not torch.equal(edited[0], prepared.inversion.images[0])
    assert torch.equal(edited[1], prepared.inversion.images[1])


def test_the_picture_is_the_generators_with_styles_moved_by_the_published_direction(
    editor: HairEditor, prepared: Prepared
):
    networks = editor.networks
    edited = run(editor, prepared, [EditRequest("afro")] * 2, options(alpha=4.0, beta=0.2, strength=0.5))

    def embedding(text: str) -> torch.Tensor:
        return F.normalize(networks.clip.encode_text([text]), dim=1)[0]

    difference = F.normalize(embedding("face with afro hairstyle") - embedding("face with hair"), dim=0)
    r = [float(row @ difference) for row in networks.directions.relevance]
    r = [value if abs(value) >= 0.2 else 0.0 for value in r]
    largest = max(abs(value) for value in r)
    # s' = s + alpha r sigma / max |r|, added by hand to each affine map's bias
    start = 0
    for layer in networks.generator.layers:
        for place in range(len(layer.style.bias)):
            move = r[start + place] / largest * float(networks.directions.deviation[start + place])
            layer.style.bias[place] += 0.5 * 4.0 * move
        start += len(layer.style.bias)
    try:
        moved = networks.generator(prepared.inversion.w_plus)
    finally:
        start = 0
        for layer in networks.generator.layers:
            for place in range(len(layer.style.bias)):
                move = r[start + place] / largest * float(networks.directions.deviation[start + place])
                layer.style.bias[place] -= 0.5 * 4.0 * move
            start += len(layer.style.bias)
    torch.testing.assert_close(edited, moved, atol=2e-4, rtol=1e-4)


def test_any_text_takes_the_place_of_the_words(editor: HairEditor, prepared: Prepared):
    requests = [EditRequest("afro")] * 2
    same = run(editor, prepared, requests, options(target="face with afro hairstyle"))
    assert torch.equal(same, run(editor, prepared, requests, options()))
    assert not torch.equal(run(editor, prepared, requests, options(target="a very long beard")), same)


def test_a_text_is_the_mean_of_its_templates_each_of_length_one(editor: HairEditor):
    clip, templates = editor.networks.clip, ("a photo of {}.", "art of {}.")
    found = text_embedding(clip, ["an afro"], templates)[0]
    rows = [clip.encode_text([template.replace("{}", "an afro")])[0].double().numpy() for template in templates]
    mean = sum(row / np.sqrt((row**2).sum()) for row in rows) / 2
    np.testing.assert_allclose(found.numpy(), mean / np.sqrt((mean**2).sum()), atol=1e-6)


def test_the_official_templates_are_79_of_clips_80():
    templates = official_templates()
    assert len(templates) == 79
    assert "a photo of many {}." not in templates
    assert "a bad photo of a {}." in templates


def test_the_official_array_gets_its_statistics_from_the_generator(
    editor: HairEditor, prepared: Prepared, tmp_path: Path
):
    array = editor.networks.directions.relevance[: sum(editor.networks.generator.style_widths[:3])].numpy()
    np.save(tmp_path / "fs3.npy", array)
    settings = {"relevance": str(tmp_path / "fs3.npy"), "channels": 5}
    network = editor.networks.generator
    network.latent_avg = network.mean_latent(100, torch.Generator().manual_seed(0))
    edited = run(editor, prepared, [EditRequest("afro")] * 2, options(**settings))
    assert not torch.equal(edited, prepared.inversion.images)
    np.save(tmp_path / "odd.npy", array[:-1])
    with pytest.raises(HairclipError, match="are not those of the first convolutions"):
        editor.check([EditRequest("afro")], options(relevance=str(tmp_path / "odd.npy")))
    np.save(tmp_path / "wide.npy", np.ones((4, 7), np.float32))
    with pytest.raises(HairclipError, match="for a CLIP of width 7, but this one has the width 24"):
        editor.check([EditRequest("afro")], options(relevance=str(tmp_path / "wide.npy")))


def test_what_it_cannot_do_is_refused_in_one_sentence(editor: HairEditor, prepared: Prepared, tmp_path: Path):
    with pytest.raises(HairclipError, match="takes texts alone, and the color is a picture"):
        editor.check([EditRequest(color=prepared.aligned[:1])], options())
    with pytest.raises(HairclipError, match="wording 'hair': put {} where"):
        load_method(options(wording="hair"))
    bare = HairEditor(load_bundle(save_bundle(tmp_path)))
    with pytest.raises(HairclipError, match="make it with python -m hairclip directions"):
        bare.check([EditRequest("afro")], options())

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import BACKGROUND
from hairclip.common.images import save_image, to_pil
from hairclip.editing import editor as edit_module
from hairclip.editing.blending.fill import plain_background
from hairclip.editing.editor import HairEditor, compare
from hairclip.editing.inversion.cache import InversionCache
from hairclip.editing.options import EditOptions, InversionOptions
from hairclip.editing.request import EditRequest, make_request
from hairclip.networks.mapper import HairMapper
from hairclip.pretrained import load_bundle, save_network
from tests.helpers.tiny_networks import N_LATENT, SIZE, W_DIM, WIDTH, save_bundle, tiny_networks


@pytest.fixture(scope="module")
def networks() -> SimpleNamespace:
    return tiny_networks()


@pytest.fixture(scope="module")
def editor(networks: SimpleNamespace) -> HairEditor:
    return HairEditor(networks, groups=(3, 5))


@pytest.fixture(scope="module")
def portrait(networks: SimpleNamespace) -> torch.Tensor:
    w_plus = torch.randn(1, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(3))
    return networks.generator(w_plus).clamp(-1, 1)


def test_every_kind_of_input_gives_the_same_edit(editor: HairEditor, portrait: torch.Tensor, tmp_path: Path):
    picture = to_pil(portrait)
    save_image(portrait, tmp_path / "portrait.png")
    inputs = [picture, np.asarray(picture), tmp_path / "portrait.png", str(tmp_path / "portrait.png"), portrait]
    first, *others, from_tensor = editor.edit_batch(inputs, ["afro"] * 5, ["red"] * 5)
    for result in others:
        torch.testing.assert_close(result.image, first.image, atol=1e-5, rtol=0)
    torch.testing.assert_close(from_tensor.w_plus, first.w_plus, atol=0.05, rtol=0)  # the tensor was never rounded


def test_a_notebook_may_have_another_default_type(portrait: torch.Tensor, tmp_path: Path):
    save_bundle(tmp_path)

    def edit() -> torch.Tensor:
        return HairEditor(load_bundle(tmp_path), groups=(3, 5)).edit(portrait, hairstyle="afro", color="red").image

    expected = edit()
    torch.set_default_dtype(torch.float64)
    try:
        image = edit()
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(image, expected)


def test_the_result_holds_pictures_masks_and_codes(editor: HairEditor, portrait: torch.Tensor, tmp_path: Path):
    result = editor.edit(portrait, hairstyle="bob cut", color="red")
    for image in (result.image, result.aligned, result.inversion, result.synthesized):
        assert image.shape == (1, 3, SIZE, SIZE)
        assert not image.requires_grad
    assert result.image.min() >= -1
    assert result.image.max() <= 1
    for mask in (result.mask, result.source_mask):
        assert mask.shape == (1, 1, SIZE, SIZE)
        assert mask.dtype == torch.bool
    assert result.w_plus.shape == result.edited_w_plus.shape == (1, N_LATENT, W_DIM)
    assert (result.hairstyle, result.color) == ("bob cut", "red")
    result.save(tmp_path / "edit.png")
    with Image.open(tmp_path / "edit.png") as saved:
        assert saved.size == (SIZE, SIZE)


def test_outside_the_blend_the_photo_keeps_its_bits(editor: HairEditor, portrait: torch.Tensor):
    result = editor.edit(portrait, hairstyle="afro")
    outside = (result.alpha == 0).expand_as(result.image)
    assert torch.equal(result.image[outside], result.aligned[outside])
    raw = editor.edit(portrait, hairstyle="afro", blend=False)
    assert torch.equal(raw.image, raw.synthesized.clamp(-1, 1))


def test_a_batch_mixes_tasks_and_equals_single_edits(editor: HairEditor, portrait: torch.Tensor):
    """Text and reference, hairstyle and color, both and neither: a sample does not see its neighbors."""
    reference = torch.nn.functional.interpolate(portrait.flip(-1), size=40, mode="bilinear")
    styles = ["afro", None, reference, None, "bob cut"]
    colors = [None, "red", "blue", None, reference]
    batch = editor.edit_batch([portrait] * 5, styles, colors, batch_size=4)
    for result, style, color in zip(batch[:3] + batch[4:], styles[:3] + styles[4:], colors[:3] + colors[4:]):
        single = editor.edit(portrait, hairstyle=style, color=color)
        torch.testing.assert_close(result.edited_w_plus, single.edited_w_plus, atol=1e-5, rtol=1e-4)
    assert torch.equal(batch[3].edited_w_plus, batch[3].w_plus)
    assert [result.hairstyle for result in batch] == ["afro", None, "reference", None, "bob cut"]


def test_so_many_pictures_go_together_as_memory_allows_for(
    editor: HairEditor, portrait: torch.Tensor, monkeypatch: pytest.MonkeyPatch
):
    sizes: list[int] = []
    prepare = editor.prepare
    monkeypatch.setattr(editor, "prepare", lambda images, *_, **__: sizes.append(len(images)) or prepare(images))
    editor.edit_batch([portrait] * 5, ["afro"] * 5)
    monkeypatch.setattr(edit_module, "PIXELS_TOGETHER", 2 * editor.networks.generator.size**2)
    editor.edit_batch([portrait] * 5, ["afro"] * 5)
    editor.edit_batch([portrait] * 5, ["afro"] * 5, batch_size=3)
    assert sizes == [5, 2, 2, 1, 3, 2]


def test_strength_scales_the_edit(editor: HairEditor, portrait: torch.Tensor):
    off, full, double = (editor.edit(portrait, hairstyle="afro", color="red", strength=s) for s in (0.0, 1.0, 2.0))
    assert torch.equal(off.edited_w_plus, off.w_plus)
    moved = full.edited_w_plus - full.w_plus
    assert moved.abs().max() > 0
    torch.testing.assert_close(double.edited_w_plus - double.w_plus, 2 * moved, atol=1e-5, rtol=1e-4)
    for strength in (-0.1, 2.5, float("nan")):
        with pytest.raises(HairclipError, match="strength"):
            editor.edit(portrait, hairstyle="afro", strength=strength)


def test_optimizing_needs_no_mapper(networks: SimpleNamespace, portrait: torch.Tensor):
    parts = SimpleNamespace(**{name: value for name, value in vars(networks).items() if name != "mapper"})
    editor = HairEditor(parts, groups=(3, 5))
    result = editor.edit(portrait, color="red", method="optimize", steps=5)
    assert torch.equal(result.edited_w_plus[:, :5], result.w_plus[:, :5])
    assert not torch.equal(result.edited_w_plus[:, 5:], result.w_plus[:, 5:])
    again = editor.edit(portrait, color="red", method="optimize", steps=5)
    assert torch.equal(result.image, again.image)


def test_an_edit_is_synthesized_by_the_generator_that_was_tuned_to_the_photo(
    networks: SimpleNamespace, editor: HairEditor, portrait: torch.Tensor
):
    mirrored = portrait.flip(-1)
    prepared = editor.prepare([portrait, mirrored], InversionOptions(inversion="pivotal", inversion_steps=10))
    results = editor.edit_prepared(prepared, [EditRequest("afro"), EditRequest(color="red")])
    for result, tuned in zip(results, prepared.inversion.tuned, strict=True):
        torch.testing.assert_close(result.synthesized, tuned.generator(result.edited_w_plus), atol=1e-5, rtol=1e-4)
        assert not torch.allclose(result.synthesized, networks.generator(result.edited_w_plus), atol=1e-3)
    optimized = editor.edit_prepared(
        prepared[[1, 1]], [EditRequest(color=word) for word in ("red", "blue")], EditOptions(method="optimize", steps=2)
    )
    assert not torch.equal(optimized[0].image, optimized[1].image)


def test_ten_edits_of_one_photo_invert_once(networks: SimpleNamespace, portrait: torch.Tensor, tmp_path: Path):
    calls: list[int] = []
    handle = networks.encoder.register_forward_hook(lambda *_: calls.append(1))
    editor = HairEditor(networks, groups=(3, 5), cache=InversionCache(tmp_path))
    options = {"inversion": "optimize", "inversion_steps": 3}
    first = editor.edit(portrait, color="red", **options)
    again = editor.edit(portrait, color="blue", **options)
    editor.edit(portrait, color="red", inversion="optimize", inversion_steps=4)
    handle.remove()
    assert len(calls) == 2
    assert torch.equal(first.w_plus, again.w_plus)


def test_networks_without_identity_edit_as_before(networks: SimpleNamespace, portrait: torch.Tensor, tmp_path: Path):
    parts = SimpleNamespace(**{**vars(networks), "identity": None})
    assert HairEditor(parts).edit(portrait, color="red").inversion_identity is None
    for part in ("generator", "clip", "parser", "encoder", "mapper"):
        save_network(tmp_path / f"{part}.safetensors", part, getattr(networks, part))
    assert HairEditor(load_bundle(tmp_path)).edit(portrait, color="red").inversion_identity is None


def test_an_edit_asks_for_the_parts_that_it_needs_and_no_others(
    portrait: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "home"))
    bundle = load_bundle(save_bundle(tmp_path)).with_parts({"identity": "ir-se50", "judge": "hairclip"})
    result = HairEditor(bundle, groups=(3, 5)).edit(portrait, color="red")  # neither of the two is there
    assert result.inversion_identity is None
    assert "judge" not in vars(bundle)
    told = r"needs weights for its identity \(ir-se50; 175.4 MB\) .*: run python -m hairclip download ir-se50\.$"
    with pytest.raises(HairclipError, match=told):
        HairEditor(bundle, groups=(3, 5)).edit(portrait, color="red", method="optimize")
    two = bundle.with_parts({"clip": "hairclip", "mapper": "hairclip"})
    HairEditor(two).prepare([portrait])  # an inversion needs neither CLIP nor mapper
    with pytest.raises(HairclipError, match=r"its clip, mapper \(hairclip; 565.3 MB\)"):
        HairEditor(two).edit(portrait, color="red")
    assert {"clip", "mapper"}.isdisjoint(vars(two))
    assert not (tmp_path / "home").exists()


def test_user_errors_are_one_sentence(editor: HairEditor, portrait: torch.Tensor, tmp_path: Path):
    with pytest.raises(HairclipError, match="nothing to edit"):
        editor.edit(portrait)
    with pytest.raises(HairclipError, match="no image at"):
        editor.edit(portrait, hairstyle=str(tmp_path / "missing.png"))
    with pytest.raises(HairclipError, match="no image at"):
        editor.edit(tmp_path / "missing.jpg", hairstyle="afro")
    with pytest.raises(HairclipError, match="empty"):
        editor.edit(portrait, hairstyle=" ")
    with pytest.raises(HairclipError, match="pair up"):
        editor.edit_batch([portrait], ["afro", "bob cut"])


def test_a_string_is_a_picture_where_such_a_file_exists(tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "red", "PNG")
    assert isinstance(make_request(color=str(tmp_path / "red")).color, torch.Tensor)
    assert make_request(color="red").color == "red"
    assert make_request().is_empty


def test_pictures_without_room_for_a_face_are_refused(editor: HairEditor, portrait: torch.Tensor, tmp_path: Path):
    for width, height in ((1, 1), (300, 2), (10, 31)):
        Image.new("RGB", (width, height)).save(tmp_path / "odd.png")
        for arguments in ((tmp_path / "odd.png", "afro"), (portrait, str(tmp_path / "odd.png"))):
            with pytest.raises(HairclipError, match=f"odd.png is {width} x {height} pixels"):
                editor.edit(*arguments)


def test_a_mapper_of_other_networks_is_refused(networks: SimpleNamespace, portrait: torch.Tensor):
    other = HairMapper(N_LATENT + 2, W_DIM, 24, groups=(3, 5)).eval()
    with pytest.raises(
        HairclipError, match="10 layers of width 16 and conditions of width 24, but the generator has 8 layers"
    ):
        HairEditor(networks, mapper=other).edit(portrait, color="red")


def test_texts_and_paths_are_told_apart(tmp_path: Path):
    assert make_request(hairstyle="a" * 5000).hairstyle == "a" * 5000  # longer than a file name can be
    for path in ("faces/ben", f"{tmp_path}/"):
        with pytest.raises(HairclipError, match="image"):
            make_request(hairstyle=path)


def test_pictures_to_look_at(editor: HairEditor, portrait: torch.Tensor):
    sheet = editor.grid(portrait, ["afro", None], ["red", None, "blue"], tile=40)
    assert sheet.width > 3 * 40
    assert sheet.height > 2 * 40
    picture = compare(editor.edit(portrait, color="red"), tile=64)
    assert picture.width == 3 * 64 + 2 * 4
    assert picture.height > 64


def test_a_generator_of_plain_backgrounds_is_shown_plain_backgrounds(
    networks: SimpleNamespace, portrait: torch.Tensor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(networks.parser, "smooth_labels", lambda images: (images.mean(dim=1) > 0).long())
    editor = HairEditor(SimpleNamespace(**{**vars(networks), "plain_background": True}))
    prepared = editor.prepare([portrait])
    shown = plain_background(prepared.aligned, prepared.labels[:, None] == BACKGROUND)
    assert not torch.equal(shown, prepared.aligned)
    torch.testing.assert_close(prepared.inversion.w_plus, networks.encoder(shown))
    as_it_is = editor.prepare([portrait], plain=False)
    torch.testing.assert_close(as_it_is.inversion.w_plus, networks.encoder(prepared.aligned))


def test_a_mapper_of_another_generator_of_the_same_size_is_refused(
    networks: SimpleNamespace, portrait: torch.Tensor, tmp_path: Path
):
    folder = save_bundle(tmp_path / "bundle")
    other = HairMapper(N_LATENT, W_DIM, WIDTH, groups=(3, 5))
    contents = {"generator": "of another generator"}
    save_network(tmp_path / "other.safetensors", "mapper", other, notes={"contents": contents})
    with pytest.raises(HairclipError, match="other.safetensors was trained with another generator than"):
        HairEditor.from_bundle(str(folder), device="cpu", mapper=tmp_path / "other.safetensors")
    editor = HairEditor.from_bundle(
        str(folder), device="cpu", mapper=tmp_path / "other.safetensors", check_companions=False
    )
    assert editor.edit(portrait, color="red").image.shape == portrait.shape


@pytest.mark.parametrize(
    "settings",
    [{}, {"method": "optimize"}, {"seam": "laplacian"}, {"seam": "poisson"}, {"blend": False}, {"strands": "edit"}],
)
def test_strength_0_is_the_photo_bit_for_bit(editor: HairEditor, portrait: torch.Tensor, settings: dict[str, Any]):
    for request in ({"hairstyle": "afro"}, {"color": "red"}):
        result = editor.edit(portrait, **request, strength=0.0, **settings)
        assert torch.equal(result.image, result.aligned)
        assert not result.alpha.any()
        assert result.bare is None


def test_the_library_refuses_what_the_command_line_refuses(editor: HairEditor, portrait: torch.Tensor):
    with pytest.raises(HairclipError, match="hairstyles is 'afro': give a list"):
        editor.edit_batch([portrait] * 4, "afro")
    with pytest.raises(HairclipError, match="batch_size -1"):
        editor.edit_batch([portrait], ["afro"], batch_size=-1)
    with pytest.raises(HairclipError, match="device 'gpu'"):
        HairEditor.from_bundle("portraits", device="gpu")
    off = HairMapper(N_LATENT, W_DIM, 24, groups=(3, 5), coarse=False, medium=False, fine=False).eval()
    with pytest.raises(HairclipError, match="changes no hairstyle"):
        HairEditor(editor.networks, mapper=off).edit(portrait, "afro")
    with pytest.raises(HairclipError, match="changes no color"):
        HairEditor(editor.networks, mapper=off).edit(portrait, color="red")


def test_words_are_read_at_every_entrance_and_what_changes_nothing_is_noted(editor: HairEditor, portrait: torch.Tensor):
    result = editor.edit(portrait, "bob", "silver")
    assert (result.hairstyle, result.color) == ("bob cut", "gray")
    assert result.notes == ("'silver' is read as gray.",)
    assert editor.ask(text="grey afro").names == ("afro", "gray")
    with pytest.raises(HairclipError, match="text='bob cut' names the hairstyle bob cut, and hairstyle is given too"):
        editor.ask("afro", text="bob cut")
    with pytest.raises(HairclipError, match="'qwertz' is not understood"):
        editor.ask(color="qwertz")

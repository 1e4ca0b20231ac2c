"""`difference`, `tedigan` and `tedigan-clip` against their equations, written out in float64 with no code of ours."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.editing.editor import HairEditor
from hairclip.editing.inversion.perceptual import PerceptualDistance
from hairclip.editing.methods.tedigan import InstanceLoss, optimize_instance
from hairclip.editing.options import EditOptions
from hairclip.networks.text_encoder import TextEncoder
from hairclip.pretrained import save_network
from hairclip.pretrained.bundle import load_bundle
from hairclip.pretrained.mapper import describe_companions
from tests.helpers.tiny_networks import N_LATENT, SIZE, W_DIM, WIDTH, save_bundle, tiny_networks

GROUPS = (3, 5)


def networks() -> SimpleNamespace:
    found = tiny_networks()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        encoder = TextEncoder(
            n_latent=N_LATENT, w_dim=W_DIM, condition_dim=WIDTH, width=8, components=5,
            hairstyles=["afro", "bob cut", "mohawk"], colors=["black", "red"],
        )  # fmt: skip
        encoder.fit_components(torch.randn(30, N_LATENT, W_DIM))
    found.text_encoder = encoder.eval().requires_grad_(False)
    return found


@pytest.fixture(scope="module")
def editor() -> HairEditor:
    return HairEditor(networks(), groups=GROUPS)


@pytest.fixture(scope="module")
def portrait() -> Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def text_code(editor: HairEditor, hairstyle: str | None, color: str | None) -> Tensor:
    """The text encoder's code of two words, in float64 and from its weights alone."""
    encoder, clip = editor.networks.text_encoder, editor.networks.clip
    inputs = []
    for prompt in (hairstyle and f"{hairstyle} hairstyle", color and f"{color} hair"):
        embedding = clip.encode_text([prompt])[0].double() if prompt else torch.zeros(WIDTH).double()
        inputs.append(embedding / embedding.norm().clamp_min(1e-12) * WIDTH**0.5)
    x = torch.cat(inputs)
    for number in (0, 2, 4):
        layer = encoder.layers[number]
        x = layer.weight.double() @ x + layer.bias.double()
        if number < 4:
            x = 0.5 * x * (1 + torch.erf(x / 2**0.5))
    flat = x @ encoder.basis.double()
    return encoder.mean.double() + encoder.spread.double() * flat.reshape(N_LATENT, W_DIM)


def own_words(editor: HairEditor, portrait: Tensor) -> tuple[str, str]:
    """The words that CLIP finds most similar to a picture."""
    clip, encoder = editor.networks.clip, editor.networks.text_encoder
    seen = clip.encode_image(portrait)[0].double()
    found = []
    for names, ending in ((encoder.hairstyles, " hairstyle"), (encoder.colors, " hair")):
        scores = [
            float(seen @ text / seen.norm() / text.norm())
            for text in clip.encode_text([name + ending for name in names]).double()
        ]
        found.append(names[scores.index(max(scores))])
    return found[0], found[1]


@pytest.mark.parametrize(("hairstyle", "color"), [("mohawk", None), (None, "red"), ("mohawk", "red")])
def test_the_difference_adds_wanted_minus_own(
    editor: HairEditor, portrait: Tensor, hairstyle: str | None, color: str | None
):
    result = editor.edit(portrait, hairstyle, color, method="difference")
    own = own_words(editor, portrait)
    offset = text_code(editor, hairstyle or own[0], color or own[1]) - text_code(editor, *own)
    if hairstyle is None:
        offset[: GROUPS[1]] = 0
    if color is None:
        offset[GROUPS[1] :] = 0
    expected = result.w_plus[0].double() + offset
    torch.testing.assert_close(result.edited_w_plus[0].double(), expected, atol=1e-5, rtol=1e-5)


def test_the_difference_reads_a_picture_as_its_nearest_word(editor: HairEditor, portrait: Tensor):
    picture = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5)) * 2 - 1
    shown = picture * editor.networks.parser.hair_mask(picture)
    word = own_words(editor, shown)[0]
    by_picture = editor.edit(portrait, picture, method="difference").edited_w_plus
    by_word = editor.edit(portrait, word, method="difference").edited_w_plus
    torch.testing.assert_close(by_picture, by_word, atol=1e-5, rtol=1e-5)


def test_the_difference_at_half_strength_goes_half_the_way(editor: HairEditor, portrait: Tensor):
    whole = editor.edit(portrait, "mohawk", "red", method="difference")
    half = editor.edit(portrait, "mohawk", "red", method="difference", strength=0.5)
    middle = (whole.w_plus + whole.edited_w_plus) / 2
    torch.testing.assert_close(half.edited_w_plus, middle, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("hairstyle", "color"), [("mohawk", None), (None, "red"), ("mohawk", "red")])
def test_style_mixing_takes_the_layers_of_the_words(
    editor: HairEditor, portrait: Tensor, hairstyle: str | None, color: str | None
):
    result = editor.edit(portrait, hairstyle, color, method="tedigan", method_settings={"optimize": False})
    expected, text = result.w_plus[0].double().clone(), text_code(editor, hairstyle, color)
    if hairstyle is not None:
        expected[: GROUPS[1]] = text[: GROUPS[1]]
    if color is not None:
        expected[GROUPS[1] :] = text[GROUPS[1] :]
    torch.testing.assert_close(result.edited_w_plus[0].double(), expected, atol=1e-5, rtol=1e-5)


def linear_world(seed: int) -> tuple[Tensor, Tensor, Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Codes, photos, features and two linear networks in float64, whose gradients can be written out."""
    random = torch.Generator().manual_seed(seed)
    codes = torch.randn(2, 3, 4, generator=random, dtype=torch.float64)
    photos = torch.randn(2, 3, 2, 2, generator=random, dtype=torch.float64)
    draw = torch.randn(12, 12, generator=random, dtype=torch.float64) / 4
    read = torch.randn(12, 12, generator=random, dtype=torch.float64) / 4
    return (
        codes,
        photos,
        torch.stack([draw, read]),
        lambda w: (w.flatten(1) @ draw).reshape(-1, 3, 2, 2),
        lambda x: (x.flatten(1) @ read).reshape(-1, 3, 4),
    )


def test_instance_level_optimization_is_adam_on_the_published_terms():
    codes, photos, matrices, generator, encoder = linear_world(0)
    pull = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    class Pixels(PerceptualDistance):  # features whose gradient is simple: the pixels times 2
        def __call__(self, images: Tensor, target: Tensor) -> Tensor:
            return (2 * images - 2 * target).square().sum(dim=1).mean(dim=(1, 2))

    loss = InstanceLoss(
        photos, generator, encoder, Pixels(torch.nn.Identity()), 1.0, 0.5, 2.0, beside=lambda x: x.flatten(1) @ pull
    )
    found = optimize_instance(codes, loss, steps=7, lr=0.01)

    draw, read = matrices
    for i in range(2):
        w, x = codes[i].reshape(12).clone(), photos[i].reshape(12)
        m, v = torch.zeros(12).double(), torch.zeros(12).double()
        for t in range(7):
            g = w @ draw
            apart = w - g @ read
            by_picture = 2 * (g - x) / 12 + 0.5 * 8 * (g - x) / 4 - 2.0 * 2 * apart @ read.T / 12 + pull
            gradient = by_picture @ draw.T + 2.0 * 2 * apart / 12
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            w = w - 0.01 * (m / (1 - 0.9 ** (t + 1))) / ((v / (1 - 0.999 ** (t + 1))).sqrt() + 1e-8)
        torch.testing.assert_close(found[i].reshape(12), w, atol=1e-9, rtol=0)


def test_the_steps_of_tedigan_lead_towards_the_photo(editor: HairEditor, portrait: Tensor):
    mixed = editor.edit(portrait, "mohawk", method="tedigan", method_settings={"optimize": False})
    pulled = editor.edit(portrait, "mohawk", method="tedigan", steps=15, method_settings={"latent": 0.0})
    generator = editor.networks.generator

    def error(codes: Tensor) -> float:
        return float((generator(codes) - mixed.aligned).square().mean())

    assert error(pulled.edited_w_plus) < error(mixed.edited_w_plus)
    assert not torch.equal(pulled.edited_w_plus[:, -1], pulled.w_plus[:, -1])  # every layer is free


def test_clip_reads_more_of_the_text_in_the_edit_of_tedigan_clip(editor: HairEditor, portrait: Tensor):
    result = editor.edit(portrait, "afro", "red", method="tedigan-clip", steps=15, method_settings={"clip": 100.0})
    clip = editor.networks.clip
    texts = clip.encode_text(["afro hairstyle", "red hair"])

    def distance(codes: Tensor) -> float:
        seen = clip.encode_pixels(clip.raw_pixels(editor.networks.generator(codes)))
        return float((1 - torch.nn.functional.cosine_similarity(seen, texts)).sum())

    assert distance(result.edited_w_plus) < distance(result.w_plus)


def test_without_a_text_tedigan_clip_only_rebuilds(editor: HairEditor, portrait: Tensor):
    """A request for nothing beside one for something keeps its code."""
    results = editor.edit_batch([portrait, portrait], ["afro", None], None, method="tedigan-clip", steps=2)
    assert torch.equal(results[1].edited_w_plus, results[1].w_plus)
    assert not torch.equal(results[0].edited_w_plus, results[0].w_plus)


@pytest.mark.parametrize("method", ["tedigan", "tedigan-clip"])
def test_a_reference_picture_is_refused_before_work_starts(editor: HairEditor, portrait: Tensor, method: str):
    with pytest.raises(HairclipError, match=f'"{method}" takes texts alone, and the hairstyle is a picture'):
        editor.edit(portrait, portrait, method=method)


@pytest.mark.parametrize("method", ["tedigan", "difference"])
def test_networks_without_a_text_encoder_are_told_the_command_that_trains_one(portrait: Tensor, method: str):
    with pytest.raises(HairclipError, match="no text encoder: train one by python -m hairclip train-text-encoder"):
        HairEditor(tiny_networks(), groups=GROUPS).edit(portrait, "afro", method=method)


def test_a_text_encoder_of_another_generator_is_refused(portrait: Tensor):
    found = networks()
    found.text_encoder = TextEncoder(n_latent=4, w_dim=W_DIM, condition_dim=WIDTH)
    with pytest.raises(HairclipError, match="4 layers of width 16 for embeddings of width 24"):
        HairEditor(found, groups=GROUPS).edit(portrait, "afro", method="difference")


def test_negative_weights_are_refused(editor: HairEditor, portrait: Tensor):
    for method, setting in (("tedigan", "latent"), ("tedigan-clip", "clip")):
        with pytest.raises(HairclipError, match=f"{setting} -1"):
            editor.edit(portrait, "afro", method=method, method_settings={setting: -1.0})


@pytest.mark.parametrize("method", ["difference", "tedigan"])
def test_a_text_encoder_of_another_generator_is_refused_with_one_sentence(tmp_path: Path, method: str):
    bundle = load_bundle(save_bundle(tmp_path))
    text_encoder = networks().text_encoder
    contents = describe_companions(bundle.parts)
    file = tmp_path / "text_encoder.safetensors"
    for given, refused in ((contents, None), ({**contents, "generator": "another"}, "another generator")):
        save_network(file, "text_encoder", text_encoder, notes={"contents": given})
        editor = HairEditor(bundle.with_parts({"text_encoder": file}), groups=GROUPS)
        asked, options = editor.ask("afro", None), EditOptions(method=method)
        if refused is None:
            editor.check([asked], options)
        else:
            with pytest.raises(HairclipError, match=f"the text encoder was trained with {refused} .* train one with"):
                editor.check([asked], options)

"""The plain formulation of the training step: equal to the library's own, and to the official numbers."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hairclip.conditions.encoder import ConditionEncoder
from hairclip.evaluation.speed.official_networks import generate, text_pixels
from hairclip.evaluation.speed.official_step import OfficialStep, PromptOrPicture
from hairclip.losses.hair_edit import HairEditLoss
from hairclip.losses.judge import Judged
from hairclip.losses.terms import where_asked
from hairclip.networks.face_parser import FaceParser
from hairclip.networks.mapper import HairMapper
from hairclip.pretrained import foreign as checkpoint_keys
from tests.golden import agrees, golden, official, relative_error, tensor
from tests.helpers.foreign import build
from tests.helpers.tiny_networks import N_LATENT, SIZE, W_DIM, WIDTH, tiny_networks


def edge_energy(judged: Judged) -> Tensor:
    """A term of a user's own: reads the pictures, both masks and the request."""
    steps = judged.edited.diff(dim=3).square().mean(dim=(1, 2, 3)) + judged.hair_mask.float().mean(dim=(1, 2, 3))
    return where_asked(judged.batch.color_is_image | judged.hairstyle_as_text, steps + judged.source.images[:, 0, 0, 0])


MODES = ["text_none", "img_none", "none_text", "none_img", "text_text", "img_img", "text_img", "none_none"]
PARSER_PASSES = {"text_none": 4, "img_none": 7, "none_text": 2, "none_img": 5, "text_text": 2, "img_img": 8}


def difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.detach() - theirs.detach()).norm() / theirs.detach().norm())


def asked(mode: str) -> tuple[PromptOrPicture, PromptOrPicture]:
    """Complete prompts or pictures for the hairstyle and the color."""
    picture = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5)).clamp(-1, 1)
    style, color = mode.split("_")
    return (
        {"text": "afro hairstyle", "img": picture, "none": None}[style],
        {"text": "red hair", "img": picture, "none": None}[color],
    )


def test_generator_equals_the_librarys_and_the_official_one():
    network = build({"g_ema": official("stylegan2_64")}, "generator").eval().requires_grad_(False)
    w_plus = tensor("w_plus", (2, 10, 512), 0, 0.7).requires_grad_()
    ours, theirs = network(w_plus), generate(network, w_plus)
    agrees(theirs.detach(), "stylegan2_64.w_plus.image")
    assert difference(ours, theirs) < 1e-4
    # Gradients in float64: in float32 one activation at the kink of a leaky ReLU turns them by a thousandth.
    direction, w_plus = tensor("direction", tuple(ours.shape)).double(), w_plus.detach().double().requires_grad_()
    images = network.double()(w_plus), generate(network, w_plus)
    gradients = [torch.autograd.grad((image * direction).sum(), w_plus)[0] for image in images]
    assert difference(*gradients) < 1e-12


def test_generator_equals_the_librarys_in_float64():
    network = tiny_networks().generator.double()
    for layer in network.layers:
        layer.noise_strength.fill_(0.3)
    w_plus = torch.randn(2, N_LATENT, W_DIM, dtype=torch.float64, requires_grad=True)
    ours, theirs = network(w_plus), generate(network, w_plus)
    assert difference(ours, theirs) < 1e-10
    gradients = [torch.autograd.grad(image.square().sum(), w_plus)[0] for image in (ours, theirs)]
    assert difference(*gradients) < 1e-10


@pytest.mark.parametrize(
    ("absent", "end", "normalization", "references", "contrast"),
    [("passthrough", "leaky_relu", "official", "whole", 0.0), ("zero", "linear", "normalized", "separated", 0.5)],
)
@pytest.mark.parametrize("mode", MODES)
def test_a_step_equals_the_librarys(mode, absent, end, normalization, references, contrast):
    networks = tiny_networks()
    torch.manual_seed(0)
    mapper = HairMapper(N_LATENT, W_DIM, WIDTH, groups=(3, 5), absent=absent, output=end)
    loss = HairEditLoss(
        networks.clip,
        networks.parser,
        networks.identity,
        {"contrast": contrast, f"{__name__}:edge_energy": 0.1},
        text_pixels=normalization,
        references=references,
        hairstyles=["afro", "bob cut", "perm"],
        colors=["red", "blue"],
    )
    w_plus = torch.randn(1, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(1))
    hairstyle, color = asked(mode)

    total, terms = OfficialStep(mapper, networks.generator, loss)(w_plus, hairstyle, color)
    theirs = [None if p.grad is None else p.grad.clone() for p in mapper.parameters()]
    mapper.zero_grad()

    words = [wish.rsplit(" ", 1)[0] if isinstance(wish, str) else wish for wish in (hairstyle, color)]
    encoder = ConditionEncoder(networks.clip, networks.parser, references=references)
    batch = encoder.encode(words[:1], words[1:])
    source = loss.source_features(networks.generator(w_plus))
    w_hat = w_plus + mapper(w_plus, batch.condition)
    output = loss(source, networks.generator(w_hat), w_plus, w_hat, batch)
    output.total.backward()

    torch.testing.assert_close(output.total.detach(), total, rtol=1e-4, atol=1e-6)
    for name, term in output.terms.items():
        torch.testing.assert_close(term[0].detach(), terms.get(name, torch.zeros(())), rtol=1e-4, atol=1e-6)
    for gradient, parameter in zip(theirs, mapper.parameters(), strict=True):
        ours = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        expected = torch.zeros_like(parameter) if gradient is None else gradient
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["text_none", "img_img"])
def test_a_step_agrees_with_the_official_code(mode):
    """At 1024 px, with the networks, pictures and codes of `test_loss_step`."""
    checkpoint = {"state_dict": official("hairclip_pt")}
    mapper = build(checkpoint, "mapper").requires_grad_(True)
    loss = HairEditLoss(
        build({"state_dict": official("hairclip_pt", prefix="mapper.clip_model.")}, "clip"),
        build(official("parsenet"), "parser"),
        build(official("ir_se50"), "identity"),
    )
    style, color = mode.split("_")

    def picture(name: str) -> Tensor:
        small = tensor(name, (1, 3, 32, 32), 0, 0.6)
        return functional.interpolate(small, size=(1024, 1024), mode="bilinear", align_corners=False).clamp(-1, 1)

    total, _ = OfficialStep(mapper, build(checkpoint, "generator"), loss)(
        tensor("step:w", (1, 18, 512), 0, 0.5),
        {"text": "bob cut hairstyle", "img": picture("step:ref_style"), "none": None}[style],
        {"text": "red hair", "img": picture("step:ref_color"), "none": None}[color],
    )
    assert relative_error(total, f"step.{mode}.loss") < 1e-4
    parameters = checkpoint_keys.mapper_to_hairclip(dict(mapper.named_parameters()))
    gradients = [parameters[str(name)].grad for name in golden("step.grad_names")]
    norms = torch.stack([torch.zeros(()) if gradient is None else gradient.norm() for gradient in gradients])
    assert relative_error(norms, f"step.{mode}.grad_norms") < 2e-3


def test_what_the_official_code_repeats_is_repeated(monkeypatch: pytest.MonkeyPatch):
    networks = tiny_networks()
    step = OfficialStep(
        networks.mapper.requires_grad_(True),
        networks.generator,
        HairEditLoss(networks.clip, networks.parser, networks.identity),
    )
    with_graph = []

    def logits(self: FaceParser, images: Tensor) -> Tensor:
        answer = original(self, images)
        with_graph.append(answer.requires_grad)
        return answer

    original = type(networks.parser).logits
    monkeypatch.setattr(type(networks.parser), "logits", logits)
    w_plus = torch.randn(1, N_LATENT, W_DIM)
    for mode, passes in PARSER_PASSES.items():
        with_graph.clear()
        step(w_plus, *asked(mode))
        assert with_graph == [True] * passes, mode


def test_frozen_networks_are_left_as_they_were():
    networks = tiny_networks()
    loss = HairEditLoss(networks.clip, networks.parser, networks.identity)
    OfficialStep(networks.mapper.requires_grad_(True), networks.generator, loss)(
        torch.randn(1, N_LATENT, W_DIM), *asked("text_img")
    )
    for network in (networks.generator, networks.clip, networks.parser, networks.identity):
        assert all(not p.requires_grad and p.grad is None for p in network.parameters())
    assert any(p.grad is not None and p.grad.norm() > 0 for p in networks.mapper.parameters())


@pytest.mark.parametrize("size", [16, 32, 96])
def test_repeating_and_pooling_equals_the_exact_area(size):
    clip = tiny_networks().clip
    images = torch.randn(2, 3, size, size)
    torch.testing.assert_close(text_pixels(clip, images), clip.raw_pixels(images), rtol=1e-5, atol=1e-5)

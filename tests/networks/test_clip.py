"""CLIP against the official numbers: texts, images, and both ways of preparing pixels."""

import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.transformer import ResidualAttentionBlock
from torch import nn
from torch.nn import functional as F

from hairclip.networks.clip import VIT_B_32, Clip, area_resample
from hairclip.networks.clip_layers import PatchEmbedding, replace_layers
from tests.golden.fill import agrees, official, tensor
from tests.helpers.foreign import build

SMALL = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}


def small() -> Clip:
    torch.manual_seed(0)
    return Clip(SMALL).eval()


@pytest.mark.slow  # 151 million parameters
def test_vit_b_32_agrees_with_the_official_one():
    state = official("clip_vit_b_32")
    clip = build(state, "clip")
    assert clip.config == {"model": VIT_B_32}
    assert clip.state_dict().keys() == state.keys()
    assert len(state) == 302
    pixels = tensor("clip_image", (1, 3, 224, 224))
    with torch.no_grad():
        agrees(clip.encode_text(["bob cut hairstyle", "red hair"]), "clip.text")
        agrees(clip.encode_image((pixels * clip.pixel_std + clip.pixel_mean) * 2 - 1), "clip.image")


def test_the_text_loss_sees_exact_area_means():
    x_hat = F.interpolate(tensor("loss:x_hat", (1, 3, 32, 32), 0, 0.6), size=(1024, 1024), mode="bilinear").clamp(-1, 1)
    agrees(area_resample(x_hat, 224)[:, :, ::7, ::7], "loss.clip_text_input_every_7th")


@pytest.mark.parametrize(("source", "target"), [(12, 8), (8, 12), (9, 4), (8, 8)])
def test_area_resampling_is_enlarging_by_repetition_then_averaging(source, target):
    images = torch.rand(2, 3, source, source)
    repeated = images.repeat_interleave(target, dim=2).repeat_interleave(target, dim=3)
    torch.testing.assert_close(area_resample(images, target), F.avg_pool2d(repeated, source))


def test_tokens_are_the_standard_ones():
    tokens = small().tokenize(["afro hairstyle", "purple hair"])
    assert tokens.shape == (2, 24)
    assert tokens.dtype == torch.int64
    assert tokens[0, :5].tolist() == [49406, 21795, 22324, 49407, 0]
    assert tokens[1, :5].tolist() == [49406, 5496, 2225, 49407, 0]


def test_a_small_clip_takes_texts_tokens_and_images_of_any_size():
    clip = small()
    texts = ["red hair", "a very long text " * 20]
    embeddings = clip.encode_text(texts)
    assert embeddings.shape == (2, clip.width)
    assert embeddings.dtype == torch.float32
    assert torch.equal(embeddings, clip.encode_text(clip.tokenize(texts)))
    for size in (16, 32, 64, 50):
        images = torch.rand(2, 3, size, size) * 2 - 1
        assert clip.encode_image(images).shape == (2, clip.width)
        assert clip.encode_image(images, normalize_pixels=False).shape == (2, clip.width)


def test_pixels_are_standardized_for_references_and_raw_for_the_text_loss():
    clip = small()
    gray = torch.zeros(1, 3, 64, 64)
    expected = (0.5 - clip.pixel_mean) / clip.pixel_std
    torch.testing.assert_close(clip.pixels(gray), expected.expand(1, 3, 32, 32))
    torch.testing.assert_close(clip.raw_pixels(gray + 0.25), torch.full((1, 3, 32, 32), 0.25))


def test_forward_gives_what_contrastive_training_needs():
    clip = small()
    image, text, scale = clip(torch.rand(2, 3, 32, 32), ["red hair", "blue hair"])
    torch.testing.assert_close(image.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(text.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(scale, torch.tensor(1 / 0.07))
    (scale * image @ text.T).diagonal().sum().backward()
    assert clip.logit_scale.grad is not None
    assert clip.visual.conv1.weight.grad is not None


@pytest.mark.parametrize("channels_last", [False, True])
def test_both_towers_equal_those_of_open_clip_with_all_gradients(channels_last):
    model = {**SMALL, "text_cfg": SMALL["text_cfg"] | {"heads": 2}}
    ours = Clip(model).eval()
    theirs = CLIP(32, CLIPVisionCfg(**model["vision_cfg"]), CLIPTextCfg(**model["text_cfg"]), quick_gelu=True).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    theirs.load_state_dict(ours.state_dict())
    for network in (ours, theirs):
        assert sum(type(module) is nn.MultiheadAttention for module in network.modules()) == (network is theirs) * 4
        network.to(torch.float64, memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    pixels = torch.randn(3, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    tokens = ours.tokenize(["red hair", "a long afro hairstyle"])
    found = []
    for embed, encode_text, network in (
        (ours.visual, ours._embed_text, ours),
        (theirs.visual, theirs.encode_text, theirs),
    ):
        image, text = embed(pixels), encode_text(tokens)
        inputs = [pixels, *(p for name, p in network.named_parameters() if name != "logit_scale")]
        found.append((image, text, *torch.autograd.grad(image.square().sum() + text.square().sum(), inputs)))
    torch.testing.assert_close(found[0], found[1])


def test_a_rest_of_the_picture_that_no_patch_covers_is_left_out():
    layer = nn.Conv2d(3, 4, 5, 5, bias=False)
    images = torch.randn(2, 3, 13, 11)
    torch.testing.assert_close(PatchEmbedding(layer)(images), layer(images))


def test_cross_attention_stays_open_clips():
    block = ResidualAttentionBlock(8, 2, is_cross_attention=True)
    replace_layers(block)
    assert type(block.attn) is nn.MultiheadAttention


def test_the_image_tower_may_be_a_residual_network():
    clip = Clip({**SMALL, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}}).eval()
    assert clip.encode_image(torch.zeros(1, 3, 128, 128)).shape == (1, 32)


def test_config_rebuilds_the_network_and_is_a_copy():
    clip = small()
    clip.config["model"]["embed_dim"] = 5
    again = Clip(**clip.config).eval()
    again.load_state_dict(clip.state_dict())
    assert torch.equal(again.encode_text(["red hair"]), clip.encode_text(["red hair"]))

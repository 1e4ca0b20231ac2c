"""Parsers against the official networks' numbers, and what they promise whatever the image's size."""

import re

import pytest
import torch
import torch.nn.functional as F

from hairclip.networks.face_parser import CELEBAMASK_CLASSES, HAIR, BiSeNet, FaceParser, UNetParser
from tests.golden.fill import agrees, official, tensor
from tests.helpers.foreign import build


def test_u_net_agrees_with_the_official_one():
    parser = build(official("parsenet"), "parser", input_size=64)
    assert parser.config == {"filters": [16, 32, 64, 128, 256], "input_size": 64}
    with torch.no_grad():
        logits = parser.logits(tensor("parser_input", (1, 3, 64, 64), 0, 0.5).clamp(-1, 1))
    agrees(logits, "parsenet.logits")


def test_bisenet_agrees_with_the_official_one_and_speaks_the_common_order():
    parser = build(official("bisenet"), "parser", input_size=128)
    assert isinstance(parser, BiSeNet)
    pixels = tensor("bisenet_input", (1, 3, 128, 128))
    images = (pixels * parser.pixel_std + parser.pixel_mean) * 2 - 1
    with torch.no_grad():
        own_order, common = parser(pixels), parser.logits(images)
    agrees(own_order[:, :, ::4, ::4], "bisenet.logits_every_4th")
    torch.testing.assert_close(common[:, HAIR], own_order[:, 17], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(common[:, CELEBAMASK_CLASSES.index("cloth")], own_order[:, 16], rtol=1e-3, atol=1e-3)
    assert sorted(parser.class_order.tolist()) == list(range(19))


def test_renamed_bisenet_files_are_the_same_network():
    state = official("bisenet")
    renamed = {}
    for key, value in state.items():
        key = key.replace("cp.resnet.", "cp.backbone.").replace(".conv_atten.", ".attention.0.")
        key = key.replace(".bn_atten.", ".attention.1.").replace("ffm.convblk.", "ffm.conv_block.")
        if ".arm" in key:
            key = key.replace(".conv.conv.", ".conv_block.conv.").replace(".conv.bn.", ".conv_block.bn.")
        if key.startswith("conv_out"):
            head, rest = key.split(".", 1)
            rest = rest.replace("conv_out.", "conv.") if rest.startswith("conv_out.") else f"conv_block.{rest[5:]}"
            key = f"{head}.{rest}"
        renamed[key.replace(".bn.", ".norm.").replace("cp.", "fpn.")] = value
    renamed["fpn.backbone.fc.weight"] = torch.zeros(1000, 512)
    assert not any(re.search(r"(cp|bn|bn_atten|convblk)\.", key) for key in renamed)
    expected, found = build(state, "parser").state_dict(), build(renamed, "parser").state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("size", [(32, 32), (48, 40), (80, 80)])
def test_labels_have_the_size_of_the_image(size):
    torch.manual_seed(0)
    parser = UNetParser(filters=(4, 6, 8), input_size=32).eval()
    images = torch.rand(2, 3, *size) * 2 - 1
    labels = parser.labels(images)
    assert labels.shape == (2, *size)
    assert labels.dtype == torch.int64
    assert not labels.requires_grad
    assert torch.equal(parser.hair_mask(images), (labels == HAIR)[:, None])


def test_of_equal_logits_the_first_class_wins_as_in_argmax():
    class Given(FaceParser):
        def logits(self, images):
            return logits

    logits = torch.randint(3, (4, len(CELEBAMASK_CLASSES), 16, 16), generator=torch.Generator().manual_seed(0)).float()
    hair = logits[:, HAIR]
    assert ((logits[:, :HAIR].amax(dim=1) == hair) & (hair == 2)).any()  # a tie that hair loses
    images = torch.zeros(4, 3, 16, 16)
    assert torch.equal(Given(16).hair_mask(images), (logits.argmax(dim=1) == HAIR)[:, None])


def test_an_integer_enlargement_repeats_labels():
    torch.manual_seed(0)
    parser = UNetParser(filters=(4, 6, 8), input_size=16).eval()
    images = torch.rand(1, 3, 16, 16).mul(2).sub(1)
    small = parser.labels(images)
    large = parser.labels(images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    assert torch.equal(large, small.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2))


def test_config_rebuilds_the_parser():
    parser = UNetParser(filters=(16, 32, 64, 96, 128), input_size=128)
    again = UNetParser(**parser.config)
    assert again.config == parser.config
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in parser.state_dict().items()}


def test_an_input_size_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="cannot be halved"):
        UNetParser(input_size=100)


def test_smooth_labels_have_no_steps_in_larger_images():
    """A disk whose outline the parser knows at 16 pixels is rounder at 64 than its enlarged labels."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    inside = ((rows - 31.5).square() + (columns - 31.5).square()).sqrt() < 20

    class Disk(FaceParser):
        def logits(self, images: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(len(images), 19, 16, 16)
            logits[:, HAIR] = F.avg_pool2d(inside.float()[None], 4) - 0.5
            return logits

    parser, images = Disk(16), torch.zeros(1, 3, 64, 64)
    wrong, wrong_smooth = (
        int(((labels(images)[0] == HAIR) != inside).sum()) for labels in (parser.labels, parser.smooth_labels)
    )
    assert wrong_smooth < 0.6 * wrong
    small = torch.zeros(1, 3, 8, 8)
    assert torch.equal(parser.labels(small), parser.smooth_labels(small))

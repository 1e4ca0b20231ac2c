"""The identity network against the official numbers, and the crop of the aligned face."""

import pytest
import torch
from torch import nn

from hairclip.networks.ir_se import IRSE, IdentityEncoder, PReLU
from tests.golden.fill import agrees, official, tensor
from tests.helpers.foreign import build


def test_ir_se50_agrees_with_the_official_one():
    state = official("ir_se50")
    assert len(state) == 343
    network = build(state, "identity")
    assert network.config == IdentityEncoder().config
    with torch.no_grad():
        embedding = network.backbone(tensor("face_112", (2, 3, 112, 112), 0, 0.5).clamp(-1, 1))
    agrees(embedding, "ir_se50.embedding")


def test_frozen_slopes_give_the_gradients_that_torch_gives():
    torch.manual_seed(0)
    ours, theirs = PReLU(6).double(), nn.PReLU(6).double()
    theirs.weight.data.copy_(torch.randn(6, dtype=torch.float64))  # negative and above one, too
    ours.load_state_dict(theirs.state_dict())
    ours.requires_grad_(False)
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn_like(x)
    slopes = []
    for layer in (ours, theirs):
        y = layer(x)
        (slope,) = torch.autograd.grad((y * y * weights).sum(), x, create_graph=True)
        slopes.append((y, slope, *torch.autograd.grad(slope.square().sum(), x)))
    torch.testing.assert_close(slopes[0], slopes[1])

    ours.requires_grad_(True)
    ours(x).sum().backward()
    theirs(x).sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_the_crop_is_the_one_of_the_identity_loss():
    network = IdentityEncoder(units=(1, 1), widths=(4, 8), input_size=94, embedding=8)
    images = torch.rand(1, 3, 256, 256) * 2 - 1
    expected = torch.nn.functional.adaptive_avg_pool2d(images[:, :, 35:223, 32:220], 94)
    torch.testing.assert_close(network.faces(images), expected)
    large = images.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    torch.testing.assert_close(network.faces(large), expected)


def test_a_small_one_takes_any_size_and_normalizes():
    torch.manual_seed(0)
    network = IdentityEncoder(units=(2, 2, 2, 2), widths=(8, 8, 12, 16), input_size=64, embedding=32, frame=128).eval()
    for size in (96, 128, 200):
        embedding = network(torch.rand(2, 3, size, size) * 2 - 1)
        assert embedding.shape == (2, 32)
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
    again = IdentityEncoder(**network.config).eval()
    again.load_state_dict(network.state_dict())
    images = torch.rand(1, 3, 128, 128)
    assert torch.equal(again(images), network(images))


def test_the_backbone_names_a_wrong_size():
    backbone = IRSE(units=(1, 1), widths=(4, 8), input_size=30, embedding=8, dropout=0.6).eval()
    assert backbone(torch.zeros(1, 3, 30, 30)).shape == (1, 8)
    with pytest.raises(ValueError, match="30 px"):
        backbone(torch.zeros(1, 3, 32, 32))

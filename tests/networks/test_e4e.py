"""The encoder to W+ against the official numbers, and as a small instance."""

import pytest
import torch

from hairclip.networks.e4e import E4EEncoder
from tests.golden.fill import agrees, official, tensor
from tests.helpers.foreign import build

OFFICIAL = {
    "units": [3, 4, 14, 3],
    "widths": [64, 128, 256, 512],
    "n_latent": 18,
    "w_dim": 512,
    "style_width": 512,
    "input_size": 256,
    "fpn_width": 512,
    "levels": [3, 7],
}


@pytest.mark.slow  # 267 million parameters
def test_e4e_agrees_with_the_official_one():
    state = {f"encoder.{key}": value for key, value in official("e4e_encoder").items()}
    average = tensor("latent_avg", (18, 512), 0, 0.3)
    encoder = build({"state_dict": state, "latent_avg": average}, "encoder")
    assert encoder.config == OFFICIAL
    with torch.no_grad():
        codes = encoder(tensor("face_256", (1, 3, 256, 256), 0, 0.5).clamp(-1, 1))
    agrees(codes - average, "e4e.codes")


def small() -> E4EEncoder:
    torch.manual_seed(0)
    sizes = {"units": (1, 1, 2, 1), "widths": (8, 8, 12, 16), "fpn_width": 12, "style_width": 10}
    return E4EEncoder(n_latent=12, w_dim=24, input_size=64, **sizes).eval()


def test_a_small_encoder_adds_the_average_and_takes_any_size():
    encoder = small()
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    codes = encoder(images)
    assert codes.shape == (2, 12, 24)
    encoder.latent_avg += 1
    torch.testing.assert_close(encoder(images), codes + 1)
    assert encoder(torch.rand(1, 3, 100, 100)).shape == (1, 12, 24)


def test_styles_read_their_own_level():
    encoder = small()
    spatial = [2 ** (len(head.convs) // 2) for head in encoder.styles]
    assert spatial == [4] * 3 + [8] * 4 + [16] * 5
    # style 0 moves every layer, another style only its own
    images = torch.rand(1, 3, 64, 64)
    before = encoder(images)
    with torch.no_grad():
        encoder.styles[5].linear.bias += 1
    changed = (encoder(images) - before).abs().sum(dim=(0, 2)) > 1e-6
    assert changed.tolist() == [i == 5 for i in range(12)]
    with torch.no_grad():
        encoder.styles[0].linear.bias += 1
    assert ((encoder(images) - before).abs().sum(dim=(0, 2)) > 1e-6).all()


def test_sizes_are_read_from_the_tensors():
    encoder = E4EEncoder(n_latent=10, w_dim=24, input_size=64, units=(1, 2, 1, 1), widths=(4, 8, 12, 16), fpn_width=16)
    state = {f"encoder.{k}": v for k, v in encoder.state_dict().items() if k != "latent_avg"}
    again = build({"state_dict": state, "latent_avg": torch.full((24,), 2.0)}, "encoder")
    assert again.config == encoder.config
    assert torch.equal(again.latent_avg, torch.full((10, 24), 2.0))

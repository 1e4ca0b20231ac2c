"""The vector-quantized codec."""

import torch

from hairclip.networks.codec import Codec, nearest, straight_through
from tests.helpers.tiny_networks import tiny_codec


def pictures(count: int, size: int = 32) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    smooth = torch.rand(count, 3, size // 4, size // 4, generator=random)
    return torch.nn.functional.interpolate(smooth, size=(size, size), mode="bilinear") * 2 - 1


def test_pictures_become_a_grid_of_tokens_and_pictures_again():
    codec = tiny_codec()
    images = pictures(3)
    tokens = codec.tokens(images)
    assert tokens.shape == (3, 4, 4)
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < 16
    assert codec.decode_tokens(tokens).shape == images.shape
    # What an entry stands for is coded as that entry again: a new codec adds nothing to the components.
    torch.testing.assert_close(codec.tokens(codec.decode(codec.look_up(tokens))), tokens)


def test_a_new_codec_is_its_components():
    codec = tiny_codec()
    images = pictures(2)
    torch.testing.assert_close(codec.encode(images), codec.linear.encode(images))
    codes = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(codec.decode(codes), codec.linear.decode(codes))


def test_the_first_codebook_is_in_use_and_better_than_one_of_random_codes():
    images = pictures(64)
    codec = Codec(8, 6, 16, encoder_width=8, decoder_widths=(8, 8, 8)).fit(images)
    assert len(codec.tokens(images).unique()) >= 15

    def error() -> torch.Tensor:
        return (codec.look_up(codec.tokens(images)) - codec.encode(images)).square().mean()

    fitted = error()
    codec.codebook.copy_(codec.encode(images).movedim(1, -1).flatten(0, 2)[:16])
    assert fitted < error()


def test_the_nearest_entry_has_the_least_distance():
    random = torch.Generator().manual_seed(0)
    codes, centers = torch.randn(50, 6, generator=random), torch.randn(9, 6, generator=random)
    assert torch.equal(nearest(codes, centers), torch.cdist(codes, centers).argmin(dim=1))


def test_the_gradient_passes_quantization_as_if_it_were_the_identity():
    codes = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    entries = codes.detach().round()
    passed = straight_through(codes, entries)
    torch.testing.assert_close(passed, entries)
    weights = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((passed * weights).sum(), codes)
    assert torch.equal(gradient, weights)

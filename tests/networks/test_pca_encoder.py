import torch
import torch.nn.functional as F

from hairclip.common.images import resize_area
from hairclip.networks.pca_encoder import PcaEncoder


def pictures(count: int) -> torch.Tensor:
    """Pictures that differ in three numbers only."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(3, 3, 16, 16, generator=generator)
    amounts = torch.randn(count, 3, generator=generator) * torch.tensor([0.5, 0.3, 0.2])
    return torch.einsum("bk,kchw->bchw", amounts, directions) * 0.1 + 0.2


def encoder() -> PcaEncoder:
    torch.manual_seed(0)
    sizes = {"n_latent": 6, "w_dim": 8, "components": 4, "component_size": 16, "input_size": 16}
    return PcaEncoder(**sizes, widths=(4, 8), blocks=(1, 2), neck=2)


def test_components_describe_the_pictures_completely():
    network, images = encoder(), pictures(50)
    network.fit_components(images)
    pixels = resize_area(images, 16).flatten(1) - network.mean
    coefficients = pixels @ network.basis
    scale = network.basis.square().sum(dim=0).clamp(min=1e-12)
    torch.testing.assert_close(coefficients @ (network.basis / scale).T, pixels, atol=1e-4, rtol=0)
    assert 0.5 < coefficients.std(dim=0)[2] < 2


def test_codes_start_as_a_linear_map_and_follow_any_size():
    network, images = encoder(), pictures(4)
    network.fit_components(images)
    network.eval()
    codes = network(images)
    assert codes.shape == (4, 6, 8)
    middle = network((images[:1] + images[1:2]) / 2)
    torch.testing.assert_close(middle, (codes[:1] + codes[1:2]) / 2)
    assert network(torch.zeros(1, 3, 40, 40)).shape == (1, 6, 8)


def test_config_rebuilds_it():
    network = encoder()
    again = PcaEncoder(**network.config)
    again.load_state_dict(network.state_dict())
    assert again.config == network.config


def test_residual_blocks_begin_without_effect():
    network = encoder()
    assert [len(network.branch), network.config["blocks"]] == [7, [1, 2]]  # 2 + 3 + neck and flatten
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network.branch[1](x), F.leaky_relu(x, 0.2))

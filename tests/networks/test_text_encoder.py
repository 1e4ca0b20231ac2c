"""The text encoder against its formulas, written out in float64 with no code of ours."""

import math

import torch

from hairclip.networks.mapper import HairCondition
from hairclip.networks.text_encoder import TextEncoder, nearest_words

N_LATENT, W_DIM, WIDTH = 6, 4, 5


def encoder() -> TextEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = TextEncoder(n_latent=N_LATENT, w_dim=W_DIM, condition_dim=WIDTH, width=7, components=3)
        network.fit_components(3.0 + 2.0 * torch.randn(40, N_LATENT, W_DIM))
    return network.double().eval()


def condition(seed: int, has_hairstyle: list[bool], has_color: list[bool]) -> HairCondition:
    random = torch.Generator().manual_seed(seed)
    words = torch.randn(2, len(has_color), WIDTH, generator=random, dtype=torch.float64)
    return HairCondition(words[0], words[1], torch.tensor(has_hairstyle), torch.tensor(has_color))


def literal(network: TextEncoder, hairstyle: torch.Tensor | None, color: torch.Tensor | None) -> torch.Tensor:
    """The code of one sample: mean + spread * (MLP(unit words) @ basis)."""
    inputs = []
    for word in (hairstyle, color):
        inputs += [0.0] * WIDTH if word is None else [float(x / word.norm() * math.sqrt(WIDTH)) for x in word]
    x = torch.tensor(inputs, dtype=torch.float64)
    for number in (0, 2, 4):
        layer = network.layers[number]
        x = torch.tensor([float(row @ x + b) for row, b in zip(layer.weight, layer.bias, strict=True)]).double()
        if number < 4:
            x = torch.tensor([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]).double()
    code = sum(x[k] * network.basis[k] for k in range(len(x))).reshape(N_LATENT, W_DIM)
    return network.mean + network.spread * code


@torch.no_grad()
def test_a_code_is_the_mean_plus_what_the_network_says_of_the_components():
    network, given = encoder(), condition(1, [True, True, False], [True, False, True])
    codes = network(given)
    wanted = [
        literal(network, given.hairstyle[0], given.color[0]),
        literal(network, given.hairstyle[1], None),
        literal(network, None, given.color[2]),
    ]
    torch.testing.assert_close(codes, torch.stack(wanted), atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_difference_moves_only_the_layers_of_what_is_asked():
    network = encoder()
    own = condition(2, [True] * 4, [True] * 4)
    wanted = condition(3, [True, False, True, False], [False, True, True, False])
    offset = network.difference(own, wanted, (2, 4))
    for i in range(4):
        hairstyle = wanted.hairstyle[i] if wanted.has_hairstyle[i] else own.hairstyle[i]
        color = wanted.color[i] if wanted.has_color[i] else own.color[i]
        expected = literal(network, hairstyle, color) - literal(network, own.hairstyle[i], own.color[i])
        if not wanted.has_hairstyle[i]:
            expected[:4] = 0
        if not wanted.has_color[i]:
            expected[4:] = 0
        torch.testing.assert_close(offset[i], expected, atol=1e-6, rtol=0)
    assert not offset[3].any()


@torch.no_grad()
def test_components_rebuild_codes_that_lie_in_few_directions():
    random = torch.Generator().manual_seed(4)
    codes = (torch.randn(50, 3, generator=random) @ torch.randn(3, N_LATENT * W_DIM, generator=random)) + 5.0
    codes = codes.unflatten(1, (N_LATENT, W_DIM))
    network = TextEncoder(n_latent=N_LATENT, w_dim=W_DIM, condition_dim=WIDTH, components=3)
    network.fit_components(codes)
    rebuilt = network.mean + network.spread * (network.project(codes) @ network.basis).unflatten(1, (N_LATENT, W_DIM))
    torch.testing.assert_close(rebuilt, codes, atol=1e-4, rtol=1e-4)


def test_the_nearest_word_is_the_one_of_the_largest_cosine():
    words = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])
    found = nearest_words(torch.tensor([[0.1, 9.0], [5.0, 1.0], [-3.0, -2.0]]), words)
    assert torch.equal(found, words[[1, 0, 2]])

"""StyleCLIP's latent mappers against their equations, written out one number at a time."""

import math

import numpy as np
import pytest
import torch

from hairclip.networks.style_mappers import StyleMappers

N_LATENT, W_DIM, GROUPS = 6, 5, (2, 4)
WORDS = {"afro": ("coarse", "medium"), "bob cut": ("coarse", "medium"), "red": ("coarse", "medium", "fine")}


def random_mappers(seed: int = 0) -> StyleMappers:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mappers = StyleMappers(N_LATENT, W_DIM, WORDS, GROUPS, scale=0.1).double()
        for parameter in mappers.parameters():
            torch.nn.init.normal_(parameter)
    return mappers.requires_grad_(False)


def codes(count: int) -> torch.Tensor:
    return torch.randn(count, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def literal_change(mappers: StyleMappers, w: np.ndarray, word: str) -> np.ndarray:
    """0.1 M_t(w) of one code (section 5): per group PixelNorm over its layers, then four layers, each with its ReLU."""
    change = np.zeros_like(w)
    for level, (first, end) in {"coarse": (0, 2), "medium": (2, 4), "fine": (4, 6)}.items():
        if level not in WORDS[word]:
            continue
        row = [name for name in WORDS if level in WORDS[name]].index(word)
        weight = mappers.levels[level].weight[row].numpy()
        bias = mappers.levels[level].bias[row].numpy()
        x = w[first:end].copy()
        for column in range(W_DIM):
            mean_square = sum(x[layer, column] ** 2 for layer in range(len(x))) / len(x)
            x[:, column] = x[:, column] / math.sqrt(mean_square + 1e-8)
        for number in range(4):
            y = np.zeros_like(x)
            for layer in range(len(x)):
                for out in range(W_DIM):
                    value = sum(weight[number, out, i] * x[layer, i] for i in range(W_DIM)) + bias[number, out]
                    y[layer, out] = (value if value > 0 else 0.2 * value) * math.sqrt(2)
            x = y
        change[first:end] = 0.1 * x
    return change


def test_a_batch_of_many_words_gives_each_code_the_change_of_its_own_word():
    mappers, w = random_mappers(), codes(5)
    words = ["red", "afro", "bob cut", "red", "afro"]
    found = mappers(w, words)
    for i, word in enumerate(words):
        np.testing.assert_allclose(found[i].numpy(), literal_change(mappers, w[i].numpy(), word), rtol=1e-10)


def test_a_hairstyle_without_the_fine_level_leaves_the_fine_layers_as_they_are():
    change = random_mappers()(codes(2), ["afro", "red"])
    assert torch.equal(change[0, GROUPS[1] :], torch.zeros(2, W_DIM, dtype=torch.float64))
    assert change[1, GROUPS[1] :].abs().min() > 0


def test_no_word_learns_from_another_words_sample():
    mappers = random_mappers().requires_grad_(True)
    mappers(codes(1), ["bob cut"]).square().sum().backward()
    gradient = mappers.levels["coarse"].weight.grad
    assert gradient[1].abs().sum() > 0
    assert gradient[0].abs().sum() == gradient[2].abs().sum() == 0


def test_codes_and_words_must_pair_up():
    with pytest.raises(ValueError, match="do not fit"):
        random_mappers()(codes(2), ["afro"])

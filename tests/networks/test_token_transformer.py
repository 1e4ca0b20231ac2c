"""The transformer that fills in hidden tokens, and the order in which it does."""

import math

import pytest
import torch

from hairclip.networks.token_transformer import TokenTransformer, count_hidden, fill_tokens, squared_distances


@pytest.fixture(scope="module")
def transformer() -> TokenTransformer:
    torch.manual_seed(0)
    codebook = torch.randn(16, 6)
    return TokenTransformer(16, 6, 24, 4, width=8, deep_width=8, layers=2, heads=2).start_from(codebook).eval()


def inputs(count: int = 3) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    region = torch.zeros(count, 4, 4, dtype=torch.bool)
    region[:, 1:] = True
    return {
        "tokens": torch.randint(16, (count, 4, 4), generator=random),
        "region": region,
        "hairstyle": torch.randn(count, 24, generator=random),
        "color": torch.randn(count, 24, generator=random),
        "has_hairstyle": torch.ones(count, dtype=torch.bool),
        "has_color": torch.tensor([True, False, True])[:count],
    }


def test_hidden_tokens_are_not_read_and_the_others_are(transformer: TokenTransformer):
    given = inputs()
    hidden = given["region"]
    logits = transformer(hidden=hidden, **given)
    assert logits.shape == (3, 16, 4, 4)
    other = given | {"tokens": torch.where(hidden, (given["tokens"] + 1) % 16, given["tokens"])}
    assert torch.equal(transformer(hidden=hidden, **other), logits)
    seen = given | {"tokens": torch.where(hidden, given["tokens"], (given["tokens"] + 1) % 16)}
    assert not torch.equal(transformer(hidden=hidden, **seen), logits)


def test_what_is_not_told_does_not_count(transformer: TokenTransformer):
    given = inputs()
    logits = transformer(hidden=given["region"], **given)
    other = transformer(hidden=given["region"], **(given | {"color": given["color"] + 1.0}))
    assert torch.equal(other[1], logits[1])
    assert not torch.equal(other[0], logits[0])


def test_distances_rank_entries_as_plain_distances_do():
    random = torch.Generator().manual_seed(0)
    codes, codebook = torch.randn(2, 6, 4, 4, generator=random), torch.randn(16, 6, generator=random)
    plain = torch.cdist(codes.movedim(1, -1).flatten(0, 2), codebook).square().view(2, 4, 4, 16).movedim(-1, 1)
    ours = squared_distances(codes, codebook) + codes.square().sum(dim=1, keepdim=True)
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)


def test_the_number_of_hidden_tokens_falls_as_a_cosine():
    for step in range(12):
        assert count_hidden(100, step, 12) == math.floor(100 * math.cos(math.pi / 2 * step / 12))
    assert count_hidden(100, 12, 12) == 0
    assert count_hidden(100, 1, 1) == 0


def test_tokens_outside_the_region_stay_and_all_inside_are_drawn(transformer: TokenTransformer):
    given = inputs()
    marked = given | {"tokens": torch.where(given["region"], 99 % 16, given["tokens"])}
    drawn = fill_tokens(transformer, **marked, steps=5)
    assert torch.equal(drawn[~given["region"]], given["tokens"][~given["region"]])
    assert len(drawn[given["region"]].unique()) > 1
    one = fill_tokens(transformer, **marked, steps=1, temperature=0.0, guidance=1.0)
    logits = transformer(hidden=marked["region"], **marked)
    assert torch.equal(one[marked["region"]], logits.argmax(dim=1)[marked["region"]])


def test_a_seed_gives_the_same_tokens_whatever_else_is_in_the_batch(transformer: TokenTransformer):
    given = inputs()
    drawn = fill_tokens(transformer, **given, seed=3)
    assert torch.equal(fill_tokens(transformer, **given, seed=3), drawn)
    assert not torch.equal(fill_tokens(transformer, **given, seed=4), drawn)
    alone = fill_tokens(transformer, **{name: value[1:2] for name, value in given.items()}, seed=3)
    assert torch.equal(alone[0], drawn[1])

import torch
from tiny_networks import N_LATENT, W_DIM, tiny_networks

from hairclip.condition import ConditionEncoder
from hairclip.losses.total import HairEditLoss, LossWeights
from hairclip.optimize import layer_mask, optimize_codes


def test_a_hairstyle_frees_coarse_and_medium_layers_and_a_colour_the_fine_ones():
    free = layer_mask(torch.tensor([True, False, True, False]), torch.tensor([False, True, True, False]), 12)[..., 0]
    assert free[0].tolist() == [1.0] * 8 + [0.0] * 4
    assert free[1].tolist() == [0.0] * 8 + [1.0] * 4
    assert free[2].tolist() == [1.0] * 12
    assert free[3].tolist() == [0.0] * 12


def test_the_loss_falls_and_only_the_free_layers_move():
    nets = tiny_networks()
    # the random parser's masks jump, so the terms that hang on them need not fall
    weights = LossWeights(background=0.0, maintain_color=0.0)
    loss = HairEditLoss(nets.clip, nets.parser, nets.identity, weights, text_pixels="normalized")
    w_plus = torch.randn(3, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    batch = ConditionEncoder(nets.clip, nets.parser).encode(["afro", None, "bob cut"], [None, "red", "blue"])
    source = loss.source_features(nets.generator(w_plus))

    edited = optimize_codes(w_plus, nets.generator, loss, source, batch, steps=20, groups=(3, 5), seed=1)

    before = loss(source, nets.generator(w_plus), w_plus, w_plus, batch).total
    after = loss(source, nets.generator(edited), w_plus, edited, batch).total
    assert after < before
    assert torch.equal(edited[0, 5:], w_plus[0, 5:])
    assert torch.equal(edited[1, :5], w_plus[1, :5])
    assert not torch.equal(edited[0, :5], w_plus[0, :5])
    assert not torch.equal(edited[1, 5:], w_plus[1, 5:])


def test_offsets_follow_the_seed():
    nets = tiny_networks()
    loss = HairEditLoss(nets.clip, nets.parser, nets.identity, text_pixels="normalized")
    w_plus = torch.randn(1, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    batch = ConditionEncoder(nets.clip, nets.parser).encode(["afro"], ["red"])
    source = loss.source_features(nets.generator(w_plus))

    def run(seed: int) -> torch.Tensor:
        return optimize_codes(w_plus, nets.generator, loss, source, batch, steps=4, noise=0.1, groups=(3, 5), seed=seed)

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))

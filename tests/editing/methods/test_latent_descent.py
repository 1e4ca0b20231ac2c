import torch

from hairclip.conditions.encoder import ConditionEncoder
from hairclip.editing.methods.latent_descent import layer_mask, optimize_codes
from hairclip.losses.hair_edit import HairEditLoss, LossOutput
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks


def test_a_hairstyle_frees_coarse_and_medium_layers_and_a_color_the_fine_ones():
    free = layer_mask(torch.tensor([True, False, True, False]), torch.tensor([False, True, True, False]), 12)[..., 0]
    assert free[0].tolist() == [1.0] * 8 + [0.0] * 4
    assert free[1].tolist() == [0.0] * 8 + [1.0] * 4
    assert free[2].tolist() == [1.0] * 12
    assert free[3].tolist() == [0.0] * 12


def test_the_loss_falls_and_only_the_free_layers_move():
    nets = tiny_networks()
    # the random parser's masks jump, so the terms that hang on them need not fall
    weights = {"background": 0.0, "maintain_color": 0.0}
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


class Scripted(HairEditLoss):
    """A loss whose value per sample follows a script, whatever is shown; it notes the codes it saw."""

    def __init__(self, *script: list[float]) -> None:
        nets = tiny_networks()
        super().__init__(nets.clip, nets.parser, nets.identity)
        self.script, self.seen = script, []

    def __call__(self, source, edited, w_plus, w_hat, batch) -> LossOutput:
        values = torch.tensor(self.script[len(self.seen)])
        self.seen.append(w_hat.detach().clone())
        per_sample = values + (w_hat - w_hat.detach()).sum(dim=(1, 2))  # the values of the script, with a gradient
        return LossOutput(total=per_sample.mean(), per_sample=per_sample, terms={})


def test_each_sample_keeps_its_own_best_code():
    nets = tiny_networks()
    w_plus = torch.randn(3, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    batch = ConditionEncoder(nets.clip, nets.parser).encode(["afro"] * 3, ["red"] * 3)
    nan = float("nan")
    loss = Scripted([3.0, 1.0, 5.0], [2.0, 4.0, nan], [2.5, 2.0, 4.0], [2.9, 2.0, 3.0])
    source = loss.source_features(nets.generator(w_plus))
    best = optimize_codes(w_plus, nets.generator, loss, source, batch, steps=3, groups=(3, 5))
    assert torch.equal(best[0], loss.seen[1][0])  # the second code was better than the last
    assert torch.equal(best[1], w_plus[1])  # nothing was better than the start
    assert torch.equal(best[2], loss.seen[3][2])  # the code of the last step is judged too
    assert not torch.equal(best[2], loss.seen[2][2])


def test_a_sample_does_not_see_its_neighbors():
    nets = tiny_networks()
    loss = HairEditLoss(nets.clip, nets.parser, nets.identity, text_pixels="normalized")
    w_plus = torch.randn(2, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    batch = ConditionEncoder(nets.clip, nets.parser).encode(["afro", None], [None, "red"])
    source = loss.source_features(nets.generator(w_plus))
    settings = {"steps": 3, "noise": 0.0, "groups": (3, 5), "lr": 0.01}
    both = optimize_codes(w_plus, nets.generator, loss, source, batch, **settings)
    source = loss.source_features(nets.generator(w_plus[1:]))
    alone = optimize_codes(w_plus[1:], nets.generator, loss, source, batch[1], **settings)
    # Adam turns the rounding of a vanishing gradient into a step, so not to the last bit; a step is 0.01
    torch.testing.assert_close(both[1:], alone, atol=2e-3, rtol=0)

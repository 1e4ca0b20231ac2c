import pytest
import torch

from hairclip.editing.inversion.loss import ReconstructionLoss
from hairclip.editing.inversion.perceptual import parser_distance
from hairclip.editing.inversion.pivotal import tune, tuned_copy
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks


def setting() -> tuple:
    """Networks, a pivot, and the loss to a picture that it does not make."""
    nets = tiny_networks()
    random = torch.Generator().manual_seed(0)
    pivot, other = torch.randn(2, 1, N_LATENT, W_DIM, generator=random)
    return nets, pivot, ReconstructionLoss().to(nets.generator(other).clamp(-1, 1))


def test_the_locality_term_keeps_what_other_codes_make():
    nets, pivot, loss = setting()
    w = nets.generator.mapping(torch.randn(8, W_DIM, generator=torch.Generator().manual_seed(9)))
    others = pivot + 0.5 * (w[:, None] - pivot)
    drift, gain = {}, {}
    for locality in (0.0, 20.0):
        tuned = tune(nets.generator, pivot, loss, steps=40, lr=2e-3, locality=locality).generator
        drift[locality] = float((tuned(others) - nets.generator(others)).square().mean())
        gain[locality] = float(loss(nets.generator(pivot)) - loss(tuned(pivot)))
    assert drift[20.0] < 0.5 * drift[0.0]
    assert gain[20.0] > 0


def test_the_seed_decides():
    nets, pivot, loss = setting()
    options = {"steps": 4, "locality": 1.0, "perceptual": parser_distance(nets.parser)}
    first, again, other = (tune(nets.generator, pivot, loss, seed=seed, **options).deltas for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_differences_rebuild_the_generator_bit_for_bit():
    nets, pivot, loss = setting()
    tuned = tune(nets.generator, pivot, loss, steps=5)
    assert all(delta.dtype == torch.float16 for delta in tuned.deltas.values())
    assert not any(name.startswith("mapping.") for name in tuned.deltas)
    rebuilt = tuned_copy(nets.generator, tuned.deltas).generator
    assert torch.equal(rebuilt(pivot), tuned.generator(pivot))
    assert not torch.equal(rebuilt(pivot), nets.generator(pivot))
    assert rebuilt.mapping is nets.generator.mapping
    assert not any(parameter.requires_grad for parameter in rebuilt.parameters())


def test_differences_of_another_generator_and_several_pivots_are_refused():
    nets, pivot, loss = setting()
    deltas = dict(tune(nets.generator, pivot, loss, steps=1).deltas)
    deltas.pop("constant")
    with pytest.raises(ValueError, match="another generator"):
        tuned_copy(nets.generator, deltas)
    with pytest.raises(ValueError, match="one pivot"):
        tune(nets.generator, pivot.expand(2, -1, -1), loss)


def test_tuning_stops_early_when_nothing_improves():
    nets, pivot, _ = setting()
    calls = []

    def flat(images: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return images.sum(dim=(1, 2, 3)) * 0 + 1.0

    tuned = tune(nets.generator, pivot, flat, steps=50, patience=3, locality=0.0)
    assert len(calls) < 10
    assert all(not delta.any() for delta in tuned.deltas.values())


def test_slow_but_steady_progress_is_no_reason_to_stop():
    nets, pivot, _ = setting()
    calls = []

    def slow(images: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return images.sum(dim=(1, 2, 3)) * 0 + 0.997 ** len(calls)

    tune(nets.generator, pivot, slow, steps=12, patience=4, locality=0.0)
    assert len(calls) == 13

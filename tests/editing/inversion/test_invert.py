import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.common.metrics import psnr
from hairclip.common.schedules import warm_up_then_cosine
from hairclip.editing.inversion.invert import invert, join_inversions, measure_latent_spread
from hairclip.editing.inversion.loss import ReconstructionLoss
from hairclip.editing.inversion.perceptual import parser_distance
from tests.helpers.tiny_networks import N_LATENT, SIZE, W_DIM, tiny_networks


def noisy(seed: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(seed))


def test_the_encoder_alone_gives_its_codes():
    nets = tiny_networks()
    images = nets.generator(noisy(0)).clamp(-1, 1)
    found = invert(images, nets.encoder, nets.generator)
    assert (found.steps, found.method, found.identity, found.tuned) == (0, "encoder", None, None)
    assert torch.equal(found.w_plus, nets.encoder(images))
    torch.testing.assert_close(found.psnr, psnr(found.images, images))


def test_descent_is_better_per_sample_and_repeatable():
    nets = tiny_networks()
    images = nets.generator(noisy(0)).clamp(-1, 1)
    loss = ReconstructionLoss(parser_distance(nets.parser), nets.identity)
    start = invert(images, nets.encoder, nets.generator)
    first, again = (
        invert(images, nets.encoder, nets.generator, method="optimize", steps=30, loss=loss) for _ in range(2)
    )
    assert (first.psnr > start.psnr + 1).all()
    assert (loss.to(images)(first.images) < loss.to(images)(start.images)).all()
    assert torch.equal(first.w_plus, again.w_plus)
    assert first.w_plus.requires_grad is False


def test_identity_compares_the_picture_with_what_was_made_of_it():
    nets = tiny_networks()
    images = nets.generator(noisy(0)).clamp(-1, 1)
    found = invert(images, nets.encoder, nets.generator, identity=nets.identity)
    expected = (nets.identity(found.images.clamp(-1, 1)) * nets.identity(images)).sum(dim=-1)
    torch.testing.assert_close(found.identity, expected)


def test_the_price_of_single_layers_keeps_the_code_near_w():
    nets = tiny_networks()
    images = nets.generator(noisy(0)).clamp(-1, 1)
    start = nets.encoder(images)
    apart = {}
    for agree in (0.0, 30.0):
        found = invert(images, nets.encoder, nets.generator, method="optimize", steps=20, agree=agree)
        offset = found.w_plus - start
        apart[agree] = float((offset - offset.mean(dim=1, keepdim=True)).norm() / offset.norm())
    assert apart[30.0] < 0.3 * apart[0.0]


def test_steps_are_measured_in_the_spread_of_random_latents():
    generator = tiny_networks().generator
    with torch.no_grad():
        w = generator.mapping(torch.randn(5000, W_DIM, generator=torch.Generator().manual_seed(1)))
    spread = measure_latent_spread(generator)
    covariance = torch.cov(w.T)
    torch.testing.assert_close(spread, spread.T)
    assert (spread @ spread - covariance).norm() < 0.1 * covariance.norm()


def test_a_sample_does_not_see_its_neighbors():
    """One that stops early waits for the others, but keeps what it had."""
    nets = tiny_networks()
    images = torch.cat([nets.generator(noisy(0, 1)), nets.generator(nets.encoder(torch.zeros(1, 3, SIZE, SIZE)))])
    images = images.clamp(-1, 1)
    options = {"method": "optimize", "steps": 25, "patience": 4}
    together = invert(images, nets.encoder, nets.generator, **options)
    alone = [invert(images[i : i + 1], nets.encoder, nets.generator, **options) for i in range(2)]
    torch.testing.assert_close(together.w_plus, torch.cat([one.w_plus for one in alone]), atol=1e-3, rtol=1e-3)
    joined = join_inversions(alone)
    assert (len(joined), joined.steps) == (2, together.steps)
    assert torch.equal(joined[[1, 0]].psnr, joined.psnr.flip(0))


def test_descent_stops_early_when_nothing_improves():
    nets = tiny_networks()
    images = nets.generator(nets.encoder(torch.zeros(1, 3, SIZE, SIZE)))
    found = invert(
        images,
        lambda _: nets.encoder(torch.zeros(1, 3, SIZE, SIZE)),
        nets.generator,
        method="optimize",
        steps=50,
        patience=5,
    )
    assert found.steps < 50


def test_other_sizes_are_compared_at_the_generators():
    nets = tiny_networks()
    images = torch.zeros(1, 3, 48, 40)
    found = invert(images, nets.encoder, nets.generator, method="optimize", steps=2, identity=nets.identity)
    assert found.images.shape[-1] == SIZE


def test_pivotal_tuning_rebuilds_better_and_leaves_the_shared_generator_alone():
    nets = tiny_networks()
    images = torch.cat([nets.generator(noisy(0, 1)), nets.generator(noisy(1, 1)).flip(-1)]).clamp(-1, 1)
    before = {name: tensor.clone() for name, tensor in nets.generator.state_dict().items()}
    options = {"steps": 25, "loss": ReconstructionLoss(parser_distance(nets.parser), nets.identity)}
    pivot = invert(images, nets.encoder, nets.generator, method="optimize", **options)
    found = invert(images, nets.encoder, nets.generator, method="pivotal", **options)
    assert torch.equal(found.w_plus, pivot.w_plus)
    assert (found.psnr > pivot.psnr + 0.5).all()
    assert all(torch.equal(tensor, before[name]) for name, tensor in nets.generator.state_dict().items())
    assert not any(parameter.requires_grad for parameter in nets.generator.parameters())
    again = invert(images, nets.encoder, nets.generator, method="pivotal", **options)
    assert torch.equal(found.images, again.images)


def test_each_sample_is_synthesized_by_its_own_generator():
    nets = tiny_networks()
    images = nets.generator(noisy(0)).flip(-1).clamp(-1, 1)
    found = invert(images, nets.encoder, nets.generator, method="pivotal", steps=5)
    first, second = (tuned.generator for tuned in found.tuned)
    codes = noisy(5, 3)
    made = found[[1, 0, 1]].synthesize(codes, nets.generator)
    torch.testing.assert_close(made[[0, 2]], second(codes[[0, 2]]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(made[1:2], first(codes[1:2]), atol=1e-5, rtol=1e-4)
    assert not torch.equal(first(codes), second(codes))
    assert torch.equal(invert(images, nets.encoder, nets.generator).synthesize(codes[:2], nets.generator),
                       nets.generator(codes[:2]))  # fmt: skip


def test_an_unknown_method_is_one_sentence():
    nets = tiny_networks()
    with pytest.raises(HairclipError, match="'best': choose one of encoder, optimize, pivotal"):
        # past the type checker: a command line or a configuration may say anything
        invert.__wrapped__(torch.zeros(1, 3, SIZE, SIZE), nets.encoder, nets.generator, method="best")


def test_the_rate_rises_and_falls():
    rates = [warm_up_then_cosine(step / 100) for step in range(100)]
    assert rates[0] < 0.1
    assert max(rates) == 1.0
    assert rates[-1] < 0.01

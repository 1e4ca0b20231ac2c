import torch
from tiny_networks import N_LATENT, SIZE, W_DIM, tiny_networks

from hairclip.invert import invert, schedule
from hairclip.reconstruction import ReconstructionLoss, gradient_loss, psnr, pyramid_loss


def noisy(seed: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(seed))


def test_the_encoder_alone_gives_its_codes():
    nets = tiny_networks()
    images = nets.generator(noisy(0)).clamp(-1, 1)
    found = invert(images, nets.encoder, nets.generator)
    assert found.steps == 0
    assert torch.equal(found.w_plus, nets.encoder(images))
    torch.testing.assert_close(found.psnr, psnr(found.images, images))


def test_refinement_is_better_per_sample_and_repeatable():
    nets = tiny_networks()
    images = nets.generator(noisy(0)).clamp(-1, 1)
    start = invert(images, nets.encoder, nets.generator)
    first = invert(
        images,
        nets.encoder,
        nets.generator,
        method="optimize",
        steps=30,
        loss=ReconstructionLoss(identity=nets.identity),
    )
    again = invert(
        images,
        nets.encoder,
        nets.generator,
        method="optimize",
        steps=30,
        loss=ReconstructionLoss(identity=nets.identity),
    )
    assert (first.psnr > start.psnr + 1).all()
    assert torch.equal(first.w_plus, again.w_plus)
    assert first.w_plus.requires_grad is False


def test_refinement_stops_early_when_nothing_improves():
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
    assert (
        invert(torch.zeros(1, 3, 48, 40), nets.encoder, nets.generator, method="optimize", steps=2).images.shape[-1]
        == SIZE
    )


def test_losses_vanish_for_equal_pictures_and_psnr_follows_its_formula():
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    assert pyramid_loss(images, images).eq(0).all()
    assert gradient_loss(images, images).eq(0).all()
    torch.testing.assert_close(psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.2)), torch.tensor([20.0]))


def test_the_rate_rises_and_falls():
    rates = [schedule(step / 100) for step in range(100)]
    assert rates[0] < 0.1
    assert max(rates) == 1.0
    assert rates[-1] < 0.01

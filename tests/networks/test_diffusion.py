"""The arithmetic of diffusion against closed formulas, and the sampler against the one of diffusers."""

import math

import numpy as np
import pytest
import torch

from hairclip.networks.diffusion import alpha_sigma, clean_from, noise_from, noised, sample, velocity


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_schedule_is_the_quarter_circle() -> None:
    alpha, sigma = alpha_sigma(torch.tensor([0.0, 1 / 3, 0.5, 1.0], dtype=torch.float64))
    expected = torch.tensor([1.0, math.sqrt(3) / 2, math.sqrt(0.5), 0.0], dtype=torch.float64)
    torch.testing.assert_close(alpha, expected)
    torch.testing.assert_close(sigma, (1 - expected.square()).sqrt())


def test_the_velocity_is_the_derivative_of_the_noisy_code_by_the_angle() -> None:
    clean, noise, time, step = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1), torch.tensor([0.3, 0.8]).double(), 1e-6
    slope = (noised(clean, noise, time + step) - noised(clean, noise, time - step)) / (step * math.pi)
    torch.testing.assert_close(velocity(clean, noise, time), slope, atol=1e-7, rtol=0)


def test_clean_code_and_noise_follow_from_noisy_code_and_velocity() -> None:
    clean, noise, time = normal(3, 2, 4, 4), normal(3, 2, 4, 4, seed=1), torch.tensor([0.05, 0.5, 1.0]).double()
    noisy, predicted = noised(clean, noise, time), velocity(clean, noise, time)
    torch.testing.assert_close(clean_from(noisy, predicted, time), clean)
    torch.testing.assert_close(noise_from(noisy, predicted, time), noise)


def posterior_velocity(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """The best prediction where clean codes are normal with mean 0.7 and deviation 0.5, in closed form."""
    alpha, sigma = (part[:, None, None, None] for part in alpha_sigma(time))
    gain = alpha * 0.25 / (alpha**2 * 0.25 + sigma**2)
    clean = 0.7 + gain * (noisy - alpha * 0.7)
    noise = (noisy - alpha * clean) / sigma
    return alpha * noise - sigma * clean


def test_samples_have_the_distribution_that_the_predictions_mean() -> None:
    made = sample(posterior_velocity, normal(1, 1, 100, 100), steps=200)
    assert float(made.mean()) == pytest.approx(0.7, abs=0.02)
    assert float(made.std()) == pytest.approx(0.5, abs=0.02)


def test_the_sampler_walks_as_the_literal_equation_of_ddim() -> None:
    start, steps = normal(2, 1, 4, 4), 5
    x = start
    for i in range(steps):  # Song et al. 2021, equation 12 with sigma 0: x = sqrt(a') f(x) + sqrt(1 - a') eps(x)
        now, after = 1 - i / steps, 1 - (i + 1) / steps
        a, a_after = math.cos(now * math.pi / 2) ** 2, math.cos(after * math.pi / 2) ** 2
        v = posterior_velocity(x, torch.full((2,), now).double())
        eps = math.sqrt(a) * v + math.sqrt(1 - a) * x
        f = math.sqrt(a) * x - math.sqrt(1 - a) * v
        x = math.sqrt(a_after) * f + math.sqrt(1 - a_after) * eps
    torch.testing.assert_close(sample(posterior_velocity, start, steps=steps), x)


def test_the_sampler_walks_as_the_ddim_scheduler_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    count, steps = 1000, 10
    grid = np.arange(1, count + 1) / count  # the time of its step number n is (n + 1) / 1000
    products = np.cos(grid * math.pi / 2) ** 2
    betas = 1 - products / np.concatenate([[1.0], products[:-1]])
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=count,
        trained_betas=betas.tolist(),
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    start = normal(1, 1, 4, 4)
    x = start.clone()
    for number in scheduler.timesteps:
        time = torch.tensor([(int(number) + 1) / count]).double()
        x = scheduler.step(posterior_velocity(x, time), int(number), x).prev_sample
    torch.testing.assert_close(sample(posterior_velocity, start, steps=steps), x, atol=2e-5, rtol=0)


def test_known_codes_are_kept_and_the_rest_is_painted() -> None:
    known, free = normal(1, 2, 4, 4, seed=5), torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    free[..., :2] = 1
    made = sample(posterior_velocity, normal(1, 2, 4, 4), steps=4, known=known, free=free)
    assert torch.equal(made[..., 2:], known[..., 2:])
    assert not torch.isclose(made[..., :2], known[..., :2]).any()

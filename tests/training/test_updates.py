"""Schedule, moving average and the object that steps."""

import copy

import pytest
import torch

from hairclip.config import OptimizerConfig
from hairclip.networks.mapper import HairCondition, HairMapper
from hairclip.training.ranger import Ranger
from hairclip.training.updates import MovingAverage, Updates, build_optimizer, learning_rate


def mapper(seed: int = 0) -> HairMapper:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HairMapper(n_latent=6, w_dim=8, condition_dim=5, groups=(2, 4))


def loss_of(network: HairMapper) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    flags = torch.tensor([True, False])
    condition = HairCondition(torch.randn(2, 5, generator=random), torch.randn(2, 5, generator=random), flags, ~flags)
    return network(torch.randn(2, 6, 8, generator=random), condition).square().mean() * 1e3


def updates(**settings: object) -> Updates:
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return Updates(mapper(), OptimizerConfig(**settings), steps=10, scaler=scaler)


def test_schedule():
    constant = OptimizerConfig(lr=1.0)
    cosine = OptimizerConfig(lr=1.0, schedule="cosine", warmup_steps=10)
    assert [learning_rate(constant, step, 100) for step in (0, 50, 99)] == [1.0, 1.0, 1.0]
    assert learning_rate(cosine, 0, 110) == pytest.approx(0.1)
    assert learning_rate(cosine, 10, 110) == pytest.approx(1.0)
    assert learning_rate(cosine, 60, 110) == pytest.approx(0.51)
    assert learning_rate(cosine, 110, 110) == pytest.approx(0.02)


def test_optimizers():
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    assert isinstance(build_optimizer(OptimizerConfig(name="ranger"), parameters), Ranger)
    assert isinstance(build_optimizer(OptimizerConfig(), parameters), torch.optim.Adam)


def test_average_lags_behind_and_settles():
    network = mapper()
    average = MovingAverage(network, 0.9)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
    for step in range(200):
        average.update(network, step)
    target = mapper(1)
    average.copy_to(target)
    for parameter in target.parameters():
        torch.testing.assert_close(parameter.detach(), torch.ones_like(parameter), atol=1e-4, rtol=0)


def test_result_is_the_average_and_training_goes_on():
    run = updates(ema=0.9, lr=1e-2)
    for step in range(5):
        run.step(loss_of(run.mapper), step)
    averaged = run.result()
    pairs = list(zip(averaged.parameters(), run.mapper.parameters()))
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert updates().result() is not averaged


def test_gradients_are_clipped():
    run = updates(grad_clip=1e-3)
    run.step(loss_of(run.mapper), 0)
    norm = torch.cat([p.grad.flatten() for p in run.mapper.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("name", ["adam", "ranger"])
def test_restored_updates_go_on_bit_for_bit(name: str):
    settings = {"name": name, "ema": 0.9, "schedule": "cosine", "warmup_steps": 2, "lr": 1e-2}
    whole = updates(**settings)
    for step in range(8):
        if step == 4:
            halfway = copy.deepcopy(whole.state_dict())
        whole.step(loss_of(whole.mapper), step)
    resumed = updates(**settings)
    resumed.load_state_dict(halfway)
    for step in range(4, 8):
        resumed.step(loss_of(resumed.mapper), step)
    for a, b in zip(whole.result().parameters(), resumed.result().parameters()):
        assert torch.equal(a, b)

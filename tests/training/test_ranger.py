"""Ranger against the official trajectory, and what an optimiser promises."""

import copy

import numpy as np
import pytest
import torch

from hairclip.training.ranger import Ranger, rectified_step
from tests.golden.fill import golden, tensor


def parameters() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(tensor("ranger:weight", (8, 16))), torch.nn.Parameter(tensor("ranger:bias", (8,)))]


def step(optimizer: Ranger, weights: list[torch.nn.Parameter], number: int) -> torch.Tensor:
    weights[0].grad = tensor(f"ranger:grad_w:{number}", (8, 16))
    weights[1].grad = tensor(f"ranger:grad_b:{number}", (8,))
    optimizer.step()
    return torch.cat([weight.detach().flatten() for weight in weights])


def test_the_trajectory_is_the_official_one():
    weights = parameters()
    optimizer = Ranger(weights, lr=5e-4)
    rows = torch.stack([step(optimizer, weights, number) for number in range(20)])
    np.testing.assert_allclose(rows.numpy(), golden("ranger.trajectory"), rtol=0, atol=1e-7)


@pytest.mark.parametrize("before", [1, 6, 9])
def test_saved_state_continues_bit_for_bit(before, tmp_path):
    weights = parameters()
    optimizer = Ranger(weights, lr=5e-4)
    for number in range(before):
        step(optimizer, weights, number)
    torch.save({"weights": weights, "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = [torch.nn.Parameter(weight) for weight in copy.deepcopy(saved["weights"])]
    continued = Ranger(resumed, lr=1.0)
    continued.load_state_dict(saved["optimizer"])
    for number in range(before, 14):
        assert torch.equal(step(optimizer, weights, number), step(continued, resumed, number))


def test_parameters_without_gradient_stay():
    weights = parameters()
    before = weights[1].detach().clone()
    optimizer = Ranger(weights, lr=0.1)
    weights[0].grad = torch.ones_like(weights[0])
    optimizer.step()
    assert torch.equal(weights[1], before)
    # A constant gradient is removed by centralisation.
    assert torch.equal(weights[0], parameters()[0])


def test_it_descends_and_reports_the_closures_loss():
    weight = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = Ranger([weight], lr=0.1, weight_decay=0.01)

    def closure() -> float:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return float(loss.detach())

    losses = [optimizer.step(closure) for _ in range(300)]
    assert losses[0] == 13
    assert losses[-1] < 0.01


def test_the_first_steps_are_not_adaptive():
    adaptive = [rectified_step(number, 0.95, 0.999, 5.0)[1] for number in range(1, 9)]
    assert adaptive == [False] * 5 + [True] * 3


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"betas": (1.0, 0.9)}, {"eps": 0.0}, {"alpha": 2.0}, {"k": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"out of range|lookahead"):
        Ranger(parameters(), **wrong)

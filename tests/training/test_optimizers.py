"""Optimizers by name, and training that keeps step with the official optimizer."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hairclip.common.errors import HairclipError
from hairclip.conditions.encoder import EditBatch
from hairclip.config import OptimizerConfig
from hairclip.evaluation.speed.official_networks import mapper_output
from hairclip.networks.mapper import HairCondition, HairMapper
from hairclip.training.optimizers import build_optimizer, find_optimizer
from hairclip.training.trainer import train
from hairclip.training.updates import Updates
from tests.golden.fill import golden, tensor
from tests.helpers.tiny_run import tiny_config, weights

RANGER = OptimizerConfig(name="ranger")


class Descent(torch.optim.Optimizer):
    """An optimizer of the user's own."""

    def __init__(self, params, lr: float, slowness: float = 1.0) -> None:
        super().__init__(params, {"lr": lr, "slowness": slowness})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter -= group["lr"] / group["slowness"] * parameter.grad


class OfficialRanger:
    """HairCLIP's Ranger for one tensor at a time, as its rules are written down; a tensor without gradient rests."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        self.parameters, self.lr = parameters, lr
        self.state: dict[nn.Parameter, dict] = {}

    @torch.no_grad()
    def step(self) -> None:
        for p in self.parameters:
            if p.grad is None:
                continue
            s = self.state.setdefault(
                p, {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p), "slow": p.clone()}
            )
            g = p.grad - p.grad.mean(dim=tuple(range(1, p.ndim)), keepdim=True) if p.ndim > 1 else p.grad
            s["step"] += 1
            n = s["step"]
            s["m"] = 0.95 * s["m"] + 0.05 * g
            s["v"] = 0.999 * s["v"] + 0.001 * g * g
            longest = 2 / (1 - 0.999) - 1
            length = longest - 2 * n * 0.999**n / (1 - 0.999**n)
            rate = self.lr / (1 - 0.95**n)
            if length > 5:
                rectified = (length - 4) / (longest - 4) * (length - 2) / length * longest / (longest - 2)
                p -= rate * math.sqrt((1 - 0.999**n) * rectified) * s["m"] / (s["v"].sqrt() + 1e-5)
            else:
                p -= rate * s["m"]
            if n % 6 == 0:
                s["slow"] += 0.5 * (p - s["slow"])
                p.copy_(s["slow"])


# ---------------------------------------------------------------------------------------------- Ranger's numbers


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(tensor("ranger:weight", (8, 16))), nn.Parameter(tensor("ranger:bias", (8,)))]


def step(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], number: int) -> Tensor:
    weights[0].grad = tensor(f"ranger:grad_w:{number}", (8, 16))
    weights[1].grad = tensor(f"ranger:grad_b:{number}", (8,))
    optimizer.step()
    return torch.cat([weight.detach().flatten() for weight in weights])


def test_rangers_trajectory_is_the_official_one():
    weights = parameters()
    optimizer = build_optimizer(RANGER, [weights])
    rows = torch.stack([step(optimizer, weights, number) for number in range(20)])
    np.testing.assert_allclose(rows.numpy(), golden("ranger.trajectory"), rtol=0, atol=1e-7)


def test_the_written_rules_give_the_official_trajectory_too():
    weights = parameters()
    optimizer = OfficialRanger(weights, lr=5e-4)
    rows = torch.stack([step(optimizer, weights, number) for number in range(20)])
    np.testing.assert_allclose(rows.numpy(), golden("ranger.trajectory"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("before", [1, 6, 9])
def test_rangers_saved_state_continues_bit_for_bit(before, tmp_path):
    weights = parameters()
    optimizer = build_optimizer(RANGER, [weights])
    for number in range(before):
        step(optimizer, weights, number)
    torch.save({"weights": weights, "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = [nn.Parameter(weight) for weight in copy.deepcopy(saved["weights"])]
    continued = build_optimizer(RANGER, [resumed])
    continued.load_state_dict(saved["optimizer"])
    for number in range(before, 14):
        assert torch.equal(step(optimizer, weights, number), step(continued, resumed, number))


# ------------------------------------------------------------------------------------- in step with the official code

# Whether a sample has a hairstyle and a color, for the eight kinds of request. Texts and references look alike here.
MODES = [
    (True, False),
    (True, False),
    (False, True),
    (False, True),
    (True, True),
    (True, True),
    (True, True),
    (False, False),
]


def mapper(absent: str = "passthrough") -> HairMapper:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HairMapper(n_latent=8, w_dim=16, condition_dim=12, groups=(3, 5), absent=absent, scale=1.0)


def asked(number: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, EditBatch]:
    """A code, where its edit shall go, and the request of one sample."""
    random = torch.Generator().manual_seed(number)
    w_plus, target, style, color = (
        torch.randn(shape, generator=random).to(dtype) for shape in ((1, 8, 16), (1, 8, 16), (1, 12), (1, 12))
    )
    has = torch.tensor([MODES[number % len(MODES)]])
    condition = HairCondition(style, color, has[:, 0], has[:, 1])
    no = torch.zeros(1, dtype=torch.bool)
    return w_plus, target, EditBatch(condition, no, no, torch.zeros(1, 3), torch.cat((has, has), dim=1))


def drift(steps: int, dtype: torch.dtype, absent: str) -> float:
    """How far our parameters are from the official ones, as a share of how far these have moved."""
    ours, theirs = mapper(absent).to(dtype), mapper(absent).to(dtype)
    start = [parameter.detach().clone() for parameter in theirs.parameters()]
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    updates = Updates(ours, RANGER, steps=steps, scaler=scaler)
    official = OfficialRanger(list(theirs.parameters()), lr=5e-4)
    for number in range(steps):
        w_plus, target, batch = asked(number, dtype)
        updates.clear()
        updates.backward((w_plus + ours(w_plus, batch.condition) - target).square().mean(), batch)
        updates.update(number)

        theirs.zero_grad()
        condition = batch.condition
        move = mapper_output(
            theirs,
            w_plus,
            condition.hairstyle if condition.has_hairstyle else None,
            condition.color if condition.has_color else None,
        )
        if move.requires_grad:
            (w_plus + move - target).square().mean().backward()
        official.step()
    off, moved = (
        torch.cat([(a - b).detach().flatten() for a, b in zip(theirs.parameters(), others)]).norm()
        for others in (ours.parameters(), start)
    )
    return float(off / moved)


@pytest.mark.parametrize("absent", ["passthrough", "zero"])
def test_eight_steps_over_all_modes_are_the_official_ones(absent):
    assert drift(8, torch.float64, absent) < 1e-8


def test_twenty_steps_in_float32_are_the_official_ones_to_rounding():
    assert drift(20, torch.float32, "passthrough") < 3e-3


@pytest.mark.parametrize("name", ["adam", "AdamW", "ranger", "lion"])
def test_no_optimizer_moves_what_no_sample_used(name):
    network = mapper()
    updates = Updates(network, OptimizerConfig(name=name), steps=3, scaler=torch.amp.GradScaler("cpu", enabled=False))
    for number in (4, 0):  # first both conditions, so that there is momentum; then no color
        before = [parameter.detach().clone() for parameter in updates.groups["color"]]
        w_plus, target, batch = asked(number, torch.float32)
        updates.clear()
        updates.backward((w_plus + network(w_plus, batch.condition) - target).square().mean(), batch)
        updates.update(number)
    assert all(torch.equal(a, b) for a, b in zip(before, updates.groups["color"]))


def test_what_another_process_used_is_moved():
    flags = []

    def anywhere(used: Tensor) -> Tensor:
        flags.append(used.tolist())
        return used | torch.tensor([False, True])

    scaler = torch.amp.GradScaler("cpu", enabled=False)
    updates = Updates(mapper(), RANGER, steps=3, scaler=scaler, anywhere=anywhere)
    w_plus, target, batch = asked(0, torch.float32)
    updates.clear()
    updates.backward((w_plus + updates.mapper(w_plus, batch.condition) - target).square().mean(), batch)
    updates.update(0)
    assert flags == [[True, False]]
    assert all(parameter.grad is not None for parameter in updates.groups["color"])


# ------------------------------------------------------------------------------------------------------- by name


def test_every_parameter_depends_on_one_condition():
    network = mapper()
    groups = network.parameters_by_condition()
    found = [parameter for group in groups.values() for parameter in group]
    assert len(found) == len({id(parameter) for parameter in found}) == len(list(network.parameters()))
    assert {name: len(group) for name, group in groups.items()} == {"always": 30, "hairstyle": 120, "color": 60}


@pytest.mark.parametrize(
    ("name", "found"),
    [("adam", "Adam"), ("AdamW", "AdamW"), ("ranger", "Ranger"), ("lion", "Lion"), ("SGD", "SGD")],
)
def test_optimizers_are_found_in_any_case(name, found):
    assert find_optimizer(name).__name__ == found


def test_ones_own_optimizer_takes_its_options():
    config = OptimizerConfig(name=f"{__name__}:Descent", options={"slowness": 2.0}, lr=1.0)
    weight = nn.Parameter(torch.zeros(2))
    optimizer = build_optimizer(config, [[weight]])
    weight.grad = torch.ones(2)
    optimizer.step()
    assert weight.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"name": "Rangr"}, ["no optimizer 'Rangr'", "did you mean ranger?", "module:attribute"]),
        ({"name": "no_such_module:X"}, ["there is no module no_such_module"]),
        ({"name": "math:pi"}, ["torch.optim.Optimizer"]),
        ({"name": "LBFGS"}, ["LBFGS", "several times"]),
        ({"name": "sgd", "options": {"momentun": 0.9}}, ["momentun", "optimizer.options"]),
        ({"name": "adam", "options": {"betas": [2.0, 0.9]}}, ["beta", "optimizer.options"]),
    ],
)
def test_mistakes_are_one_sentence(settings, parts):
    with pytest.raises(HairclipError) as caught:
        build_optimizer(OptimizerConfig(**settings), [[nn.Parameter(torch.zeros(2))]])
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_ones_own_optimizer_trains_by_name_and_resumes_bit_for_bit(tmp_path):
    settings = [f"optimizer.name={__name__}:Descent", "optimizer.options={slowness: 2.0}", "optimizer.lr=1e-2"]
    whole = train(tiny_config(tmp_path, "training.steps=4", *settings), tmp_path / "whole")
    train(tiny_config(tmp_path, "training.steps=2", *settings), tmp_path / "parts")
    resumed = train(tiny_config(tmp_path, "training.steps=4", *settings), tmp_path / "parts")
    first, second = weights(whole), weights(resumed)
    assert all((first[name] == second[name]).all() for name in first)


def test_a_wrong_optimizer_is_told_before_anything_is_loaded(tmp_path):
    with pytest.raises(HairclipError, match="no optimizer 'Rangr'"):
        train(tiny_config(tmp_path, "optimizer.name=Rangr", "networks.clip=no/such/file"), tmp_path / "run")

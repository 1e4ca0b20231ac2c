"""Schedule, moving average and the object that steps."""

import copy
import json

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.config import OptimizerConfig
from hairclip.networks.mapper import HairCondition, HairMapper
from hairclip.training.trainer import train
from hairclip.training.updates import Updates, learning_rate
from tests.helpers.tiny_run import tiny_config


def mapper(seed: int = 0) -> HairMapper:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HairMapper(n_latent=6, w_dim=8, condition_dim=5, groups=(2, 4))


def descend(run: Updates, step: int) -> None:
    run.clear()
    run.backward(loss_of(run.mapper))
    run.update(step)


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


def test_average_lags_behind_and_settles():
    run = updates(ema=0.9)
    weights = dict(run.mapper.named_parameters())
    name = next(iter(weights))
    first = weights[name].detach().clone()
    with torch.no_grad():
        for parameter in weights.values():
            parameter.fill_(1.0)
    run.update(0)
    decay = 1 / 10  # of step 0: (1 + 0) / (10 + 0)
    expected = decay * first + (1 - decay)
    torch.testing.assert_close(dict(run.result().named_parameters())[name].detach(), expected)
    for step in range(1, 200):
        run.update(step)
    for parameter in run.result().parameters():
        torch.testing.assert_close(parameter.detach(), torch.ones_like(parameter), atol=1e-4, rtol=0)


def test_result_is_the_average_and_training_goes_on():
    run = updates(ema=0.9, lr=1e-2)
    for step in range(5):
        descend(run, step)
    averaged = run.result()
    pairs = list(zip(averaged.parameters(), run.mapper.parameters()))
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert updates().result() is not averaged


def test_gradients_are_clipped():
    run = updates(grad_clip=1e-3)
    descend(run, 0)
    norm = torch.cat([p.grad.flatten() for p in run.mapper.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("name", ["adam", "ranger", "AdamW", "lion"])
def test_restored_updates_go_on_bit_for_bit(name: str):
    settings = {"name": name, "ema": 0.9, "schedule": "cosine", "warmup_steps": 2, "lr": 1e-2}
    whole = updates(**settings)
    for step in range(8):
        if step == 4:
            halfway = copy.deepcopy(whole.state_dict())
        descend(whole, step)
    resumed = updates(**settings)
    resumed.load_state_dict(halfway)
    for step in range(4, 8):
        descend(resumed, step)
    for a, b in zip(whole.result().parameters(), resumed.result().parameters()):
        assert torch.equal(a, b)


def test_the_end_of_the_cosine_is_kept_when_a_run_gets_more_steps():
    settings = {"schedule": "cosine", "lr": 1.0}
    short = updates(**settings)
    longer = Updates(mapper(), short.config, steps=20, scaler=short.scaler)
    longer.load_state_dict(short.state_dict())
    assert [longer.rate(step) for step in (9, 10, 15)] == [short.rate(9), pytest.approx(0.02), pytest.approx(0.02)]
    assert longer.schedule_note(10, 10) is None
    assert longer.schedule_note(10, 20) == (
        "training.steps is 20, but the run began with 10: its cosine still ends at step 10, so the learning rate stays "
        "at 0.02 from there; for a new schedule start another run with training.init."
    )
    assert "so the learning rate is 0.51 at the end" in longer.schedule_note(3, 5)
    assert longer.schedule_note(10, 5) == "10 steps are done already: training.steps=5 asks for no more."
    constant = updates()
    assert constant.schedule_note(3, 20).endswith("the learning rate stays as it is.")


def test_a_longer_run_says_so_and_its_rate_does_not_jump(tmp_path, capsys):
    settings = ["optimizer.schedule=cosine", "validation.count=1"]
    train(tiny_config(tmp_path, "training.steps=3", *settings), tmp_path / "run")
    capsys.readouterr()
    train(tiny_config(tmp_path, "training.steps=5", *settings), tmp_path / "run")
    assert "training.steps is 5, but the run began with 3" in capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = [line["lr"] for line in lines if line["kind"] == "train"]
    assert rates == sorted(rates, reverse=True)
    assert len(rates) == 5
    train(tiny_config(tmp_path, "training.steps=2", *settings), tmp_path / "run")
    assert "5 steps are done already" in capsys.readouterr().err


def test_a_checkpoint_that_does_not_fit_is_told_in_one_sentence():
    run = updates()
    state = run.state_dict()
    with pytest.raises(HairclipError, match="does not fit the mapper or the optimizer"):
        run.load_state_dict({**state, "optimizer": {"state": {}, "param_groups": []}})

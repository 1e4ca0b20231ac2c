"""What makes a step faster or smaller leaves its gradient as it is; what does not work here is told and left out."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from hairclip.config import TrainingConfig, load_config
from hairclip.training.acceleration import prepare, training_synthesis
from hairclip.training.setup import build_parts
from hairclip.training.trainer import edit_and_judge
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks

CPU = torch.device("cpu")


def mapper_gradients(world: Path, *settings: str) -> list[torch.Tensor]:
    config = load_config(world, settings)
    parts = build_parts(config, CPU)
    prepare(parts.networks, config.training, CPU)
    synthesis = training_synthesis(parts.networks.generator, config.training, 4, nullcontext(), print)
    sample = parts.training.collate(parts.sampler.sample(4, 0))
    output, _ = edit_and_judge(parts.mapper, synthesis, parts.loss, sample, nullcontext())
    output.total.backward()
    return [parameter.grad for parameter in parts.mapper.parameters() if parameter.grad is not None]


def test_recomputed_activations_give_equal_gradients(tiny_world: Path):
    plain = mapper_gradients(tiny_world)
    again = mapper_gradients(tiny_world, "training.checkpoint_activations=true")
    assert len(plain) == len(again) > 0
    assert all(torch.equal(a, b) for a, b in zip(plain, again))


def test_channels_last_gives_the_same_gradients(tiny_world: Path):
    plain = mapper_gradients(tiny_world)
    for a, b in zip(plain, mapper_gradients(tiny_world, "training.channels_last=true")):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_compiler_that_fails_is_told_and_left_out(monkeypatch: pytest.MonkeyPatch):
    generator, said = tiny_networks().generator, []
    settings = TrainingConfig(compile=True)

    def broken(*arguments: object, **options: object) -> object:
        def call(w_plus: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no C++ compiler\nand a page of details")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    synthesis = training_synthesis(generator, settings, 2, nullcontext(), said.append)
    w_plus = torch.randn(2, N_LATENT, W_DIM)
    assert torch.equal(synthesis(w_plus), generator(w_plus))
    assert said == ["training.compile: torch.compile does not work here (no C++ compiler): going on without it."]


def test_the_compiler_is_tried_on_the_batch_that_it_is_for(monkeypatch: pytest.MonkeyPatch):
    shapes, asked = [], {}

    def watched(function, **options):
        asked.update(options)

        def call(w_plus: torch.Tensor) -> torch.Tensor:
            shapes.append((tuple(w_plus.shape), w_plus.requires_grad))
            return function(w_plus)

        return call

    monkeypatch.setattr(torch, "compile", watched)
    settings = TrainingConfig(compile=True, cuda_graphs=True)  # graphs need CUDA: asked for in vain here
    synthesis = training_synthesis(tiny_networks().generator, settings, 3, nullcontext(), pytest.fail)
    assert shapes == [((3, N_LATENT, W_DIM), True)]
    assert asked == {"dynamic": False, "mode": "default"}
    synthesis(torch.zeros(3, N_LATENT, W_DIM))
    assert len(shapes) == 2


@pytest.mark.slow
def test_compiled_code_gives_the_same_gradients():
    """In a process of its own: the shape checks that wrap functions in tests are nothing to compile."""
    code = """
import torch
from contextlib import nullcontext
from hairclip.config import TrainingConfig
from hairclip.networks.stylegan2 import Generator
from hairclip.training.acceleration import training_synthesis

torch.manual_seed(0)
generator = Generator(8, 16, 16, 2, {4: 8, 8: 8}).requires_grad_(False)
compiled = training_synthesis(generator, TrainingConfig(compile=True), 2, nullcontext(), print)
found = []
for synthesis in (generator, compiled):
    w_plus = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    image = synthesis(w_plus)
    (gradient,) = torch.autograd.grad(image.square().sum(), w_plus)
    found.append((image, gradient))
torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
print("same", compiled is not generator)
"""
    paths = os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    told = result.stdout.splitlines()
    if len(told) > 1:
        pytest.skip(told[0])  # no C++ compiler on this machine
    assert told == ["same True"]

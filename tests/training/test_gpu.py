"""A CUDA device gives what a CPU gives: ``CUDA_VISIBLE_DEVICES=0 pytest -m gpu``."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hairclip.config import load_config
from hairclip.editing.editor import HairEditor
from hairclip.evaluation.speed.agreement import compare
from hairclip.evaluation.speed.clock import exact_float32
from hairclip.evaluation.speed.setting import build_setting
from hairclip.training.trainer import train
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("default"),  # of compilers and drivers, which differ from machine to machine
]


def figures(run: Path, kind: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.parametrize("noise", ["const", "none"])
def test_the_generator_and_its_gradients_are_those_of_a_cpu(noise: str):
    found = []
    for device in ("cpu", "cuda"):
        generator = tiny_networks().generator.to(device, torch.float64)
        for layer in generator.layers:
            layer.noise_strength.fill_(0.3)
        w_plus = torch.randn(3, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        w_plus = w_plus.to(device).requires_grad_()
        image = generator(w_plus, noise=noise)
        (gradient,) = torch.autograd.grad(image.square().sum(), w_plus)
        found.append((image.detach().cpu(), gradient.cpu()))
    for ours, expected in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_the_training_step_agrees_with_the_reference(tiny_world: Path):
    shared = ["data.cache_sources=true", "losses.contrast=0.5"]
    exact = build_setting(str(tiny_world), shared, device="cuda")
    variants = {"float32": exact}
    for precision in ("bfloat16", "float16"):
        overrides = [*shared, f"losses.precision={precision}", "training.channels_last=true"]
        variants[precision] = build_setting(str(tiny_world), overrides, dtype=precision, device="cuda")
    found = compare(variants, [exact.tasks(kind, 1)[0] for kind in ("text", "reference", "both")])
    assert found[0].is_exact
    assert all(one.passes for one in found)
    assert all(one.cosine > 0.98 for one in found)


def test_a_run_on_a_gpu_starts_where_one_on_a_cpu_does_and_resumes(tiny_world: Path, tmp_path: Path):
    fast = [
        "device=cuda",
        "training.precision=float16",
        "training.accumulate=2",
        "training.checkpoint_activations=true",
        "training.channels_last=true",
        "training.tf32=true",
        "losses.precision=bfloat16",
        "data.prefetch=true",
        "data.cache_sources=true",
        f"data.cache_folder={tmp_path / 'cache'}",
        "data.cache_budget_gb=1",
    ]
    for steps in (1, 4):  # the second run resumes
        train(load_config(tiny_world, [*fast, f"training.steps={steps}"]), tmp_path / "gpu")
    with exact_float32(torch.device("cuda")):
        train(load_config(tiny_world, ["device=cuda"]), tmp_path / "exact")
    train(load_config(tiny_world), tmp_path / "cpu")
    cpu, exact, gpu = (figures(tmp_path / name, "train") for name in ("cpu", "exact", "gpu"))
    assert [line["step"] for line in gpu] == [1, 2, 3, 4]
    assert [line["total"] for line in exact] == pytest.approx([line["total"] for line in cpu], rel=1e-3)
    assert gpu[0]["total"] == pytest.approx(cpu[0]["total"], rel=0.05)
    assert all(math.isfinite(line["total"]) for line in gpu)


@pytest.mark.parametrize("graphs", [False, True])
def test_a_compiled_run_learns_the_same(tiny_world: Path, tmp_path: Path, graphs: bool):
    """In a process of its own: the shape checks that wrap functions in tests are nothing to compile."""
    compiled = ["training.compile=true", f"training.cuda_graphs={str(graphs).lower()}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    for name, settings in (("plain", []), ("compiled", compiled)):
        arguments = ["-m", "hairclip", "train", "--config", str(tiny_world), "--out", str(tmp_path / name)]
        arguments += ["device=cuda", "training.tf32=false", *settings]
        result = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert "does not work here" not in result.stderr + result.stdout
    plain, fast = figures(tmp_path / "plain", "train"), figures(tmp_path / "compiled", "train")
    assert [line["total"] for line in fast] == pytest.approx([line["total"] for line in plain], rel=1e-2)


def test_an_edit_on_a_gpu_is_that_of_a_cpu():
    found = []
    for device in ("cpu", "cuda"):
        networks = tiny_networks()
        w_plus = torch.randn(1, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(3))
        portrait = networks.generator(w_plus).clamp(-1, 1)
        for network in vars(networks).values():
            if isinstance(network, torch.nn.Module):
                network.to(device)
        with exact_float32(torch.device("cuda")):
            found.append(HairEditor(networks, groups=(3, 5)).edit(portrait, "bob cut", color="red"))
    cpu, gpu = found
    torch.testing.assert_close(gpu.w_plus.cpu(), cpu.w_plus, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(gpu.synthesized.cpu(), cpu.synthesized, rtol=1e-3, atol=1e-3)

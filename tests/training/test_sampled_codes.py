"""Codes drawn from the generator: the same wherever and whenever they are read, and spread as the generator's are."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hairclip.training.latents import LatentSet
from hairclip.training.sampled_codes import SampledCodes, Stream
from hairclip.training.setup import build_parts
from hairclip.training.trainer import train
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks
from tests.helpers.tiny_run import tiny_config
from tests.training.test_trainer import command, environment, same, weights

SAMPLED = ("data.latents=sampled", "data.sampled_count=40", "data.sampled_validation_count=10")


def codes(count: int = 50, psi: float = 0.7, seed: int = 0, stream: Stream = "train") -> SampledCodes:
    return SampledCodes(tiny_networks().generator, count=count, truncation=psi, seed=seed, stream=stream)


def test_a_code_follows_from_seed_and_number_whatever_the_batch():
    everything = LatentSet(codes())[range(50)]
    assert everything.shape == (50, N_LATENT, W_DIM)
    assert torch.equal(everything[:, :1].expand_as(everything), everything)
    again = LatentSet(codes(count=1000))
    assert torch.equal(again[[7, 41, 7]], everything[[7, 41, 7]])
    assert torch.equal(again.subset([41, 3])[[0]], everything[[41]])
    assert not torch.equal(LatentSet(codes(seed=1))[[7]], everything[[7]])
    with pytest.raises(IndexError, match="code 50 of 50"):
        LatentSet(codes())[[50]]


def test_validation_codes_are_others():
    training, held_out = (LatentSet(codes(stream=stream))[range(50)].flatten(1) for stream in ("train", "val"))
    assert torch.cdist(training, held_out).min() > 1e-3


@pytest.mark.parametrize("psi", [0.7, 1.0])
def test_they_are_spread_as_the_generators_truncated_latents(psi: float):
    generator = tiny_networks().generator
    generator.latent_avg = generator.mean_latent(20_000, torch.Generator().manual_seed(5))
    drawn = LatentSet(SampledCodes(generator, count=4000, truncation=psi, seed=3, stream="train"))[range(4000)][:, 0]
    z = torch.randn(4000, generator.z_dim, generator=torch.Generator().manual_seed(1))
    expected = generator.truncate(generator.mapping(z), psi)
    spread = expected.std(dim=0)
    assert ((drawn.mean(dim=0) - expected.mean(dim=0)).abs() / spread).max() < 0.1  # five standard errors are 0.11
    torch.testing.assert_close(drawn.std(dim=0), spread, rtol=0.08, atol=0)


def test_a_generator_without_an_average_is_given_one():
    generator = tiny_networks().generator
    assert generator.latent_avg is None
    averaged = copy.deepcopy(generator)
    averaged.latent_avg = averaged.mean_latent(10_000, torch.Generator().manual_seed(0))
    first, second = (
        SampledCodes(one, count=3, truncation=0.5, seed=0, stream="train") for one in (generator, averaged)
    )
    assert torch.equal(LatentSet(first)[range(3)], LatentSet(second)[range(3)])


def test_the_digest_is_of_all_that_they_follow_from():
    settings = [{}, {"count": 51}, {"psi": 0.5}, {"seed": 1}, {"stream": "val"}]
    digests = [LatentSet(codes(**setting)).digest() for setting in settings]
    assert len(set(digests)) == len(digests)
    assert LatentSet(codes()).digest() == digests[0]
    assert LatentSet(codes()).subset([1]).digest() != digests[0]


def test_a_configuration_trains_on_them(tmp_path: Path):
    built = build_parts(tiny_config(tmp_path, *SAMPLED), torch.device("cpu"))
    assert (len(built.training.latents), len(built.validation.latents)) == (40, 10)
    built = build_parts(tiny_config(tmp_path, "data.latents=sampled"), torch.device("cpu"))
    assert (len(built.training.latents), len(built.validation.latents)) == (5000, 1000)
    # Nothing labels them: the words are those that the bundle knows.
    assert (built.sampler.hairstyles, built.sampler.colors) == (["afro", "bob cut", "bald"], ["red", "blond"])
    built = build_parts(tiny_config(tmp_path, "data.validation_latents=sampled"), torch.device("cpu"))
    assert (len(built.training.latents), len(built.validation.latents)) == (16, 1000)


def test_a_resumed_run_sees_the_codes_of_the_uninterrupted_one(tmp_path: Path):
    for folder in ("whole", "resumed"):
        (tmp_path / folder).mkdir()
    whole = train(tiny_config(tmp_path / "whole", *SAMPLED), tmp_path / "a")
    train(tiny_config(tmp_path / "resumed", *SAMPLED, "training.steps=2"), tmp_path / "b")
    assert same(train(tiny_config(tmp_path / "resumed", *SAMPLED), tmp_path / "b"), whole)


@pytest.mark.slow
def test_two_processes_train_on_the_codes_of_one(tmp_path: Path):
    whole = train(tiny_config(tmp_path, *SAMPLED), tmp_path / "alone")
    half = weights(train(tiny_config(tmp_path, *SAMPLED, "training.steps=1"), tmp_path / "start"))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = command(tmp_path / "tiny.yaml", tmp_path / "together", *SAMPLED)
    done = subprocess.run(
        [sys.executable, *launch, *arguments], env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    one, two = weights(whole), weights(tmp_path / "together" / "mapper.safetensors")
    moved = max(float(np.abs(one[key] - half[key]).max()) for key in one)
    assert max(float(np.abs(one[key] - two[key]).max()) for key in one) < 1e-2 * moved

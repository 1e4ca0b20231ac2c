"""Whole runs on tiny random networks: resume bit for bit, repeatable validation, a clean stop, several processes."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from hairclip.common.device import pick_device
from hairclip.common.errors import HairclipError
from hairclip.config import load_config
from hairclip.pretrained import (
    load_generator,
    load_hairclip,
    load_latent_labels,
    load_latents,
    load_mapper,
    save_latents,
    save_network,
)
from hairclip.training import trainer
from hairclip.training.checkpoint import list_checkpoints, read_checkpoint
from hairclip.training.latents import LatentSet
from hairclip.training.setup import build_parts
from hairclip.training.tasks import Task
from hairclip.training.trainer import edit_and_judge, train, validate, why_not_finite
from tests.helpers.tiny_networks import CLIP_CONFIG
from tests.helpers.tiny_run import weights, write_tiny_world

REPOSITORY = Path(__file__).resolve().parents[2]
BEST = "mapper-best.safetensors"
CPU = torch.device("cpu")


def command(world: Path, run: Path, *more: str) -> list[str]:
    return [str(REPOSITORY / "scripts" / "train.py"), "--config", str(world), "--out", str(run), *more]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def same(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def figures(run: Path, kind: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.parametrize("cache", ["false", "true"])
def test_four_steps_are_two_and_two_more(tiny_world: Path, tmp_path: Path, cache: str):
    settings = [
        "optimizer.ema=0.9",
        "optimizer.name=ranger",
        "training.precision=bfloat16",
        f"data.cache_sources={cache}",
    ]
    whole = train(load_config(tiny_world, settings), tmp_path / "whole")
    train(load_config(tiny_world, [*settings, "training.steps=2"]), tmp_path / "parts")
    assert not same(whole, tmp_path / "parts" / "mapper.safetensors")
    parts = train(load_config(tiny_world, settings), tmp_path / "parts", resume="auto")
    assert same(whole, parts)
    assert figures(tmp_path / "whole", "validation") == figures(tmp_path / "parts", "validation")
    first, second = (torch.load(run / "checkpoint-00000004.pt") for run in (tmp_path / "whole", tmp_path / "parts"))
    for name, state in first["optimizer"]["state"].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(second["optimizer"]["state"][name][key]))


def by_step(losses: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the n-th validation of a run find the n-th loss of these, given by the step after which it happens."""
    waiting = iter(losses.values())
    monkeypatch.setattr(trainer, "validate", lambda *arguments: {"total": next(waiting)})


def test_the_best_mapper_is_kept_beside_the_latest(
    tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    settings = ["validation.every=1", "training.checkpoint_every=1", "training.keep_checkpoints=4", "optimizer.ema=0.5"]
    by_step({1: 3.0, 2: 1.0, 3: float("nan"), 4: 2.0}, monkeypatch)
    latest = train(load_config(tiny_world, settings), tmp_path / "run")
    assert f"lowest validation loss: 1.0000 after step 2, in {tmp_path / 'run' / BEST}" in capsys.readouterr().err
    by_step({1: 3.0, 2: 1.0}, monkeypatch)
    two = train(load_config(tiny_world, [*settings, "training.steps=2"]), tmp_path / "two")
    assert same(tmp_path / "run" / BEST, two)
    assert not same(tmp_path / "run" / BEST, latest)
    load_hairclip(tmp_path / "run" / BEST)  # it names its generator and CLIP too
    assert not list((tmp_path / "run").glob(".*.partial"))


def test_the_best_mapper_survives_resume_bit_for_bit(tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = ["validation.every=1", "training.checkpoint_every=1", "training.keep_checkpoints=4"]
    run, best = tmp_path / "run", tmp_path / "run" / BEST
    by_step({1: 1.5, 2: 1.0, 3: 0.5}, monkeypatch)
    train(load_config(tiny_world, [*settings, "training.steps=3"]), run)
    third = weights(best)
    by_step({1: 1.5, 2: 1.0}, monkeypatch)
    second = weights(train(load_config(tiny_world, [*settings, "training.steps=2"]), tmp_path / "two"))

    # from the last checkpoint: a higher loss changes nothing, though the file was lost meanwhile
    best.unlink()
    by_step({4: 0.6}, monkeypatch)
    train(load_config(tiny_world, settings), run)
    assert all(np.array_equal(weights(best)[key], third[key]) for key in third)
    # from an earlier one, into another folder: what was best then, not what came later
    by_step({3: 1.1, 4: 1.2}, monkeypatch)
    train(load_config(tiny_world, settings), tmp_path / "fork", resume=str(run / "checkpoint-00000002.pt"))
    assert all(np.array_equal(weights(tmp_path / "fork" / BEST)[key], second[key]) for key in second)
    # a lower loss replaces it
    by_step({3: 1.1, 4: 0.9}, monkeypatch)
    latest = train(load_config(tiny_world, settings), tmp_path / "third", resume=str(run / "checkpoint-00000002.pt"))
    assert same(tmp_path / "third" / BEST, latest)


def test_another_validation_judges_the_best_mapper_anew(tiny_world: Path, tmp_path: Path):
    settings = ["training.steps=2", "validation.every=1"]
    train(load_config(tiny_world, settings), tmp_path)
    other = load_config(tiny_world, [*settings, "validation.count=3", "training.steps=3"])
    train(other, tmp_path)
    kept = torch.load(tmp_path / "checkpoint-00000003.pt")["best"]
    parts = build_parts(other, CPU)
    parts.mapper.load_state_dict(kept["weights"])
    assert kept["loss"] == validate(parts.mapper, parts, other.validation.batch_size, nullcontext())["total"]


def test_a_run_leaves_what_it_says(tiny_world: Path, tmp_path: Path):
    run = tmp_path / "run"
    config = load_config(tiny_world, ["optimizer.ema=0.9"])
    path = train(config, run)
    assert [line["step"] for line in figures(run, "train")] == [1, 2, 3, 4]
    assert [line["step"] for line in figures(run, "validation")] == [2, 4]
    assert load_config(run / "config.yaml") == load_config(tiny_world, ["optimizer.ema=0.9"])
    assert sorted(path.name for path in (run / "images").iterdir()) == ["00000002.jpg", "00000004.jpg"]
    mapper, generator, clip = load_hairclip(path)  # names its generator and CLIP
    assert mapper.notes["training"] == config.model_dump()
    assert mapper.notes["step"] == 4
    assert (mapper.n_latent, mapper.w_dim, mapper.condition_dim) == (generator.n_latent, generator.w_dim, clip.width)
    assert mapper.absent == "zero"


def test_a_finished_run_stays_and_never_starts_anew(tiny_world: Path, tmp_path: Path):
    config = load_config(tiny_world, ["training.steps=1"])
    path = train(config, tmp_path)
    before = path.read_bytes()
    train(config, tmp_path)
    assert path.read_bytes() == before
    other = load_config(tiny_world, ["training.steps=1", "optimizer.lr=0.1"])
    with pytest.raises(HairclipError, match="optimizer.lr"):
        train(other, tmp_path)
    train(other, tmp_path, resume="never")
    assert path.read_bytes() != before
    assert [line["lr"] for line in figures(tmp_path, "train")] == [0.1]


def test_batches_mix_tasks_and_sources_are_reused(tiny_world: Path):
    parts = build_parts(load_config(tiny_world, ["data.cache_sources=true"]), CPU)
    tasks = [Task(0, "afro", None), Task(1, None, 0), Task(0, 1, "red"), Task(2, None, None)]
    sample = parts.training.collate(tasks)
    assert sample.batch.condition.has_hairstyle.tolist() == [True, False, True, False]
    assert sample.batch.condition.has_color.tolist() == [False, True, True, False]
    assert sample.batch.hairstyle_is_text.tolist() == [True, False, False, False]
    assert sample.batch.color_is_text.tolist() == [False, False, True, False]
    assert torch.equal(sample.source.images[0], sample.source.images[2])
    again = parts.training.collate(tasks)
    assert torch.equal(sample.source.images, again.source.images)
    uncached = build_parts(load_config(tiny_world), CPU).training.collate(tasks)
    torch.testing.assert_close(sample.source.images, uncached.source.images, atol=1e-5, rtol=1e-5)


def test_a_reference_without_hair_gives_no_color(tiny_world: Path):
    parts = build_parts(load_config(tiny_world), CPU)
    parts.networks.parser.final.bias.data[13] = -100.0
    sample = parts.training.collate([Task(0, None, 0), Task(1, 0, None)])
    assert sample.batch.condition.has_color.tolist() == [False, False]
    assert sample.batch.condition.has_hairstyle.tolist() == [False, True]


def test_only_the_mapper_gets_gradients(tiny_world: Path):
    parts = build_parts(load_config(tiny_world), CPU)
    sample = parts.training.collate(parts.sampler.sample(4, 0))
    output, edited = edit_and_judge(parts.mapper, parts.networks.generator, parts.loss, sample, nullcontext())
    output.total.backward()
    assert edited.shape == sample.source.images.shape
    assert all(parameter.grad is not None for parameter in parts.mapper.parameters())
    networks = (parts.networks.generator, parts.networks.clip, parts.networks.parser, parts.networks.identity)
    assert all(parameter.grad is None for network in networks for parameter in network.parameters())


def test_validation_repeats_and_holds_out(tiny_world: Path):
    parts = build_parts(load_config(tiny_world), CPU)
    first = validate(parts.mapper, parts, 4, nullcontext())
    assert first == validate(parts.mapper, parts, 4, nullcontext())
    assert first["total"] > 0
    assert len(parts.training.latents) == 16
    assert len(parts.validation.latents) == 4
    assert [task.latent for task in parts.validation_tasks] == [0, 1, 2, 3, 0, 1]


def test_vocabulary_comes_from_the_labels(tiny_world: Path):
    parts = build_parts(load_config(tiny_world), CPU)
    assert list(parts.sampler.hairstyles) == ["afro", "bob cut", "bald"]
    assert list(parts.sampler.colors) == ["red", "blond"]
    parts = build_parts(load_config(tiny_world, ["data.hairstyles=[mohawk]", "losses.contrast=0.5"]), CPU)
    assert list(parts.sampler.hairstyles) == ["mohawk"]
    assert [len(words) for words in (parts.loss.hairstyle_words, parts.loss.color_words)] == [1, 2]


def test_the_contrast_is_trained_with_and_logged(tiny_world: Path, tmp_path: Path):
    train(load_config(tiny_world), tmp_path / "without")
    train(load_config(tiny_world, ["losses.contrast=0.5"]), tmp_path / "with")
    assert not same(tmp_path / "without" / "mapper.safetensors", tmp_path / "with" / "mapper.safetensors")
    asked = [line["contrast_hairstyle"] for line in figures(tmp_path / "with", "validation")]
    assert all(value > 0 for value in asked)
    assert "contrast_hairstyle" not in figures(tmp_path / "without", "validation")[0]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training.precision=float16", "float16 needs a CUDA device"),
        ("mapper.groups=[5, 3]", "mapper: groups"),
        ("device=tpu", "device 'tpu' is unknown"),
        ("device=cuda", "is not there"),
        ("networks.clip=none.pt", "none.pt"),
        ("networks.bundle=nowhere", "nowhere"),
        ("optimizer.lr=1e30", "not finite"),
        ("losses.precision=float16", "losses.precision: float16 needs a CUDA device"),
        ("losses.resolution=64", "more than the generator's 32 px"),
        ("training.accumulate=3", "4 samples cannot be shared among 1 processes in 3 parts"),
    ],
)
def test_mistakes_are_told(tiny_world: Path, tmp_path: Path, setting: str, words: str):
    with pytest.raises(HairclipError, match=words.replace("(", r"\(")):
        train(load_config(tiny_world, [setting]), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_with_a_checkpoint(tiny_world: Path, tmp_path: Path, number: signal.Signals):
    run = tmp_path / "run"
    settings = ["training.steps=100000", "training.checkpoint_every=50000", "validation.every=100000"]
    arguments = command(tiny_world, run, *settings, "logging.images_every=100000")
    process = subprocess.Popen([sys.executable, *arguments], env=environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").is_file() or not figures(run, "train"):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert f"stopped by {number.name}" in errors
    (saved,) = run.glob("checkpoint-*.pt")
    step = int(saved.stem.split("-")[1])
    assert 0 < step < 100000
    assert torch.load(saved)["step"] == step
    load_mapper(run / "mapper.safetensors")


def test_a_dry_run_needs_no_file(tmp_path: Path):
    channels = {str(size): 8 for size in (4, 8, 16, 32)}
    architectures = {
        "generator": {"size": 32, "w_dim": 16, "z_dim": 16, "mapping_layers": 2, "channels": channels},
        "clip": {"model": CLIP_CONFIG},
        "parser": {"class": "UNetParser", "filters": [4, 4, 8, 8, 8], "input_size": 32},
        "identity": {"units": [1, 1], "widths": [8, 8], "input_size": 32, "embedding": 12, "frame": 32},
    }
    settings = {
        "dry_run": True,
        "device": "cpu",
        "networks": {"architectures": architectures},
        "mapper": {"groups": [3, 5]},
        "training": {"steps": 1, "batch_size": 2},
        "validation": {"count": 2},
        "logging": {"tensorboard": False},
    }
    (tmp_path / "dry.yaml").write_text(yaml.safe_dump(settings))
    config = load_config(tmp_path / "dry.yaml")
    load_mapper(train(config, tmp_path / "run"))
    parts = build_parts(config, CPU)
    assert (len(parts.sampler.hairstyles), len(parts.sampler.colors)) == (44, 12)


def close(first: Path, second: Path, tolerance: float) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(np.allclose(a[key], b[key], rtol=0, atol=tolerance) for key in a)


@pytest.mark.parametrize("settings", [[], ["optimizer.grad_clip=1.0", "optimizer.ema=0.9"]])
def test_accumulated_parts_are_the_whole_batch(tiny_world: Path, tmp_path: Path, settings: list[str]):
    shared = ["optimizer.name=ranger", "training.steps=2", "data.prefetch=true", *settings]
    whole = train(load_config(tiny_world, shared), tmp_path / "whole")
    parts = train(load_config(tiny_world, [*shared, "training.accumulate=4"]), tmp_path / "parts")
    start = build_parts(load_config(tiny_world, shared), CPU).mapper.state_dict()
    moved = max(float(np.abs(value - start[key].numpy()).max()) for key, value in weights(whole).items())
    assert close(whole, parts, tolerance=1e-2 * moved)
    for a, b in zip(figures(tmp_path / "whole", "train"), figures(tmp_path / "parts", "train"), strict=True):
        assert {key: value for key, value in a.items() if key not in ("kind", "data_wait")} == pytest.approx(
            {key: value for key, value in b.items() if key not in ("kind", "data_wait")}, rel=1e-3, abs=1e-5
        )


def test_prefetching_and_reporting_change_nothing(tiny_world: Path, tmp_path: Path):
    plain = train(load_config(tiny_world), tmp_path / "plain")
    ahead = train(load_config(tiny_world, ["data.prefetch=true", "logging.every=2"]), tmp_path / "ahead")
    assert same(plain, ahead)
    assert all(0 <= line["data_wait"] <= 1 for line in figures(tmp_path / "plain", "train"))


def test_all_that_saves_time_and_memory_goes_together(tiny_world: Path, tmp_path: Path):
    settings = [
        "training.precision=bfloat16",
        "training.float32_until=8",
        "training.accumulate=2",
        "training.checkpoint_activations=true",
        "training.channels_last=true",
        "training.tf32=true",
        "losses.precision=bfloat16",
        "losses.resolution=32",
        "data.prefetch=true",
        "data.cache_sources=true",
        f"data.cache_folder={tmp_path / 'cache'}",
        "data.cache_budget_gb=1",
    ]
    for steps in (1, 2):  # the second run resumes, and finds the sources of the first
        train(load_config(tiny_world, [*settings, f"training.steps={steps}"]), tmp_path / "fast")
    train(load_config(tiny_world, ["training.steps=1"]), tmp_path / "plain")
    fast, plain = figures(tmp_path / "fast", "train"), figures(tmp_path / "plain", "train")
    assert [line["step"] for line in fast] == [1, 2]
    assert fast[0]["total"] == pytest.approx(plain[0]["total"], rel=0.05)


def test_a_gpu_has_its_number(monkeypatch: pytest.MonkeyPatch):
    """Without it the thread that makes batches could not be told to work on it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda") == torch.device("cuda", 0)
    assert pick_device("cuda", local_rank=1) == pick_device("cuda:1") == torch.device("cuda", 1)


def test_a_run_goes_on_where_only_speed_differs(tiny_world: Path, tmp_path: Path):
    train(load_config(tiny_world, ["training.steps=2"]), tmp_path)
    with pytest.raises(HairclipError, match="losses.precision=float32, but now losses.precision=bfloat16"):
        train(load_config(tiny_world, ["losses.precision=bfloat16"]), tmp_path)
    train(load_config(tiny_world, ["training.compile=false", "training.accumulate=2"]), tmp_path)
    assert torch.load(tmp_path / "checkpoint-00000004.pt")["step"] == 4


def test_files_are_known_by_their_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "world").mkdir()
    world = write_tiny_world(tmp_path / "world")
    codes = world.parent / "latents.safetensors"
    moved = tmp_path / "moved.safetensors"
    run = tmp_path / "run"
    train(load_config(world, ["training.steps=2"]), run)
    codes.rename(moved)
    train(load_config(world, ["training.steps=3", f"data.latents={moved}"]), run)
    assert "continuing from" in capsys.readouterr().err
    assert list_checkpoints(run)[-1].name == "checkpoint-00000003.pt"

    tensors, labels = load_latents(moved), load_latent_labels(moved)
    save_latents(codes, tensors + 1, labels)
    with pytest.raises(HairclipError, match="other content of data.latents"):
        train(load_config(world, ["training.steps=4"]), run)
    moved.rename(codes)
    generator = load_generator(world.parent / "generator.safetensors")
    with torch.no_grad():
        next(generator.parameters()).add_(0.1)
    save_network(world.parent / "generator.safetensors", "generator", generator)
    with pytest.raises(HairclipError, match="other content of networks.generator"):
        train(load_config(world, ["training.steps=4"]), run)


def test_what_is_not_a_number_is_told_by_its_place(tmp_path: Path):
    world = write_tiny_world(tmp_path)
    damaged = load_latents(tmp_path / "latents.safetensors").clone()
    damaged[5, 0, 0] = float("nan")
    parts = build_parts(load_config(world), CPU)
    assert "optimizer.lr" in why_not_finite(parts)
    parts.networks.parser.final.bias.data[0] = float("inf")
    assert why_not_finite(parts).startswith("networks.parser has numbers that are not finite in final.bias")
    parts = build_parts(load_config(world), CPU)
    parts = replace(parts, training=replace(parts.training, latents=LatentSet(damaged)))
    assert why_not_finite(parts).startswith("code 5 of data.latents")


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    whole = train(load_config(tiny_world), tmp_path / "whole")
    train(load_config(tiny_world, ["training.checkpoint_every=1", "training.steps=3"]), tmp_path / "run")
    newest = tmp_path / "run" / "checkpoint-00000003.pt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    (tmp_path / "run" / "metrics.jsonl").write_bytes(b"\xff" * 100)
    assert same(train(load_config(tiny_world), tmp_path / "run"), whole)
    told = capsys.readouterr().err
    assert f"{newest} cannot be read as a checkpoint" in told
    assert "at step 2" in told


def test_a_run_that_is_done_says_so(tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    train(load_config(tiny_world, ["training.steps=2"]), tmp_path)
    train(load_config(tiny_world, ["training.steps=1"]), tmp_path)
    assert "2 steps are done already: training.steps=1 asks for no more" in capsys.readouterr().err
    train(load_config(tiny_world, ["training.steps=2"]), tmp_path)
    assert "all 2 steps are done already" in capsys.readouterr().err


@pytest.mark.slow
def test_a_disk_that_fills_up_costs_no_more_than_the_steps_since_the_last_checkpoint(tiny_world: Path, tmp_path: Path):
    """A child process may write files up to a size only, as if the disk were full from there on."""
    settings = ["logging.tensorboard=true", "validation.every=1", "training.checkpoint_every=1"]
    whole = train(load_config(tiny_world, settings), tmp_path / "whole")
    largest = max(path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file())
    rooms = [0, 300, 2000, largest // 4, largest // 2, largest - 2000, largest - 10]
    script = f"""
import resource, shutil, signal, torch
from pathlib import Path
from hairclip.common.errors import HairclipError
from hairclip.config import load_config
from hairclip.training.trainer import train
torch.set_num_threads({torch.get_num_threads()})  # as many as here, or sums differ in their last bits
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
place, world, settings = Path({str(tmp_path)!r}), {str(tiny_world)!r}, {settings!r}
train(load_config(world, [*settings, "training.steps=2"]), place / "half")
for room in {rooms}:
    run = shutil.copytree(place / "half", place / str(room))
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        train(load_config(world, settings), run)
    except HairclipError as error:
        told = str(error)
    else:
        told = ""
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    (run / "told").write_text(told)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for run in (tmp_path / str(room) for room in rooms):
        told = (run / "told").read_text()
        assert told.startswith("cannot write ")
        assert "\n" not in told
        assert not list(run.rglob("*.partial"))
        assert len(list_checkpoints(run)) == 2
        assert same(train(load_config(tiny_world, settings), run), whole)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "torchrun"])
def test_processes_stop_together_with_a_checkpoint(tiny_world: Path, tmp_path: Path, victim: str):
    settings = ["training.steps=100000", "training.checkpoint_every=50000", "validation.every=100000"]
    run = tmp_path / "run"
    arguments = command(tiny_world, run, *settings, "logging.images_every=100000")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    torchrun = subprocess.Popen(launch, env=environment(), stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 240
    while not (run / "metrics.jsonl").is_file() or not figures(run, "train"):
        assert torchrun.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    if victim == "torchrun":
        torchrun.kill()
    else:
        children = subprocess.run(["pgrep", "-P", str(torchrun.pid)], capture_output=True, text=True).stdout.split()
        os.kill(int(children[-1]), signal.SIGTERM)
    code = torchrun.wait(timeout=120)
    assert code == (-signal.SIGKILL if victim == "torchrun" else 1)  # torchrun returns 1 where a process did not finish
    while not list_checkpoints(run):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    (saved,) = list_checkpoints(run)
    assert 0 < read_checkpoint(saved)["step"] < 100000
    seen = len(figures(run, "train"))
    time.sleep(3)
    assert len(figures(run, "train")) == seen


@pytest.mark.slow
def test_two_processes_go_on_as_one_would(tiny_world: Path, tmp_path: Path):
    settings = ["optimizer.name=ranger", "optimizer.ema=0.9", "optimizer.grad_clip=1.0"]
    alone, together = tmp_path / "alone", tmp_path / "together"
    whole = train(load_config(tiny_world, settings), alone)
    half = train(load_config(tiny_world, [*settings, "training.steps=2"]), together)
    before = weights(half)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = command(tiny_world, together, *settings, "training.accumulate=2")
    result = subprocess.run(
        [sys.executable, *launch, *arguments], env=environment(), capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    moved = max(float(np.abs(value - before[key]).max()) for key, value in weights(whole).items())
    assert close(whole, together / "mapper.safetensors", tolerance=1e-2 * moved)
    # one process writes, about all samples
    assert result.stdout.count("mapper: ") == 1
    for a, b in zip(figures(alone, "train"), figures(together, "train"), strict=True):
        del a["data_wait"], b["data_wait"], a["kind"], b["kind"]
        assert a == pytest.approx(b, rel=1e-3, abs=1e-5)

"""The text encoder learns what labels say of codes, and a mapper learns the text encoder's differences."""

from pathlib import Path

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.config import load_config
from hairclip.networks.mapper import HairCondition
from hairclip.networks.text_encoder import TextEncoder
from hairclip.pretrained import load_text_encoder, save_latents, save_network
from hairclip.training.latents import LatentSet
from hairclip.training.setup import build_parts
from hairclip.training.teacher import OwnWords, teach
from hairclip.training.text_encoder import fit_text_encoder
from hairclip.training.trainer import train
from tests.helpers.tiny_networks import N_LATENT, W_DIM, WIDTH, tiny_networks
from tests.helpers.tiny_run import COLORS, STYLES, weights, write_tiny_world

CPU = torch.device("cpu")


def labeled_codes() -> LatentSet:
    """Codes that follow from their labels but for a little noise."""
    random = torch.Generator().manual_seed(0)
    of_style, of_color = torch.randn(3, N_LATENT, W_DIM, generator=random), torch.randn(2, N_LATENT, W_DIM)
    rows = [(i % 3, i % 2) for i in range(24)]
    codes = torch.stack([of_style[a] + of_color[b] for a, b in rows])
    codes = codes + 0.01 * torch.randn(codes.shape, generator=random)
    return LatentSet(codes, tuple(STYLES[a] for a, _ in rows), tuple(COLORS[b] for _, b in rows))


def fit(latents: LatentSet, folder: Path, steps: int, seed: int = 0) -> TextEncoder:
    clip = tiny_networks().clip
    return fit_text_encoder(latents, clip, folder, CPU, steps=steps, batch=16, width=32, components=6, seed=seed)


def state(network: torch.nn.Module) -> list[torch.Tensor]:
    return list(network.state_dict().values())


def test_the_text_encoder_learns_the_codes_of_the_words(tmp_path: Path):
    latents = labeled_codes()
    encoder = fit(latents, tmp_path, 500)
    assert encoder.hairstyles == ("afro", "bald", "bob cut")
    assert encoder.colors == ("blond", "red")
    clip, asked = tiny_networks().clip, torch.ones(1, dtype=torch.bool)
    codes, embed = latents[range(6)], lambda text: clip.encode_text([text])
    assert latents.hairstyles is not None
    assert latents.colors is not None
    with torch.no_grad():
        found = torch.cat(
            [
                encoder(HairCondition(embed(f"{style} hairstyle"), embed(f"{color} hair"), asked, asked))
                for style, color in zip(latents.hairstyles[:6], latents.colors[:6], strict=True)
            ]
        )
    errors = torch.cdist(found.flatten(1), codes.flatten(1))
    assert errors.argmin(dim=1).tolist() == list(range(6))  # each text is nearest to its own code


def test_a_stopped_training_of_the_text_encoder_goes_on_as_if_it_had_not(tmp_path: Path):
    latents = labeled_codes()
    fit(latents, tmp_path / "parts", 4)
    parts, whole = fit(latents, tmp_path / "parts", 8), fit(latents, tmp_path / "whole", 8)
    again = fit(latents, tmp_path / "again", 8)
    assert all(torch.equal(a, b) for a, b in zip(state(whole), state(again), strict=True))
    assert len(state(parts)) == len(state(whole))
    assert any(not torch.equal(a, b) for a, b in zip(state(whole), state(fit(latents, tmp_path / "s", 8, 1))))


def test_codes_without_labels_teach_no_text_encoder(tmp_path: Path):
    with pytest.raises(HairclipError, match="have no labels hairstyle and color"):
        fit(LatentSet(torch.randn(4, N_LATENT, W_DIM)), tmp_path, 1)


def write_teacher(folder: Path, **sizes: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = {"n_latent": N_LATENT, "w_dim": W_DIM, "condition_dim": WIDTH, "width": 8, "components": 6, **sizes}
        encoder = TextEncoder(**made, hairstyles=STYLES, colors=COLORS)
        encoder.fit_components(torch.randn(20, encoder.n_latent, encoder.w_dim))
    save_network(folder / "teacher.safetensors", "text_encoder", encoder)
    return folder / "teacher.safetensors"


def test_the_mapper_comes_nearer_to_the_differences_of_its_teacher(tmp_path: Path):
    world = write_tiny_world(tmp_path)
    settings = [f"training.teacher={write_teacher(tmp_path)}", "mapper.output=linear", "mapper.scale=0.4"]
    parts = build_parts(load_config(world, settings), CPU)
    assert parts.teacher is not None
    latents, words = parts.training.latents, parts.training.encoder
    tasks = parts.sampler.sample(48, 9)
    numbers, batch = [task.latent for task in tasks], parts.training.conditions(tasks)
    on = torch.ones(48, dtype=torch.bool)
    assert latents.hairstyles is not None
    assert latents.colors is not None
    own = HairCondition(
        words.hairstyle_words([latents.hairstyles[i] for i in numbers]),
        words.color_words([latents.colors[i] for i in numbers]),
        on, on,
    )  # fmt: skip
    known = words.hairstyle_words(STYLES), words.color_words(COLORS)

    @torch.no_grad()
    def error() -> float:
        lesson = parts.teacher.difference(own, batch.in_words(*known), (3, 5))  # type: ignore[union-attr]
        moves = parts.mapper(parts.training.codes(numbers), batch.condition)
        return float((moves - lesson).square().mean() / lesson.square().mean())

    before = error()
    teach(parts.mapper, parts.teacher, parts.training, parts.sampler, steps=60, seed=0)
    assert error() < 0.7 * before


def test_a_run_starts_from_what_the_teacher_taught(tmp_path: Path):
    world, teacher = write_tiny_world(tmp_path), write_teacher(tmp_path)
    taught = ["training.steps=1", f"training.teacher={teacher}", "training.teacher_steps=3"]
    plain = weights(train(load_config(world, ["training.steps=1"]), tmp_path / "plain"))
    first = weights(train(load_config(world, taught), tmp_path / "taught"))
    second = weights(train(load_config(world, taught), tmp_path / "again"))
    assert any((plain[name] != first[name]).any() for name in plain)
    assert all((first[name] == second[name]).all() for name in first)


def test_a_run_that_goes_on_learns_nothing_twice(tmp_path: Path):
    world, teacher = write_tiny_world(tmp_path), write_teacher(tmp_path)
    taught = [f"training.teacher={teacher}", "training.teacher_steps=3", "training.steps=2"]
    whole = weights(train(load_config(world, taught), tmp_path / "whole"))
    train(load_config(world, [*taught, "training.steps=1"]), tmp_path / "parts")
    parts = weights(train(load_config(world, taught), tmp_path / "parts"))
    assert all((whole[name] == parts[name]).all() for name in whole)


def test_a_teacher_that_does_not_fit_is_refused_with_one_sentence(tmp_path: Path):
    world = write_tiny_world(tmp_path)
    small = write_teacher(tmp_path, n_latent=4)
    with pytest.raises(HairclipError, match=r"training\.teacher: it gives codes of \(4, 16\)"):
        build_parts(load_config(world, [f"training.teacher={small}"]), CPU)


def test_a_teacher_of_another_generator_is_refused_with_one_sentence(tmp_path: Path):
    world, teacher = write_tiny_world(tmp_path), write_teacher(tmp_path)
    save_network(teacher, "text_encoder", load_text_encoder(teacher), notes={"contents": {"generator": "another"}})
    with pytest.raises(HairclipError, match=r"training\.teacher was trained with another generator .* or null\."):
        build_parts(load_config(world, [f"training.teacher={teacher}"]), CPU)


def test_clip_reads_the_words_of_codes_without_labels(tmp_path: Path):
    world = write_tiny_world(tmp_path)
    save_latents(tmp_path / "bare.safetensors", torch.randn(24, N_LATENT, W_DIM), {"split": ["train", "val"] * 12})
    bare = [f"training.teacher={write_teacher(tmp_path)}", f"data.latents={tmp_path / 'bare.safetensors'}"]
    parts = build_parts(load_config(world, bare), CPU)
    assert parts.teacher is not None
    words, networks = parts.training.encoder, parts.networks
    known = words.hairstyle_words(STYLES), words.color_words(COLORS)
    own = OwnWords(parts.training, known)([3, 5, 3])
    pictures = networks.generator(parts.training.codes([3, 5]), noise="const")
    for i, row in enumerate((0, 1)):
        seen = networks.clip.encode_image(pictures[[row]])[0].double()
        for found, table in ((own.hairstyle, known[0]), (own.color, known[1])):
            scores = [float(seen @ word.double() / word.double().norm()) for word in table]
            assert torch.equal(found[i], table[scores.index(max(scores))])
    assert torch.equal(own.hairstyle[0], own.hairstyle[2])
    teach(parts.mapper, parts.teacher, parts.training, parts.sampler, steps=2)

"""The loss of latent mappers against its equation, and trainings that are stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.networks.style_mappers import StyleMappers
from hairclip.training.latents import LatentSet
from hairclip.training.style_mappers import StyleMapperOptions, mapper_loss, train_style_mappers
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks

NETWORKS = tiny_networks()
CODES = LatentSet(torch.randn(9, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(3)))
OPTIONS = StyleMapperOptions(steps=4, color_samples=2, lr=1e-2)


def train(folder: Path, options: StyleMapperOptions = OPTIONS, **settings: object) -> StyleMappers:
    return train_style_mappers(
        NETWORKS.generator,
        NETWORKS.clip,
        NETWORKS.identity,
        CODES,
        ["afro", "bob cut"],
        ["red"],
        folder,
        options,
        groups=(3, 5),
        progress=False,
        **settings,
    )


def test_the_loss_is_the_published_sum():
    random = np.random.default_rng(0)
    seen, wanted, face, source = (random.standard_normal((2, 7)) for _ in range(4))
    face, source = (v / np.sqrt((v**2).sum(axis=1, keepdims=True)) for v in (face, source))
    before, after = random.standard_normal((2, 2, 4, 3))
    options = StyleMapperOptions(clip_weight=1.0, latent_weight=0.8, identity_weight=0.1)
    tensors = (torch.from_numpy(v) for v in (seen, wanted, after, before, face, source))
    total = sum(mapper_loss(*tensors, options).values())
    for i in range(2):
        cosine = seen[i] @ wanted[i] / np.sqrt((seen[i] @ seen[i]) * (wanted[i] @ wanted[i]))
        moved = sum((after[i, j, k] - before[i, j, k]) ** 2 for j in range(4) for k in range(3)) / 12
        expected = 1.0 * (1 - cosine) + 0.8 * moved + 0.1 * (1 - face[i] @ source[i])
        assert float(total[i]) == pytest.approx(expected)


def test_a_training_that_was_stopped_gives_the_same_bits(tmp_path: Path):
    whole = train(tmp_path / "whole")
    seen = 0

    class Stop(Exception):
        pass

    class Stopping(LatentSet):
        def __getitem__(self, indices: list[int]) -> torch.Tensor:
            nonlocal seen
            seen += 1
            if seen > 4:  # one batch of faces, three steps
                raise Stop
            return super().__getitem__(indices)

    arguments = (NETWORKS.generator, NETWORKS.clip, NETWORKS.identity, Stopping(CODES.codes))
    words = (["afro", "bob cut"], ["red"], tmp_path / "parts", OPTIONS)
    with pytest.raises(Stop):
        train_style_mappers(*arguments, *words, groups=(3, 5), save_every=2, progress=False)
    continued = train(tmp_path / "parts", save_every=2)
    for name, tensor in continued.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name]), name


def test_training_lowers_the_distance_to_the_texts(tmp_path: Path):
    options = replace(OPTIONS, steps=30, latent_weight=0.0, identity_weight=0.0, scale=0.5)
    first, last = train(tmp_path / "a", replace(options, steps=1, lr=0.0)), train(tmp_path / "b", options)
    words = ["afro"] * 9
    codes, text = CODES[range(9)], NETWORKS.clip.encode_text(["afro hairstyle"])

    def distance(mappers: StyleMappers) -> float:
        pictures = NETWORKS.generator(codes + mappers(codes, words))
        return float((1 - torch.cosine_similarity(NETWORKS.clip.encode_image(pictures), text)).mean())

    assert distance(last) < distance(first) - 0.01


def test_colors_move_all_layers_and_hairstyles_leave_the_fine_ones(tmp_path: Path):
    assert train(tmp_path).words == {
        "afro": ("coarse", "medium"),
        "bob cut": ("coarse", "medium"),
        "red": ("coarse", "medium", "fine"),
    }


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path):
    train(tmp_path)
    with pytest.raises(HairclipError, match="one of other networks, words or settings"):
        train(tmp_path, replace(OPTIONS, lr=0.5))

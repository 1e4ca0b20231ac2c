"""Reference pictures from codes and from folders: numbered, labelled, encoded once."""

from pathlib import Path

import pytest
import torch
from tiny_networks import N_LATENT, W_DIM, tiny_networks

from hairclip.condition import ConditionEncoder
from hairclip.errors import HairclipError
from hairclip.images import save_image
from hairclip.training.latents import LatentSet
from hairclip.training.references import folder_references, synthesized_references

NETWORKS = tiny_networks()


def encoder() -> ConditionEncoder:
    return ConditionEncoder(NETWORKS.clip, NETWORKS.parser)


def test_synthesized_references_follow_their_labels():
    codes = torch.randn(10, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    colors = ("red", "blond") * 5
    latents = LatentSet(codes, hairstyles=("bald", *("afro",) * 9), colors=colors)
    pool = synthesized_references(latents, NETWORKS.generator, encoder(), count=10, seed=0)
    labelled = sorted(number for numbers in pool.of_color.values() for number in numbers)
    assert len(pool) == 10
    assert len(labelled) == 9  # nobody's hair colour is read off a bald head
    number = pool.of_color["blond"][0]
    candidates = NETWORKS.generator(codes[1::2])
    assert any(torch.allclose(pool.picture(number)[0], candidate, atol=1e-5) for candidate in candidates)
    assert pool[number] is pool[number]


def test_folder_references(tmp_path: Path):
    picture = torch.zeros(3, 20, 24)
    for name in ("a.png", "b.jpg", "red hair/c.png"):
        save_image(picture, tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    pool = folder_references(str(tmp_path), encoder(), count=5, seed=0, color_folders=str(tmp_path), colors=["red"])
    assert (len(pool), pool.of_color) == (3, {"red": [2]})
    assert pool.picture(2).shape == (1, 3, 20, 24)
    assert pool[2].hairstyle.ndim == 1
    assert len(folder_references(str(tmp_path), encoder(), count=1, seed=0)) == 1


def test_unusable_folders_are_told(tmp_path: Path):
    with pytest.raises(HairclipError, match="holds no picture"):
        folder_references(str(tmp_path), encoder(), count=5, seed=0)
    with pytest.raises(HairclipError, match="cannot be read"):
        folder_references(str(tmp_path / "none"), encoder(), count=5, seed=0)

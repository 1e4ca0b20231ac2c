"""Reference pictures from codes and from folders: numbered, labeled, encoded once."""

import os
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, save_image
from hairclip.conditions.encoder import ConditionEncoder, Reference
from hairclip.conditions.prompts import hairstyle_prompt
from hairclip.training.latents import LatentSet
from hairclip.training.references import (
    ReferenceFolder,
    folder_references,
    join_references,
    synthesized_references,
)
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks

NETWORKS = tiny_networks()


class CountingEncoder(ConditionEncoder):
    """Counts the pictures that it encodes."""

    count = 0

    def references(self, images: Images) -> list[Reference]:
        self.count += len(images)
        return super().references(images)


def encoder() -> ConditionEncoder:
    return ConditionEncoder(NETWORKS.clip, NETWORKS.parser)


def test_synthesized_references_follow_their_labels():
    codes = torch.randn(10, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    colors = ("red", "blond") * 5
    latents = LatentSet(codes, hairstyles=("bald", *("afro",) * 9), colors=colors)
    pool = synthesized_references(latents, NETWORKS.generator, encoder(), {}, count=10, seed=0)
    labeled = sorted(number for numbers in pool.of_word.values() for number in numbers)
    assert len(pool) == 10
    assert len(labeled) == 9  # nobody's hair color is read off a bald head
    number = pool.of_word["blond"][0]
    candidates = NETWORKS.generator(codes[1::2])
    assert any(torch.allclose(pool.picture(number)[0], candidate, atol=1e-5) for candidate in candidates)
    assert pool[number] is pool[number]


def test_folder_references(tmp_path: Path):
    picture = torch.zeros(3, 20, 24)
    for name in ("a.png", "b.jpg", "red hair/c.png"):
        save_image(picture, tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    pool = folder_references(str(tmp_path), encoder(), {}, count=5, seed=0, word_folders=str(tmp_path), words=["red"])
    assert (len(pool), pool.of_word) == (3, {"red": [2]})
    assert pool.picture(2).shape == (1, 3, 20, 24)
    assert pool[2].hairstyle.ndim == 1
    assert len(folder_references(str(tmp_path), encoder(), {}, count=1, seed=0)) == 1


def test_a_picture_is_encoded_once_wherever_it_lies(tmp_path: Path):
    """By its content: in two pools of one run, and again in a later run that shares the folder."""
    random = torch.Generator().manual_seed(0)
    for name in ("styles/a.png", "colors/renamed.png"):
        save_image(torch.rand(3, 20, 24, generator=random.manual_seed(1)), tmp_path / name)
    seen = CountingEncoder(NETWORKS.clip, NETWORKS.parser)
    for store in ({}, ReferenceFolder(tmp_path / "cache", "key"), ReferenceFolder(tmp_path / "cache", "key")):
        first, second = (
            folder_references(str(tmp_path / name), seen, store, count=5, seed=0)[0] for name in ("styles", "colors")
        )
        for part in fields(Reference):
            torch.testing.assert_close(getattr(first, part.name), getattr(second, part.name), rtol=0, atol=0)
    assert seen.count == 2  # once for the dict, once for the folder
    ReferenceFolder(tmp_path / "cache", "other key")
    assert folder_references(
        str(tmp_path / "styles"), seen, ReferenceFolder(tmp_path / "cache", "other key"), count=5, seed=0
    )[0]
    assert seen.count == 3


def test_a_changed_code_is_another_picture(tmp_path: Path):
    codes = torch.randn(2, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    seen = CountingEncoder(NETWORKS.clip, NETWORKS.parser)
    store = ReferenceFolder(tmp_path, "key")
    for changed in (codes, codes, codes + 0.1):
        pool = synthesized_references(LatentSet(changed), NETWORKS.generator, seen, store, count=1, seed=0)
        assert pool[0].hairstyle.ndim == 1
    assert seen.count == 2


def test_damaged_references_are_encoded_again_and_a_full_disk_stops_nothing(tmp_path: Path):
    save_image(torch.zeros(3, 20, 24), tmp_path / "a.png")
    seen = CountingEncoder(NETWORKS.clip, NETWORKS.parser)
    store = ReferenceFolder(tmp_path / "cache", "key")
    folder_references(str(tmp_path), seen, store, count=5, seed=0)[0]
    (kept,) = store.folder.glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:50])
    assert folder_references(str(tmp_path), seen, store, count=5, seed=0)[0].lab.shape == (3,)
    assert seen.count == 2
    kept.unlink()
    kept.mkdir()  # nothing can be written there
    assert folder_references(str(tmp_path), seen, store, count=5, seed=0)[0].lab.shape == (3,)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(HairclipError, match="cache_folder"):
        ReferenceFolder(tmp_path / "file", "key")


def test_a_picture_replaced_by_another_of_equal_name_and_size_is_another_set(tmp_path: Path):
    """Its time stamps can be kept too, as `cp -p` does: only the content tells."""
    for shade in (0, 200):
        Image.new("RGB", (20, 24), (shade, 0, 0)).save(tmp_path / f"{shade}.bmp")
    path, other = tmp_path / "pictures" / "a.bmp", tmp_path / "200.bmp"
    path.parent.mkdir()
    shutil.copy2(tmp_path / "0.bmp", path)
    before, store = path.stat(), ReferenceFolder(tmp_path / "cache", "key")
    first = folder_references(str(path.parent), encoder(), store, count=5, seed=0)
    dark = first[0]
    shutil.copy2(other, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    second = folder_references(str(path.parent), encoder(), store, count=5, seed=0)
    assert first.files != second.files
    assert not torch.equal(second[0].hairstyle, dark.hairstyle)
    path.unlink()
    shutil.copy2(tmp_path / "0.bmp", path.with_name("renamed.bmp"))
    assert folder_references(str(path.parent), encoder(), store, count=5, seed=0).files == first.files


def test_a_set_of_words_extends_the_pictures_that_are_drawn_freely(tmp_path: Path):
    codes = torch.randn(4, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    free = synthesized_references(LatentSet(codes), NETWORKS.generator, encoder(), {}, count=4, seed=0)
    for number in range(2):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / f"{number}.png")
    shutil.copytree(tmp_path, tmp_path / "afro hairstyle")
    of_word = folder_references(
        None, encoder(), {}, count=9, seed=0, word_folders=str(tmp_path), words=["afro"], folder_of=hairstyle_prompt
    )
    pool = join_references(free, of_word)
    assert (len(pool), pool.free, pool.of_word) == (6, 4, {"afro": [4, 5]})
    assert torch.equal(pool.picture(3), free.picture(3))
    assert torch.equal(pool.picture(4), of_word.picture(0))
    assert [pool.content(3), pool.content(5)] == [free.content(3), of_word.content(1)]


def test_unusable_folders_are_told(tmp_path: Path):
    with pytest.raises(HairclipError, match="holds no picture"):
        folder_references(str(tmp_path), encoder(), {}, count=5, seed=0)
    with pytest.raises(HairclipError, match="cannot be read"):
        folder_references(str(tmp_path / "none"), encoder(), {}, count=5, seed=0)

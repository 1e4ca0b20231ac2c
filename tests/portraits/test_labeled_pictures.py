"""Labeled pictures of the shipped world: they show what their names say, and a file keeps them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import HAIR
from hairclip.portraits.fit.labeled_pictures import (
    LabeledPictures,
    generate_pictures,
    labeled_pictures,
    rendered_pictures,
)
from hairclip.pretrained.bundle import Bundle, load_bundle
from hairclip.pretrained.loaders import load_latent_labels, load_latents
from hairclip.pretrained.weight_files import write_safetensors


def write_quads(folder: Path, size: int) -> Path:
    """One file of two quads whose upper half is red hair."""
    labels = np.ones((2, 2, 2, size, size), np.uint8)
    labels[..., : size // 2, :] = HAIR
    images = np.where(labels[..., None] == HAIR, [200, 20, 20], [40, 40, 90]).astype(np.uint8)
    portrait = json.dumps({"hair": {"style": "afro"}, "color": {"name": "red"}, "identity": {"seed": 1}})
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "train-00000.npz", images=images, labels=labels, metadata=np.full((2, 2, 2), portrait))
    return folder


@pytest.fixture(scope="module")
def portraits() -> Bundle:
    return load_bundle("portraits")


@pytest.fixture(scope="module")
def made(portraits: Bundle) -> LabeledPictures:
    names = load_latent_labels(portraits.parts["latents"])
    codes = load_latents(portraits.parts["latents"])[:24]
    return generate_pictures(
        portraits.generator, portraits.parser, codes, names["hairstyle"][:24], names["color"][:24], count=32
    )


def test_pictures_show_the_hairstyle_and_color_that_their_names_say(made: LabeledPictures, portraits: Bundle) -> None:
    assert (len(made), made.pixels.dtype) == (32, torch.uint8)
    judged = portraits.judge.names(made.images(slice(None)))
    assert np.mean([a == b for a, b in zip(judged, made.hairstyles, strict=True)]) > 0.9
    assert torch.equal(made.hair([3, 4]), portraits.parser.hair_mask(made.images([3, 4])))


def test_every_second_picture_has_the_color_of_another_code(made: LabeledPictures, portraits: Bundle) -> None:
    names = load_latent_labels(portraits.parts["latents"])
    own = set(zip(names["hairstyle"][:24], names["color"][:24], strict=True))
    pairs = list(zip(made.hairstyles, made.colors, strict=True))
    assert set(pairs[::2]) <= own
    assert not set(pairs[1::2]) <= own


def test_rendered_quads_are_read_at_half_their_size(tmp_path: Path) -> None:
    pictures = rendered_pictures(write_quads(tmp_path, 64), 32)
    assert (len(pictures), pictures.pixels.shape[-1], set(pictures.hairstyles)) == (8, 32, {"afro"})
    assert torch.equal(pictures.hair([7])[0, 0, :, 5], torch.arange(32) < 16)
    assert pictures.pixels[7, :, 3, 5].tolist() == [200, 20, 20]
    with pytest.raises(HairclipError, match="48 px or a multiple of it is needed"):
        rendered_pictures(tmp_path, 48)
    with pytest.raises(HairclipError, match="no rendered quads"):
        rendered_pictures(tmp_path / "empty", 32)


def test_pictures_are_made_once_and_read_from_their_file_afterwards(tmp_path: Path, portraits: Bundle) -> None:
    path = tmp_path / "pictures.safetensors"
    quads = write_quads(tmp_path / "quads", portraits.generator.size)
    latents = portraits.parts["latents"]
    made = labeled_pictures(path, portraits, latents, count=4, quads=quads)
    kept = labeled_pictures(path, portraits, latents, count=9999)
    assert (len(made), kept.colors) == (12, made.colors)
    assert torch.equal(kept.pixels, made.pixels)
    assert torch.equal(kept.labels, made.labels)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_safetensors(path, {"w": torch.zeros(1)}, {"hairclip_kind": "latents"})
    with pytest.raises(HairclipError, match="holds no labeled pictures: delete it"):
        LabeledPictures.load(path)

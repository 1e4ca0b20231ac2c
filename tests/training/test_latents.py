"""Latent sets: labels, splits, and what is said of files that do not fit."""

from pathlib import Path

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.pretrained import save_latents
from hairclip.training.latents import load_latent_set, training_and_validation

CODES = torch.arange(4 * 2 * 3, dtype=torch.float32).reshape(4, 2, 3)
LABELS = {
    "hairstyle": ["afro", "bob cut", "afro", "perm"],
    "color": ["red", "red", "blond", "red"],
    "split": ["train", "val", "train", "test"],
}


def write(folder: Path, labels: object = None, name: str = "latents.safetensors") -> Path:
    save_latents(folder / name, CODES, labels)
    return folder / name


def test_labels_and_splits(tmp_path: Path):
    latents = load_latent_set(write(tmp_path, LABELS))
    train = latents.split("train")
    assert (len(latents), len(train)) == (4, 2)
    assert (train.hairstyles, train.colors) == (("afro", "afro"), ("red", "blond"))
    assert torch.equal(train[[1, 0]], CODES[[2, 0]])


def test_labels_as_rows_read_the_same(tmp_path: Path):
    rows = [dict(zip(LABELS, row)) for row in zip(*LABELS.values())]
    assert load_latent_set(write(tmp_path, rows)).hairstyles == tuple(LABELS["hairstyle"])


def test_torch_file_without_labels(tmp_path: Path):
    torch.save(CODES, tmp_path / "train_faces.pt")
    latents = load_latent_set(tmp_path / "train_faces.pt")
    assert latents.hairstyles is None
    training, held_out = training_and_validation(tmp_path / "train_faces.pt", write(tmp_path, LABELS))
    assert (len(training), len(held_out)) == (4, 1)


def test_subsets_share_the_file_and_give_float32(tmp_path: Path):
    save_latents(tmp_path / "half.safetensors", CODES, LABELS, half=True)
    latents = load_latent_set(tmp_path / "half.safetensors")
    train = latents.split("train")
    assert latents.codes.dtype == torch.float16
    assert train.codes is latents.codes
    again = train.subset([1, 0]).subset([1])
    assert again.colors == ("red",)
    assert torch.equal(again[[0]], CODES[[0]])
    assert again[[0]].dtype == torch.float32


def test_missing_splits_and_labels_are_told(tmp_path: Path):
    with pytest.raises(HairclipError, match="data.validation_latents"):
        training_and_validation(write(tmp_path), None)
    with pytest.raises(HairclipError, match="4 codes but 1 labels named 'color'"):
        load_latent_set(write(tmp_path, {"color": ["red"]}))
    save_latents(tmp_path / "other.safetensors", torch.zeros(2, 5, 3))
    with pytest.raises(HairclipError, match="one generator"):
        training_and_validation(write(tmp_path, LABELS), tmp_path / "other.safetensors")

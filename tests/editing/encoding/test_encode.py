"""A folder of photos becomes one file of codes: each photo once, whatever fails, whenever the run is killed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.editing.editor import HairEditor
from hairclip.editing.encoding.encode import EncodeSettings, encode_folder, split_of
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.pretrained import load_latent_labels
from hairclip.pretrained.latent_files import read_about
from hairclip.training.latents import load_latent_set
from tests.helpers.tiny_networks import N_LATENT, SIZE, W_DIM, tiny_networks

ALIGNED = EncodeSettings(aligned=True)


@pytest.fixture(scope="module")
def editor() -> PhotoEditor:
    return PhotoEditor(HairEditor(tiny_networks()))


def write_noise(path: Path, seed: int, size: tuple[int, int] = (SIZE, SIZE)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Seven crops of noise in `in`, among them 2.png and 10.png, and one in a folder inside."""
    for seed, name in enumerate(["a.png", "b.png", "2.png", "10.png", "c.png", "inside/d.png", "e.png"]):
        write_noise(tmp_path / "in" / name, seed)
    return tmp_path


def names(path: Path) -> list[str]:
    labels = load_latent_labels(path)
    assert labels is not None
    return labels["name"]


def test_every_photo_has_its_code_its_name_and_its_split(editor: PhotoEditor, place: Path):
    out = place / "codes.safetensors"
    report = encode_folder(editor, place / "in", out, ALIGNED, batch_size=3)
    listed = ["2.png", "10.png", "a.png", "b.png", "c.png", "e.png", "inside/d.png"]
    assert names(out) == listed
    assert (report.found, report.before, report.failed) == (7, 0, {})
    assert report.shape == (7, N_LATENT, W_DIM)
    latents = load_latent_set(out)
    assert latents.splits == tuple(split_of(name) for name in listed)
    for i, name in enumerate(listed):
        alone = editor.open(place / "in" / name, aligned=True).prepared.inversion
        assert torch.allclose(latents[[i]], alone.w_plus, atol=1e-5)
    about = read_about(out)
    assert about["framing"] == {"scale": 1.0, "shift": 0.1}
    assert (about["encoder"], about["inversion"]) == ("E4EEncoder", "encoder")
    assert len(about["encoder_digest"]) == 64
    assert sorted(path.name for path in place.iterdir()) == ["codes.safetensors", "in"]

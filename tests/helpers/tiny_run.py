"""Write a complete tiny world to disk: random networks, labeled codes, and the configuration that trains on them."""

from pathlib import Path

import numpy as np
import torch
import yaml

from hairclip.config import Config, load_config
from hairclip.pretrained import save_latents, save_network
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks

STYLES = ("afro", "bob cut", "bald")
COLORS = ("red", "blond")


def write_tiny_world(folder: Path, **sections: dict[str, object]) -> Path:
    """Write network files, codes and `tiny.yaml` to a folder and return the path of the YAML.

    Args:
        folder: where to write.
        sections: settings that replace those of the YAML.
    """
    networks = tiny_networks()
    networks.parser.final.bias.data[13] += 0.2565  # about half of the pixels of these random pictures become hair
    for part in ("generator", "clip", "parser", "identity", "encoder", "judge"):
        save_network(folder / f"{part}.safetensors", part, getattr(networks, part))
    random = torch.Generator().manual_seed(0)
    count = 24
    labels = {
        "hairstyle": [STYLES[i % 3] for i in range(count)],
        "color": [COLORS[i % 2] for i in range(count)],
        "split": ["train" if i < 16 else "val" if i < 20 else "test" for i in range(count)],
    }
    save_latents(folder / "latents.safetensors", torch.randn(count, N_LATENT, W_DIM, generator=random), labels)
    settings: dict[str, dict[str, object]] = {
        "networks": {"bundle": str(folder)},
        "data": {"latents": str(folder / "latents.safetensors"), "reference_pool": 6},
        "mapper": {"groups": [3, 5], "absent": "zero"},
        "training": {"steps": 4, "batch_size": 4, "checkpoint_every": 2},
        "validation": {"every": 2, "count": 6, "batch_size": 4},
        "logging": {"every": 1, "images_every": 2, "image_rows": 3, "tensorboard": False},
    }
    for name, values in sections.items():
        settings.setdefault(name, {}).update(values)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({"name": "tiny", "device": "cpu", **settings}))
    return path


def tiny_config(folder: Path, *overrides: str) -> Config:
    """Return the configuration of a new tiny world."""
    return load_config(write_tiny_world(folder), overrides)


def weights(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a mapper file."""
    from safetensors.numpy import load_file

    return dict(load_file(path))

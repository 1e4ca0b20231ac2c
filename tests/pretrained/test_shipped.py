"""What comes with the repository: weights that fit together, and people."""

import json
from pathlib import Path

from hairclip.pretrained import PARTS, load_bundle, load_latent_labels, load_latents
from hairclip.pretrained.bundle_files import STAND_INS, TRAINED_BY

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data" / "portraits"


def test_weights_and_pictures_stay_small():
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 53e6


def test_the_networks_of_the_bundle_fit_together():
    bundle = load_bundle("portraits")
    generator, encoder, mapper = bundle.generator, bundle.encoder, bundle.mapper
    assert generator.size >= 128
    assert (encoder.n_latent, encoder.w_dim) == (generator.n_latent, generator.w_dim)
    assert (mapper.config["n_latent"], mapper.config["w_dim"]) == (generator.n_latent, generator.w_dim)
    assert mapper.config["condition_dim"] == bundle.clip.width
    latents, labels = load_latents("portraits/latents"), load_latent_labels("portraits/latents")
    assert tuple(latents.shape[1:]) == (generator.n_latent, generator.w_dim)
    assert len(labels["hairstyle"]) == len(labels["color"]) == len(latents)
    assert set(labels["split"]) == {"train", "val"}
    assert set(labels["hairstyle"]) == set(bundle.judge.classes)
    assert {path.stem for path in DATA.glob("*.safetensors")} | set(STAND_INS) | set(TRAINED_BY) == set(PARTS)


def test_the_shipped_people_are_described():
    people = json.loads((DATA / "people.json").read_text(encoding="utf-8"))
    for name in people:
        assert (DATA / f"{name}.png").is_file()

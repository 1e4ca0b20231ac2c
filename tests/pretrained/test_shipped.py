"""What comes with the repository: weights that fit together, and people."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from hairclip.common.face_labels import HAIR
from hairclip.common.images import resize_area
from hairclip.common.metrics import psnr
from hairclip.portraits.render import render_portrait
from hairclip.portraits.spec import PortraitSpec
from hairclip.pretrained import PARTS, load_bundle, load_latent_labels, load_latents
from hairclip.pretrained.bundle_files import STAND_INS, TRAINED_BY
from hairclip.pretrained.mapper import check_companions

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data" / "portraits"
LARGER = ROOT / "data" / "portraits-256"


def test_weights_and_pictures_stay_small():
    assert sum(path.stat().st_size for folder in (DATA, LARGER) for path in folder.iterdir()) < 58e6


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


def test_the_larger_generator_reads_the_codes_of_the_smaller_one():
    """What the bundle shares with `portraits` fits: the mapper is not refused, and pictures are alike but larger."""
    small, large = load_bundle("portraits"), load_bundle("portraits-256")
    assert (large.generator.size, large.generator.n_latent) == (256, small.generator.n_latent)
    own = {part for part in large.parts if str(large.parts[part]).startswith("portraits-256/")}
    assert own == {"generator"}
    check_companions(large.mapper, large.parts)
    codes = load_latents("portraits/latents")[:4]
    with torch.no_grad():
        drawn = [resize_area(bundle.generator(codes), 64) for bundle in (small, large)]
    assert psnr(*drawn).min() > 27


def test_strands_of_the_larger_generator_lie_on_hair_alone_and_have_no_color():
    bundle = load_bundle("portraits-256")
    codes = load_latents("portraits/latents")[:4]
    with torch.no_grad():
        smooth, _ = bundle.generator.smooth(codes)
        drawn = bundle.generator(codes)
        hair = bundle.parser.smooth_labels(drawn) == HAIR
    change = (drawn - smooth).abs().mean(dim=1)
    inside, outside = change[hair].mean(), change[~F.max_pool2d(hair.float(), 17, 1, 8).bool()].mean()
    assert inside > 20 * outside
    inner = -F.max_pool2d(-hair.float()[:, None], 25, 1, 12) > 0  # no outline, where hair also moves
    inner = inner.expand(-1, 3, -1, -1) & (smooth > -0.9)
    factors = ((drawn + 1) / (smooth + 1)).where(inner, torch.nan)
    apart = (factors.amax(dim=1) - factors.amin(dim=1)).nanmean()
    assert apart < 0.3 * np.nanstd(factors.numpy())


def test_the_larger_people_are_the_rendered_ones():
    people = json.loads((DATA / "people.json").read_text(encoding="utf-8"))
    assert {path.stem for path in LARGER.glob("*.png")} >= set(people)
    with Image.open(LARGER / "ben.png") as ben:
        shipped = np.asarray(ben.convert("RGB"), np.int16)
    rendered = render_portrait(PortraitSpec.from_dict(people["ben"]), 256).image.astype(np.int16)
    assert np.abs(shipped - rendered).mean() < 0.5

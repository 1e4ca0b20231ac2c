"""What a rendered portrait promises: the same bytes for the same seed, labels that fit, one geometry for all colours."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hairclip.portraits.captions import caption, full_caption
from hairclip.portraits.dataset import DatasetSpec, quad_specs, render_dataset
from hairclip.portraits.render import HAIR, SKIN, render_portrait, render_variants
from hairclip.portraits.spec import (
    COLOR_NAMES,
    STYLE_NAMES,
    HairSpec,
    PortraitSpec,
    sample_color,
    sample_hair,
    sample_portrait,
    split_of,
)


@pytest.fixture(scope="module")
def spec() -> PortraitSpec:
    return replace(sample_portrait(3), hair=sample_hair("bob cut", 1), color=sample_color("red", 1))


@pytest.fixture(scope="module")
def portrait(spec):
    return render_portrait(spec, 64)


def test_the_same_spec_gives_the_same_bytes(spec, portrait):
    again = render_portrait(PortraitSpec.from_dict(json.loads(json.dumps(spec.to_dict()))), 64)
    np.testing.assert_array_equal(again.image, portrait.image)
    np.testing.assert_array_equal(again.labels, portrait.labels)
    np.testing.assert_array_equal(again.hair_coverage, portrait.hair_coverage)


def test_everything_about_a_portrait_fits_together(portrait):
    assert portrait.image.shape == (64, 64, 3)
    assert portrait.labels.shape == portrait.hair_coverage.shape == (64, 64)
    hair = portrait.labels == HAIR
    assert 0.05 < hair.mean() < 0.6
    assert portrait.hair_coverage[hair].mean() > 0.8
    assert portrait.hair_coverage[portrait.labels == SKIN].mean() < 0.2
    red, green, blue = portrait.image[hair].mean(axis=0)
    assert red > 1.5 * max(green, blue)
    left_eye, right_eye, nose, left_mouth, right_mouth = portrait.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert portrait.caption == full_caption(portrait.spec)
    assert "red bob cut" in portrait.caption


def test_variants_change_the_hair_colour_alone(spec, portrait):
    red, blue = render_variants(spec, [spec.color, sample_color("blue", 2)], 64)
    np.testing.assert_array_equal(red.image, portrait.image)
    np.testing.assert_array_equal(red.labels, blue.labels)
    bare = portrait.hair_coverage == 0
    difference = np.abs(red.image.astype(int) - blue.image)
    assert difference[bare].mean() < 0.05  # a trace of colour beside the strands
    assert difference[bare].max() < 8
    assert difference[~bare].mean() > 20


def test_bald_heads_have_no_hair(spec):
    bald = render_portrait(replace(spec, hair=HairSpec("bald")), 64)
    assert not (bald.labels == HAIR).any()
    assert "bald" in bald.caption


def test_there_are_enough_styles_and_all_colours():
    assert len(COLOR_NAMES) == 12
    assert len(set(STYLE_NAMES)) >= 17
    assert {"long straight", "long wavy", "bald"} <= set(STYLE_NAMES)


def test_captions_say_what_they_are_asked_to(spec):
    for seed in range(20):
        assert "red" not in caption(spec, seed, "style")
        assert "bob" not in caption(spec, seed, "color")
        both = caption(spec, seed, "both")
        assert "red" in both
        assert "bob" in both
    assert caption(spec, 5) == caption(spec, 5)


def test_splits_are_of_people():
    shares = [split_of(seed) for seed in range(2000)]
    assert {"train", "val", "test"} == set(shares)
    assert shares.count("train") > 1200
    for split in ("train", "val", "test"):
        dataset = DatasetSpec(count=4, seed=0, size=32, split=split, mode="quads")
        for index in range(4):
            geometries, _ = quad_specs(dataset, index)
            assert all(split_of(g.identity.seed) == split for g in geometries)
            same = geometries[0].identity.seed == geometries[1].identity.seed
            assert same == (index % 2 == 1)
            assert geometries[0].hair.style != geometries[1].hair.style


def test_data_sets_resume(tmp_path):
    dataset = DatasetSpec(count=2, seed=5, size=32, split="train", mode="quads")
    assert list(render_dataset(dataset, tmp_path))[-1] == 2
    (shard,) = tmp_path.glob("*.npz")
    before = shard.stat().st_mtime_ns
    with np.load(shard) as file:
        assert file["images"].shape == (2, 2, 2, 32, 32, 3)
        assert json.loads(str(file["metadata"][0, 0, 0]))["hair"]["style"] in STYLE_NAMES
    assert list(render_dataset(dataset, tmp_path))[-1] == 2
    assert shard.stat().st_mtime_ns == before

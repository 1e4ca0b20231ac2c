"""Captions: HairCLIP's templates among them, true to the spec; specs survive JSON and keep people in one split."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from hairclip.common.errors import HairclipError
from hairclip.portraits.captions import article, caption, full_caption
from hairclip.portraits.spec import (
    COLOR_NAMES,
    STYLE_NAMES,
    PortraitSpec,
    sample_color,
    sample_hair,
    sample_portrait,
    split_of,
    stable_seed,
)


def spec_of(style: str, color: str, male: float = 0.0) -> PortraitSpec:
    spec = sample_portrait(1)
    return replace(
        spec,
        identity=replace(spec.identity, male=male),
        hair=sample_hair(style, 0),
        color=sample_color(color, 0),
    )


@pytest.mark.parametrize(
    ("style", "color", "male", "text"),
    [
        ("bob cut", "red", 0.0, "a photo of a woman with a red bob cut"),
        ("afro", "orange", 1.0, "a photo of a man with an orange afro"),
        ("cornrows", "black", 1.0, "a photo of a man with black cornrows"),
        ("slicked-back", "blond", 0.0, "a photo of a woman with blond slicked-back hair"),
        ("bald", "red", 1.0, "a photo of a bald man"),
    ],
)
def test_full_caption(style: str, color: str, male: float, text: str) -> None:
    assert full_caption(spec_of(style, color, male)) == text


def test_hairclip_templates_occur() -> None:
    texts = {caption(spec_of("bob cut", "red"), seed) for seed in range(400)}
    assert "bob cut hairstyle" in texts
    assert "red hair" in texts
    assert len(texts) > 10


def test_captions_keep_to_their_topic() -> None:
    spec = spec_of("bob cut", "red")
    for seed in range(20):
        assert "red" not in caption(spec, seed, "style")
        assert "bob" not in caption(spec, seed, "color")
        both = caption(spec, seed, "both")
        assert "red" in both
        assert "bob" in both


def test_bald_has_no_color() -> None:
    texts = " ".join(caption(spec_of("bald", "purple"), seed) for seed in range(100))
    assert "purple" not in texts
    assert "bald hairstyle" in texts


def test_captions_name_nothing_else() -> None:
    for seed in range(100):
        text = caption(spec_of("mohawk", "green"), seed)
        assert "mohawk" in text or "green" in text
        others = [name for name in (*STYLE_NAMES, *COLOR_NAMES) if name not in ("mohawk", "green")]
        assert not any(name in text for name in others)


def test_caption_is_deterministic() -> None:
    spec = spec_of("updo", "pink")
    assert caption(spec, 3) == caption(spec, 3)
    assert (article("orange"), article("red")) == ("an", "a")


def test_spec_survives_json() -> None:
    for seed in range(5):
        spec = sample_portrait(seed)
        assert PortraitSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_bad_specs_are_user_errors() -> None:
    with pytest.raises(HairclipError, match="portrait spec"):
        PortraitSpec.from_dict({"identity": {}})
    with pytest.raises(HairclipError, match="hairstyle"):
        sample_hair("mullet of doom", 0)
    with pytest.raises(HairclipError, match="color"):
        sample_color("octarine", 0)


def test_samples_are_reproducible_and_varied() -> None:
    assert sample_portrait(12) == sample_portrait(12)
    specs = [sample_portrait(seed) for seed in range(60)]
    assert len({spec.hair.style for spec in specs}) > 14
    assert len({spec.color.name for spec in specs}) > 8
    assert 10 < sum(spec.identity.male > 0.5 for spec in specs) < 50
    assert len({sample_hair("bob cut", seed).strand_seed for seed in range(5)}) == 1


def test_split_is_fixed_by_the_person() -> None:
    splits = Counter(split_of(seed) for seed in range(2000))
    assert splits["train"] > 1700
    assert splits["val"] > 50
    assert splits["test"] > 50
    assert split_of(5) == split_of(5)
    assert stable_seed("a", 1) != stable_seed("a1")

"""Hair: every style grows, stays where hair belongs, varies as its parameters say, and is drawn antialiased."""

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("anny")

from hairclip.portraits.drawing.raster import FAR
from hairclip.portraits.hair import ropes, strands
from hairclip.portraits.hair.groom import grow_hair
from hairclip.portraits.hair.scalp import nearest_guide, scalp_weight
from hairclip.portraits.hair.skull import Skull, clearance
from hairclip.portraits.hair.strands import Strands
from hairclip.portraits.hair.styles import STYLES, pick
from hairclip.portraits.head.mesh import Head, load_head_model
from hairclip.portraits.spec import STYLE_NAMES, HairSpec, sample_hair, sample_identity

HAIRY = [name for name in STYLE_NAMES if STYLES[name] is not None]


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head_model().morph(sample_identity(3))


@pytest.fixture(scope="module")
def grown(head: Head) -> dict[str, Strands]:
    hair = {name: grow_hair(head, HairSpec(name)) for name in HAIRY}
    return {name: value for name, value in hair.items() if value is not None}


def test_every_named_style_is_described() -> None:
    assert set(STYLES) == set(STYLE_NAMES)
    assert len(HAIRY) >= 17


def test_pick_spans_the_range() -> None:
    assert pick((2.0, 4.0), -1.0) == 2
    assert pick((2.0, 4.0), 0.0) == 3
    assert pick((4.0, 2.0), 1.0) == 2


def test_bald_has_no_strands(head: Head) -> None:
    assert grow_hair(head, HairSpec("bald")) is None


@pytest.mark.parametrize("style", HAIRY)
def test_strands_are_finite_and_inside_the_frame(grown: dict[str, Strands], head: Head, style: str) -> None:
    hair = grown[style]
    count, steps, _ = hair.points.shape
    assert np.isfinite(hair.points).all()
    assert hair.valid.shape == (count, steps)
    assert hair.valid[:, :2].all()
    assert not (~hair.valid[:, :-1] & hair.valid[:, 1:]).any()  # a true prefix of every row
    assert hair.width.shape == hair.tone.shape == hair.rise.shape == (count,)
    assert hair.tint.shape == (len(head.rest),)
    assert hair.tint.min() >= 0
    assert hair.tint.max() <= 1
    points = hair.points[hair.valid]
    assert np.abs(points[:, 0]).max() < 1.5
    assert points[:, 1].max() < 8.95


@pytest.mark.parametrize("style", HAIRY)
def test_eyes_nose_and_mouth_stay_free(grown: dict[str, Strands], style: str) -> None:
    points = grown[style].points[grown[style].valid]
    x, y, z = points.T
    assert not ((np.abs(x) < 0.4) & (y < 7.2) & (y > 6.3) & (z > 1.0)).any()


@pytest.mark.parametrize("style", ["bob cut", "dreadlocks", "crown braid", "afro"])
def test_the_same_spec_grows_the_same_bytes(grown: dict[str, Strands], head: Head, style: str) -> None:
    again = grow_hair(head, HairSpec(style))
    assert again is not None
    assert again.points.tobytes() == grown[style].points.tobytes()
    assert again.tone.tobytes() == grown[style].tone.tobytes()


def test_the_layout_is_the_same_for_everyone(grown: dict[str, Strands]) -> None:
    other = grow_hair(load_head_model().morph(sample_identity(8)), HairSpec("afro"))
    assert other is not None
    assert other.points.shape == grown["afro"].points.shape
    np.testing.assert_array_equal(other.tone, grown["afro"].tone)
    assert np.linalg.norm(other.points[:, 0] - grown["afro"].points[:, 0], axis=1).max() < 0.4


@pytest.mark.parametrize("style", HAIRY)
@pytest.mark.parametrize("corner", [-1.0, 1.0])
def test_extreme_parameters_stay_finite(head: Head, style: str, corner: float) -> None:
    hair = grow_hair(head, HairSpec(style, corner, corner, -corner, corner, corner))
    assert hair is not None
    assert np.isfinite(hair.points).all()


@pytest.mark.parametrize("parameter", ["length", "volume", "parting", "curl"])
def test_long_wavy_varies_with(head: Head, parameter: str) -> None:
    low, high = (grow_hair(head, HairSpec("long wavy", **{parameter: value})) for value in (-1.0, 1.0))
    assert low is not None
    assert high is not None
    assert np.abs(low.points - high.points).max() > 0.05


def test_lengths_read_as_their_names(grown: dict[str, Strands]) -> None:
    lowest = {name: np.quantile(hair.points[hair.valid][:, 1], 0.01) for name, hair in grown.items()}
    assert 6.1 < lowest["bob cut"] < 6.6  # the chin
    assert lowest["long straight"] < 5.3
    assert lowest["long wavy"] < 5.3
    assert lowest["bowl cut"] > 6.9
    above = {name: hair.points[hair.valid][:, 1].max() for name, hair in grown.items()}
    assert above["hi-top fade"] > above["crew cut"] + 0.15
    assert above["mohawk"] > above["crew cut"] + 0.15


def test_bob_turns_inwards_at_the_tips(grown: dict[str, Strands]) -> None:
    hair = grown["bob cut"]
    count = hair.valid.sum(1)
    tip = hair.points[np.arange(len(count)), count - 1]
    side = (np.abs(tip[:, 0]) > 0.4) & (tip[:, 1] < 6.6)
    middle = np.abs(hair.points[np.arange(len(count)), count // 2, 0])
    assert np.abs(tip[side, 0]).mean() < middle[side].mean() + 0.05


def test_strands_keep_off_the_skull(grown: dict[str, Strands], head: Head) -> None:
    skull = Skull(head)
    points = grown["long straight"].points[:, 8:][grown["long straight"].valid[:, 8:]][::50]
    away = [clearance(skull.upper, skull.lower, *map(float, point))[0] for point in points]
    assert np.quantile(away, 0.02) > -0.02


def test_skull_surface_lies_at_the_asked_height(head: Head) -> None:
    skull = Skull(head)
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(50, 3)).astype(np.float32)
    directions[:, 1] = np.abs(directions[:, 1])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for point in skull.surface(directions, 0.1):
        assert clearance(skull.upper, skull.lower, *map(float, point))[0] == pytest.approx(0.1, abs=0.01)


def test_scalp_ends_at_the_hairline(head: Head) -> None:
    weight = scalp_weight(head)
    y, z = head.rest[:, 1], head.rest[:, 2]
    assert (weight[(head.part == 0) & (y > 8.3)] > 0).all()
    assert (weight[(y < 7.6) & (z > 1.0)] < 0).all()  # the face
    assert (weight[head.ears > 0.5] < 0).all()


def test_locks_never_mix_groups() -> None:
    rng = np.random.default_rng(1)
    roots = rng.normal(size=(40, 3)).astype(np.float32)
    group = (np.arange(40) % 2).astype(np.int32)
    guides = np.arange(10)
    chosen = nearest_guide(roots, guides, group)
    np.testing.assert_array_equal(group[guides[chosen]], group)


@pytest.mark.parametrize("wind", [ropes.twist, ropes.plait])
def test_ropes_stay_within_their_radius(wind) -> None:  # type: ignore[no-untyped-def]
    path = np.zeros((1, 40, 3), np.float32)
    path[0, :, 1] = np.linspace(0, 2, 40)
    outward = np.broadcast_to(np.array([0, 0, 1], np.float32), path.shape)
    wound = wind(path, outward, np.full((1, 40), 0.1, np.float32), 30, 12.0, np.random.default_rng(0))
    assert wound.shape == (30, 40, 3)
    assert np.linalg.norm(wound[..., [0, 2]], axis=-1).max() < 0.15


def _draw_one(points: np.ndarray, half_width: float, depth: float = float(FAR)) -> np.ndarray:
    light = np.ones((1, points.shape[1], 3), np.float32)
    count, rise = np.array([points.shape[1]], np.int32), np.zeros(1, np.float32)
    body = np.full((40, 40), depth, np.float32)
    width = np.array([half_width], np.float32)
    alpha, colored, white, direction = strands._draw(points, count, width, rise, light, light, body)
    np.testing.assert_allclose(colored, alpha[..., None].repeat(3, 2), atol=1e-5)
    np.testing.assert_allclose(white, alpha[..., None].repeat(3, 2), atol=1e-5)
    dx, dy = points[0, -1, :2] - points[0, 0, :2]  # all strands of these tests are straight
    twice = 2 * np.arctan2(dy, dx)
    np.testing.assert_allclose(direction, alpha[..., None] * [np.cos(twice), np.sin(twice)], atol=0.02)
    return alpha


@pytest.mark.parametrize("slope", [0.0, 0.3, 0.9, 2.5])
def test_a_strand_covers_its_area_softly(slope: float) -> None:
    t = np.linspace(0, 1, 30, dtype=np.float32)
    scale = 20 / max(1.0, slope)
    points = np.stack([8.3 + t * scale, 6.7 + t * scale * slope, 0 * t], 1)[None].astype(np.float32)
    alpha = _draw_one(points, 0.8)
    length = scale * np.hypot(1, slope)
    # The last third thins out to about half, which takes off a tenth or so of length times width.
    assert 0.8 * length * 1.6 < alpha.sum() < 1.02 * length * 1.6
    assert ((alpha > 0.05) & (alpha < 0.95)).any()


def test_the_body_hides_strands_behind_it() -> None:
    points = np.array([[[5, 5, 1.0], [30, 12, 1.0]]], np.float32)
    assert _draw_one(points, 1.0, depth=2.0).max() > 0.9
    assert _draw_one(points, 1.0, depth=0.5).max() == 0


def test_nearer_strands_cover_farther_ones() -> None:
    line = np.array([[5, 20], [35, 20]], np.float32)
    points = np.stack([np.c_[line, [2.0, 2.0]], np.c_[line, [1.0, 1.0]]]).astype(np.float32)
    light = np.zeros((2, 2, 3), np.float32)
    light[1] = 1.0
    count, rise = np.array([2, 2], np.int32), np.zeros(2, np.float32)
    body = np.full((40, 40), FAR, np.float32)
    alpha, colored, _, _ = strands._draw(points, count, np.full(2, 2.0, np.float32), rise, light, light, body)
    np.testing.assert_allclose(colored[20, 20], alpha[20, 20])
    # A comb decides where depths are close.
    _, colored, _, _ = strands._draw(
        points, count, np.full(2, 2.0, np.float32), np.array([1.5, 0], np.float32), light, light, body
    )
    np.testing.assert_allclose(colored[20, 20], 0)


def test_sampled_specs_of_a_style_differ() -> None:
    assert sample_hair("perm", 1) != sample_hair("perm", 2)
    assert HairSpec("perm").strand_seed == sample_hair("perm", 1).strand_seed

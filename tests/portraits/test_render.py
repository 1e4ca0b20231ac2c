"""Portraits: deterministic, labeled, framed as FFHQ, and one rasterization for all hair colors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("numba")
pytest.importorskip("anny")

from hairclip.common.color import mean_lab, nearest_color
from hairclip.common.face_labels import BACKGROUND, HAIR
from hairclip.common.framing import PORTRAITS
from hairclip.portraits.drawing.raster import Buffers, box_blur, interpolate, rasterize
from hairclip.portraits.drawing.scene import Pose
from hairclip.portraits.head import labels as ids
from hairclip.portraits.render import Portrait, render_portrait, render_variants
from hairclip.portraits.spec import COLOR_NAMES, PortraitSpec, sample_color, sample_hair, sample_portrait, sample_scene

SIZE = 64


def with_style(seed: int, style: str, color: str = "red") -> PortraitSpec:
    return replace(sample_portrait(seed), hair=sample_hair(style, seed), color=sample_color(color, seed))


@pytest.fixture(scope="module")
def colors() -> list[Portrait]:
    """One bob cut in all colors."""
    spec = with_style(7, "bob cut")
    return render_variants(spec, [sample_color(name, 7) for name in COLOR_NAMES], SIZE)


def test_shapes_and_types(colors: list[Portrait]) -> None:
    portrait = colors[0]
    assert portrait.image.shape == (SIZE, SIZE, 3)
    assert portrait.image.dtype == np.uint8
    assert portrait.labels.shape == (SIZE, SIZE)
    assert portrait.hair_coverage.dtype == np.float32
    assert 0 <= portrait.hair_coverage.min() <= portrait.hair_coverage.max() <= 1
    assert portrait.landmarks.shape == (5, 2)
    assert portrait.caption.startswith("a photo of a")


def test_the_direction_of_straight_hair_is_downwards() -> None:
    portrait = render_portrait(with_style(3, "long straight"), SIZE)
    direction, covered = portrait.hair_direction, portrait.hair_coverage > 0.9
    assert direction.shape == (SIZE, SIZE, 2)
    assert np.hypot(*direction[covered].T).max() <= 1 + 1e-5
    assert not direction[portrait.hair_coverage == 0].any()
    below_the_eyes = covered & (np.arange(SIZE)[:, None] > portrait.landmarks[0, 1])
    assert direction[below_the_eyes].mean(0)[0] < -0.7  # cos of twice 90 degrees is -1


def test_a_wider_frame_shows_the_same_person_smaller() -> None:
    spec = with_style(9, "bald")
    wide = replace(spec, scene=replace(spec.scene, frame_scale=1.5))
    near, far = (render_portrait(one, SIZE).landmarks.astype(np.float64) for one in (spec, wide))
    np.testing.assert_allclose(far - SIZE / 2, (near - SIZE / 2) / 1.5, atol=1e-3)


def test_wide_poses_are_another_choice_of_the_same_scene() -> None:
    narrow, wide = ([sample_scene(seed, poses) for seed in range(200)] for poses in ("narrow", "wide"))
    assert sample_scene(5) == narrow[5]
    assert max(abs(scene.yaw) for scene in narrow) <= 0.35 < 1.0 < max(abs(scene.yaw) for scene in wide)
    assert {scene.frame_scale for scene in narrow} == {1.0}
    assert 1.6 < max(scene.frame_scale for scene in wide) <= 1.75
    assert [scene.clothes_color for scene in narrow] == [scene.clothes_color for scene in wide]


def test_same_seed_same_bytes() -> None:
    first, second = (render_portrait(with_style(11, "pixie cut"), SIZE) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()


def test_variants_are_what_separate_renders_are(colors: list[Portrait]) -> None:
    alone = render_portrait(colors[3].spec, SIZE)
    assert np.array_equal(alone.image, colors[3].image)
    assert np.array_equal(alone.labels, colors[3].labels)


def test_color_changes_hair_only(colors: list[Portrait]) -> None:
    """Light roots at the hairline (less than a third of the skin) count as skin but do take the color."""
    untouched = colors[0].hair_coverage == 0
    assert untouched.mean() > 0.2
    for other in colors[1:]:
        changed = (colors[0].image != other.image).any(-1) & untouched
        assert changed.mean() < 0.02
        assert not (changed & (colors[0].labels == BACKGROUND)).any()


def test_colors_keep_their_names(colors: list[Portrait]) -> None:
    for portrait in colors:
        image = torch.from_numpy(portrait.image).permute(2, 0, 1)[None].float() / 127.5 - 1
        mask = torch.from_numpy(portrait.labels == HAIR)[None, None]
        assert nearest_color(mean_lab(image, mask)) == [portrait.spec.color.name]


def test_label_map_is_plausible(colors: list[Portrait]) -> None:
    labels, marks = colors[0].labels, colors[0].landmarks
    for wanted in (BACKGROUND, ids.SKIN, ids.NOSE, ids.NECK, ids.CLOTH, HAIR, ids.UPPER_LIP, ids.LOWER_LIP):
        assert (labels == wanted).any(), f"no pixel has label {wanted}"
    columns = np.arange(SIZE)[None].repeat(SIZE, 0)
    assert columns[labels == ids.LEFT_EYE].mean() < columns[labels == ids.RIGHT_EYE].mean()
    left, right, nose, mouth_left, mouth_right = marks
    assert left[0] < nose[0] < right[0]
    assert left[1] < nose[1] < mouth_left[1]
    assert mouth_left[0] < mouth_right[0]
    assert labels[int(nose[1]), int(nose[0])] == ids.NOSE


def test_coverage_agrees_with_the_labels(colors: list[Portrait]) -> None:
    portrait = colors[0]
    hair = portrait.labels == HAIR
    assert 0.05 < hair.mean() < 0.6
    assert portrait.hair_coverage[hair].mean() > 0.8
    assert portrait.hair_coverage[portrait.labels == ids.SKIN].mean() < 0.2


def test_bald_has_no_hair() -> None:
    portrait = render_portrait(with_style(5, "bald"), SIZE)
    assert not (portrait.labels == HAIR).any()
    assert portrait.hair_coverage.max() == 0
    assert "red" not in portrait.caption


def test_framing_is_the_ffhq_quad_enlarged() -> None:
    """The quad of the landmarks, scaled and shifted by the constants, is the frame itself."""
    marks = render_portrait(with_style(9, "bald"), 128).landmarks.astype(np.float64)
    eyes, mouth = (marks[0] + marks[1]) / 2, (marks[3] + marks[4]) / 2
    across, down = marks[1] - marks[0], mouth - eyes
    x = across - np.array([-down[1], down[0]])
    half = max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) * PORTRAITS.scale
    assert half == pytest.approx(64, abs=0.3)
    assert eyes + PORTRAITS.shift * down == pytest.approx(np.array([64.0, 64.0]), abs=0.3)
    assert abs(np.arctan2(x[1], x[0])) < 0.01


@pytest.mark.parametrize("style", ["afro", "hi-top fade", "spiky hair"])
def test_big_hair_stays_in_the_frame(style: str) -> None:
    tops = [render_portrait(with_style(seed, style), SIZE).hair_coverage[0].max() for seed in (500, 501, 502)]
    assert sum(top > 0.5 for top in tops) <= 1


def test_pose_keeps_distances_of_the_head() -> None:
    points = np.array([[0.1, 7.2, 1.0], [-0.4, 8.0, 0.2]], np.float32)
    posed = Pose.from_spec(sample_portrait(3).scene).apply(points)
    assert np.linalg.norm(posed[0] - posed[1]) == pytest.approx(np.linalg.norm(points[0] - points[1]), rel=1e-4)


def test_rasterize_keeps_the_nearest_triangle() -> None:
    points = np.array([[0, 0, 5], [8, 0, 5], [0, 8, 5], [0, 0, 1], [4, 0, 1], [0, 4, 1]], np.float32)
    triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    depth, index, bary = rasterize(points, triangles, 8, 8)
    assert index[0, 0] == 1
    assert index[4, 2] == 0
    assert index[7, 7] == -1
    assert depth[0, 0] == pytest.approx(1)
    x = interpolate(index, bary, triangles, np.ascontiguousarray(points[:, :1]))
    assert x[0, 0] == pytest.approx(0.5), "attributes are interpolated at pixel centers"


def test_buffers_are_linear_in_the_hair_color() -> None:
    buffers = Buffers.empty(2, 2)
    buffers.color += 0.5
    alpha = np.full((2, 2), 0.25, np.float32)
    buffers.cover(alpha, np.full((2, 2, 3), 0.2, np.float32), np.full((2, 2, 3), 0.1, np.float32))
    assert buffers.compose((1.0, 0.5, 0.0), gloss=1.0)[0, 0] == pytest.approx([0.675, 0.575, 0.475])
    assert buffers.hair_coverage == pytest.approx(0.25)


def test_box_blur_keeps_constants_and_mass() -> None:
    assert box_blur(np.full((9, 9), 2.0, np.float32), 2) == pytest.approx(2.0)
    spike = np.zeros((21, 21), np.float32)
    spike[10, 10] = 1
    assert box_blur(spike, 2).sum() == pytest.approx(1.0, rel=1e-4)

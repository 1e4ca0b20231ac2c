"""Where several colors go on hair, on a head whose hair is drawn: a cap above the face, and two long sides."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from hairclip.conditions.hair_colors import ColorPart
from hairclip.editing.dye import dye_hair
from hairclip.editing.hair_mask import FACE_CLASSES, HairMask
from hairclip.editing.photo.align import FaceSquare
from hairclip.editing.zones import make_zones

WIDTH, HEIGHT = 200, 300
SQUARE = FaceSquare(np.array([[40.0, 40.0], [40.0, 160.0], [160.0, 160.0], [160.0, 40.0]]))
BLACK, BLOND, PINK = (20, 20, 20), (206, 174, 120), (228, 134, 168)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """Brown hair with upright strands."""
    x = np.arange(WIDTH)
    light = 90 + 25 * np.sin(x * 1.1)[None] * np.ones((HEIGHT, 1))
    return Image.fromarray(np.stack([light, 0.7 * light, 0.5 * light], axis=-1).astype(np.uint8))


@pytest.fixture(scope="module")
def mask() -> HairMask:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    face = ((x - 100) / 38) ** 2 + ((y - 110) / 50) ** 2 < 1
    cap = (((x - 100) / 62) ** 2 + ((y - 90) / 75) ** 2 < 1) & (y < 110)
    sides = (abs(x - 100) > 40) & (abs(x - 100) < 62) & (y >= 90) & (y < 280)
    hair = (cap | sides) & ~face
    classes = np.zeros((19, HEIGHT, WIDTH), np.float32)
    classes[FACE_CLASSES[0]] = face
    classes[13] = hair
    rows, columns = np.flatnonzero(hair.any(axis=1)), np.flatnonzero(hair.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return HairMask(np.uint8(255 * hair), box, classes, (0, 0, WIDTH, HEIGHT), 1.0, 0.0)


def weights(photo: Image.Image, mask: HairMask, *parts: ColorPart) -> list[np.ndarray]:
    """Return the weight of each zone at the photo's size."""
    zones = make_zones(photo, parts, mask, SQUARE)
    assert all(zone.weight is not None for zone in zones)
    return [np.asarray(Image.fromarray(zone.weight).resize(photo.size, Image.Resampling.BILINEAR)) for zone in zones]


def test_one_color_needs_no_map(photo, mask):
    (zone,) = make_zones(photo, [ColorPart(None, PINK)], mask, SQUARE)
    assert (zone.color, zone.weight) == (PINK, None)


def test_tips_lie_at_the_ends_and_roots_at_the_hairline(photo, mask):
    tips, roots = weights(photo, mask, ColorPart(None, PINK, "tips"), ColorPart(None, BLACK, "roots"))
    ends, top = np.s_[255:275, 45:55], np.s_[45:55, 90:110]
    assert tips[ends].min() > 0.95
    assert tips[top].max() < 0.05
    assert roots[top].min() > 0.95
    assert roots[ends].max() < 0.05
    inside = ndimage.binary_erosion(mask.alpha > 0, iterations=3)  # the map ends at the hair's box
    np.testing.assert_allclose((tips + roots)[inside], 1.0, atol=0.02)  # an ombre leaves nothing between


def test_a_color_over_all_fills_what_tips_leave(photo, mask):
    base, tips = weights(photo, mask, ColorPart("black", BLACK), ColorPart(None, PINK, "tips"))
    inside = ndimage.binary_erosion(mask.alpha > 0, iterations=3)
    np.testing.assert_allclose((base + tips)[inside], 1.0, atol=0.02)
    assert base[100, 45] > 0.95


def test_halves_are_those_of_the_picture(photo, mask):
    left, right = weights(photo, mask, ColorPart(None, BLACK, "left"), ColorPart(None, PINK, "right"))
    assert left[200, 45] > 0.99
    assert right[200, 155] > 0.99
    assert left[200, 155] < 0.01
    assert abs(left[30, 100] - 0.5) < 0.2


@pytest.mark.parametrize(("where", "low", "high"), [("highlights", 0.1, 0.5), ("streaks", 0.03, 0.35)])
def test_highlights_and_streaks_run_along_the_strands(photo, mask, where, low, high):
    (weight,) = weights(photo, mask, ColorPart(None, BLOND, where))
    side = weight[120:270, 40:60]
    assert low < weight[mask.alpha > 0].mean() < high
    along, across = np.abs(np.diff(side, axis=0)).mean(), np.abs(np.diff(side, axis=1)).mean()
    assert across > 2 * along  # the strands of the picture are upright
    (again,) = weights(photo, mask, ColorPart(None, BLOND, where))
    assert np.array_equal(weight, again)


def test_dyed_tips_leave_the_roots_bit_for_bit(photo, mask):
    zones = make_zones(photo, [ColorPart(None, PINK, "tips")], mask, SQUARE)
    before, after = np.asarray(photo), np.asarray(dye_hair(photo, mask.alpha, zones))
    assert np.array_equal(after[40:60], before[40:60])
    assert np.array_equal(after[mask.alpha == 0], before[mask.alpha == 0])
    changed = np.abs(after[255:275, 45:55].astype(int) - before[255:275, 45:55]).mean()
    assert changed > 10  # colors are darker in a dark photo

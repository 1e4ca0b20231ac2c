"""Parts of the hair: where roots, tips, sides and highlights are."""

from typing import get_args

import numpy as np
import pytest

from hairclip.editing.hair_parts import HairPart, measure_length, weigh_part
from tests.helpers.painted_people import COLORS, draw_person, paint, square_at

SQUARE = square_at(300, 250, 240)


@pytest.fixture(scope="module")
def alpha() -> np.ndarray:
    photo, draw = paint()
    draw_person(draw, 300, 250, 240)
    return np.where((np.asarray(photo) == COLORS["hair"]).all(axis=-1), 255, 0).astype(np.uint8)


def at(weights: np.ndarray, x: int, y: int) -> float:
    return float(weights[round(y * weights.shape[0] / 800), round(x * weights.shape[1] / 600)])


def test_length_grows_from_the_scalp_to_the_end(alpha: np.ndarray):
    length = measure_length(alpha, SQUARE)
    down_the_lock = [at(length, 215, y) for y in (200, 300, 400, 500, 570)]
    assert down_the_lock == sorted(down_the_lock)
    assert at(length, 300, 145) < 0.15
    assert down_the_lock[-1] > 0.9


def test_tips_are_below_and_roots_above(alpha: np.ndarray):
    tips, roots = (weigh_part(part, alpha, SQUARE) for part in ("tips", "roots"))
    assert at(tips, 215, 560) > 0.95
    assert at(tips, 300, 145) == 0
    assert at(roots, 300, 145) > 0.8
    assert at(roots, 215, 560) == 0


def test_the_halves_meet_in_the_middle(alpha: np.ndarray):
    left, right = (weigh_part(part, alpha, SQUARE) for part in ("left", "right"))
    assert at(left, 220, 300) == at(right, 390, 200) == 1
    assert np.abs(left + right - 1).max() < 1e-6


def test_highlights_are_many_thin_locks(alpha: np.ndarray):
    weights = weigh_part("highlights", alpha, SQUARE)
    hair = np.asarray(alpha)[:: 800 // 200, :: 800 // 200]
    assert 0.1 < weights.mean() < 0.7
    assert weights.max() <= 1
    assert hair.any()
    row = weights[round(160 * weights.shape[0] / 800)]
    assert (np.diff((row > 0.4).astype(int)) != 0).sum() >= 6


@pytest.mark.parametrize("part", get_args(HairPart))
def test_every_part_has_weights_between_0_and_1_even_without_hair(part: HairPart):
    weights = weigh_part(part, np.zeros((40, 30), np.uint8), square_at(15, 20, 20))
    assert weights.dtype == np.float32
    assert 0 <= weights.min() <= weights.max() <= 1

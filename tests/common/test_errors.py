"""Numbers outside their range are one sentence that says the range."""

import pytest

from hairclip.common.errors import HairclipError, check_range


def test_numbers_in_the_range_pass():
    for value in (0.0, 2.0, 1):
        check_range("strength", value, 0.0, 2.0)
    for value in (1, 2**63 - 1):
        check_range("--steps", value, 1)


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (2.5, (0.0, 2.0), "strength 2.5: give a number from 0 to 2."),
        (float("nan"), (0.0, 2.0), "strength nan: give a number from 0 to 2."),
        ("much", (0.0, 2.0), "strength 'much': give a number from 0 to 2."),
        (0, (1,), "strength 0: give 1 or more."),
        (float("inf"), (0.0,), "strength inf: give a smaller number."),
        (1.5, (1,), "strength 1.5: give a whole number, 1 or more."),
        (True, (1,), "strength True: give a whole number, 1 or more."),
        (2**63, (0,), f"strength {2**63}: give a smaller number."),
    ],
)
def test_other_numbers_are_refused(value: float, limits: tuple[float, ...], message: str):
    with pytest.raises(HairclipError) as told:
        check_range("strength", value, *limits)
    assert str(told.value) == message

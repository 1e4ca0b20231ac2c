"""Contact sheets: where pictures and words lie."""

import numpy as np
import torch

from hairclip.common.sheets import draw_sheet, stack_sheets

BLACK, WHITE = torch.full((3, 4, 4), -1.0), torch.ones(3, 4, 4)


def test_pictures_lie_in_rows_with_white_between_them():
    sheet = np.asarray(draw_sheet([[BLACK, WHITE], [BLACK]], gap=2))
    expected = np.full((10, 10, 3), 255)
    expected[:4, :4] = expected[6:, :4] = 0
    assert np.array_equal(sheet, expected)  # an absent picture is white


def test_captions_take_room_above_and_left():
    sheet = draw_sheet([[BLACK, WHITE]], columns=["two\nlines", "b"], rows=["row"], tile=8, gap=2)
    pixels = np.asarray(sheet)
    assert sheet.height == 2 * 13 + 2 + 8
    assert (pixels[-8:, -18:-10] == 0).all()
    assert (pixels[:-8] < 255).any()
    assert (pixels[-8:, :-18] < 255).any()


def test_sheets_are_stacked_on_white():
    sheets = [draw_sheet([[BLACK]]), draw_sheet([[BLACK, BLACK]])]
    pixels = np.asarray(stack_sheets(sheets, gap=3))
    assert pixels.shape == (11, 12, 3)
    assert (pixels[:4, 4:] == 255).all()
    assert (pixels[7:, :4] == 0).all()
    assert stack_sheets(sheets[:1]) is sheets[0]

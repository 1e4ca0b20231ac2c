"""The hair of one person in a whole photo."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from torch.nn.functional import max_pool2d

from hairclip.common.face_labels import HAIR
from hairclip.common.framing import FFHQ, PORTRAITS
from hairclip.editing.hair_mask import HairMask, face_square_within, find_hair_mask
from hairclip.editing.photo.align import FaceSquare, face_square
from tests.helpers.painted_people import COLORS, ColorParser, draw_person, paint, square_at


@pytest.fixture
def parser() -> ColorParser:
    return ColorParser()


def share(mask: HairMask, box: tuple[int, int, int, int]) -> float:
    return float(mask.alpha[box[1] : box[3], box[0] : box[2]].mean()) / 255


def test_hair_is_followed_beyond_the_crop_until_it_ends(parser):
    photo, draw = paint()
    draw_person(draw, 300, 250, 240)
    mask = find_hair_mask(photo, square_at(300, 250, 240), parser)
    true = (np.asarray(photo) == COLORS["hair"]).all(axis=-1)
    found = mask.alpha > 127
    assert mask.alpha.shape == (800, 600)
    assert mask.alpha.dtype == np.uint8
    assert (found & true).sum() / (found | true).sum() > 0.95
    assert share(mask, (210, 500, 225, 570)) > 0.8  # FFHQ's square ends at 370
    assert mask.has_hair
    assert mask.describe_missing_hair() is None


def test_the_box_holds_every_pixel_of_hair_and_nothing_beyond_it_is_hair(parser):
    photo, draw = paint()
    draw_person(draw, 300, 250, 240)
    mask = find_hair_mask(photo, square_at(300, 250, 240), parser)
    left, top, right, bottom = mask.box
    outside = mask.alpha.copy()
    outside[top:bottom, left:right] = 0
    assert not outside.any()
    assert mask.alpha[top].any()
    assert mask.alpha[bottom - 1].any()
    assert mask.alpha[:, left].any()
    assert mask.alpha[:, right - 1].any()


def test_hair_of_other_people_and_islands_are_left_out(parser):
    photo, draw = paint(900, 700)
    draw_person(draw, 250, 250, 220)
    draw_person(draw, 600, 270, 180)
    draw.ellipse((330, 560, 350, 580), fill=COLORS["hair"])  # a button of the color of hair
    mask = find_hair_mask(photo, square_at(250, 250, 220), parser, others=[square_at(600, 270, 180)])
    assert share(mask, (230, 155, 270, 175)) > 0.95
    assert share(mask, (520, 180, 690, 340)) == 0
    assert share(mask, (325, 555, 355, 585)) == 0


class GenerousParser(ColorParser):
    """Takes a rim of whatever lies beside hair for hair."""

    def logits(self, images):
        logits = super().logits(images)
        is_hair = (logits.argmax(dim=1, keepdim=True) == HAIR).float()
        logits[:, HAIR] += 8.0 * max_pool2d(is_hair, 7, 1, 3)[:, 0]
        return logits


def test_shaded_skin_beside_hair_is_no_hair_where_the_parser_says_so():
    photo, draw = paint()
    draw_person(draw, 300, 250, 240)
    true = (np.asarray(photo) == COLORS["hair"]).all(axis=-1)
    skin = (np.asarray(photo) == COLORS["skin"]).all(axis=-1)
    shade = 1 - 0.5 * ndimage.gaussian_filter(true.astype(float), 4) * skin
    photo = Image.fromarray(np.rint(np.asarray(photo) * shade[..., None]).astype(np.uint8))
    alpha = find_hair_mask(photo, square_at(300, 250, 240), GenerousParser()).alpha / 255
    beside_hair, beside_skin = (ndimage.binary_dilation(one, iterations=8) for one in (true, skin))
    assert alpha[skin & beside_hair].mean() < 0.1  # this much of a dye would spill
    assert alpha[true & beside_skin].mean() > 0.9  # and the rest would keep the old color


def test_a_wall_like_hair_high_above_the_head_is_no_hair(parser):
    photo, draw = paint()
    draw.rectangle((150, 0, 450, 150), fill=(115, 55, 35))  # the parser takes it for hair
    draw_person(draw, 300, 250, 240)
    mask = find_hair_mask(photo, square_at(300, 250, 240), parser)
    assert share(mask, (160, 0, 440, 85)) < 0.001
    assert share(mask, (280, 140, 320, 160)) > 0.95


def test_a_lock_that_hangs_from_the_head_is_no_collar(parser):
    photo, draw = paint()
    draw.ellipse((200, 130, 400, 260), fill=COLORS["hair"])
    draw.ellipse((233, 178, 367, 346), fill=COLORS["skin"])
    draw.rectangle((385, 200, 396, 365), fill=COLORS["hair"])
    draw.rectangle((380, 350, 420, 440), fill=COLORS["hair"])
    mask = find_hair_mask(photo, square_at(300, 250, 240), parser)
    assert share(mask, (385, 365, 415, 430)) > 0.8


@pytest.mark.parametrize("is_long", [False, True])
def test_what_begins_below_the_mouth_is_a_collar_unless_the_hair_is_long(parser, is_long: bool):
    photo, draw = paint()
    if is_long:
        draw_person(draw, 300, 250, 240)
    else:
        draw.ellipse((200, 130, 400, 260), fill=COLORS["hair"])
        draw.ellipse((233, 178, 367, 346), fill=COLORS["skin"])
    draw.rectangle((355, 360, 420, 440), fill=COLORS["hair"])  # what the parser takes for hair
    draw.line((393, 200, 400, 365), fill=COLORS["hair"], width=3)  # and what hangs it on the hair
    mask = find_hair_mask(photo, square_at(300, 250, 240), parser)
    assert share(mask, (280, 140, 320, 160)) > 0.95
    collar = share(mask, (365, 375, 410, 430))
    assert collar > 0.9 if is_long else collar == 0


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_photo_gives_the_turned_mask(parser, quarters: int):
    photo, draw = paint(640, 640)
    draw_person(draw, 300, 250, 240)
    square = square_at(300, 250, 240)
    upright = find_hair_mask(photo, square, parser).alpha
    turned = Image.fromarray(np.rot90(np.asarray(photo), quarters))
    corners = square.corners
    for _ in range(quarters):  # a pixel (x, y) goes to (y, 639 - x)
        corners = np.stack([corners[:, 1], 639 - corners[:, 0]], axis=1)
    mask = find_hair_mask(turned, FaceSquare(corners), parser).alpha
    apart = np.abs(mask.astype(int) - np.rot90(upright, quarters).astype(int))
    assert apart.mean() < 2


def test_a_person_without_hair_or_under_a_hat_is_described_and_has_an_empty_mask(parser):
    bare, draw = paint()
    draw_person(draw, 300, 250, 240, hair=False)
    mask = find_hair_mask(bare, square_at(300, 250, 240), parser)
    assert not mask.has_hair
    assert not mask.wears_hat
    assert "has no hair" in str(mask.describe_missing_hair("me.jpg"))
    covered, draw = paint()
    draw_person(draw, 300, 250, 240, hair=False, hat=True)
    mask = find_hair_mask(covered, square_at(300, 250, 240), parser)
    assert mask.wears_hat
    assert "hat, cap or hood" in str(mask.describe_missing_hair("me.jpg"))


@pytest.mark.parametrize("size", [(40, 40), (64, 20), (20, 64)])
def test_tiny_photos_have_masks_of_their_size(parser, size: tuple[int, int]):
    photo = Image.new("RGB", size, COLORS["hair"])
    mask = find_hair_mask(photo, square_at(size[0] / 2, size[1] / 2, min(size)), parser)
    assert mask.alpha.shape == size[::-1]


def test_ffhq_s_square_is_found_within_the_square_of_another_framing():
    eyes_and_mouth = np.array([[100, 100], [160, 104], [130, 130], [104, 168], [152, 172]], np.float64)
    wide, own = (face_square(eyes_and_mouth, framing) for framing in (PORTRAITS, FFHQ))
    found = face_square_within(wide, PORTRAITS)
    assert np.abs(found.corners - own.corners).max() < 0.03 * own.size

import numpy as np
import pytest
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.framing import PORTRAITS
from hairclip.editing.photo.align import FaceSquare, crop_face, face_square, rectangle, spread

EYES_MOUTH = np.array([[100, 120], [160, 118], [130, 150], [108, 180], [155, 179]], np.float64)


def gradient(width: int = 320, height: int = 300) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(np.uint8)
    )


def test_the_square_of_the_reference_face():
    square = face_square(EYES_MOUTH)
    expected = [[6.648, 8.520], [13.620, 248.552], [253.652, 241.580], [246.680, 1.548]]
    np.testing.assert_allclose(square.corners, expected, atol=6e-4)
    assert square.size == pytest.approx(240.1333, abs=1e-4)


def test_68_points_give_the_square_of_their_five():
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = EYES_MOUTH[0], EYES_MOUTH[1]
    points[48], points[54] = EYES_MOUTH[3], EYES_MOUTH[4]
    np.testing.assert_allclose(face_square(points).corners, face_square(EYES_MOUTH).corners)


def test_the_crop_shows_what_lies_under_the_square():
    photo = gradient()
    square = face_square(EYES_MOUTH)
    crop = np.asarray(crop_face(photo, square, 64), np.float64)
    middle = square.corners.mean(axis=0)
    expected = np.asarray(photo, np.float64)[round(middle[1]), round(middle[0])]
    np.testing.assert_allclose(crop[31:33, 31:33].mean(axis=(0, 1)), expected, atol=3)


def test_a_crop_beyond_the_photo_is_filled():
    crop = crop_face(gradient(), face_square(EYES_MOUTH - [80, 100]), 64)
    assert crop.size == (64, 64)
    assert np.asarray(crop).std() > 5


def test_a_large_photo_is_reduced_first():
    large = gradient(1280, 1200)
    small, square = crop_face(gradient(), face_square(EYES_MOUTH), 64), face_square(EYES_MOUTH * 4)
    np.testing.assert_allclose(
        np.asarray(crop_face(large, square, 64), np.float64), np.asarray(small, np.float64), atol=6
    )


def whole_then_cut(photo: Image.Image, square: FaceSquare, size: int) -> np.ndarray:
    """FFHQ's crop in its own order, without regard to time: the whole photo is reduced, then padded, then sampled."""
    corners, side = square.corners, square.size
    shrink = int(np.floor(side / size * 0.5))
    if shrink > 1:
        new = (int(np.rint(photo.width / shrink)), int(np.rint(photo.height / shrink)))
        photo, corners, side = photo.resize(new, Image.Resampling.LANCZOS), corners / shrink, side / shrink
    border = max(int(np.rint(side * 0.1)), 3)
    low, high = np.floor(corners.min(0)).astype(int) - border, np.ceil(corners.max(0)).astype(int) + border
    box = [max(low[0], 0), max(low[1], 0), min(high[0], photo.width), min(high[1], photo.height)]
    photo, corners = photo.crop([int(edge) for edge in box]), corners - box[:2]
    low, high = np.floor(corners.min(0)).astype(int) - border, np.ceil(corners.max(0)).astype(int) + border
    pad = np.array([-low[0], -low[1], high[0] - photo.width, high[1] - photo.height]).clip(0)
    if pad.max() > border - 4:
        pad = np.maximum(pad, int(np.rint(side * 0.3)))
        left, top, right, bottom = (int(amount) for amount in pad)
        pixels = np.pad(np.asarray(photo, np.float64), ((top, bottom), (left, right), (0, 0)), "reflect")
        height, width = pixels.shape[:2]
        y, x, _ = np.ogrid[:height, :width, :1]
        mask = np.maximum(
            1 - np.minimum(x / left, (width - 1 - x) / right), 1 - np.minimum(y / top, (height - 1 - y) / bottom)
        )
        sigma = side * 0.02
        taps = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
        kernel = np.exp(-0.5 * (taps / sigma) ** 2)
        blurred = pixels
        for axis in (0, 1):
            edge = [(taps[-1], taps[-1]) if i == axis else (0, 0) for i in range(3)]
            blurred = np.apply_along_axis(
                np.convolve, axis, np.pad(blurred, edge, "symmetric"), kernel / kernel.sum(), "valid"
            )
        pixels = pixels + (blurred - pixels) * (3 * mask + 1).clip(0, 1)
        pixels = pixels + (np.median(pixels, axis=(0, 1)) - pixels) * mask.clip(0, 1)
        photo, corners = Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)), corners + np.array([left, top])
    quad = [float(value) for value in (corners + 0.5).ravel()]
    cut = photo.transform((4 * size, 4 * size), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
    return np.asarray(cut.resize((size, size), Image.Resampling.LANCZOS), int)


@pytest.mark.parametrize(
    ("scale", "shift"),
    [(1, (0, 0)), (1, (-80, -100)), (1, (150, 90)), (3.37, (0, 0)), (3.37, (-300, 420))],
    ids=["inside", "beyond the upper left", "beyond the lower right", "reduced", "reduced and beyond"],
)
@pytest.mark.parametrize("size", [32, 100])
def test_the_crop_is_ffhqs(scale: float, shift: tuple[int, int], size: int):
    noise = np.random.default_rng(0).integers(-20, 21, (int(300 * scale), int(320 * scale), 3))
    smooth = np.asarray(gradient(int(320 * scale), int(300 * scale)), int)
    photo = Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))
    square = face_square(EYES_MOUTH * scale + np.array(shift))
    crop = np.asarray(crop_face(photo, square, size), int)
    assert np.abs(crop - whole_then_cut(photo, square, size)).max() <= 1


@pytest.mark.parametrize("scale", [0.6, 1.0, 2.9])
@pytest.mark.parametrize("size", [48, 256])
def test_the_inverse_is_exact(scale: float, size: int):
    """In a photo whose values are positions, a crop tells where its pixels came from, to a tenth of a pixel or
    a hundredth of one of the crop."""
    width, height = 1000, 950
    y, x = np.mgrid[:height, :width]
    square = face_square(EYES_MOUTH * scale + np.array([30, 40]))
    inverse = np.linalg.inv(np.array([*square.coefficients(size, (width, height)), 0, 0, 1]).reshape(3, 3))
    rows, columns = np.mgrid[:size, :size] + 0.5
    found = inverse @ np.stack([columns.ravel(), rows.ravel(), np.ones(size * size)])
    for positions, expected in ((x, found[0]), (y, found[1])):
        fine = positions % 256  # one level per pixel; falling too, since Pillow rounds down as it samples
        photo = Image.fromarray(np.stack([fine, fine, 255 - fine], -1).astype(np.uint8))
        crop = np.asarray(crop_face(photo, square, size), float)
        level = (crop[..., 0] + 255 - crop[..., 2]).ravel() / 2
        # Away from where the ramp starts again, and from the crop's rim, which the last reduction smooths.
        margin = 4 * max(1.0, square.size / size) + 4
        safe = (expected % 256 > margin) & (expected % 256 < 256 - margin)
        safe &= ((rows > 4) & (rows < size - 4) & (columns > 4) & (columns < size - 4)).ravel()
        error = level[safe] - (expected[safe] - 0.5) % 256
        assert safe.sum() > 0.2 * size * size
        assert abs(error.mean()) < max(0.1, 0.01 * square.size / size)
        assert np.abs(error).max() < 1.0  # a level of rounding


def paste(photo: Image.Image, crop: Image.Image, square: FaceSquare, weight: Image.Image | None = None) -> Image.Image:
    """Return the photo with a crop put back where it was cut; `weight` is 0..255 over the crop, None for all of it."""
    pasted, place = photo.copy(), rectangle(square, crop.width, photo.size)
    assert place is not None
    weight = Image.new("L", crop.size, 255) if weight is None else weight
    pasted.paste(spread(crop, square, photo.size, place), place, spread(weight, square, photo.size, place))
    return pasted


def natural(width: int = 420, height: int = 400) -> Image.Image:
    """Detail of every size, most of it coarse, as in photographs."""
    random = np.random.default_rng(0)
    total = np.zeros((height, width, 3))
    for octave in range(1, 8):
        cells = random.normal(size=(2**octave + 1, 2**octave + 1, 3))
        layers = [
            np.asarray(Image.fromarray(cells[..., c].astype(np.float32)).resize((width, height), 3)) for c in range(3)
        ]
        total += np.stack(layers, -1) * 40 / 2 ** (octave * 0.8)
    return Image.fromarray((128 + total).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("shift", "size", "least"),
    [((0, 0), 256, 41), ((0, 0), 128, 31), ((-90, -100), 256, 41), ((0, 0), 1024, 52), ((250, 230), 256, 41)],
)
def test_pasting_back_what_was_cut_changes_nothing_outside_and_little_inside(
    shift: tuple[int, int], size: int, least: float
):
    """Inside, it is as good as resampling is: by size of the crop, of a square of 240 pixels, in dB."""
    photo, square = natural(), face_square(EYES_MOUTH + np.array(shift))
    back = paste(photo, crop_face(photo, square, size), square)
    before, after = np.asarray(photo, float), np.asarray(back, float)
    corners = square.corners
    right, down = corners[3] - corners[0], corners[1] - corners[0]
    y, x = np.mgrid[: photo.height, : photo.width]
    place = np.stack([x, y], -1) - corners[0]
    along, across = place @ right / (right @ right), place @ down / (down @ down)
    slack = 1 / square.size
    outside = (along < -slack) | (along > 1 + slack) | (across < -slack) | (across > 1 + slack)
    assert np.array_equal(before[outside], after[outside])
    inside = ~outside
    assert not np.array_equal(before[inside], after[inside])
    psnr = 10 * np.log10(255**2 / np.square(before[inside] - after[inside]).mean())
    assert psnr > least


def test_weight_zero_keeps_every_bit():
    photo, square = natural(), face_square(EYES_MOUTH)
    weight = Image.new("L", (64, 64), 0)
    assert np.array_equal(paste(photo, Image.new("RGB", (64, 64)), square, weight), photo)
    weight.paste(255, (20, 24, 40, 44))
    changed = np.abs(np.asarray(paste(photo, Image.new("RGB", (64, 64)), square, weight), int) - photo).max(-1) > 0
    y, x = np.nonzero(changed)
    # One pixel of the crop, of 3.75 pixels of the photo, around the part of full weight, turned by a few degrees.
    places = np.array([[19, 23], [41, 23], [41, 45], [19, 45]]) / 64
    right, down = square.corners[3] - square.corners[0], square.corners[1] - square.corners[0]
    limits = square.corners[0] + places[:, :1] * right + places[:, 1:] * down
    assert limits[:, 0].min() - 1 <= x.min() <= x.max() <= limits[:, 0].max() + 1
    assert limits[:, 1].min() - 1 <= y.min() <= y.max() <= limits[:, 1].max() + 1


@pytest.mark.parametrize(("angle", "scale"), [(0, 1.6), (17, 1.0), (-35, 0.8), (90, 1.0), (180, 1.3), (23, 2.7)])
def test_a_moved_copy_of_a_photo_gives_the_same_crop(angle: float, scale: float):
    """Turned, scaled and shifted: to 1.5 of 255 levels in the mean."""

    def scene(places: np.ndarray) -> np.ndarray:
        x, y = places[..., 0], places[..., 1]
        waves = [np.sin(x / 9 + np.cos(y / 23)), np.sin((x + y) / 17), np.cos(y / 11 - x / 31)]
        return (128 + 90 * np.stack(waves, -1)).round().astype(np.uint8)

    along, across = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    turn = np.array([[along, -across], [across, along]])
    size = 128
    y, x = np.mgrid[:300, :320]
    expected = crop_face(Image.fromarray(scene(np.stack([x, y], -1).astype(float))), face_square(EYES_MOUTH), size)
    frame = np.array([450, 450]) * max(1.0, scale)
    y, x = np.mgrid[: int(frame[1]), : int(frame[0])]
    middle = EYES_MOUTH.mean(axis=0)
    back = (np.stack([x, y], -1) - frame / 2) @ np.linalg.inv(turn).T + middle
    moved = (EYES_MOUTH - middle) @ turn.T + frame / 2
    crop = crop_face(Image.fromarray(scene(back)), face_square(moved), size)
    error = np.abs(np.asarray(crop, int) - np.asarray(expected, int))
    assert error.mean() < 1.5


def test_the_square_of_the_portraits_is_a_third_larger():
    inner, outer = face_square(EYES_MOUTH), face_square(EYES_MOUTH, PORTRAITS)
    assert outer.size == pytest.approx(1.33 * inner.size)


def test_impossible_landmarks_are_refused():
    with pytest.raises(HairclipError, match="coincide"):
        face_square(np.full((5, 2), 3.0))
    with pytest.raises(ValueError, match="landmarks"):
        face_square(np.zeros((4, 2)))

"""Find the hair of one person in a whole photo, as a soft mask at the photo's resolution.

The face parser looks at several squares around the face, so that long hair is followed until it ends. From its answer
it is learned which colors are hair at which place of this photo. Hair that is not connected to this head is left out.
The photo's own colors then decide where the hair ends: a guided filter (He, Sun, Tang 2010, "Guided Image Filtering")
turns the smooth answer into a matte that follows strands.

```python
face = finder(photo)[0]
mask = find_hair_mask(photo, face.square(), parser)
mask.alpha  # (height, width) uint8: 255 is hair, 0 is not, strands lie between
```
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.face_labels import CELEBAMASK_CLASSES, HAIR
from hairclip.common.framing import Framing
from hairclip.common.images import Images, from_pil
from hairclip.editing.photo.align import FaceSquare, Rectangle, strips
from hairclip.networks.face_parser import FaceParser

__all__ = ["FACE_CLASSES", "HairMask", "face_square_within", "find_hair_mask", "wears_hat"]

SQUARES = ((1.15, 0.0, 1.0), (1.15, 0.5, 1.0), (1.6, 1.4, 0.05), (1.6, 0.0, 0.05))
"""Squares that the parser sees: side as a multiple of FFHQ's square, way down in halves of it, and weight.

Below the face hair hangs, so two of them are moved there. In larger squares the parser takes much of the backdrop for
hair.
"""
LEAST_WITHIN = 0.75
"""Least share of a square that lies within the photo, or the parser does not see it; the first is always seen."""
FAR_GAIN, FAR_BIAS = 0.5, -1.0
"""What the log odds of hair are multiplied by, and what is added, where only squares of small weight see a pixel."""
HIGHEST, WIDEST, FADE = 1.25, 1.5, 20.0
"""Hair rarely goes higher above the middle of the face, or farther aside, in halves of FFHQ's square. Beyond, the log
odds fall by `FADE` per half square."""
FACE_PIXELS = 208
"""Side of FFHQ's square in pixels where the answers of the parser are joined."""
UP, DOWN, SIDEWAYS = 1.4, 2.6, 1.6
"""How far hair is followed from the middle of the face, in sides of FFHQ's square."""
LEARNED_PIXELS = 104
"""Side of FFHQ's square in pixels where it is learned which colors are hair at which place."""
FEATURES = 256
"""Number of random Fourier features of colors and places."""
COLOR_REACH, PLACE_REACH = 0.12, 0.5
"""How far the colors, and places in halves of FFHQ's square, of two pixels lie apart that say much about each other."""
CLOSENESS = 0.6
"""How much farther from their face the hair of a person may lie whose face is twice as large: they stand in front."""
LARGEST_REFINED = 640
"""Longest side in pixels of the hair's box where its colors are looked at; the photo itself may be larger."""
RIDGE = 5e-3
"""Weight of the squared coefficients in that fit: less follows single pixels."""
MOST_LEARNED = 4.0
"""Most that a color at its place adds to the log odds of hair."""
PRIOR_GAIN = 2.0
"""Factor of the parser's log odds: its answer is smooth, and hair has an edge."""
MOST_TOLD = 4.0
"""Most that a pixel's color adds to the log odds of hair."""
EDGE_SURE, EDGE_BAND, EDGE_REACH = 0.02, 0.05, 0.08
"""Where hair ends, in sides of FFHQ's square: how far from the edge colors are measured, how far from it they decide,
and how far they count."""
EDGE_TOLD = 6.0
"""Most that a color adds to the log odds there: more than the parser says."""
SHADE = 0.75
"""Share of the light of skin that reaches it beside hair, at least."""
_TYPICAL = 16.0
"""Distance from the colors of hair up to which a color is usual for it."""
COLOR_NOISE = 0.04
"""Standard deviation of a color channel in [0, 1] within one surface: noise, and light."""
LEAST_HAIR = 0.06
"""Hair below this share of the face's area is no hair: a shaved head, or the parser's doubts."""
MOUTH = 0.25
"""Height of the mouth in FFHQ's square, from -1 at the top to 1 at the bottom."""
MOST_HAT = 0.55
"""Share of the head above the brows that a hat covers, from which on the person is said to wear one."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_SKIN = [CELEBAMASK_CLASSES.index(name) for name in ("skin", "nose")]
_BODY = [CELEBAMASK_CLASSES.index(name) for name in ("skin", "nose", "l_ear", "r_ear", "neck")]
_HAT = CELEBAMASK_CLASSES.index("hat")
FACE_CLASSES = [
    CELEBAMASK_CLASSES.index(name) for name in ("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow")
] + [CELEBAMASK_CLASSES.index(name) for name in ("mouth", "u_lip", "l_lip")]

Field = Float[np.ndarray, "height width"]


@dataclass(frozen=True)
class HairMask:
    """The hair of one person in a photo.

    Attributes:
        alpha: share of each pixel of the photo that is this person's hair, (height, width), 0 to 255.
        box: left, top, right and bottom of the part with `alpha` > 0, in pixels; four zeros without hair.
        classes: probabilities of `CELEBAMASK_CLASSES` around the face, (19, rows, columns), at a reduced size.
        area: the rectangle of the photo that `classes` covers.
        share: area of the hair as a share of the area of the face.
        hat: share of the head above the brows that a hat, cap or hood covers, in [0, 1].
    """

    alpha: UInt8[np.ndarray, "height width"]
    box: Rectangle
    classes: Float[np.ndarray, "classes rows columns"]
    area: Rectangle
    share: float
    hat: float

    def repaint(self, alpha: UInt8[np.ndarray, "height width"]) -> "HairMask":
        """Return the mask with another `alpha` that shows hair somewhere; a person painted it, so it counts as hair."""
        rows, columns = (np.flatnonzero(alpha.any(axis=axis)) for axis in (1, 0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        return replace(self, alpha=alpha, box=box, share=max(self.share, 1.0))

    @property
    def has_hair(self) -> bool:
        """Whether the person has hair that a dye would be seen on."""
        return self.share >= LEAST_HAIR

    @property
    def wears_hat(self) -> bool:
        """Whether a hat, cap or hood covers most of the head."""
        return self.hat >= MOST_HAT

    def describe_missing_hair(self, name: str = "the picture") -> str | None:
        """Return one sentence that says why there is no hair to edit; None where there is hair.

        Args:
            name: what the sentence calls the photo.
        """
        if self.has_hair:
            return None
        if self.wears_hat:
            return f"the person in {name} wears a hat, cap or hood, and no hair shows: give a photo without it."
        return f"the person in {name} has no hair that could be edited: give another photo, or a mask of the hair."


def face_square_within(square: FaceSquare, framing: Framing) -> FaceSquare:
    """Return FFHQ's square of a face from its square in another framing.

    Args:
        square: the square that was cut out.
        framing: how that square lies around the face.
    """
    upper_left, lower_left, lower_right, upper_right = square.corners
    middle = (upper_left + lower_right) / 2
    # The way from the eyes to the mouth is about 1 / 1.8 of half of FFHQ's square, see `Framing.place`.
    down = ((lower_left + lower_right) - (upper_left + upper_right)) / 4 / framing.scale
    moved = middle + (0.1 - framing.shift) / 1.8 * down
    return FaceSquare(moved + (square.corners - middle) / framing.scale)


@torch.no_grad()
def find_hair_mask(
    photo: Image.Image, square: FaceSquare, parser: FaceParser, *, others: Sequence[FaceSquare] = ()
) -> HairMask:
    """Return the hair of one person in a photo.

    Args:
        photo: the whole photo, mode "RGB", of any size.
        square: FFHQ's square around the person's face, `Face.square()`, turned as the face is.
        parser: a parser that knows photos at many scales.
        others: the squares of the other people's faces; their hair is left out.
    """
    area = _choose_area(square, photo.size)
    left, top, right, bottom = area
    scale = min(1.0, FACE_PIXELS / square.size)
    size = (max(8, round((right - left) * scale)), max(8, round((bottom - top) * scale)))
    small = photo.resize(size, Image.Resampling.BILINEAR, box=area, reducing_gap=3.0)
    into = np.array([size[0] / (right - left), size[1] / (bottom - top)])
    own, *their = [(one.corners + 0.5 - np.array([left, top])) * into - 0.5 for one in (square, *others)]
    classes, opinion = _parse(from_pil(small), own, parser)
    hair = _keep_own_hair(_learn_colors(np.asarray(small), opinion, own, their), own)
    face, hat = _measure_head(classes, own)
    skin = (classes[_SKIN].sum(axis=0) * _on_head(own, *hair.shape)).astype(np.float32)
    alpha, box = _refine(photo, area, hair, skin, classes[_BODY].sum(axis=0), square)
    share = float(alpha[box[1] : box[3], box[0] : box[2]].sum(dtype=np.int64)) / 255.0 * float(into.prod()) / face
    return HairMask(alpha, box, classes.astype(np.float16), area, share, hat)


@torch.no_grad()
def wears_hat(photo: Image.Image, square: FaceSquare, parser: FaceParser) -> bool:
    """Return whether a hat, cap or hood covers most of a person's head; the arguments are those of `find_hair_mask`."""
    area = _choose_area(square, photo.size)
    scale = min(1.0, FACE_PIXELS / square.size)
    size = (max(8, round((area[2] - area[0]) * scale)), max(8, round((area[3] - area[1]) * scale)))
    small = photo.resize(size, Image.Resampling.BILINEAR, box=area, reducing_gap=3.0)
    own = (square.corners + 0.5 - np.array(area[:2])) * [
        size[0] / (area[2] - area[0]),
        size[1] / (area[3] - area[1]),
    ] - 0.5
    classes, _ = _parse(from_pil(small), own, parser, SQUARES[:1])
    return _measure_head(classes, own)[1] >= MOST_HAT


# ------------------------------------------------------------------ what the parser sees


def _choose_area(square: FaceSquare, photo: tuple[int, int]) -> Rectangle:
    """Return the upright rectangle of a photo of that width and height in which hair is followed."""
    middle = square.corners.mean(axis=0)
    right, down = (square.corners[3] - square.corners[0]), (square.corners[1] - square.corners[0])
    reach = [sx * SIDEWAYS * right + sy * down for sx in (-1, 1) for sy in (-UP, DOWN)]
    points = middle + np.stack(reach)
    left, top = (max(0, int(edge)) for edge in np.floor(points.min(axis=0)))
    far = np.ceil(points.max(axis=0))
    return left, top, min(photo[0], max(left + 1, int(far[0]))), min(photo[1], max(top + 1, int(far[1])))


def _parse(
    picture: Images,
    corners: np.ndarray,
    parser: FaceParser,
    squares: Sequence[tuple[float, float, float]] = SQUARES,
) -> tuple[Float[np.ndarray, "classes rows columns"], Field]:
    """Return the parser's probabilities and its log odds of hair, joined from several squares around a face.

    Each square counts most in its middle.
    """
    height, width = picture.shape[-2:]
    total = torch.zeros(len(CELEBAMASK_CLASSES), height, width)
    weights, odds, near = (torch.zeros(height, width) for _ in range(3))
    middle, down = corners.mean(axis=0), (corners[1] - corners[0]) / 2
    device = next(parser.parameters()).device
    for number, (framing, shift, trust) in enumerate(squares):
        turned = middle + shift * down + framing * (corners - middle)
        if number and _share_within(turned, width, height) < LEAST_WITHIN:
            continue  # it would show mirrored borders
        crop = _sample(picture, turned, parser.input_size)
        crop = crop.to(device)
        logits = parser.logits(crop).float().cpu()
        if trust == 1.0:  # the mean with the answer to the mirrored picture errs less
            logits = 0.5 * (logits + parser.logits(crop.flip(-1)).float().cpu().flip(-1))
        others = torch.cat([logits[:, :HAIR], logits[:, HAIR + 1 :]], dim=1).logsumexp(dim=1, keepdim=True)
        seen = torch.cat([logits.softmax(dim=1), logits[:, HAIR : HAIR + 1] - others], dim=1)
        grid, inside = _grid_back(turned, width, height)
        back = F.grid_sample(seen, grid, padding_mode="border", align_corners=False)[0]
        weight = inside * trust
        total += weight * back[:-1]
        odds += weight * back[-1]
        weights += weight
        if trust == 1.0:
            near = torch.maximum(near, (2.0 * inside).clamp(max=1.0))
    # Beyond all squares nothing is known: it is background.
    unseen = weights == 0
    total[0] += unseen.float()
    weights = weights.clamp_min(1e-6)
    odds = torch.where(unseen, 0.0, odds / weights)
    odds = near * odds + (1.0 - near) * (FAR_GAIN * odds + FAR_BIAS)
    u, v = np.moveaxis(_place(corners, height, width), -1, 0)
    beyond = (-HIGHEST - v).clip(0.0) + (np.abs(u) - WIDEST).clip(0.0)
    opinion = odds.numpy() - FADE * beyond
    return (total / weights).clamp(0, 1).numpy(), opinion.astype(np.float32)


def _sample(picture: Images, corners: np.ndarray, size: int) -> Tensor:
    """Return a turned square of a picture, (1, 3, size, size). Beyond the picture its borders are mirrored."""
    side = float(np.hypot(*(corners[3] - corners[0])))
    height, width = picture.shape[-2:]
    if side > size:  # else pixels would be skipped
        smaller = (max(1, round(height * size / side)), max(1, round(width * size / side)))
        picture = F.interpolate(picture, size=smaller, mode="bilinear", antialias=True, align_corners=False)
    steps = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    origin, x, y = (
        torch.from_numpy(one).float() for one in (corners[0], corners[3] - corners[0], corners[1] - corners[0])
    )
    points = origin + steps[None, :, None] * x + steps[:, None, None] * y
    grid = (points + 0.5) * 2.0 / torch.tensor([width, height]) - 1.0
    return F.grid_sample(picture, grid[None], padding_mode="reflection", align_corners=False)


def _grid_back(corners: np.ndarray, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Return where each pixel of a picture lies in a turned square, for `grid_sample`, and how far it lies inside.

    The second is 0 outside the square, nearly 0 at its border, and 1 from an eighth of its side on.
    """
    inverse = np.linalg.inv(np.stack([corners[3] - corners[0], corners[1] - corners[0]], axis=1))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    points = np.stack([x - corners[0][0], y - corners[0][1]], axis=-1) @ inverse.T
    grid = torch.from_numpy(2.0 * points - 1.0).float()
    away = 1.0 - grid.abs().amax(dim=-1)
    inside = (away * 4.0).clamp(0.001, 1.0) * (away > 0)
    return grid[None], inside


def _share_within(corners: np.ndarray, width: int, height: int) -> float:
    """Return the share of a turned square that lies within a picture."""
    steps = (np.arange(32) + 0.5) / 32
    right, down = corners[3] - corners[0], corners[1] - corners[0]
    points = corners[0] + steps[:, None, None] * right + steps[None, :, None] * down
    return float(((points >= -0.5) & (points <= np.array([width, height]) - 0.5)).all(axis=-1).mean())


def _place(corners: np.ndarray, height: int, width: int) -> Float[np.ndarray, "height width 2"]:
    """Return each pixel's place in a square: (-1, -1) is its upper left corner, (1, 1) its lower right one."""
    return _grid_back(corners, width, height)[0][0].numpy()


# ------------------------------------------------------------------ whose hair it is


def _on_head(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the pixels of the head, (height, width) bool: an ellipse in FFHQ's square, from hair to chin."""
    u, v = np.moveaxis(_place(corners, height, width), -1, 0)
    return (u / 0.8) ** 2 + ((v + 0.1) / 0.9) ** 2 < 1.0


def _learn_colors(
    colors: UInt8[np.ndarray, "height width 3"], opinion: Field, own: np.ndarray, others: Sequence[np.ndarray]
) -> Field:
    """Return the probability of this person's hair after it is learned which colors are hair at which place.

    The parser is right about most pixels, and the hair of one head has few colors. So its answer is fitted by a smooth
    function of color and place: ridge regression on random Fourier features (Rahimi, Recht 2007, "Random Features for
    Large-Scale Kernel Machines"). A backdrop like hair differs from it a little in color, and the fit says so.

    Args:
        colors: sRGB.
        opinion: the parser's log odds of hair.
        own: corners of FFHQ's square around the face.
        others: those of the other faces.
    """
    height, width = opinion.shape
    scale = min(1.0, LEARNED_PIXELS / float(np.hypot(*(own[3] - own[0]))))
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    small = np.asarray(Image.fromarray(colors).resize(size, Image.Resampling.BOX), np.float32) / 255.0
    odds = np.asarray(Image.fromarray(opinion).resize(size, Image.Resampling.BOX))
    into = np.array([size[0] / width, size[1] / height])
    here, *there = ((corners + 0.5) * into - 0.5 for corners in (own, *others))
    place = _place(here, size[1], size[0])
    share = np.ones_like(odds)
    for corners in there:
        theirs = _place(corners, size[1], size[0])
        away, farther = (np.hypot(*np.moveaxis(one, -1, 0)) for one in (place, theirs))
        sides = [float(np.hypot(*(one[3] - one[0]))) for one in (here, corners)]
        closeness = float(np.log2(sides[0] / sides[1]))
        nearer = 1.0 / (1.0 + np.exp(6.0 * (farther - away + CLOSENESS * closeness)))
        share = np.minimum(share, 1.0 - nearer * np.where(_on_head(corners, size[1], size[0]), 0.95, 0.6))
    light = small @ _LUMA
    mean = ndimage.gaussian_filter(light, 1.0)
    detail = np.sqrt((ndimage.gaussian_filter(light * light, 1.0) - mean * mean).clip(0.0))
    seen = np.stack([light, (small[..., 2] - light) / 0.6, (small[..., 0] - light) / 0.6, detail / 0.4], axis=-1)
    points = np.concatenate([seen / COLOR_REACH, place / PLACE_REACH], axis=-1).reshape(-1, 6).astype(np.float32)
    random = np.random.default_rng(0)
    ways = random.standard_normal((points.shape[1], FEATURES)).astype(np.float32)
    features = np.cos(points @ ways + random.uniform(0, 2 * np.pi, FEATURES).astype(np.float32))
    told = (0.6 * odds.clip(-6.0, 6.0) + 0.5 * np.log(share + 1e-3)).ravel()
    hair = (share / (1.0 + np.exp(-odds))).ravel()
    for _ in range(2):
        answer = 2.0 * hair - 1.0
        weight, is_hair = np.square(answer), answer > 0.0
        for side in (is_hair, ~is_hair):  # both count alike, however large they are
            weight[side] /= max(float(weight[side].sum()), 1e-6)
        gram = (features * weight[:, None]).T @ features + RIDGE * np.eye(FEATURES, dtype=np.float32)
        fit = features @ np.linalg.solve(gram, features.T @ (weight * answer))
        hair = 1.0 / (1.0 + np.exp(-(told + MOST_LEARNED * fit.clip(-1.2, 1.2))))
    learned = Image.fromarray(hair.reshape(odds.shape).astype(np.float32))
    return np.asarray(learned.resize((width, height), Image.Resampling.BICUBIC)).clip(0.0, 1.0)


def _keep_own_hair(hair: Field, own: np.ndarray) -> Field:
    """Return the probability of hair, 0 where the hair is not connected to this head."""
    height, width = hair.shape
    seeds = _on_head(own, height, width)
    likely = hair > 0.2  # the photo's colors decide later where the parser doubts
    gap = max(1, round(0.02 * np.hypot(*(own[3] - own[0]))))
    parts, _ = ndimage.label(ndimage.binary_dilation(likely, iterations=gap))
    kept = np.unique(parts[likely & seeds & (hair > 0.5)])
    reached = np.isin(parts, kept[kept > 0])
    soft = ndimage.gaussian_filter(reached.astype(np.float32), gap)
    return (hair * np.where(reached, 1.0, soft)).astype(np.float32)


def _measure_head(classes: np.ndarray, own: np.ndarray) -> tuple[float, float]:
    """Return the area of the face in pixels, and the share of the head above the brows that a hat covers."""
    height, width = classes.shape[1:]
    head = _on_head(own, height, width)
    face = float((classes[FACE_CLASSES].sum(axis=0) * head).sum())
    above = head & (_place(own, height, width)[..., 1] < -0.35)
    hat, hair = (float((classes[one] * above).sum()) for one in (_HAT, HAIR))
    # A face that the parser sees nothing of still has a size.
    least = 0.1 * float(np.hypot(*(own[3] - own[0]))) ** 2
    return max(face, least), hat / max(hat + hair, 0.1 * float(above.sum()), 1e-6)


# ------------------------------------------------------------------ where it ends


def _refine(
    photo: Image.Image, area: Rectangle, hair: Field, skin: Field, body: Field, square: FaceSquare
) -> tuple[np.ndarray, Rectangle]:
    """Return the mask of the whole photo, and its box.

    Args:
        photo: the whole photo.
        area: the rectangle of it that the probabilities cover.
        hair: probability of this person's hair.
        skin: probability of the skin of this person's face.
        body: probability of skin, ears and neck.
        square: FFHQ's square around the face.
    """
    whole = np.zeros((photo.height, photo.width), np.uint8)
    found = ndimage.find_objects((hair > 0.1).astype(np.int8))
    if not found or found[0] is None:
        return whole, (0, 0, 0, 0)
    height, width = hair.shape
    across, down = (area[2] - area[0]) / width, (area[3] - area[1]) / height
    rows, columns = found[0]
    margin = max(2, round(0.1 * square.size / across))
    low_x, high_x = max(0, columns.start - margin), min(width, columns.stop + margin)
    low_y, high_y = max(0, rows.start - margin), min(height, rows.stop + margin)
    box = (
        area[0] + int(low_x * across),
        area[1] + int(low_y * down),
        min(area[2], area[0] + int(np.ceil(high_x * across))),
        min(area[3], area[1] + int(np.ceil(high_y * down))),
    )
    box_width, box_height = box[2] - box[0], box[3] - box[1]
    scale = min(1.0, LARGEST_REFINED / max(box_width, box_height))
    size = (max(2, round(box_width * scale)), max(2, round(box_height * scale)))
    colors = np.asarray(photo.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0), np.float32) / 255.0
    inner = (
        (box[0] - area[0]) / across,
        (box[1] - area[1]) / down,
        (box[2] - area[0]) / across,
        (box[3] - area[1]) / down,
    )
    prior, bare, body = (
        np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC, box=inner)).clip(0, 1)
        for one in (hair, skin, body)
    )
    side = square.size * scale
    down = size[1] / box_height
    hairy = _find_edge(colors, _weigh_colors(colors, prior, bare, 0.06 * side), prior, body, side)
    rim = max(1, round(0.015 * side))
    corners = (square.corners + 0.5 - np.array(box[:2])) * [size[0] / box_width, down] - 0.5
    low = _place(corners, size[1], size[0])[..., 1] > MOUTH
    hairy = _drop_islands(hairy, prior, bare, low, rim)
    slopes = _guide(colors, hairy, max(1, round(0.015 * side)), 3e-4)
    fields = [Image.fromarray(one) for one in slopes]
    for strip in strips(box):
        part = (0.0, (strip[1] - box[1]) * down, float(size[0]), (strip[3] - box[1]) * down)
        shape = (strip[2] - strip[0], strip[3] - strip[1])
        a_r, a_g, a_b, b = (np.asarray(one.resize(shape, Image.Resampling.BILINEAR, box=part)) for one in fields)
        pixels = np.asarray(photo.crop(strip), np.float32) / 255.0
        alpha = a_r * pixels[..., 0] + a_g * pixels[..., 1] + a_b * pixels[..., 2] + b
        whole[strip[1] : strip[3], strip[0] : strip[2]] = np.rint(_clean(alpha) * 255.0).astype(np.uint8)
    seen = ndimage.find_objects((whole > 0).astype(np.int8))
    if not seen or seen[0] is None:
        return whole, (0, 0, 0, 0)
    rows, columns = seen[0]
    return whole, (columns.start, rows.start, columns.stop, rows.stop)


def _clean(alpha: Field) -> Field:
    """Return a matte whose nearly empty and nearly full pixels are empty and full."""
    return ((alpha - 0.1) / 0.8).clip(0.0, 1.0)


def _drop_islands(
    hair: Field, opinion: Field, skin: Field, low: Bool[np.ndarray, "height width"], thickness: int
) -> Field:
    """Return the probability of hair without parts that hang on the main hair by less than `thickness` pixels.

    Brows, letters on a wall and branches of a tree are such parts. Locks of which the parser is sure stay where they
    are not on the face, and so do thin strands that leave the main hair.
    """
    likely = hair > 0.5
    thick = ndimage.binary_erosion(likely, iterations=thickness, border_value=1)
    parts, count = ndimage.label(thick)
    if not count:
        return hair
    numbers = np.arange(1, count + 1)
    sizes, sure = ndimage.sum_labels(opinion, parts, numbers), ndimage.mean(opinion, parts, numbers)
    on_face = ndimage.mean(ndimage.uniform_filter(skin, 8 * thickness + 1), parts, numbers) > 0.4
    large, lock = sizes > 0.15 * sizes.max(), (sizes > 0.01 * sizes.max()) & (np.asarray(sure) > 0.45)
    is_low = ndimage.mean(low, parts, numbers) > 0.95
    if is_low.any() and not is_low.all():  # a lock grows out of the main hair, a collar only touches it
        held, _ = ndimage.label(ndimage.binary_erosion(likely, iterations=max(1, thickness // 2), border_value=1))
        from_head = np.unique(held[np.isin(parts, numbers[large & ~is_low])])
        is_low &= ndimage.maximum(np.isin(held, from_head[from_head > 0]), parts, numbers) == 0
    if (np.isin(parts, numbers[large & ~is_low]) & low).sum() < 0.05 * sizes.max():
        large, lock = large & ~is_low, lock & ~is_low
    main = np.isin(parts, numbers[large | (lock & ~on_face)])
    near = ndimage.binary_dilation(main, iterations=4 * thickness, mask=likely)
    strands = ndimage.binary_dilation(near, iterations=2)
    return np.where(strands, hair, np.minimum(hair, 0.02)).astype(np.float32)


def _find_edge(
    colors: Float[np.ndarray, "height width 3"], found: Field, opinion: Field, body: Field, side: float
) -> Field:
    """Return the probability of hair after colors alone have decided where near its edge it ends.

    The parser's answer is too smooth to say on which side of an edge a pixel lies. Where it is wrong, colors of skin
    are learned as hair's, and shaded skin beside hair would be dyed. So the colors of both sides are measured at a
    distance from the edge. Outside, skin and all else are measured apart, because they have no common mean.

    Args:
        colors: (height, width, 3) in [0, 1].
        found: the probability of hair so far.
        opinion: the parser's probability of hair.
        body: the parser's probability of this person's skin, ears and neck.
        side: side of FFHQ's square in pixels.
    """
    likely = found > 0.5
    if not likely.any() or likely.all():
        return found
    inwards, outwards = (ndimage.distance_transform_edt(one) for one in (likely, ~likely))
    sure, band = max(1, round(EDGE_SURE * side)), max(2, round(EDGE_BAND * side))
    pixels = np.ascontiguousarray(np.moveaxis(colors, -1, 0))
    skin = body > 0.5

    def measure(there: Bool[np.ndarray, "height width"], darkest: float = 1.0) -> Field:
        """Return the distance of each color from those of some pixels nearby; infinity where there are none.

        They may lie in shade: down to `darkest` of their light.
        """
        reach, weight = EDGE_REACH * side, there.astype(np.float32)
        means, variance = _describe_colors(pixels, weight, reach)
        light = sum(pixel * mean for pixel, mean in zip(pixels, means, strict=True))
        light = (light / sum(np.square(mean) for mean in means)).clip(darkest, 1.0)
        distance = sum(np.square(pixel - light * mean) for pixel, mean in zip(pixels, means, strict=True)) / variance
        known = ndimage.uniform_filter(weight, 2 * round(4 * reach) + 1, mode="nearest") > 0.002
        return np.where(known, distance + 3.0 * np.log(variance), np.inf)

    to_hair = measure(inwards > sure)
    to_other = np.minimum(measure((outwards > sure) & skin, SHADE), measure((outwards > sure) & ~skin))
    known = np.isfinite(to_hair) & np.isfinite(to_other)
    told = 0.5 * (np.where(known, to_other, 0.0) - np.where(known, to_hair, 0.0))
    decided = 1.0 / (1.0 + np.exp(-(_log_odds(opinion) + told.clip(-EDGE_TOLD, EDGE_TOLD))))
    share = known * (2.0 - 2.0 * np.maximum(inwards, outwards) / band).clip(0.0, 1.0)
    return (found + share * (decided - found)).astype(np.float32)


def _weigh_colors(colors: Float[np.ndarray, "height width 3"], hair: Field, skin: Field, reach: float) -> Field:
    """Return the probability of hair after the colors around each pixel are taken into account.

    Nearby hair and nearby other things each have a mean color and a spread, and so has this person's skin. By Bayes'
    rule the likelihoods of a pixel's color multiply the odds of hair. Where all look alike, the parser's opinion alone
    decides.

    Args:
        colors: (height, width, 3) in [0, 1].
        hair: the parser's probability of hair, (height, width).
        skin: the parser's probability of this person's skin, (height, width).
        reach: how far colors count, in pixels.
    """
    pixels = np.ascontiguousarray(np.moveaxis(colors, -1, 0))
    opinion = PRIOR_GAIN * _log_odds(hair)
    probability = 1.0 / (1.0 + np.exp(-opinion))
    of_skin = _measure_distance(colors, np.where(skin > 0.6, skin, 0.0))
    of_hair = _measure_distance(colors, np.where(probability > 0.8, probability, 0.0))
    apart = []
    for weight in (probability**3, (1.0 - probability) ** 3):
        means, variance = _describe_colors(pixels, weight, reach)
        distance = sum(np.square(pixel - mean) for pixel, mean in zip(pixels, means, strict=True))
        apart.append(distance / variance + 3.0 * np.log(variance))
    told = (0.5 * (apart[1] - apart[0])).clip(-MOST_TOLD, MOST_TOLD)
    if of_hair is not None:
        told = told - (0.1 * (of_hair - _TYPICAL)).clip(0.0, 0.5 * MOST_TOLD)
        if of_skin is not None:
            told = np.minimum(told, (0.5 * (of_skin - of_hair)).clip(-MOST_TOLD, MOST_TOLD) + MOST_TOLD / 2)
    probability = 1.0 / (1.0 + np.exp(-(opinion + told)))
    return probability.astype(np.float32)


def _measure_distance(colors: np.ndarray, weight: Field) -> Field | None:
    """Return each pixel's distance from the colors that have weight: minus twice the log likelihood of a Gaussian.

    None where too little has weight.
    """
    total = float(weight.sum())
    if total < 30:
        return None
    flat, shares = colors.reshape(-1, 3), weight.reshape(-1) / total
    mean = shares @ flat
    apart = flat - mean
    covariance = (apart * shares[:, None]).T @ apart + COLOR_NOISE**2 * np.eye(3, dtype=np.float32)
    whitened = apart @ np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)
    distance = np.square(whitened).sum(axis=1) + float(np.log(np.linalg.det(covariance / COLOR_NOISE**2)))
    return distance.reshape(weight.shape)


def _log_odds(probability: Field) -> Field:
    kept = probability.clip(0.01, 0.99)
    return np.log(kept / (1.0 - kept))


def _describe_colors(pixels: np.ndarray, weight: Field, reach: float) -> tuple[list[Field], Field]:
    """Return the mean of each color channel around each pixel, and the variance per channel, by weight.

    A wider surrounding counts where a narrower one holds little weight.
    """
    widths = [2 * round(reach * factor) + 1 for factor in (1, 4)]
    weight = weight + 1e-6

    def around(field: Field) -> Field:
        near, far = (ndimage.uniform_filter(field, width, mode="nearest") for width in widths)
        return near + 0.02 * far

    mass = around(weight)
    means = [around(pixel * weight) / mass for pixel in pixels]
    squares = around(sum(np.square(pixel) for pixel in pixels) * weight) / mass
    variance = (squares - sum(np.square(mean) for mean in means)) / 3.0
    return means, np.maximum(variance, 0.0) + COLOR_NOISE**2


def _guide(colors: np.ndarray, values: Field, radius: int, noise: float) -> Float[np.ndarray, "4 height width"]:
    """Return the guided filter's slopes for red, green and blue, and its offset, each smoothed (equations 19 to 21).

    Args:
        colors: the guide, (height, width, 3) in [0, 1].
        values: what is filtered, (height, width).
        radius: half a side of the window in pixels.
        noise: variance of the guide below which the values are averaged.
    """

    def mean(field: Field) -> Field:
        return ndimage.uniform_filter(field, 2 * radius + 1, mode="nearest")

    bands = np.ascontiguousarray(np.moveaxis(colors, -1, 0))
    means, level = [mean(band) for band in bands], mean(values)
    rr, rg, rb, gg, gb, bb = (
        mean(bands[i] * bands[j]) - means[i] * means[j] + (noise if i == j else 0.0)
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    )
    told = [mean(band * values) - m * level for band, m in zip(bands, means, strict=True)]
    # The inverse of the covariance by its cofactors: a general solver takes ten times as long.
    cofactors = (
        (gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg),
        (rb * gb - rg * bb, rr * bb - rb * rb, rg * rb - rr * gb),
        (rg * gb - rb * gg, rg * rb - rr * gb, rr * gg - rg * rg),
    )
    determinant = rr * cofactors[0][0] + rg * cofactors[0][1] + rb * cofactors[0][2]
    slopes = [sum(c * t for c, t in zip(row, told, strict=True)) / determinant for row in cofactors]
    offset = level - sum(slope * m for slope, m in zip(slopes, means, strict=True))
    return np.stack([mean(one.astype(np.float32)) for one in (*slopes, offset)])

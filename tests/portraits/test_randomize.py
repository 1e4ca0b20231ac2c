"""Random surroundings of a person: labels follow the picture, and what is switched off changes nothing."""

import numpy as np
import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import CELEBAMASK_CLASSES, HAIR
from hairclip.portraits.randomize.camera import Camera, compose
from hairclip.portraits.randomize.dice import Dice
from hairclip.portraits.randomize.person import Person, Picture
from hairclip.portraits.randomize.portrait import FACTORS, randomize_portrait
from hairclip.portraits.randomize.textures import TextureBank, make_texture
from hairclip.portraits.randomize.warp import grow_hair

SIZE = 48
SKIN, LEFT_EYE, RIGHT_EYE, HAT, GLASSES, CLOTH = (
    CELEBAMASK_CLASSES.index(name) for name in ("skin", "l_eye", "r_eye", "hat", "eye_g", "cloth")
)
FRAMING = ("hair growth", "bend", "backdrop", "other people", "camera")
IN_FRONT = {"hat": HAT, "collar": CLOTH, "scarf": CLOTH, "things in front": 0, "hand": 0}


def paint(hair_red: int = 120) -> Person:
    """A face between two strips of hair, above clothes; the hair ends softly."""
    image, labels = np.full((SIZE, SIZE, 3), 40, np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    coverage = (np.clip(14 - np.abs(x - 24), 0, 1) * ((y > 5) & (y < 40))).astype(np.float32)
    for where, label, color in (
        (y > 36, CLOTH, (40, 90, 40)),
        (coverage > 0.5, HAIR, (hair_red, 80, 30)),
        (np.hypot(x - 24, (y - 24) / 1.4) < 9, SKIN, (210, 160, 130)),
        ((np.abs(x - 20) < 2) & (np.abs(y - 22) < 2), LEFT_EYE, (20, 20, 20)),
        ((np.abs(x - 28) < 2) & (np.abs(y - 22) < 2), RIGHT_EYE, (20, 20, 20)),
    ):
        labels[where], image[where] = label, color
    image = (image * (0.9 + 0.1 * np.sin(x / 3)[..., None])).astype(np.uint8)
    coverage[labels != HAIR] = np.where(labels[labels != HAIR] == 0, coverage[labels != HAIR] * 0.4, 0)
    direction = np.stack([-coverage, np.zeros_like(coverage)], -1)
    marks = np.array([[20, 22], [28, 22], [24, 26], [21, 30], [27, 30]], np.float32)
    return Person.from_render(image, labels, coverage, direction, marks)


@pytest.fixture(scope="module")
def textures() -> TextureBank:
    return TextureBank(6, SIZE * 3 // 2)


def change(seed: int, *factors: str, textures: TextureBank, always: bool = True) -> Picture:
    rng = np.random.default_rng(seed)
    return randomize_portrait(rng, paint(), other=lambda: paint(20), textures=textures, factors=factors, always=always)


def test_without_factors_the_picture_is_the_render_bit_for_bit(textures: TextureBank) -> None:
    before, after = paint(), change(0, textures=textures)
    assert torch.equal(after.pixels, before.pixels)
    assert torch.equal(after.labels, before.labels)
    assert torch.equal(after.coverage, before.coverage)


@pytest.mark.parametrize("factor", FACTORS)
def test_each_factor_changes_the_picture_and_repeats(factor: str, textures: TextureBank) -> None:
    before = paint()
    pictures = [change(seed, factor, textures=textures) for seed in range(4)]
    assert any(not torch.equal(picture.pixels, before.pixels) for picture in pictures)
    again = change(2, factor, textures=textures)
    assert torch.equal(again.pixels, pictures[2].pixels)
    assert torch.equal(again.labels, pictures[2].labels)
    for picture in pictures:
        assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1
        assert 0 <= picture.coverage.min() <= picture.coverage.max() <= 1


@pytest.mark.parametrize("factor", [name for name in FACTORS if name not in {*FRAMING, *IN_FRONT, "glasses"}])
def test_looks_and_light_leave_labels_and_coverage(factor: str, textures: TextureBank) -> None:
    before = paint()
    for seed in range(4):
        after = change(seed, factor, textures=textures)
        assert torch.equal(after.labels, before.labels)
        assert torch.equal(after.coverage, before.coverage)


@pytest.mark.parametrize("factor", ["hair color", "strands", "hair shade"])
def test_the_look_of_hair_changes_hair_alone(factor: str, textures: TextureBank) -> None:
    before, after = paint(), change(1, factor, textures=textures)
    clear = before.coverage == 0
    assert torch.equal(after.pixels[:, clear], before.pixels[:, clear])


@pytest.mark.parametrize("factor", IN_FRONT)
def test_what_covers_hair_takes_its_coverage_and_its_label(factor: str, textures: TextureBank) -> None:
    before, covered = paint(), 0
    for seed in range(12):
        after = change(seed, factor, textures=textures)
        moved = after.labels != before.labels
        assert set(after.labels[moved].tolist()) <= {IN_FRONT[factor]}
        assert (after.coverage <= before.coverage).all()
        gone = (before.labels == HAIR) & (after.labels != HAIR)
        assert (after.coverage[gone] <= 0.5).all()
        kept = after.coverage == before.coverage
        untouched = kept & (before.coverage > 0)
        assert torch.equal(after.pixels[:, untouched], before.pixels[:, untouched])
        covered += int(gone.sum())
    assert covered > 0


def test_hats_are_opaque(textures: TextureBank) -> None:
    for seed in range(6):
        after = change(seed, "hat", textures=textures)
        hat = after.labels == HAT
        inside = ~torch.nn.functional.max_pool2d((~hat).float()[None, None], 5, 1, 2)[0, 0].bool()
        assert not after.coverage[inside].any()


def test_glasses_lie_behind_hair(textures: TextureBank) -> None:
    before, after = paint(), change(3, "glasses", textures=textures)
    assert (after.labels == GLASSES).any()
    assert (before.labels[after.labels == GLASSES] != HAIR).all()
    solid = before.coverage == 1
    assert torch.equal(after.pixels[:, solid], before.pixels[:, solid])


def test_a_camera_moves_labels_and_coverage_with_the_picture() -> None:
    person = paint()
    shift = compose(person, camera=Camera(torch.tensor([[1.0, 0.0, 4 / SIZE * 2], [0.0, 1.0, 0.0]])))
    torch.testing.assert_close(shift.pixels[:, :, :-4], person.pixels[:, :, 4:], atol=1e-4, rtol=0)
    torch.testing.assert_close(shift.coverage[:, :-4], person.coverage[:, 4:], atol=1e-4, rtol=0)
    kept = person.coverage[:, 4:] > 0.5
    assert (shift.labels[:, :-4][kept] == HAIR).all()


def test_hair_grows_around_a_face_that_stays() -> None:
    person, areas = paint(), set()
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    face = torch.from_numpy(np.hypot(x - 24, y - 26) < 6)
    for seed in range(6):
        warp = grow_hair(Dice(np.random.default_rng(seed), make_texture), person)
        grown = compose(person, camera=Camera(torch.eye(2, 3), (warp,)))
        torch.testing.assert_close(grown.pixels[:, face], person.pixels[:, face], atol=1e-4, rtol=0)
        hair = grown.coverage > 0.6
        assert (grown.labels[hair] == HAIR).float().mean() > 0.9  # labels move with the coverage
        areas.add(round(float(grown.coverage.mean() / person.coverage.mean()), 1))
    assert min(areas) < 1
    assert max(areas) > 1.1


def test_a_mirror_exchanges_left_and_right() -> None:
    person = paint()
    mirrored = compose(person, camera=Camera(torch.tensor([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])))
    torch.testing.assert_close(mirrored.pixels, person.pixels.flip(-1), atol=1e-4, rtol=0)
    columns = torch.arange(SIZE).expand(SIZE, SIZE).float()
    left, right = (columns[mirrored.labels == eye].mean() for eye in (LEFT_EYE, RIGHT_EYE))
    assert left < right


def test_the_backdrop_shows_where_the_person_is_not(textures: TextureBank) -> None:
    before, after = paint(), change(5, "backdrop", textures=textures)
    assert torch.equal(after.labels, torch.where((before.labels == HAIR) & (before.coverage < 0.3), 0, before.labels))
    torch.testing.assert_close(after.coverage, before.coverage, atol=1e-5, rtol=0)
    solid = before.alpha == 1
    torch.testing.assert_close(after.pixels[:, solid], before.pixels[:, solid], atol=1e-5, rtol=0)
    clear = before.alpha == 0
    assert not torch.equal(after.pixels[:, clear], before.pixels[:, clear])


def test_other_people_stand_behind_and_their_hair_is_hair(textures: TextureBank) -> None:
    person, more = paint(), 0
    for seed in range(8):
        after = change(seed, "other people", textures=textures)
        solid = person.alpha == 1
        torch.testing.assert_close(after.pixels[:, solid], person.pixels[:, solid], atol=1e-4, rtol=0)
        torch.testing.assert_close(after.coverage[solid], person.coverage[solid], atol=1e-4, rtol=0)
        more += int(((after.labels == HAIR) & (person.labels != HAIR)).sum())
    assert more > 0


def test_a_factor_that_is_switched_off_leaves_the_others_as_they_are(textures: TextureBank) -> None:
    both = change(7, "hat", "exposure", textures=textures)
    alone = change(7, "hat", textures=textures)
    assert torch.equal(both.labels, alone.labels)


def test_factors_occur_as_often_as_their_chance(textures: TextureBank) -> None:
    person = paint()
    hats = [bool((change(s, "hat", textures=textures, always=False).labels == HAT).any()) for s in range(300)]
    assert 0.08 < np.mean(hats) < 0.2
    everything = [change(s, *FACTORS, textures=textures, always=False) for s in range(6)]
    assert all(picture.pixels.isfinite().all() and picture.size == person.size for picture in everything)


def test_an_unknown_factor_is_one_sentence(textures: TextureBank) -> None:
    with pytest.raises(HairclipError, match=r"no factor 'hats' \(did you mean hat\?\)"):
        change(0, "hats", textures=textures)


def test_textures_are_pictures_of_many_kinds() -> None:
    made = [make_texture(np.random.default_rng(seed), 32) for seed in range(24)]
    assert all(texture.shape == (3, 32, 32) and 0 <= texture.min() <= texture.max() <= 1 for texture in made)
    assert torch.equal(made[3], make_texture(np.random.default_rng(3), 32))
    assert len({round(float(texture.std()), 3) for texture in made}) > 15
    bank = TextureBank(2, 40)
    cuts = [bank(np.random.default_rng(seed), 32) for seed in range(4)]
    assert all(cut.shape == (3, 32, 32) for cut in cuts)
    assert not torch.equal(cuts[0], cuts[1])

"""The requests of the protocol: repeatable, one of each kind, and independent of the other photos."""

from pathlib import Path

from hairclip.conditions.prompts import COLORS, HAIRSTYLES
from hairclip.evaluation.real.requests import (
    KINDS,
    PhotoRequest,
    choose_photos,
    make_requests,
    name_answers,
    order_references,
)

PHOTOS = [Path("photos") / f"{name}.jpg" for name in "abcdefgh"]


def requests(photo: Path, *, seed: int = 0, **changes: object) -> list[PhotoRequest]:
    settings = {"hairstyles": HAIRSTYLES, "colors": COLORS, "reference": PHOTOS[1], "seed": seed, **changes}
    return make_requests(photo, **settings)  # type: ignore[arg-type]


def test_every_photo_has_one_request_of_each_kind():
    made = requests(PHOTOS[0])
    assert tuple(one.kind for one in made) == KINDS
    for one in made:
        is_text, part = one.kind.startswith("text"), one.kind.partition("-")[2]
        assert (one.hairstyle in HAIRSTYLES) == (is_text and part != "color")
        assert (one.color in COLORS) == (is_text and part != "hairstyle")
        assert one.reference == (None if is_text else PHOTOS[1])


def test_requests_follow_from_seed_and_name_alone():
    assert requests(PHOTOS[0]) == requests(Path("elsewhere") / PHOTOS[0].name)
    assert len({str(requests(PHOTOS[0], seed=seed)) for seed in range(6)}) > 3
    assert len({str(requests(photo)[:3]) for photo in PHOTOS}) > 5
    assert requests(PHOTOS[0], kinds=("text-both",)) == [requests(PHOTOS[0])[2]]
    assert [one.kind for one in requests(PHOTOS[0], reference=None)] == list(KINDS)


def test_photos_are_drawn_alike_when_others_are_added():
    few = choose_photos(PHOTOS, 4)
    assert len(few) == 4
    assert few == sorted(few)
    added = [*PHOTOS, Path("photos/z.jpg")]
    assert len(set(few) & set(choose_photos(added, 5))) >= 4
    assert choose_photos(PHOTOS, None) == PHOTOS
    assert choose_photos(PHOTOS, 4, seed=1) != few


def test_nobody_is_their_own_reference_and_another_photo_changes_no_order():
    order = order_references(PHOTOS[0], PHOTOS)
    assert sorted(order) == PHOTOS[1:]
    assert [path for path in order_references(PHOTOS[0], [*PHOTOS, Path("photos/z.jpg")]) if path in PHOTOS] == order


def test_answers_are_named_after_the_photo_and_two_photos_with_one_stem_by_their_whole_name():
    assert name_answers(PHOTOS[0], PHOTOS) == "a"
    assert name_answers(PHOTOS[0], [*PHOTOS, Path("photos/a.png")]) == "a.jpg"

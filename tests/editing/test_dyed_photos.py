"""A new color alone, from the photo to the written file: no generator takes part."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hairclip.common.color import NAMED_RGB
from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import BACKGROUND, CELEBAMASK_CLASSES, HAIR
from hairclip.common.framing import FFHQ
from hairclip.editing.dye import dye_hair, measure_mean_color
from hairclip.editing.editor import HairEditor
from hairclip.editing.hair_mask import find_hair_mask
from hairclip.editing.options import EditOptions
from hairclip.editing.photo.align import face_square
from hairclip.editing.photo.faces import Face, FaceFinder
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.evaluation.cases import held_out_people
from hairclip.evaluation.renders import draw
from hairclip.portraits.randomize.clothes import put_on_glasses
from hairclip.portraits.randomize.dice import Dice
from hairclip.portraits.randomize.person import Person
from hairclip.portraits.randomize.textures import make_texture
from hairclip.portraits.spec import sample_hair
from hairclip.pretrained.bundle import load_bundle
from tests.helpers.painted_people import COLORS, ColorParser, draw_person, paint

SIDE = 240
GLASSES = CELEBAMASK_CLASSES.index("eye_g")


class NoGenerator(SimpleNamespace):
    """Networks that find hair, and no others: reading another one fails."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is read")


class PaintedFinder(FaceFinder):
    """Finds faces at the places it was told, of FFHQ's square `SIDE`."""

    def __init__(self, *middles: tuple[float, float]) -> None:
        self.middles = middles

    def __call__(self, photo: Image.Image) -> list[Face]:
        faces = []
        for x, y in self.middles:
            eye, mouth = SIDE / 8, SIDE / 4.5
            points = np.array([[-eye, 0], [eye, 0], [0, eye], [-eye, mouth], [eye, mouth]]) + np.array([x, y - eye])
            faces.append(Face(points, (x - eye, y - eye, x + eye, y + eye), 1.0))
        return faces


def photo_editor(*middles: tuple[float, float]) -> PhotoEditor:
    networks = NoGenerator(photo_parser=ColorParser().eval(), framing=FFHQ, device="cpu", known_words=lambda: None)
    networks.known_words = lambda: SimpleNamespace(hairstyles=None, colors=None)
    return PhotoEditor(HairEditor(networks), finder=PaintedFinder(*middles))


def portrait() -> Image.Image:
    photo, draw = paint()
    draw_person(draw, 300, 250, SIDE)
    return photo


def test_a_color_alone_needs_no_generator_and_leaves_all_but_hair_bit_for_bit():
    photo = portrait()
    result = photo_editor((300, 250)).edit(photo, color="red")
    before, after, weight = (np.asarray(one, int) for one in (photo, result.picture, result.mask))
    assert not (before != after).any(axis=-1)[weight == 0].any()
    hair = (before == COLORS["hair"]).all(axis=-1)
    assert (weight[hair] > 127).mean() > 0.9
    assert (before != after).any(axis=-1)[hair].mean() > 0.9
    rows, columns = np.nonzero((before != after).any(axis=-1))
    assert result.rectangle == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert rows.max() > 500  # far below the face and its square


def test_at_strength_0_the_photo_comes_back():
    photo = portrait()
    result = photo_editor((300, 250)).edit(photo, color="red", strength=0.0)
    assert result.picture.tobytes() == photo.tobytes()
    assert result.rectangle is None
    assert result.mask.getbbox() is None


def test_one_person_is_dyed_or_all_are():
    photo, draw = paint(900, 800)
    for x in (230, 650):
        draw_person(draw, x, 250, SIDE)
    editor = photo_editor((230, 250), (650, 250))
    left = editor.edit(photo, color="red", face="left")
    both = editor.edit(photo, color="red", face="all")
    assert not np.asarray(left.mask)[:, 450:].any()
    assert np.asarray(both.mask)[:, :450].any()
    assert np.asarray(both.mask)[:, 450:].any()
    assert any("shows 2 faces" in note for note in editor.edit(photo, color="red").notes)


def test_the_color_of_a_picture_s_hair_is_taken(monkeypatch: pytest.MonkeyPatch):
    reference, draw = paint(SIDE, SIDE)
    draw_person(draw, SIDE // 2, SIDE // 2, SIDE)
    reference = Image.fromarray(
        np.where((np.asarray(reference) == COLORS["hair"]).all(-1, keepdims=True), (90, 40, 20), reference).astype(
            np.uint8
        )
    )
    photo, editor = portrait(), photo_editor((300, 250))
    request = editor.editor.ask(color=reference)
    dyed = editor.edit_open([editor.cut(photo)], request, EditOptions())[0]
    mean = measure_mean_color(dyed.picture, np.where(np.asarray(dyed.mask) > 250, 255, 0).astype(np.uint8))
    assert mean is not None
    assert np.abs(np.subtract(mean, (90, 40, 20))).max() < 12


def test_a_person_without_hair_is_told_so():
    photo, draw = paint()
    draw_person(draw, 300, 250, SIDE, hair=False)
    with pytest.raises(HairclipError, match="has no hair"):
        photo_editor((300, 250)).edit(photo, color="red")
    draw_person(draw, 300, 250, SIDE, hair=False, hat=True)
    with pytest.raises(HairclipError, match="wears a hat"):
        photo_editor((300, 250)).edit(photo, color="red")


def test_transparency_stays():
    photo = portrait()
    opacity = Image.fromarray(np.where(np.arange(800)[:, None] < 200, 128, 255).repeat(600, 1).astype(np.uint8))
    photo.putalpha(opacity)
    result = photo_editor((300, 250)).edit(photo, color="red")
    assert result.picture.mode == "RGBA"
    assert result.picture.getchannel("A").tobytes() == opacity.tobytes()


def test_frames_go_from_the_photo_to_the_color_and_from_color_to_color():
    photo, editor = portrait(), photo_editor((300, 250))
    cut = editor.find_hair(editor.cut(photo))
    red, blue = editor.ask(color="red"), editor.ask(color="blue")
    frames = list(editor.frames(cut, [red], 3))
    assert frames[0].picture.tobytes() == photo.tobytes()
    dyed = editor.edit_open([cut], red)[0].picture
    assert frames[-1].picture.tobytes() == dyed.tobytes()
    two = list(editor.frames(cut, [red, blue], 3))
    assert two[0].picture.tobytes() == dyed.tobytes()
    assert two[-1].picture.tobytes() == editor.edit_open([cut], blue)[0].picture.tobytes()


def test_other_requests_go_through_the_generator():
    editor = photo_editor((300, 250))
    red, options = editor.ask(color="red"), EditOptions()
    assert editor.dyes(red, options)
    assert not editor.dyes(editor.ask("afro", "red"), options)
    assert not editor.dyes(editor.ask("afro"), options)
    for other in (EditOptions(strands="edit"), EditOptions(blend=False), EditOptions(method="optimize")):
        assert not editor.dyes(red, other)
    with pytest.raises(TypeError, match="needs inverted photos"):
        editor.edit_open([editor.cut(portrait())], editor.ask("afro"))


def test_the_words_of_the_vocabulary_have_colors():
    from hairclip.conditions.prompts import COLORS as words

    assert set(words) == set(NAMED_RGB)


def test_glasses_and_all_of_the_face_beside_the_mask_stay_bit_for_bit():
    spec = next(held_out_people(11))
    drawing = draw(replace(spec, hair=sample_hair("long straight", 3)), 256)
    bare = Person.from_render(
        drawing.image, drawing.labels, drawing.hair_coverage, drawing.hair_direction / 127.0, drawing.landmarks
    )
    person = put_on_glasses(Dice(np.random.default_rng(4), make_texture), bare)
    photo = Image.fromarray((person.pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
    mask = find_hair_mask(photo, face_square(drawing.landmarks), load_bundle("portraits").photo_parser)
    dyed = np.asarray(dye_hair(photo, mask.alpha, NAMED_RGB["red"]))
    face = (person.labels != HAIR).numpy() & (person.labels != BACKGROUND).numpy() & (person.coverage < 0.01).numpy()
    untouched = mask.alpha == 0
    assert (dyed == np.asarray(photo)).all(axis=-1)[untouched].all()
    glasses = (person.labels == GLASSES).numpy() & (person.coverage < 0.01).numpy()
    assert glasses.sum() > 500
    assert untouched[glasses].mean() > 0.95
    assert untouched[face].mean() > 0.85  # beside hair lies its soft rim

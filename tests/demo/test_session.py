"""A session of the page: one photo, its mask, its edits, and sentences for what cannot be done."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hairclip.common.files import data_folder
from hairclip.demo.session import MOST_IN_GRID, SHOWN, EditSession, Networks, Refusal
from hairclip.demo.words import LANGUAGES, choose_language, read_words

ANNA = data_folder() / "portraits" / "anna.png"


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks("portraits")


@pytest.fixture(scope="module")
def opened(networks: Networks) -> EditSession:
    session = EditSession(networks)
    session.open(ANNA)
    return session


@pytest.fixture
def session(networks: Networks, opened: EditSession) -> EditSession:
    """A session with Anna's photo, whose edits and mask are its own."""
    copy = EditSession(networks)
    vars(copy).update(vars(opened), edits=[])
    return copy


def refused(call: object, *arguments: object) -> str | None:
    with pytest.raises(Refusal) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.key


def changed(session: EditSession, picture: Image.Image) -> np.ndarray:
    """Where a picture differs from the photo, (height, width) bool."""
    return (np.asarray(picture) != np.asarray(session.picture)).any(axis=-1)


def test_a_text_edits_the_photo_and_is_said_in_its_own_language(session: EditSession):
    edit = session.edit_words("紅色鮑伯頭")
    assert (edit.number, edit.text, edit.picture.size) == (1, "紅色鮑伯頭", session.picture.size)
    assert edit.request.names == ("bob cut", "red")
    assert "鮑伯頭" in edit.request.summary
    assert changed(session, edit.picture).mean() > 0.05


def test_names_pictures_and_texts_give_edits_that_are_counted(session: EditSession):
    session.edit_names("afro", None)
    session.edit_pictures(None, data_folder() / "portraits" / "frida.png")
    session.edit_words("pink tips")
    assert [edit.number for edit in session.edits] == [1, 2, 3]
    assert session.find_edit(2).request.names == (None, "reference")
    assert refused(session.find_edit, 4) == "no_edit"


def test_strength_0_changes_nothing(session: EditSession):
    assert not changed(session, session.edit_names(None, "blue", strength=0.0).picture).any()


def test_painted_hair_is_dyed_and_removed_hair_is_not(session: EditSession):
    width, height = session.picture.size
    strokes = Image.new("RGBA", (200, 200))
    draw = ImageDraw.Draw(strokes)
    draw.rectangle((0, 150, 30, 199), fill=(0, 170, 0, 255))
    draw.rectangle((80, 0, 120, 60), fill=(220, 0, 0, 255))
    session.paint(strokes)
    assert session.mask_version == 2
    dyed = changed(session, session.edit_names(None, "blue").picture)
    assert dyed[int(0.8 * height) :, : int(0.12 * width)].mean() > 0.9
    assert not dyed[: int(0.25 * height), int(0.42 * width) : int(0.58 * width)].any()
    session.unpaint()
    assert not changed(session, session.edit_names(None, "blue").picture)[
        int(0.8 * height) :, : int(0.12 * width)
    ].any()


def test_strokes_that_leave_no_hair_are_refused_and_change_nothing(session: EditSession):
    before = np.asarray(session.mask)
    assert refused(session.paint, Image.new("RGBA", (10, 10), (220, 0, 0, 255))) == "mask_empty"
    assert refused(session.paint, Image.new("RGBA", (10, 10))) == "nothing_painted"
    assert np.array_equal(np.asarray(session.mask), before)


def test_a_grid_has_a_row_for_each_hairstyle_and_a_column_for_each_color(session: EditSession):
    grid = session.start_grid(["afro"], ["red", "blue"])
    assert list(session.fill_grid(grid)) == [1, 2]
    assert [[picture.size for picture in row] for row in grid.pictures] == [[(256, 256), (256, 256)]]
    assert refused(session.start_grid, [], []) == "no_grid"
    assert refused(session.start_grid, session.hairstyles, session.colors) == "too_many"
    assert len(session.hairstyles) * len(session.colors) > MOST_IN_GRID


def test_a_large_photo_is_shown_reduced_and_written_at_full_size_with_its_metadata(networks: Networks, tmp_path: Path):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    path = tmp_path / "large.jpg"
    Image.open(ANNA).convert("RGB").resize((1600, 1600)).save(path, quality=90, exif=exif, dpi=(300, 300))
    session = EditSession(networks)
    session.open(path)
    assert session.picture.size == (SHOWN, SHOWN)
    edit = session.edit_names(None, "green")
    path.unlink()  # the page deletes uploads after an hour
    written = session.write(edit.number, tmp_path)
    with Image.open(written) as photo:
        assert (photo.format, photo.size, written.name) == ("JPEG", (1600, 1600), "green_1.jpg")
        assert photo.getexif()[0x010F] == "a camera"
        assert photo.info["dpi"] == (300, 300)
        shown = np.asarray(photo.resize(edit.picture.size), np.float32)
    assert np.abs(shown - np.asarray(edit.picture, np.float32)).mean() < 3.0


def test_what_cannot_be_done_is_refused_by_the_name_of_its_sentence(networks: Networks, session: EditSession):
    empty = EditSession(networks)
    assert refused(empty.edit_words, "red") == "no_photo"
    assert refused(empty.open, b"no photo at all") == "unreadable"
    assert refused(empty.open, Image.new("RGB", (300, 200), "gray")) == "no_face"
    assert not empty.is_open
    assert refused(session.edit_words, "  ") == "no_words"
    assert refused(session.edit_names, None, None) == "nothing_asked"
    assert refused(session.edit_pictures, None, None) == "no_reference"
    assert refused(session.edit_pictures, None, b"no picture") == "reference_unreadable"
    assert session.edits == []


def test_a_text_that_is_not_understood_is_refused_with_the_sentence_of_its_reader(session: EditSession):
    with pytest.raises(Refusal, match="xyzzy") as caught:
        session.edit_words("xyzzy")
    assert caught.value.key is None


def test_no_text_of_a_person_is_taken_for_the_path_of_a_file(session: EditSession):
    assert refused(session.edit_names, str(ANNA), None) == "nothing_asked"
    assert refused(session.edit_words, str(ANNA)) is None


def test_people_whom_the_networks_do_not_know_get_colors_and_no_hairstyle(session: EditSession):
    session._refusal = Refusal("stranger_command", bundle="portraits")
    assert refused(session.edit_words, "red bob cut") == "stranger_command"
    assert refused(session.edit_pictures, ANNA, None) == "stranger_command"
    assert session.edit_words("dark red").request.changes_color_alone


def test_all_languages_have_the_same_words():
    first, *others = (read_words(code).texts for code in LANGUAGES)
    assert {"en", "zh-TW"} <= set(LANGUAGES)
    for texts in others:
        assert texts.keys() == first.keys()
        assert texts["errors"].keys() == first["errors"].keys()


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("zh-TW,zh;q=0.9,en;q=0.8", "zh-TW"), ("zh", "zh-TW"), ("de-DE,de;q=0.9", "en"), (None, "en"), ("", "en")],
)
def test_the_language_follows_the_browser(accepted: str | None, language: str):
    assert choose_language(accepted) == language


@pytest.mark.parametrize("code", LANGUAGES)
def test_suggestions_are_understood_without_a_remark(code: str, session: EditSession):
    words = read_words(code)
    for text in words.several("suggestions_color"):
        request = session.networks.editor.ask(text=text)
        assert request.changes_color_alone, text
        assert request.notes == (), (text, request.notes)
    for text in words.several("suggestions_style"):
        assert session.networks.editor.ask(text=text).notes == (), text


def test_editing_methods_that_are_ready_are_offered_and_strangers_get_the_usual_one(session: EditSession):
    assert session.methods[0] == "mapper"
    assert not {"optimize", "inversion"} & set(session.methods)
    for method in session.methods[1:]:
        assert session.edit_names("bob cut", None, method=method).method == method
    assert refused(session.edit_names, "bob cut", None, 1.0, "inversion") == "no_method"
    session._refusal = Refusal("stranger_command", bundle="portraits")
    assert session.methods == ["mapper"]

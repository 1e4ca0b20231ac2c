"""What texts are understood to ask for."""

import pytest

from hairclip.common.errors import HairclipError
from hairclip.conditions.prompts import (
    COLORS,
    HAIRSTYLES,
    PORTRAIT_HAIRSTYLES,
    Reading,
    check_understood,
    color_prompt,
    hairstyle_prompt,
    read_color,
    read_hairstyle,
    read_request,
)
from hairclip.conditions.vocabulary import LANGUAGES, phrase_of, vocabulary

PORTRAITS = ("crown braid", "pixie cut", "bob cut", "updo", "long straight", "perm", "afro")


def test_the_vocabulary_is_the_papers():
    assert len(HAIRSTYLES) == len(set(HAIRSTYLES)) == 44
    assert len(COLORS) == len(set(COLORS)) == 12
    assert hairstyle_prompt("bob cut") == "bob cut hairstyle"
    assert hairstyle_prompt("bob cut hairstyle") == "bob cut hairstyle"
    assert hairstyle_prompt("short hair") == "short hair hairstyle"  # as in the list the official network learned from
    assert color_prompt("red") == color_prompt(" red hair ") == "red hair"


@pytest.mark.parametrize("template", ["{c} {s}", "{s} hairstyle, {c} hair", "make it a {c} {s} please", "{s} in {c}"])
def test_every_pair_of_known_names_is_read_back(template):
    for style in (*HAIRSTYLES, *PORTRAIT_HAIRSTYLES):
        for color in COLORS:
            for text in (template.format(s=style, c=color), template.format(s=style, c=color).upper()):
                assert read_request(text) == Reading(style, color), text


def test_every_name_alone_is_read_back_without_a_note():
    for style in (*HAIRSTYLES, *PORTRAIT_HAIRSTYLES):
        assert read_hairstyle(style) == Reading(style, None)
        assert read_hairstyle(hairstyle_prompt(style)) == Reading(style, None)
    for color in COLORS:
        assert read_color(color) == read_color(color_prompt(color)) == Reading(None, color)


def test_every_synonym_means_the_same_to_every_entrance():
    words = vocabulary()
    checked = {"hairstyle": 0, "color": 0}
    for phrase, (kind, name) in words.phrases.items():
        text = " ".join(phrase)
        if kind == "color":
            assert read_color(text).color == read_request(f"{text} hair").color == name, text
        elif kind == "hairstyle":
            assert read_hairstyle(text).hairstyle == read_request(f"{text}, please").hairstyle == name, text
        checked[kind] = checked.get(kind, 0) + 1
    assert checked["hairstyle"] > 120
    assert checked["color"] > 50


@pytest.mark.parametrize(
    ("text", "hairstyle", "color"),
    [
        ("red bob cut", "bob cut", "red"),
        ("short blue hair", "short hair", "blue"),
        ("make it blond and wavy", "long wavy", "blond"),
        ("a purple afro", "afro", "purple"),
        ("Platinum-Blonde PIXIE-CUT", "pixie cut", "blond"),
        ("Grey_hair", None, "gray"),
        ("ginger bobs", "bob cut", "orange"),
        ("brunette ringlets, please!", "ringlets", "brown"),
        ("long curly hair", "ringlets", None),
        ("curls", "perm", None),
        ("wavy long hair", "long wavy", None),
        ("long hair", "long straight", None),
        ("longer hair", "long straight", None),
        ("no hair", "bald", None),
        ("shaved head", "bald", None),
        ("a silver buzzcut", "crew cut", "gray"),
        ("slick-back", "slicked-back", None),
        ("dread locks", "dreadlocks", None),
        ("cornrow", "cornrows", None),
        ("Rachel", "the rachel", None),
        ("high top fade", "hi-top fade", None),
        ("her hair in a bun", "chignon", None),
    ],
)
def test_free_wording_and_synonyms(text, hairstyle, color):
    reading = read_request(text)
    assert (reading.hairstyle, reading.color) == (hairstyle, color)
    check_understood(reading)


@pytest.mark.parametrize(
    ("text", "color", "note"),
    [
        ("silver", "gray", "'silver' is read as gray."),
        ("gold", "blond", "'gold' is read as blond."),
        ("dark blue", "blue", "'dark blue' is reached as blue: the networks know plain colors only."),
        ("light blue hair", "blue", "'light blue' is reached as blue: the networks know plain colors only."),
        ("wine red hair", "red", "'wine red' is reached as red: the networks know plain colors only."),
        ("hot pink", "pink", "'hot pink' is reached as pink: the networks know plain colors only."),
    ],
)
def test_what_a_color_is_mapped_to_is_said(text, color, note):
    assert read_color(text) == read_request(text) == Reading(None, color, (note,))


@pytest.mark.parametrize(
    ("text", "hairstyle", "color", "said"),
    [
        ("blond highlights", None, None, "'blond highlights' colors only a part of the hair"),
        ("red hair with blond highlights", None, "red", "'blond highlights' colors only a part of the hair"),
        ("ombre blond to brown", None, None, "'ombre blond to brown' asks for more than one color"),
        ("#ff0000 hair", None, None, "'#ff0000' is not understood and changes nothing: name one of purple"),
        ("not red", None, None, "'not red' says what shall not be"),
        ("bob cut, but not blond", "bob cut", None, "'not blond' says what shall not be"),
        ("no beard and red hair", None, "red", ""),
        ("keep my hair colour, make it curly", "perm", None, ""),
        ("don’t change the colour, just a bob cut", "bob cut", None, ""),
        ("from blond to red", None, "red", "'from blond' says what shall not be"),
        ("green eyes", None, None, "'green eyes' is not a color of hair"),
        ("a woman with blue eyes and red hair", None, "red", "'blue eyes' is not a color of hair"),
        ("a man in a red shirt with a bob cut", "bob cut", None, "'red shirt' is not a color of hair"),
        ("black man with an afro", "afro", None, "'black man' is not a color of hair"),
        ("a blond woman", None, "blond", ""),
        ("a black and white photo", None, None, "'black and white photo' is not a color of hair"),
        ("red tractor", None, None, "'red tractor' is not understood"),
        ("with a beard", None, None, "'beard' cannot be edited"),
        ("glasses and an afro", "afro", None, "'glasses' cannot be edited"),
        ("smile", None, None, "'smile' cannot be edited"),
        ("darker", None, None, "'darker' without a color changes nothing"),
        ("look like Elvis", None, None, "'elvis' is not understood"),
        ("emo hair", None, None, "'emo' is not understood"),
        ("红色短发", None, None, "'红色短发' is not understood"),
        ("a ponytail", None, None, "the nearest they know is updo or chignon"),
        ("red and blue hair", None, "red", "'blue' is left out: an edit has one color, here red."),
        ("spiky hair with an undercut", "spiky hair", None, "'undercut' is left out: an edit has one hairstyle"),
    ],
)
def test_what_is_not_understood_changes_nothing_and_is_said(text, hairstyle, color, said):
    reading = read_request(text)
    assert (reading.hairstyle, reading.color) == (hairstyle, color)
    assert said in " ".join(reading.notes)
    if hairstyle is None and color is None:
        with pytest.raises(HairclipError, match="write something like 'red bob cut'"):
            check_understood(reading)


def test_typing_errors_get_a_suggestion():
    assert "did you mean mohawk?" in read_request("red mohwak").notes[0]
    assert "did you mean purple?" in read_color("blurple").notes[0]
    assert read_request("red mohawk").notes == ()


def test_a_word_of_the_other_kind_is_told_where_it_belongs():
    assert (
        read_color("bob cut").notes[0] == "'bob cut' is a hairstyle and changes nothing here: give it as the hairstyle."
    )
    assert read_hairstyle("red").notes[0] == "'red' is a color and changes nothing here: give it as the color."
    assert read_hairstyle("red bob cut").hairstyle == "bob cut"


@pytest.mark.parametrize("text", ["", "   ", "make it", "hair!", "?!"])
def test_saying_nothing_is_a_user_error(text):
    with pytest.raises(HairclipError, match="neither a hairstyle nor a hair color"):
        check_understood(read_request(text))


def test_hairstyles_the_networks_do_not_know_give_way_to_a_relative():
    reading = read_request("a red french braid", hairstyles=PORTRAITS)
    assert (reading.hairstyle, reading.color) == ("crown braid", "red")
    assert reading.notes == (
        "'french braid' is a hairstyle that the networks do not know: its nearest relative, crown braid, stands in.",
    )
    assert read_request("short hair", hairstyles=PORTRAITS).hairstyle == "pixie cut"
    assert read_request("bob cut", hairstyles=PORTRAITS) == read_request("bob cut")
    alone = read_hairstyle("mohawk", hairstyles=PORTRAITS)
    assert alone.hairstyle is None
    assert "choose crown braid, pixie cut" in alone.notes[0]
    assert read_hairstyle("mohawk", hairstyles=PORTRAITS, free=True).hairstyle == "mohawk"


def test_networks_may_know_words_of_their_own():
    assert read_request("a teal wolf mane", hairstyles=["wolf mane"], colors=["teal"]) == Reading("wolf mane", "teal")
    assert read_color("red", colors=["teal"]).color is None


def test_only_a_real_clip_gets_hairstyles_outside_the_vocabulary():
    for text, hairstyle, color in (
        ("a layered silver bob", "layered bob cut", "gray"),
        ("ponytail", "ponytail", None),
        ("red emo hair", "emo", "red"),
        ("make him look like Elvis", None, None),
        ("wine red hair", None, "red"),
        ("a beard", None, None),
        ("not a ponytail", None, None),
    ):
        reading = read_request(text, free=True)
        assert (reading.hairstyle, reading.color) == (hairstyle, color), text
    assert read_hairstyle("elvis quiff with sparkles", free=True).hairstyle == "elvis sparkles quiff"
    assert read_hairstyle("ponytail", free=True).notes == (
        "'ponytail' is not in the vocabulary: CLIP reads it as it is written.",
    )


def test_a_long_text_is_quoted_in_part():
    reading = read_request("blah " * 1000)
    assert max(map(len, reading.notes)) < 120


def test_the_vocabulary_file_names_only_what_it_lists():
    known = {*HAIRSTYLES, *PORTRAIT_HAIRSTYLES}
    words = vocabulary()
    for hairstyle, relatives in words.relatives.items():
        assert {hairstyle, *relatives} <= known
    for nearest in words.untrained.values():
        assert set(nearest) <= known
    assert {style for _, style in words.shape_hairstyles} <= known
    assert LANGUAGES == ("en",)
    assert phrase_of("Buzz-Cuts") == ("buzz", "cut")

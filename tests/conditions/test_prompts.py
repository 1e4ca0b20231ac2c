"""What texts are understood to ask for."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

import hairclip.conditions
from hairclip.common.errors import HairclipError
from hairclip.conditions.prompts import (
    COLORS,
    HAIRSTYLES,
    PORTRAIT_HAIRSTYLES,
    ColorPart,
    Reading,
    check_understood,
    color_prompt,
    hairstyle_prompt,
    read_color,
    read_hairstyle,
    read_request,
)
from hairclip.conditions.vocabulary import LANGUAGES, UNTRAINED_HAIRSTYLES, phrase_of, vocabulary

CHINESE = Path(hairclip.conditions.__file__).parent / "languages" / "zh-TW.yaml"
PORTRAITS = ("crown braid", "pixie cut", "bob cut", "updo", "long straight", "perm", "afro")


def heard(reading: Reading) -> tuple[str | None, str | None, tuple[str, ...]]:
    return reading.hairstyle, reading.color, reading.notes


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
                assert heard(read_request(text)) == (style, color, ()), text


def test_every_name_alone_is_read_back_without_a_note():
    for style in (*HAIRSTYLES, *PORTRAIT_HAIRSTYLES):
        assert heard(read_hairstyle(style)) == (style, None, ())
        assert heard(read_hairstyle(hairstyle_prompt(style))) == (style, None, ())
    for color in COLORS:
        assert heard(read_color(color)) == heard(read_color(color_prompt(color))) == (None, color, ())


def test_every_synonym_means_the_same_to_every_entrance():
    words = vocabulary()
    checked = {"hairstyle": 0, "color": 0}
    for phrase, (kind, name, _) in words.phrases.items():
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
    assert heard(read_color(text)) == heard(read_request(text)) == (None, color, (note,))


@pytest.mark.parametrize(
    ("text", "hairstyle", "color", "said"),
    [
        ("blond highlights", None, None, "'blond highlights' colors only a part of the hair"),
        ("red hair with blond highlights", None, "red", "'blond highlights' colors only a part of the hair"),
        ("ombre blond to brown", None, None, "'ombre blond' asks for more than one color"),
        ("rainbow hair", None, None, "'rainbow' asks for more than one color"),
        ("#ff0000 hair", None, None, "'#ff0000' is a color that the networks do not know: choose purple"),
        ("#ff00 hair", None, None, "'#ff00' is not understood and changes nothing: name one of purple"),
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
        ("короткие волосы", None, None, "'короткие волосы' is not understood"),
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


def test_one_typing_error_a_word_is_mended_and_said():
    for text, hairstyle, color, note in (
        ("red mohwak", "mohawk", "red", "'mohwak' is read as 'mohawk'."),
        ("purpel hair", None, "purple", "'purpel' is read as 'purple'."),
        ("bleu hair", None, "blue", "'bleu' is read as 'blue'."),
        ("a pixei cut", "pixie cut", None, "'pixei cut' is read as 'pixie cut'."),
    ):
        assert heard(read_request(text)) == (hairstyle, color, (note,))


@pytest.mark.parametrize("text", ["a block of bread", "brow", "a bred perk", "curb", "crow", "the bog"])
def test_a_word_of_english_is_not_mended(text):
    assert heard(read_request(text))[:2] == (None, None)


def test_two_typing_errors_get_a_suggestion():
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
    assert "the nearest they know is updo" in read_request("a ponytail", hairstyles=PORTRAITS).notes[0]
    alone = read_hairstyle("mohawk", hairstyles=PORTRAITS)
    assert alone.hairstyle is None
    assert "choose crown braid, pixie cut" in alone.notes[0]
    assert read_hairstyle("mohawk", hairstyles=PORTRAITS, free=True).hairstyle == "mohawk"


def test_networks_may_know_words_of_their_own():
    reading = read_request("a teal wolf mane", hairstyles=["wolf mane"], colors=["teal"])
    assert heard(reading) == ("wolf mane", "teal", ())
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
    for nearest in UNTRAINED_HAIRSTYLES.values():
        assert set(nearest) <= known
    for language in words.languages.values():
        assert {style for _, style in language.attribute_hairstyles} <= known
        assert set(language.messages) == set(words.languages["en"].messages)
    assert LANGUAGES == ("en", "zh-TW")
    assert phrase_of("Buzz-Cuts") == ("buzz", "cut")
    assert phrase_of("BOB頭") == ("bob", "頭")


# ------------------------------------------------------------------------------------------ what people type

ROWS = yaml.safe_load(Path(__file__).with_name("prompts.yaml").read_text(encoding="utf-8"))


def test_of_what_people_type_nineteen_in_twenty_are_read_right():
    wrong = [row["text"] for language, rows in ROWS.items() for row in rows if not is_right(row, language)]
    count = sum(map(len, ROWS.values()))
    assert count >= 150
    assert len(wrong) <= count // 20, wrong
    for language, rows in ROWS.items():
        assert sum(row["text"] in wrong for row in rows) <= len(rows) // 20, language


def is_right(row: dict[str, Any], language: str) -> bool:
    reading = read_request(row["text"], any_color=True)
    color = row.get("color")
    return (
        reading.language == language
        and (reading.hairstyle, reading.color) == (row.get("hairstyle"), color)
        and [[part.name, part.where] for part in reading.colors] == row.get("colors", [[color, "all"]] if color else [])
        and reading.attributes == row.get("attributes", {})
        and list(reading.negated) == row.get("negated", [])
    )


def test_every_word_of_chinese_is_read_as_what_it_stands_for():
    words = yaml.safe_load(CHINESE.read_text(encoding="utf-8"))
    for name, texts in words["hairstyles"].items():
        for text in texts:
            assert read_request(text).hairstyle == name, text
            assert read_request(f"幫我換成{text}").hairstyle == name, text
    for name, texts in words["colors"].items():
        for text in texts:
            assert read_color(text).color == read_request(f"染成{text}的頭髮").color == name, text


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("波波頭", "「波波頭」當作鮑伯頭。"),
        ("不要紅色，要藍色", "「不要紅色」說的是不要的，不會改變任何東西。"),
        ("深藍色", "「深藍色」會染成藍色：網路只認得基本的顏色。"),
        ("中分油頭", "略過「中分」：網路沒辦法在油頭之外再做這個。"),
        ("紅色鮑伯頭 foobarbaz", "看不懂「foobarbaz」，所以它不會改變任何東西。"),
    ],
)
def test_the_answer_comes_in_the_language_of_the_text(text, note):
    assert note in read_request(text).notes
    assert read_request("紅色鮑伯頭").summary == "髮型：鮑伯頭；髮色：紅色"
    assert read_request("red bob").summary == "hairstyle: bob cut; color: red"


def test_a_color_code_is_a_color_of_its_own():
    for text, rgb in (("#8b0000", (139, 0, 0)), ("#f08 hair", (255, 0, 136)), ("rgb(1, 2, 3)", (1, 2, 3))):
        reading = read_request(text, any_color=True)
        assert (reading.color, reading.colors) == (None, (ColorPart(None, rgb),))
        check_understood(reading)
    for text in ("#8b00zz", "#12345", "rgb(300, 0, 0)", "rgb(1, 2)"):
        assert read_request(text, any_color=True).colors == ()


def test_a_shade_moves_a_color_its_own_way():
    def lightness(text: str) -> float:
        return sum(read_request(text, any_color=True).colors[0].rgb)

    assert lightness("dark brown") < lightness("brown") < lightness("light brown")
    assert lightness("dark blue") < lightness("blue") < lightness("pastel blue")
    plain, ash = (read_request(text, any_color=True).colors[0].rgb for text in ("red", "ash red"))
    assert max(plain) - min(plain) > max(ash) - min(ash)
    assert read_request("深棕色", any_color=True).colors == read_request("dark brown", any_color=True).colors


def test_what_the_networks_cannot_color_is_left_out():
    reading = read_request("brown hair with blond highlights")
    assert [part.where for part in reading.colors] == ["all"]
    both = read_request("brown hair with blond highlights", any_color=True)
    assert [(part.name, part.where) for part in both.colors] == [("brown", "all"), ("blond", "highlights")]


def test_a_reading_is_printed_as_json():
    reading = read_request("short wavy bob, not red", any_color=True)
    assert json.loads(json.dumps(reading.as_dict())) == {
        "text": "short wavy bob, not red",
        "language": "en",
        "hairstyle": "bob cut",
        "color": None,
        "colors": [],
        "attributes": {"length": "short", "curl": "wavy"},
        "negated": ["red"],
        "notes": [
            "'not red' says what shall not be, and changes nothing.",
            "'short' is left out: the networks cannot do it beside the hairstyle bob cut.",
            "'wavy' is left out: the networks cannot do it beside the hairstyle bob cut.",
        ],
    }


def test_any_text_is_read():
    rng = random.Random(0)
    words = [
        *(" ".join(phrase) for phrase in vocabulary().phrases),
        *["#:,、()（）rgb(😀\x00", "#fff", "不", "not", "half", "的"],
    ]
    for _ in range(150):
        text = rng.choice(["", " "]).join(rng.choice(words) for _ in range(rng.randint(0, 12)))
        for any_color in (False, True):
            reading = read_request(text, any_color=any_color, free=rng.random() < 0.5)
            assert reading.hairstyle or reading.colors or reading.notes, text

"""What sentences are understood to ask for."""

import pytest

from hairclip.common.errors import HairclipError
from hairclip.conditions import prompts
from hairclip.conditions.prompts import (
    COLORS,
    HAIRSTYLES,
    PORTRAIT_HAIRSTYLES,
    color_prompt,
    hairstyle_prompt,
    split_prompt,
)


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
                parsed = split_prompt(text)
                assert (parsed.hairstyle, parsed.color, parsed.unknown) == (style, color, ()), text


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
    parsed = split_prompt(text)
    assert (parsed.hairstyle, parsed.color, parsed.unknown) == (hairstyle, color, ())


def test_unknown_words_go_to_clip_and_are_told():
    parsed = split_prompt("a layered silver bob")
    assert (parsed.hairstyle, parsed.color, parsed.unknown) == ("layered bob cut", "gray", ("layered",))
    assert "given to CLIP as written: layered" in parsed.message
    parsed = split_prompt("ponytail")
    assert (parsed.hairstyle, parsed.color, parsed.unknown) == ("ponytail", None, ("ponytail",))


def test_typing_errors_get_a_suggestion():
    assert "did you mean mohawk?" in split_prompt("red mohwak").message
    assert "did you mean" not in split_prompt("red mohawk").message


def test_what_is_left_out_is_told():
    assert split_prompt("red and blue hair").color == "red"
    assert "left out: blue" in split_prompt("red and blue hair").message
    assert "left out: undercut" in split_prompt("spiky hair with an undercut").message
    assert "left out: dark" in split_prompt("dark brown hair").message
    assert split_prompt("brown hair").message == "hairstyle: unchanged; colour: brown"


@pytest.mark.parametrize("text", ["", "   ", "make it", "hair!", "?!"])
def test_saying_nothing_is_a_user_error(text):
    with pytest.raises(HairclipError, match="neither a hairstyle nor a hair colour"):
        split_prompt(text)


def test_styles_the_networks_do_not_know_give_way_to_a_relative():
    known = ("crown braid", "pixie cut", "bob cut")
    parsed = split_prompt("a red french braid", known)
    assert (parsed.hairstyle, parsed.color) == ("crown braid", "red")
    assert "do not know french braid, crown braid stands in" in parsed.message
    assert split_prompt("short hair", known).hairstyle == "pixie cut"
    assert split_prompt("bob cut", known) == split_prompt("bob cut")
    assert split_prompt("mohawk", known).hairstyle == "mohawk"  # no relative: CLIP may know better


def test_every_relative_is_in_the_vocabulary():
    vocabulary = {*HAIRSTYLES, *PORTRAIT_HAIRSTYLES}
    for style, relatives in prompts._RELATIVES.items():
        assert {style, *relatives} <= vocabulary
    for canonical in prompts._HAIRSTYLE_SYNONYMS:
        assert canonical in vocabulary
    assert tuple(prompts._COLOR_SYNONYMS) == tuple(sorted(COLORS))

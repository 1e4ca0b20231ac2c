"""Each setting of an edit exists once: keywords, command line and a folder's key follow from its field."""

import argparse
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from typing import Any, get_type_hints

import pytest
import torch

from hairclip.cli.edit_arguments import add_fields, name_flags, read_fields
from hairclip.editing.folder import FolderSettings, make_key
from hairclip.editing.options import (
    EditOptions,
    EditSettings,
    InversionOptions,
    InversionSettings,
    read_settings,
)
from hairclip.editing.request import EditRequest


@pytest.mark.parametrize(("kind", "keywords"), [(EditOptions, EditSettings), (InversionOptions, InversionSettings)])
def test_keywords_are_the_fields(kind: type, keywords: type):
    assert get_type_hints(keywords) == get_type_hints(kind)


def test_the_command_line_is_made_from_the_fields():
    parser = argparse.ArgumentParser()
    add_fields(parser, EditOptions, InversionOptions)
    plain = parser.parse_args([])
    assert read_fields(EditOptions, plain) == EditOptions()
    assert read_fields(InversionOptions, plain) == InversionOptions()
    words = (
        "--strength 0.5 --seam poisson --no-blend --feather 3 --set lr=0.2 --set name=x --seed 4 --inversion pivotal"
    )
    given = parser.parse_args(words.split())
    assert read_fields(EditOptions, given) == EditOptions(
        strength=0.5, seam="poisson", blend=False, feather=3, method_settings={"lr": 0.2, "name": "x"}, seed=4
    )
    assert read_fields(InversionOptions, given) == InversionOptions(inversion="pivotal", seed=4)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"strength": 2.5}, "strength 2.5: give a number from 0 to 2"),
    ({"strength": "much"}, "strength 'much'"),
    ({"seed": -1}, "seed -1: give 0 or more"),
    ({"steps": 0}, "steps 0: give 1 or more"),
    ({"inversion_steps": 0}, "inversion_steps 0: give 1 or more"),
    ({"feather": -1}, "feather -1: give 0 or more"),
    ({"behind": "foo"}, "behind 'foo': choose photo or edit"),
    ({"strands": "foo"}, "strands 'foo': choose photo or edit"),
    ({"seam": "poison"}, "choose feather, laplacian or poisson (did you mean poisson?)"),
    ({"inversion": "foo"}, "inversion 'foo': choose encoder, optimize or pivotal"),
    ({"method": "maper"}, "no editing method 'maper' (did you mean mapper?)"),
    ({"blend": "no"}, "blend 'no': give True or False"),
    ({"method_settings": 3}, "method_settings 3: give a dictionary"),
]
TRY_ALL = """
import ast, sys
from hairclip.common.errors import HairclipError
from hairclip.editing.options import read_settings
for settings in ast.literal_eval(sys.argv[1]):
    try:
        read_settings(None, None, settings)
        print("taken")
    except HairclipError as error:
        print(error)
assert "torch" not in sys.modules
"""


def test_values_out_of_range_are_one_sentence():
    """In a process of its own: here the checks of types would come first."""
    given = repr([settings for settings, _ in MISTAKES])
    printed = subprocess.run([sys.executable, "-c", TRY_ALL, given], capture_output=True, text=True, check=True).stdout
    for line, (settings, words) in zip(printed.splitlines(), MISTAKES, strict=True):
        assert words in line, settings


def test_a_keyword_that_no_setting_has_is_a_mistake_of_the_programmer():
    with pytest.raises(TypeError, match=r"no setting 'strenght' of an edit \(did you mean strength\?\)"):
        read_settings(None, None, {"strenght": 1.0})


def test_the_key_of_a_folder_changes_with_every_field():
    request, settings = EditRequest("afro", "red"), FolderSettings()
    other: dict[str, Any] = {
        "strength": 0.5, "method": "optimize", "method_settings": {"lr": 1.0}, "steps": 7, "seed": 1, "blend": False,
        "seam": "poisson", "feather": 2, "behind": "edit", "strands": "edit", "inversion": "pivotal",
        "inversion_steps": 7, "force": True,
    }  # fmt: skip
    keys = [make_key(request, settings, "networks")]
    for name in ("options", "inverting"):
        options = getattr(settings, name)
        for one in fields(options):
            changed = replace(settings, **{name: replace(options, **{one.name: other[one.name]})})
            keys.append(make_key(request, changed, "networks"))
    keys += [make_key(request, replace(settings, face="left"), "networks")]
    keys += [make_key(request, replace(settings, aligned=True), "networks")]
    keys += [make_key(request, settings, "others")]
    keys += [
        make_key(EditRequest("afro", picture), settings, "networks") for picture in (None, torch.zeros(1, 3, 8, 8))
    ]
    assert len(set(keys)) == len(keys)
    assert make_key(EditRequest("afro", "red", label="another name"), settings, "networks") == keys[0]


@dataclass(frozen=True)
class MoreOptions(EditOptions):
    """Options as a later version may have them."""

    sharpness: float = 0.0


def test_the_key_of_a_folder_changes_with_a_field_that_nobody_entered_anywhere_else():
    keys = {make_key(EditRequest("afro"), FolderSettings(MoreOptions(sharpness=x)), "networks") for x in (0.0, 0.5)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ('its hair is used; inversion="pivotal" is nearer', "its hair is used; --inversion pivotal is nearer"),
        ("leave out blend=False.", "leave out --no-blend."),
        ("already cropped to the face, say so: aligned=True.", "already cropped to the face, say so: --aligned."),
        ("device 'gpu' is unknown", "--device 'gpu' is unknown"),
        ("strength 3: give a number", "--strength 3: give a number"),
        ("inversion_steps 0: give 1", "--inversion-steps 0: give 1"),
        ("text='bob cut' names the hairstyle bob cut", "--text 'bob cut' names the hairstyle bob cut"),
        ("seam 'x': choose", "--seam 'x': choose"),
    ],
)  # fmt: skip
def test_the_command_line_names_flags_where_the_library_names_arguments(message: str, told: str):
    assert name_flags(message, EditOptions, InversionOptions) == told

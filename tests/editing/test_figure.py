"""A figure of many edits: what its YAML file says, and what is drawn where."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hairclip.cli import main as cli
from hairclip.common.errors import HairclipError
from hairclip.editing.editor import HairEditor
from hairclip.editing.figure import FigureEdit, draw_figure, read_figure
from hairclip.editing.options import EditOptions
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.pretrained import load_bundle
from tests.helpers.tiny_networks import save_bundle


def written(folder: Path, text: str) -> Path:
    path = folder / "figure.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def people(tmp_path: Path) -> Path:
    for name, color in (("red.png", (200, 20, 20)), ("blue.png", (20, 20, 200))):
        Image.new("RGB", (40, 40), color).save(tmp_path / name)
    return tmp_path


def test_a_file_lists_words_and_pictures_beside_it(people: Path):
    edits = read_figure(
        written(people, "- {image: red.png, text: 紅色鮑伯頭}\n- {image: blue.png, hairstyle: red.png, color: blue}\n")
    )
    assert edits == [
        FigureEdit(people / "red.png", text="紅色鮑伯頭"),
        FigureEdit(people / "blue.png", hairstyle=people / "red.png", color="blue"),
    ]
    assert [edit.caption for edit in edits] == ["紅色鮑伯頭", "blue"]
    assert [edit.pictures for edit in edits] == [[], [people / "red.png"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "write a list of edits"),
        ("- red.png", "edit 1: write a mapping"),
        ("- {image: red.png, text: red}\n- {image: red.png}", "edit 2: it needs `image`, and"),
        ("- {text: red}", "it needs `image`"),
        ("- {image: red.png, style: afro}", "no key 'style': the keys are image, text, hairstyle, color"),
        ("- {image: red.png, text: 7}", "mapping of words"),
    ],
)
def test_mistakes_are_one_sentence_with_the_number_of_the_edit(people: Path, text: str, words: str):
    with pytest.raises(HairclipError, match=words):
        read_figure(written(people, text))


def test_a_missing_file_is_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["figure", "--edits", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "out.png")]) == 2
    assert "none.yaml cannot be read" in capsys.readouterr().err


def test_a_pipe_or_a_folder_is_no_file(people: Path):
    os.mkfifo(people / "pipe.yaml")
    for path in (people / "pipe.yaml", people):
        with pytest.raises(HairclipError, match="it is no file"):
            read_figure(path)


def test_a_photo_without_a_face_is_refused_with_the_flag_that_helps(people: Path, capsys: pytest.CaptureFixture[str]):
    edits = written(people, "- {image: red.png, text: red bob cut}")
    assert cli.main(["figure", "--edits", str(edits), "--out", str(people / "out.png"), "--device", "cpu"]) == 2
    told = capsys.readouterr().err
    assert "no face was found" in told
    assert "--aligned" in told
    assert not (people / "out.png").exists()


def test_photos_requests_and_edits_stand_below_each_other(people: Path):
    editor = PhotoEditor(HairEditor(load_bundle(save_bundle(people / "networks")), groups=(3, 5)))
    edits = [
        FigureEdit(people / "red.png", text="afro"),
        FigureEdit(people / "blue.png", hairstyle=people / "red.png"),
        FigureEdit(people / "blue.png", color="red"),
    ]
    figure = np.asarray(draw_figure(editor, edits, aligned=True, columns=2, tile=64, options=EditOptions(force=True)))
    assert figure.shape == (2 * (64 + 32 + 64 + 8) + 16, 2 * 64 + 4, 3)
    red, blue = (200, 20, 20), (20, 20, 200)
    assert tuple(figure[32, 32]) == red
    assert tuple(figure[32, 100]) == blue
    assert tuple(figure[84, 100]) == red  # the reference, in the middle of the second request
    assert (figure[68:100, :64] < 128).any()  # the words of the first one
    second = figure[168 + 16 :]
    assert tuple(second[32, 32]) == blue
    assert (second[:, 68:] == 255).all()  # there is no fourth edit

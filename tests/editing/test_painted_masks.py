"""Masks that people paint say where the hair is: of a color, and of a hairstyle."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.cli import main as cli
from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import HAIR
from hairclip.editing.blending.matte import replace_hair
from hairclip.editing.photo.masks import PaintedMasks
from tests.editing.test_dyed_photos import photo_editor, portrait
from tests.editing.test_photo_editor import photo
from tests.editing.test_photo_editor import photo_editor as generating_editor
from tests.helpers.tiny_networks import SIZE, save_bundle, tiny_networks


def white(size: tuple[int, int], *boxes: tuple[int, int, int, int], level: int = 255) -> Image.Image:
    mask = Image.new("L", size)
    for box in boxes:
        mask.paste(level, box)
    return mask


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    return (np.asarray(before) != np.asarray(after)).any(axis=-1)


def test_a_color_goes_where_the_mask_is_white_and_nowhere_else():
    person, editor = portrait(), photo_editor((300, 250))
    box = (40, 60, 110, 140)
    result = editor.edit(person, color="red", mask=white(person.size, box))
    inside = np.asarray(white(person.size, box)) > 0
    where = changed(person, result.picture)
    assert not where[~inside].any()
    assert where[inside].mean() > 0.9
    assert np.array_equal(np.asarray(result.mask), np.where(inside, 255, 0))


def test_hair_is_added_and_removed():
    person, editor = portrait(), photo_editor((300, 250))
    found = np.asarray(editor.edit(person, color="red").mask)
    rows, _ = np.nonzero(found)
    low = int(rows.max()) - 60
    add, remove = (10, 20, 40, 50), (0, low, person.width, person.height)
    result = editor.edit(person, color="red", mask_add=white(person.size, add), mask_remove=white(person.size, remove))
    mask = np.asarray(result.mask)
    assert (mask[20:50, 10:40] == 255).all()
    assert not mask[low:].any()
    assert not changed(person, result.picture)[low:].any()
    kept = np.ones_like(mask, bool)
    kept[low:], kept[20:50, 10:40] = False, False
    assert np.array_equal(mask[kept], found[kept])


def test_masks_that_leave_nothing_are_refused():
    person, editor = portrait(), photo_editor((300, 250))
    with pytest.raises(HairclipError, match="the masks leave no hair in the picture"):
        editor.edit(person, color="red", mask_remove=Image.new("L", person.size, 255))
    with pytest.raises(HairclipError, match="masks are for one person, and 2 were chosen"):
        photo_editor((150, 250), (450, 250)).edit(
            person, color="red", face="all", mask=white(person.size, (0, 0, 9, 9))
        )


def test_a_new_hairstyle_replaces_the_painted_hair():
    editor, source = generating_editor(tiny_networks()), photo(200, 200)
    left = white(source.size, (0, 0, 100, 200))
    opened = editor.open(source, aligned=True, masks=PaintedMasks(left))
    hair = opened.prepared.hair_mask[0, 0]
    assert hair[:, : SIZE // 2].all()
    assert not hair[:, SIZE // 2 :].any()


def test_labels_under_removed_hair_are_those_beside_it():
    labels = torch.full((1, 8, 8), HAIR)
    labels[0, :, 6:] = 1
    hair = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    hair[..., :3] = True
    expected = torch.ones(8, 8, dtype=torch.long)
    expected[:, :3] = HAIR
    assert torch.equal(replace_hair(labels, hair)[0], expected)
    assert not replace_hair(torch.full((1, 8, 8), HAIR), hair)[..., 3:].any()


def test_the_command_writes_the_mask_of_the_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source, mask = tmp_path / "me.png", tmp_path / "mask.png"
    photo(60, 60).save(source)
    white((60, 60), (10, 10, 30, 40), level=255).save(mask)
    command = ["edit", "--image", str(source), "--aligned", "--device", "cpu", "--color", "red"]
    command += ["--bundle", str(save_bundle(tmp_path / "bundle")), "--out", str(tmp_path / "out.png")]
    saved = tmp_path / "saved.png"
    assert cli.main([*command, "--mask", str(mask), "--save-mask", str(saved)]) == 0
    with Image.open(saved) as written, Image.open(mask) as given:
        assert written.mode == "L"
        assert np.array_equal(np.asarray(written), np.asarray(given))
    white((50, 60), (0, 0, 9, 9)).save(tmp_path / "narrow.png")
    for name, words in (("me.png", "is the photo itself"), ("narrow.png", "is 50 x 60 pixels"), ("no.png", "no image")):
        assert cli.main([*command, "--mask", str(tmp_path / name)]) == 2
        assert words in capsys.readouterr().err
    assert cli.main([*command, "--mask", str(mask), "--save-mask", str(mask)]) == 2
    assert "would replace the picture" in capsys.readouterr().err

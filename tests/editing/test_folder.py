"""A folder of photos: one photo's trouble is its own, and nobody's edit depends on its neighbors."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.editing.editor import HairEditor
from hairclip.editing.folder import RECORD, FolderSettings, edit_folder
from hairclip.editing.options import EditOptions
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.editing.photo_result import PhotoResult
from tests.helpers.tiny_networks import SIZE, tiny_networks

QUICK = FolderSettings(EditOptions(behind="edit", force=True), aligned=True)


@pytest.fixture(scope="module")
def editor() -> PhotoEditor:
    return PhotoEditor(HairEditor(tiny_networks(), groups=(3, 5)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six crops of noise, a.png to f.png, in the folder `in`."""
    (tmp_path / "in").mkdir()
    for seed, name in enumerate("abcdef"):
        noise = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "in" / f"{name}.png")
    return tmp_path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_a_photo_that_raises_anything_is_named_with_its_kind_and_the_others_are_written(
    editor: PhotoEditor, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    bad = pixels(folder / "in" / "c.png")
    prepare = HairEditor.prepare

    def fail(self: HairEditor, images: list[torch.Tensor], *arguments: object, **settings: object) -> object:
        for image in images:
            if np.array_equal(((image[0].permute(1, 2, 0) + 1) * 127.5).round().numpy().astype(np.uint8), bad):
                raise ZeroDivisionError("a bug")
        return prepare(self, images, *arguments, **settings)

    monkeypatch.setattr(HairEditor, "prepare", fail)
    asked = [editor.ask(color="red"), editor.ask("afro")]
    report = edit_folder(editor, folder / "in", folder / "out", asked, QUICK)
    assert report.failed == {"c.png": "ZeroDivisionError: a bug"}
    assert len(report.written) == 10
    monkeypatch.undo()
    again = edit_folder(editor, folder / "in", folder / "out", asked, QUICK)
    assert (len(again.written), again.skipped, again.failed) == (2, 5, {})


def test_a_photos_edit_does_not_depend_on_the_photos_beside_it(editor: PhotoEditor, folder: Path):
    asked = [editor.ask("afro", "red")]
    edit_folder(editor, folder / "in", folder / "all", asked, QUICK)
    for kept in ("a", "bcdef", "fd"):
        some = folder / kept
        some.mkdir()
        for name in kept:
            shutil.copy(folder / "in" / f"{name}.png", some)
        edit_folder(editor, some, folder / f"{kept} edited", asked, QUICK)
        for name in kept:
            assert (folder / f"{kept} edited" / f"{name}.png").read_bytes() == (
                folder / "all" / f"{name}.png"
            ).read_bytes()


def test_a_record_that_is_damaged_is_set_aside(editor: PhotoEditor, folder: Path):
    asked, out = [editor.ask(color="red")], folder / "out"
    for name in "bcdef":
        (folder / "in" / f"{name}.png").unlink()
    out.mkdir()
    for damaged in (b"{", b"\xff\xfe", b"[1]", b'{"done": 3}', b'{"done": {"a.png": 1}}', b"[" * 10**5):
        (out / RECORD).write_bytes(damaged)
        report = edit_folder(editor, folder / "in", out, asked, QUICK)
        assert [path.name for path in report.written] == ["a.png"]
        assert (out / f"{RECORD}.damaged").read_bytes() == damaged
        assert "was damaged: it is now edits.json.damaged" in report.notes[0]
        assert list(json.loads((out / RECORD).read_text())["done"]) == ["a.png"]


def test_networks_are_known_by_their_content(folder: Path):
    for name in "bcdef":
        (folder / "in" / f"{name}.png").unlink()
    networks = tiny_networks()
    editor = PhotoEditor(HairEditor(networks, groups=(3, 5)))
    asked = [editor.ask("afro")]
    assert len(edit_folder(editor, folder / "in", folder / "out", asked, QUICK).written) == 1
    same = PhotoEditor(HairEditor(tiny_networks(), groups=(3, 5)))
    assert edit_folder(same, folder / "in", folder / "out", asked, QUICK).skipped == 1
    with torch.no_grad():
        next(networks.generator.parameters()).add_(1e-3)
    assert len(edit_folder(editor, folder / "in", folder / "out", asked, QUICK).written) == 1


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_strength_0_is_the_photo_bit_for_bit(editor: PhotoEditor, folder: Path, suffix: str):
    for name in "bcdef":
        (folder / "in" / f"{name}.png").unlink()
    with Image.open(folder / "in" / "a.png") as picture:
        picture.save(folder / "in" / f"a{suffix}")
    nothing = FolderSettings(EditOptions(strength=0.0, seam="poisson"), aligned=True)
    for path in edit_folder(editor, folder / "in", folder / "out", [editor.ask("afro", "red")], nothing).written:
        assert np.array_equal(pixels(path), pixels(folder / "in" / "a.png"))


def test_two_photos_never_share_a_file_name(editor: PhotoEditor, folder: Path):
    for name in "bcdef":
        (folder / "in" / f"{name}.png").unlink()
    with Image.open(folder / "in" / "a.png") as picture:
        picture.save(folder / "in" / "x.bmp")
        picture.save(folder / "in" / "x.bmp.png")
    report = edit_folder(editor, folder / "in", folder / "out", [editor.ask("afro")], QUICK)
    assert sorted(path.name for path in report.written) == ["a.png", "x.bmp.png", "x.bmp.png.png"]


def test_what_is_looked_at_may_fail_too(editor: PhotoEditor, folder: Path):
    def look(path: Path, added: str, result: PhotoResult) -> None:
        if path.name == "b.png":
            raise RuntimeError("no room")

    report = edit_folder(editor, folder / "in", folder / "out", [editor.ask("afro")], QUICK, look=look)
    assert report.failed == {"b.png": "RuntimeError: no room"}
    assert len(report.written) == 6

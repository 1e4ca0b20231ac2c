"""A whole photo in, a whole photo out: only what the edit may touch changes."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import BACKGROUND
from hairclip.common.framing import FFHQ, PORTRAITS, Framing
from hairclip.common.images import to_uint8
from hairclip.editing.blending.fill import plain_background
from hairclip.editing.editor import HairEditor
from hairclip.editing.folder import RECORD, FolderSettings, edit_folder
from hairclip.editing.options import EditOptions
from hairclip.editing.photo.align import face_square
from hairclip.editing.photo.faces import Face, FaceFinder
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.editing.photo_result import PhotoResult
from hairclip.editing.stages import save_stages
from tests.helpers.painted_people import ColorParser, draw_person, paint
from tests.helpers.tiny_networks import SIZE, tiny_networks

LANDMARKS = np.array([[100, 120], [160, 118], [130, 150], [108, 180], [155, 179]], np.float64)


QUICK: dict[str, Any] = {"behind": "edit", "strands": "edit", "force": True}
"""Edits by the generator, blended in the way that takes least time."""
QUICKLY = EditOptions(**QUICK)


class StubFinder(FaceFinder):
    """Finds the faces it was told of, wherever it looks."""

    def __init__(self, *shifts: tuple[float, float]) -> None:
        self.shifts = shifts or ((0, 0),)

    def __call__(self, photo: Image.Image) -> list[Face]:
        faces = []
        for shift in self.shifts:
            points = LANDMARKS + shift
            faces.append(Face(points, (*points.min(0).tolist(), *points.max(0).tolist()), 1.0))
        return faces


def photo(width: int = 420, height: int = 330, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def networks() -> SimpleNamespace:
    return tiny_networks()


def photo_editor(networks: SimpleNamespace, *shifts: tuple[float, float]) -> PhotoEditor:
    return PhotoEditor(HairEditor(networks, groups=(3, 5)), framing=FFHQ, finder=StubFinder(*shifts))


@pytest.fixture(scope="module")
def editor(networks: SimpleNamespace) -> PhotoEditor:
    return photo_editor(networks)


def changed(result: PhotoResult, before: Image.Image) -> np.ndarray:
    return (np.asarray(result.picture) != np.asarray(before)).any(-1)


@pytest.mark.parametrize("shift", [(0, 0), (-70, -80), (230, 120)], ids=["inside", "over the corner", "over the other"])
def test_outside_the_face_every_pixel_is_the_photos(networks: SimpleNamespace, shift: tuple[int, int]):
    source = photo()
    result = photo_editor(networks, shift).edit(source, hairstyle="afro", color="red", **QUICK)
    assert result.picture.size == source.size
    where = changed(result, source)
    assert where.any()
    rows, columns = np.nonzero(where)
    assert result.rectangle == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    # In coordinates of the square, nothing lies outside it.
    corners = face_square(LANDMARKS + shift).sampled(SIZE, source.size) - 0.5
    right, down = corners[3] - corners[0], corners[1] - corners[0]
    place = np.stack([columns, rows], -1) - corners[0]
    along, across = place @ right / (right @ right), place @ down / (down @ down)
    assert min(along.min(), across.min()) > -1e-6
    assert max(along.max(), across.max()) < 1 + 1e-6


def test_where_the_edit_weighs_nothing_the_photo_stays(editor: PhotoEditor, monkeypatch: pytest.MonkeyPatch):
    source = photo()
    opened = editor.open(source)
    # Half of the crop is hair, before and after: the other half must stay as it is.
    mask = torch.zeros(1, 19, SIZE, SIZE)
    mask[:, 13, :, : SIZE // 2] = 1.0
    mask[:, 1, :, SIZE // 2 :] = 1.0
    parser = editor.editor.networks.parser
    monkeypatch.setattr(type(parser), "logits", lambda self, images: mask.expand(len(images), -1, -1, -1))
    opened = editor.open(source)
    (result,) = editor.edit_open([opened], editor.ask("afro"), QUICKLY)
    alpha = result.edits[0].alpha[0, 0]
    assert (alpha[:, : SIZE // 2] == 1).all()
    assert (alpha[:, -4:] == 0).all()
    rows, columns = np.nonzero(changed(result, source))
    corners = opened.squares[0].corners
    right = corners[3] - corners[0]
    along = (np.stack([columns, rows], -1) - corners[0]) @ right / (right @ right)
    furthest = int((alpha > 0).any(dim=0).nonzero().max())
    assert along.max() < (furthest + 2.5) / SIZE  # the weights spread by one pixel of the crop as they are enlarged


def test_without_blending_all_of_the_square_is_the_generators(networks: SimpleNamespace):
    bare = SimpleNamespace(**{**vars(networks), "identity": None})
    result = photo_editor(bare).edit(photo(), color="red", blend=False)
    square = face_square(LANDMARKS)
    covered = changed(result, photo()).mean() * 420 * 330
    assert covered == pytest.approx(square.size**2, rel=0.05)


def test_a_crop_of_the_networks_size_gives_what_the_crop_editor_gives(editor: PhotoEditor):
    crop = photo(SIZE, SIZE)
    whole = editor.edit(crop, hairstyle="afro", color="red", aligned=True, **QUICK)
    alone = editor.editor.edit(crop, hairstyle="afro", color="red", **QUICK)
    assert whole.faces == []
    assert np.abs(np.asarray(whole.picture, int) - to_uint8(alone.image)[0].astype(int)).max() <= 2
    larger = editor.edit(photo(300, 200), color="red", aligned=True, **QUICK)
    assert larger.picture.size == (300, 200)


@pytest.mark.parametrize(("framing", "is_plain"), [(FFHQ, False), (PORTRAITS, True)])
def test_the_portraits_generator_sees_people_before_plain_backgrounds(
    networks: SimpleNamespace, framing: Framing, is_plain: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(networks.parser, "smooth_labels", lambda images: (images.mean(dim=1) > 0).long())
    networks = SimpleNamespace(**{**vars(networks), "framing": framing, "plain_background": is_plain})
    editor = PhotoEditor(HairEditor(networks, groups=(3, 5)), finder=StubFinder())
    assert editor.framing == framing
    (opened,) = editor.invert([editor.cut(photo())])
    aligned, background = opened.prepared.aligned, opened.prepared.labels[:, None] == BACKGROUND
    seen = plain_background(aligned, background) if is_plain else aligned
    torch.testing.assert_close(opened.prepared.inversion.w_plus, networks.encoder(seen))
    assert torch.equal(seen, aligned) != is_plain  # what is blended with stays the photo


def test_all_faces_or_the_one_that_was_asked_for(networks: SimpleNamespace):
    many = photo_editor(networks, (0, 0), (240, 20))
    source = photo(660, 350)
    both = many.edit(source, color="red", face="all", **QUICK)
    assert len(both.edits) == len(both.faces) == 2
    assert not any("shows 2 faces" in note for note in both.notes)
    left, right = (many.edit(source, color="red", face=face, **QUICK) for face in ("left", "2"))
    assert left.rectangle is not None
    assert right.rectangle is not None
    assert left.rectangle[2] < right.rectangle[2]
    assert np.array_equal(changed(both, source), changed(left, source) | changed(right, source))
    assert any("shows 2 faces" in note for note in many.edit(source, color="red", **QUICK).notes)


def test_of_all_faces_those_that_can_be_edited_are(networks: SimpleNamespace):
    cut_off = photo_editor(networks, (-120, 0), (240, 20))
    photo_of_two = photo(660, 350)
    opened = cut_off.open(photo_of_two, face="all")
    assert [face.box[0] for face in opened.faces] == [340]
    assert any(note.startswith("left out: the face in the picture is cut off") for note in opened.notes)
    for editor, face in ((cut_off, "left"), (photo_editor(networks, (-120, 0), (900, 0)), "all")):
        with pytest.raises(HairclipError, match="cut off"):
            editor.open(photo_of_two, face=face)


def test_ten_edits_read_find_and_invert_once(
    networks: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    looks: list[str] = []
    editor = photo_editor(networks)
    encoder, finder = type(networks.encoder).forward, StubFinder.__call__
    monkeypatch.setattr(
        type(networks.encoder), "forward", lambda self, *a, **k: (looks.append("invert"), encoder(self, *a, **k))[1]
    )
    monkeypatch.setattr(StubFinder, "__call__", lambda self, p: (looks.append("find"), finder(self, p))[1])
    photo().save(tmp_path / "me.png")
    opened = editor.open(tmp_path / "me.png")
    results = [editor.edit_open([opened], editor.ask(color=word), QUICKLY)[0] for word in ("red", "blue", "green")]
    assert looks == ["find", "invert"]
    assert len({result.picture.tobytes() for result in results}) == 3
    assert set(results[0].seconds) >= {"read", "models", "find", "align", "invert", "edit", "blend", "paste"}


def test_photos_edited_together_equal_photos_edited_alone(editor: PhotoEditor):
    sources = [photo(seed=seed) for seed in range(3)]
    ask = editor.ask("bob cut", "blue")
    together = editor.edit_open(editor.invert([editor.cut(source) for source in sources]), ask, QUICKLY)
    for source, result in zip(sources, together):
        alone = editor.edit(source, "bob cut", "blue", **QUICK)
        assert np.abs(np.asarray(alone.picture, int) - np.asarray(result.picture, int)).max() <= 2
        assert result.rectangle == alone.rectangle


def test_a_reference_is_a_photo_too(editor: PhotoEditor, monkeypatch: pytest.MonkeyPatch):
    reference = photo(seed=7)
    ask = editor.ask(hairstyle=reference)
    assert isinstance(ask.hairstyle, torch.Tensor)
    assert ask.hairstyle.shape == (1, 3, SIZE, SIZE)
    assert ask.notes == ()
    monkeypatch.setattr(StubFinder, "__call__", lambda self, p: [])
    unfound = editor.ask(hairstyle=reference)
    assert isinstance(unfound.hairstyle, torch.Tensor)
    assert unfound.hairstyle.shape == (1, 3, 330, 420)
    assert "taken as a crop" in unfound.notes[0]


def test_transparency_stays_and_new_hair_is_seen(editor: PhotoEditor):
    source = photo()
    source.putalpha(Image.fromarray(np.where(np.arange(330)[:, None] < 100, 0, 255).repeat(420, 1).astype(np.uint8)))
    result = editor.edit(source, hairstyle="afro", **QUICK)
    assert result.picture.mode == "RGBA"
    before, after = (np.asarray(picture.getchannel("A")) for picture in (source, result.picture))
    left, top, right, bottom = result.rectangle or (0, 0, 0, 0)
    outside = np.ones_like(before, bool)
    outside[top:bottom, left:right] = False
    assert np.array_equal(before[outside], after[outside])
    assert (after >= before).all()
    assert (after > before).any() == bool(result.edits[0].mask[0, 0, : SIZE // 3].any())


def test_frames_turn_one_edit_into_another(editor: PhotoEditor):
    opened = editor.open(photo())
    asks = [editor.ask("afro", "red"), editor.ask("bob cut", "blue")]
    frames = list(editor.frames(opened, asks, 5, EditOptions(seam="laplacian", **QUICK)))
    codes = [frame.edits[0].edited_w_plus for frame in frames]
    first, last = (editor.edit_open([opened], ask, QUICKLY)[0].edits[0].edited_w_plus for ask in asks)
    torch.testing.assert_close(codes[0], first)
    torch.testing.assert_close(codes[-1], last)
    torch.testing.assert_close(codes[2], (first + last) / 2)
    assert torch.equal(
        next(editor.frames(opened, asks[:1], 3, QUICKLY)).edits[0].edited_w_plus, opened.prepared.inversion.w_plus
    )


def test_stages_are_pictures(networks: SimpleNamespace, tmp_path: Path):
    result = photo_editor(networks, (0, 0), (240, 20)).edit(photo(660, 350), color="red", face="all", **QUICK)
    save_stages(result, tmp_path / "new")
    names = {path.stem for path in (tmp_path / "new").glob("*.png")}
    of_face = ["3_aligned", "4_inverted", "5_edited", "6_hair", "7_edited_hair", "8_weight", "9_blended"]
    assert names == {"1_photo", "2_faces", "10_pasted"} | {f"{name}_face{n}" for name in of_face for n in (1, 2)}
    numbers = json.loads((tmp_path / "new" / "stages.json").read_text())
    assert len(numbers["faces"]) == len(numbers["squares"]) == len(numbers["inversion"]) == 2
    assert numbers["photo"]["size"] == [660, 350]


def test_nothing_asked_is_told_before_the_photo_is_read(editor: PhotoEditor, tmp_path: Path):
    with pytest.raises(HairclipError, match="nothing to edit"):
        editor.edit(tmp_path / "absent.jpg")
    with pytest.raises(HairclipError, match="strength 7"):
        editor.edit(tmp_path / "absent.jpg", color="red", strength=7)


# ---------------------------------------------------------------------- folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos, a broken one, and a text."""
    (tmp_path / "in").mkdir()
    for seed, name in enumerate(("a.jpg", "b.png", "c.PNG")):
        photo(seed=seed).save(tmp_path / "in" / name)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "in" / "notes.txt").write_text("not one either")
    return tmp_path


def test_a_folder_is_edited_past_bad_photos_and_only_once(
    folder: Path, editor: PhotoEditor, monkeypatch: pytest.MonkeyPatch
):
    asked, settings = [editor.ask(color="red")], FolderSettings(QUICKLY)
    report = edit_folder(editor, folder / "in", folder / "out", asked, settings, batch_size=2)
    assert [path.name for path in report.written] == ["a.jpg", "b.png", "c.PNG"]
    assert list(report.failed) == ["broken.jpg"]
    assert "cannot be read as an image" in report.failed["broken.jpg"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.jpg", "b.png", "c.PNG", RECORD]
    alone = editor.edit(folder / "in" / "b.png", color="red", **QUICK)
    with Image.open(folder / "out" / "b.png") as written:
        assert np.abs(np.asarray(written, int) - np.asarray(alone.picture, int)).max() <= 2

    cuts: list[str] = []
    cut = PhotoEditor.cut
    monkeypatch.setattr(PhotoEditor, "cut", lambda self, p, **k: (cuts.append(p.name), cut(self, p, **k))[1])
    again = edit_folder(editor, folder / "in", folder / "out", asked, settings)
    assert (again.written, again.skipped, cuts) == ([], 3, ["broken.jpg"])
    (folder / "out" / "a.jpg").unlink()  # a lost edit, a new photo under an old name, another wish: these are made anew
    photo(seed=9).save(folder / "in" / "b.png")
    cuts.clear()
    edit_folder(editor, folder / "in", folder / "out", asked, settings)
    assert cuts == ["a.jpg", "b.png", "broken.jpg"]
    other = edit_folder(editor, folder / "in", folder / "out", [editor.ask(color="blue")], settings)
    assert len(other.written) == 3


def test_a_folder_resumes_where_it_was_stopped(folder: Path, editor: PhotoEditor):
    def stop(path: Path, added: str, result: PhotoResult) -> None:
        raise KeyboardInterrupt

    asked, settings = [editor.ask(color="red"), editor.ask("afro")], FolderSettings(QUICKLY)
    with pytest.raises(KeyboardInterrupt):
        edit_folder(editor, folder / "in", folder / "out", asked, settings, batch_size=1, look=stop)
    assert [path.name for path in (folder / "out").glob("*.jpg")] == ["a_1_red.jpg"]
    report = edit_folder(editor, folder / "in", folder / "out", asked, settings)
    assert report.skipped == 0  # the first photo lacks its second edit
    assert len(report.written) == 6


def test_mistakes_with_folders_are_one_sentence(folder: Path, editor: PhotoEditor):
    jobs = [editor.ask(color="red")]
    (folder / "empty").mkdir()
    with pytest.raises(HairclipError, match="no picture in the folder"):
        edit_folder(editor, folder / "empty", folder / "out", jobs)
    with pytest.raises(HairclipError, match="would replace the photos"):
        edit_folder(editor, folder / "in", folder / "in", jobs)
    with pytest.raises(HairclipError, match="cannot make the folder"):
        edit_folder(editor, folder / "in", folder / "in" / "a.jpg" / "x", jobs)


def test_beyond_the_crop_only_known_kinds_of_photos_change(networks: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    """The parser cannot be trusted on the others; see `hairclip.editing.inversion.check`."""
    looked: list[object] = []
    monkeypatch.setattr(
        "hairclip.editing.paste.follow_hair_beyond_crop", lambda *arguments: looked.append(arguments) or []
    )
    editor = photo_editor(networks)
    opened = editor.open(photo())
    assert opened.describe_strangers()
    editor.edit_open([opened], editor.ask("afro"), QUICKLY)
    assert looked == []
    good = replace(opened.prepared.inversion, psnr=torch.tensor([40.0]), identity=torch.tensor([0.99]))
    opened = replace(opened, prepared=replace(opened.prepared, inversion=good))
    assert not opened.describe_strangers()
    editor.edit_open([opened], editor.ask("afro"), QUICKLY)
    assert len(looked) == 1


def test_a_hairstyle_for_a_person_in_a_hat_is_refused_unless_forced():
    networks = tiny_networks()
    networks.photo_parser = ColorParser().eval()
    editor = photo_editor(networks)
    square = face_square(LANDMARKS)
    hatted, draw = paint(420, 330)
    x, y = square.corners.mean(axis=0).round().astype(int).tolist()
    draw_person(draw, x, y, square.size, hair=False, hat=True)
    unforced = {**QUICK, "force": False}
    with pytest.raises(HairclipError, match="wears a hat, cap or hood that a new hairstyle cannot .*force=True"):
        editor.edit(hatted, hairstyle="afro", **unforced)
    assert editor.edit(hatted, hairstyle="afro", **QUICK).rectangle is not None

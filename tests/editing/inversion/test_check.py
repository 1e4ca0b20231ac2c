import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hairclip.cli import main as cli
from hairclip.common.errors import HairclipError
from hairclip.common.images import save_image
from hairclip.editing.choices import InversionMethod
from hairclip.editing.editor import HairEditor
from hairclip.editing.folder import FolderSettings, edit_folder
from hairclip.editing.inversion.check import describe_poor_inversion
from hairclip.editing.inversion.invert import INVERSION_METHODS, Inversion
from hairclip.editing.options import EditOptions
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.pretrained import InversionLimits, load_bundle, save_network
from tests.helpers.tiny_networks import N_LATENT, SIZE, W_DIM, tiny_networks


def inversion(identity: list[float], psnr: list[float]) -> Inversion:
    count = len(psnr)
    pictures, codes = torch.zeros(count, 3, SIZE, SIZE), torch.zeros(count, N_LATENT, W_DIM)
    return Inversion(codes, pictures, torch.tensor(psnr), 0, "encoder", torch.tensor(identity))


def test_a_stranger_is_told_in_one_sentence_and_a_likeness_is_not():
    found = inversion([0.95, 0.1, 0.95, 0.1], [30.0, 30.0, 12.5, 12.5])
    limits = {"encoder": InversionLimits(identity=0.4, psnr=20.0)}
    told = [describe_poor_inversion(found, i, limits=limits, name="me.jpg") for i in range(4)]
    assert told[0] is None
    assert told[1] == (
        "me.jpg is rebuilt poorly (identity 0.10, good is 0.40 and more): the generated face is not this person's, so "
        'only its hair is used; inversion="pivotal" is nearer.'
    )
    assert 'leave out blend=False, or try inversion="pivotal"' in describe_poor_inversion(
        found, 1, limits=limits, blend=False
    )
    assert "12.5 dB" in told[2]
    assert "identity" not in told[2]
    assert "identity 0.10" in told[3]
    assert "12.5 dB" in told[3]


@pytest.mark.parametrize("method", INVERSION_METHODS)
def test_limits_follow_the_method(method: InversionMethod):
    of_bundle = load_bundle("portraits").inversion_limits
    limits = of_bundle[method]
    good = replace(inversion([limits.identity + 0.01], [limits.psnr + 0.1]), method=method)
    assert describe_poor_inversion(good, limits=of_bundle) is None
    poor = replace(inversion([limits.identity - 0.01], [limits.psnr + 0.1]), method=method)
    sentence = describe_poor_inversion(poor, limits=of_bundle)
    assert sentence.count(".") == 3  # two numbers and the end
    assert ("pivotal" in sentence) == (method != "pivotal")


def test_what_cannot_be_compared_is_not_judged_and_nan_is_poor():
    limits = load_bundle("portraits").inversion_limits
    assert describe_poor_inversion(replace(inversion([0.0], [10.0]), identity=None), limits=limits) is None
    assert "nan" in describe_poor_inversion(inversion([math.nan], [30.0]), limits=limits)


def test_networks_for_photographs_have_other_limits():
    """Published encoders of real faces rebuild about 19 dB: the limit of the portraits would refuse everybody."""
    limits = load_bundle("ffhq").inversion_limits
    assert describe_poor_inversion(inversion([0.5], [18.0]), limits=limits) is None
    assert describe_poor_inversion(inversion([0.1], [25.0]), limits=limits) is not None


@pytest.fixture
def stranger(tmp_path: Path) -> tuple[PhotoEditor, Path]:
    """An editor, and a folder with a photo that its random networks cannot rebuild."""
    (tmp_path / "in").mkdir()
    save_image(torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1, tmp_path / "in" / "me.png")
    return PhotoEditor(HairEditor(tiny_networks())), tmp_path


def test_a_photo_tells_of_a_stranger_and_keeps_its_own_face(stranger: tuple[PhotoEditor, Path]):
    editor, folder = stranger
    opened = editor.open(folder / "in" / "me.png", aligned=True)
    (note,) = [note for note in opened.notes if "rebuilt poorly" in note]
    assert "me.png" in note
    result = editor.edit(folder / "in" / "me.png", color="red", aligned=True, strands="edit")
    assert note in result.notes
    with pytest.raises(HairclipError, match="leave out blend=False"):
        opened.refuse_strangers([editor.ask(color="red")], EditOptions(blend=False))
    opened.refuse_strangers([editor.ask(color="red")], EditOptions())


def test_a_hairstyle_for_a_stranger_is_refused_with_what_helps(stranger: tuple[PhotoEditor, Path]):
    editor, folder = stranger
    photo = folder / "in" / "me.png"
    with pytest.raises(HairclipError) as refused:
        editor.edit(photo, hairstyle="bob cut", color="red", aligned=True)
    told = str(refused.value)
    assert told.startswith(f"these networks do not know the person in {photo} (identity ")
    assert told.endswith(
        'so the hairstyle bob cut would look unreal: run "python -m hairclip download ffhq" and give bundle="ffhq", or '
        'ask for the color alone, color="red", or force=True makes the edit all the same.'
    )
    with pytest.raises(HairclipError, match="hairstyle bob cut would look unreal") as alone:
        editor.edit(photo, hairstyle="bob cut", aligned=True)
    assert "color" not in str(alone.value)
    forced = editor.edit(photo, hairstyle="bob cut", aligned=True, force=True)
    assert any("rebuilt poorly" in note for note in forced.notes)
    opened = editor.open(photo, aligned=True)
    with pytest.raises(HairclipError, match="would look unreal"):
        next(editor.frames(opened, [editor.ask("afro"), editor.ask("bob cut")], 3))


def test_networks_of_real_people_advise_a_nearer_inversion(stranger: tuple[PhotoEditor, Path]):
    editor, folder = stranger
    opened = replace(editor.open(folder / "in" / "me.png", aligned=True), for_others=None)
    with pytest.raises(HairclipError, match=r'unreal: try inversion="pivotal", or force=True') as refused:
        opened.refuse_strangers([editor.ask("afro")], EditOptions())
    assert "download" not in str(refused.value)


def test_a_folder_goes_on_past_strangers(stranger: tuple[PhotoEditor, Path]):
    editor, folder = stranger
    asked = [editor.ask("afro")]
    for name, options, words in (
        ("raw", EditOptions(blend=False), "leave out blend=False"),
        ("out", EditOptions(), "hairclip download ffhq"),
    ):
        report = edit_folder(editor, folder / "in", folder / name, asked, FolderSettings(options, aligned=True))
        assert report.written == []
        assert words in report.failed["me.png"]
    forced = edit_folder(
        editor, folder / "in", folder / "out", asked, FolderSettings(EditOptions(force=True), aligned=True)
    )
    assert [path.name for path in forced.written] == ["me.png"]
    assert any("rebuilt poorly" in note for note in forced.notes)


def test_the_command_refuses_a_stranger_in_one_sentence_and_writes_nothing(
    stranger: tuple[PhotoEditor, Path], capsys: pytest.CaptureFixture[str]
):
    editor, folder = stranger
    for part in ("generator", "clip", "parser", "identity", "encoder", "mapper"):
        save_network(folder / "bundle" / f"{part}.safetensors", part, getattr(editor.editor.networks, part))
    arguments = ["edit", "--image", str(folder / "in" / "me.png"), "--aligned", "--device", "cpu"]
    arguments += ["--bundle", str(folder / "bundle"), "--out", str(folder / "edited.png")]
    several = ["--text", "red", "--text", "blue afro"]
    shown = ["--no-blend", "--text", "afro"]
    for more, words in ((shown, "leave out --no-blend"), (several, "alone, --color blue, or --force makes")):
        assert cli.main([*arguments, *more, "--strands", "edit"]) == 2
        refusal = capsys.readouterr().err
        assert words in refusal
        assert refusal.count("\n") == 1
        assert not list(folder.glob("edited*"))
    assert cli.main([*arguments, "--text", "blue afro", "--force"]) == 0
    assert "rebuilt poorly" in capsys.readouterr().out

"""A method of one's own, kept outside the package: found by name, with settings, checks and its own results."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from hairclip.cli import main as cli
from hairclip.common.errors import HairclipError
from hairclip.common.images import save_image
from hairclip.editing.editor import HairEditor
from hairclip.editing.methods.method import EditingMethod, MethodResult
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from tests.helpers.tiny_networks import SIZE, save_bundle, tiny_networks

HERE = "tests.editing.methods.test_own_method"


@dataclass(frozen=True)
class Shift(EditingMethod):
    """Adds a number to every code, and refuses colors."""

    amount: float = 0.25

    def check(self, request: EditRequest, editor: HairEditor) -> None:
        if request.color is not None:
            raise HairclipError("Shift changes no color: ask for a hairstyle alone.")

    def edit(self, prepared: Prepared, requests, options, editor, *, progress: bool = False) -> MethodResult:
        return MethodResult(codes=prepared.inversion.w_plus + self.amount)


class Gray(EditingMethod):
    """Gives gray pictures, and no codes."""

    def check(self, request: EditRequest, editor: HairEditor) -> None:
        pass

    def edit(self, prepared: Prepared, requests, options, editor, *, progress: bool = False) -> MethodResult:
        return MethodResult(images=torch.zeros_like(prepared.aligned))


@pytest.fixture(scope="module")
def editor() -> HairEditor:
    return HairEditor(tiny_networks(), groups=(3, 5))


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_its_codes_become_an_edit_with_settings_and_strength(editor: HairEditor, portrait: torch.Tensor):
    result = editor.edit(portrait, "afro", method=f"{HERE}:Shift", method_settings={"amount": 0.5}, strength=0.5)
    torch.testing.assert_close(result.edited_w_plus, result.w_plus + 0.25)


def test_it_refuses_before_the_work_what_it_cannot_do(editor: HairEditor):
    with pytest.raises(HairclipError, match="Shift changes no color"):
        editor.edit(Path("never read.png"), color="red", method=f"{HERE}:Shift")
    with pytest.raises(HairclipError, match="has no setting 'amont' .did you mean amount..: it has amount"):
        editor.edit(Path("never read.png"), "afro", method=f"{HERE}:Shift", method_settings={"amont": 1})
    with pytest.raises(HairclipError, match="is no editing method: give a class with check, references and edit"):
        editor.edit(Path("never read.png"), "afro", method="math:pi")


def test_its_pictures_are_blended_like_any_other(editor: HairEditor, portrait: torch.Tensor):
    result = editor.edit(portrait, "afro", method=f"{HERE}:Gray", blend=False)
    assert torch.equal(result.image, torch.zeros_like(portrait))
    assert result.edited_w_plus is None
    prepared = editor.prepare([portrait])
    with pytest.raises(HairclipError, match="edits pictures, not codes"):
        next(editor.frames(prepared, [EditRequest("afro")], 3, EditOptions(method=f"{HERE}:Gray")))


def test_the_command_line_edits_by_it(
    tmp_path: Path, portrait: torch.Tensor, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "home"))
    bundle = save_bundle(tmp_path / "bundle")
    save_image(portrait, tmp_path / "me.png")
    known = ["edit", "--image", str(tmp_path / "me.png"), "--aligned", "--bundle", str(bundle), "--device", "cpu"]
    known += ["--method", f"{HERE}:Shift", "--set", "amount=3", "--behind", "edit", "--out", str(tmp_path / "out.png")]
    assert cli.main([*known, "--hairstyle", "afro"]) == 0
    assert (tmp_path / "out.png").is_file()
    assert cli.main([*known, "--color", "red"]) == 2
    assert "Shift changes no color" in capsys.readouterr().err

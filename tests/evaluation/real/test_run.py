"""The evaluation of real photos as a whole, with small random networks and pictures of noise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.cli import main as cli
from hairclip.common.errors import HairclipError
from hairclip.editing.options import EditOptions
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.evaluation.real import run
from hairclip.evaluation.real.judges import Judges, pick_judges
from hairclip.evaluation.real.requests import KINDS
from hairclip.evaluation.real.run import evaluate_real_photos
from hairclip.pretrained import save_network
from hairclip.pretrained.bundle import Bundle, load_bundle
from tests.helpers.tiny_networks import save_bundle, tiny_networks

NAMES = ("ann.png", "bob.jpg", "cid.png")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(save_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def judges(bundle: Bundle) -> Judges:
    return pick_judges(bundle)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three crops of noise, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(NAMES):
        noise = np.random.default_rng(number).integers(0, 256, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((40 + number, 40 + number), Image.Resampling.BICUBIC).save(folder / name)
    (folder / "dud.png").write_bytes(b"no picture")
    return folder


def evaluate(bundle: Bundle, judges: Judges, photos: Path, out: Path, **changes: Any) -> dict[str, Any]:
    settings = {"aligned": True, "progress": False, "say": lambda _text: None, **changes}
    return evaluate_real_photos(PhotoEditor(_editor(bundle)), judges, photos, out, **settings)


def _editor(networks: Any) -> Any:
    from hairclip.editing.editor import HairEditor

    return HairEditor(networks, groups=(3, 5))


def test_the_report_has_a_row_per_kind_and_names_what_could_not_be_edited(
    bundle: Bundle, judges: Judges, photos: Path, tmp_path: Path
):
    lines: list[str] = []
    report = evaluate(bundle, judges, photos, tmp_path, say=lines.append)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    rows = {(row["form"], row["kind"]): row for row in report["rows"]}
    assert set(rows) == {("inversion", "unedited"), *((form, kind) for form in ("raw", "blended") for kind in KINDS)}
    for row in rows.values():
        assert (row["count"], row["failed"]) == (3, 1)
        assert row["figures"]["ids"]["low"] <= row["figures"]["ids"]["mean"] <= row["figures"]["ids"]["high"]
        assert {"clip_fid", "clip_kid"} <= set(row["figures"])
        assert "fid" not in row["figures"]
    edits = [one["ids"] for one in report["edits"] if (one["form"], one["kind"]) == ("blended", "text-color")]
    assert rows["blended", "text-color"]["figures"]["ids"]["mean"] == pytest.approx(np.mean(edits))
    assert rows["blended", "text-both"]["figures"]["changed_outside_mask"]["mean"] == 0.0
    assert "acd" in rows["raw", "reference-both"]["figures"]
    assert [failure["photo"] for failure in report["failures"]] == ["dud.png"]
    text = "\n".join(lines)
    assert text.startswith((tmp_path / "report.md").read_text().rstrip("\n"))
    assert "IDS (identity.safetensors, the loss's)" in text
    assert "rank of 44" in text
    assert "1 photos could not be edited at all" in text
    assert "pip install 'hairclip[metrics]'" in text
    assert "alexnet" in text
    with Image.open(tmp_path / "worst.png") as sheet:
        assert sheet.width > 4 * 160


def test_a_second_run_measures_nothing_and_another_mapper_or_photo_is_measured(
    bundle: Bundle, judges: Judges, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    measured: list[str] = []
    measure = run._measure_photo

    def counting(path: Path, *rest: Any) -> Any:
        measured.append(path.name)
        return measure(path, *rest)

    monkeypatch.setattr(run, "_measure_photo", counting)
    settings: dict[str, Any] = {"kinds": ("text-color", "reference-color"), "count": 2}
    report = evaluate(bundle, judges, photos, tmp_path, **settings)
    assert len(measured) == 2
    again = evaluate(bundle, judges, photos, tmp_path, **settings)
    assert len(measured) == 2
    assert again == report
    save_network(tmp_path / "other.safetensors", "mapper", tiny_networks(seed=3).mapper)
    other = bundle.with_parts({"mapper": tmp_path / "other.safetensors"})
    evaluate(other, judges, photos, tmp_path, **settings)
    assert len(measured) == 4
    evaluate(other, judges, photos, tmp_path, **settings, methods=(EditOptions(strength=0.5),))
    assert len(measured) == 6
    damaged = next((tmp_path / "photos" / "mapper").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:40])
    evaluate(other, judges, photos, tmp_path, **settings, methods=(EditOptions(strength=0.5),))
    assert len(measured) == 7


def test_pictures_of_another_program_are_measured_alike(bundle: Bundle, judges: Judges, photos: Path, tmp_path: Path):
    answers = tmp_path / "copies"
    answers.mkdir()
    lines: list[str] = []
    for name in ("ann.png", "bob.jpg"):
        with Image.open(photos / name) as photo:
            photo.save(answers / f"{Path(name).stem}.text-color.png")
            photo.resize((50, 50)).save(answers / f"{Path(name).stem}.text-both.png")
    with Image.open(photos / "cid.png") as photo:
        photo.resize((50, 30)).save(answers / "cid.text-color.png")
    kinds = ("text-color", "text-both")
    report = evaluate(
        bundle, judges, photos, tmp_path / "out", answers=[answers], methods=(), kinds=kinds, say=lines.append
    )
    whole, crop = report["rows"]
    assert (whole["method"], whole["form"], whole["count"], whole["failed"]) == ("copies", "folder", 2, 2)
    assert whole["figures"]["ids"]["mean"] == pytest.approx(1.0)
    assert whole["figures"]["perceptual"]["mean"] == 0.0
    assert whole["figures"]["changed"]["mean"] == 0.0
    assert "changed_outside_mask" not in whole["figures"]
    assert "ids_inversion" not in whole["figures"]
    assert crop["kind"] == "text-both"
    assert "changed" not in crop["figures"]
    assert "expects 8 pictures" in lines[0]
    assert "5 are there" in lines[0]
    requests = json.loads((tmp_path / "out" / "requests.json").read_text())["requests"]
    assert {"ann.text-color.png", "cid.text-both.png"} <= {one["answer"] for one in requests}
    reasons = {one["reason"] for one in report["failures"] if one["photo"] == "cid.png"}
    assert any("50 x 30 pixels: give the whole photo of 42 x 42" in reason for reason in reasons)
    assert any("holds no cid.text-both.png" in reason for reason in reasons)


def test_a_method_that_fails_on_a_request_is_counted_there_alone(
    bundle: Bundle, judges: Judges, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    edit = PhotoEditor.edit_open

    def refuse_styles(editor: PhotoEditor, opened: Any, request: Any, *rest: Any, **more: Any) -> Any:
        if request.hairstyle is not None:
            raise HairclipError("this method changes no hairstyle.")
        return edit(editor, opened, request, *rest, **more)

    monkeypatch.setattr(PhotoEditor, "edit_open", refuse_styles)
    report = evaluate(bundle, judges, photos, tmp_path, kinds=("text-hairstyle", "text-color"), count=2)
    assert {row["kind"] for row in report["rows"]} == {"unedited", "text-color"}
    assert {failure["kind"] for failure in report["failures"]} <= {"text-hairstyle", None}


def test_a_single_photo_has_nobody_whose_hair_it_could_take(
    bundle: Bundle, judges: Judges, photos: Path, tmp_path: Path
):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "ann.png").write_bytes((photos / "ann.png").read_bytes())
    report = evaluate(bundle, judges, tmp_path / "one", tmp_path / "out", kinds=("text-color", "reference-color"))
    assert {row["kind"] for row in report["rows"]} == {"unedited", "text-color"}
    assert [(one["kind"], one["reason"][:14]) for one in report["failures"]] == [("reference-color", "no other photo")]
    assert "clip_fid" not in report["rows"][0]["figures"]  # of one picture there is no distance of sets


def test_photos_of_which_none_can_be_edited_are_an_error(bundle: Bundle, judges: Judges, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(HairclipError, match="no picture in the folder"):
        evaluate(bundle, judges, tmp_path / "photos", tmp_path / "out")
    (tmp_path / "photos" / "a.png").write_bytes(b"x")
    with pytest.raises(HairclipError, match="not one edit of the photos in .*a.png"):
        evaluate(bundle, judges, tmp_path / "photos", tmp_path / "out")
    with pytest.raises(HairclipError, match="no folder of photos"):
        evaluate(bundle, judges, tmp_path / "none", tmp_path / "out")


def test_the_judge_is_another_network_than_the_loss_uses_where_one_is_at_hand(bundle: Bundle, tmp_path: Path):
    own = pick_judges(bundle)
    assert own.identity is bundle.identity
    assert own.names["identity"] == "identity.safetensors, the loss's"
    assert any("download facenet-vggface2" in note for note in own.notes)
    assert own.names["perceptual"] == "judge.safetensors"
    path = tmp_path / "other.safetensors"
    save_network(path, "identity", tiny_networks(seed=5).identity)
    given = pick_judges(bundle, identity=path)
    assert given.names["identity"] == "other.safetensors"
    assert not any("download facenet-vggface2" in note for note in given.notes)
    face = torch.rand(1, 3, 40, 40)
    assert torch.equal(given.identity(face), tiny_networks(seed=5).identity(face))
    save_network(tmp_path / "photo_parser.safetensors", "parser", tiny_networks(seed=6).parser)
    photos = bundle.with_parts({"photo_parser": tmp_path / "photo_parser.safetensors"})
    assert pick_judges(photos).names["parser"] == "photo_parser.safetensors"
    assert own.digest() == pick_judges(bundle).digest() != given.digest()


def test_the_command_line_evaluates_photos(
    bundle: Bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = Path(str(bundle.parts["generator"])).parent
    command = ["evaluate", "--photos", str(photos), "--bundle", str(folder), "--aligned", "--device", "cpu"]
    out = ["--out", str(tmp_path), "--count", "2", "--kinds", "text-color"]
    assert cli.main([*command, *out]) == 0
    assert "| mapper | blended" in capsys.readouterr().out
    assert cli.main([*command, *out]) == 0
    assert "2 of 2 results were taken from an earlier run" in capsys.readouterr().out
    for wrong, told in (
        (["--kinds", "text-beard"], "--kinds text-beard: choose of text-hairstyle"),
        (["--method", "mappr"], "there is no editing method 'mappr'"),
        (["--judge-clip", "none.pt"], "none.pt"),
        (["training.steps=3"], "training.steps=3 changes a configuration"),
        (["--count", "0"], "--count 0"),
    ):
        assert cli.main([*command, "--out", str(tmp_path), *wrong]) == 2
        assert told in capsys.readouterr().err
    assert cli.main(["evaluate", "--photos", str(photos)]) == 2
    assert "give --bundle, such as ffhq" in capsys.readouterr().err
    assert cli.main(["evaluate", "--config", "x.yaml", "--bundle", "ffhq"]) == 2
    assert "--bundle is for real photos" in capsys.readouterr().err

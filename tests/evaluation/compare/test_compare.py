"""The comparison of methods with painted people and tiny networks, so that figures and files are known."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from hairclip.cli import main as cli
from hairclip.common.color import NAMED_COLORS
from hairclip.common.errors import HairclipError
from hairclip.common.images import save_image
from hairclip.editing.editor import HairEditor
from hairclip.editing.options import EditOptions
from hairclip.evaluation import renders
from hairclip.evaluation.cases import make_paired_cases
from hairclip.evaluation.compare.candidates import Answers, MethodCandidate, plan_methods, set_options
from hairclip.evaluation.compare.measure import Jury
from hairclip.evaluation.compare.run import Comparison, compare_methods
from hairclip.evaluation.compare.study import QUESTIONS, score_study, write_study
from hairclip.evaluation.edits import render_cases
from hairclip.portraits.spec import split_of
from tests.evaluation.test_edits import Rectangles, paint
from tests.helpers.tiny_networks import SIZE, save_bundle, tiny_networks


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(renders, "draw", paint)
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "cache"))
    return tmp_path


class Watched(MethodCandidate):
    """A method that counts its batches, says how long an edit took, and may be interrupted."""

    def __init__(self, editor: HairEditor, options: EditOptions, *, seconds: float = 0.01, dies_in: int = 99) -> None:
        super().__init__(editor, options)
        self.seconds, self.dies_in = seconds, dies_in
        self.batches: list[tuple[str, list[int]]] = []

    def answer(self, numbers, asked, rendered, prepared, requests) -> Answers:
        if len(self.batches) == self.dies_in:
            raise KeyboardInterrupt
        self.batches.append((asked, list(numbers)))
        made = super().answer(numbers, asked, rendered, prepared, requests)
        return Answers(made.pictures, {"raw": self.seconds, "blended": self.seconds})


def watched(method: str = "inversion", **how) -> Watched:
    return Watched(HairEditor(tiny_networks(), groups=(3, 5)), EditOptions(method=method, steps=1), **how)


def compare(out: Path, *candidates: MethodCandidate, **how) -> Comparison:
    editor = candidates[0].editor
    settings = {
        "count": 4,
        "batch_size": 2,
        "asked": ["text"],
        "named": NAMED_COLORS,
        "progress": False,
        "say": lambda _: None,
        **how,
    }
    return compare_methods(editor, editor.networks.judge, candidates, out, **settings)


def rows_of(result: Comparison, method: str, asked: str = "text", kind: str = "all") -> dict[str, dict]:
    rows = result.report["rows"]
    found = [row for row in rows if (row["method"], row["asked"], row["kind"]) == (method, asked, kind)]
    return {row["pictures"]: row for row in found}


def test_the_same_people_are_asked_by_text_and_by_picture():
    texts, pictures = make_paired_cases(9, seed=1)
    assert [case.source for case in texts] == [case.source for case in pictures]
    assert [case.kind for case in texts] == ["style", "color", "both"] * 3
    assert make_paired_cases(4, seed=1) == (texts[:4], pictures[:4])
    for text, picture in zip(texts, pictures):
        assert (text.hairstyle, text.color) == (picture.hairstyle, picture.color)
        assert text.hairstyle_reference is text.color_reference is None
        shown = picture.hairstyle_reference or picture.color_reference
        assert shown is not None
        assert shown.identity != picture.source.identity
        assert picture.truth.hair == (picture.source.hair if picture.kind == "color" else shown.hair)
        assert picture.truth.color == (picture.source.color if picture.kind == "style" else shown.color)


def test_settings_are_chosen_on_other_people_than_those_of_the_report():
    people = {
        split: {case.source.identity.seed for case in make_paired_cases(9, 0, split)[0]} for split in ("val", "test")
    }
    assert {split_of(seed) for seed in people["val"]} == {"val"}
    assert {split_of(seed) for seed in people["test"]} == {"test"}


def test_the_truth_is_perfect_and_the_inversion_keeps_itself(painted: Path):
    nets = tiny_networks()
    rendered = render_cases(make_paired_cases(6)[0], SIZE)
    jury = Jury(HairEditor(nets), nets.judge, NAMED_COLORS)
    both = [
        torch.cat([rendered.source.images, rendered.truth.images]),
        torch.cat([rendered.source.hair, rendered.truth.hair]),
    ]
    jury.parser = Rectangles(*both)
    scene = jury.look(rendered, rendered.source.images)
    for figures in jury.measure(scene, rendered.truth.images)[0]:
        assert figures["mask_iou"] == 1.0
        assert figures["psnr"] >= 100
        assert figures["perceptual"] == pytest.approx(0, abs=1e-6)
        assert figures["changed_outside"] == 0.0
        assert figures["psnr_photo"] == pytest.approx(100)
        assert figures["ssim_photo"] == pytest.approx(1, abs=1e-3)
        assert figures.get("acd", 0.0) == pytest.approx(0, abs=1e-3)
        assert figures.get("keeps_mask_photo", 1.0) == 1.0
    for figures in jury.measure(scene, rendered.source.images)[0]:
        assert figures["psnr_inversion"] == pytest.approx(100)
        assert figures["ssim_inversion"] == pytest.approx(1, abs=1e-3)
        assert figures["identity"] == pytest.approx(1)
        assert figures.get("keeps_mask_inversion", 1.0) == 1.0
        assert figures.get("color_right", 0.0) == 0.0


def test_figures_that_do_not_apply_are_missing(painted: Path):
    result = compare(painted / "out", watched("mapper"))
    for kind, absent in {
        "style": ("color_right", "acd", "keeps_mask_photo"),
        "color": ("hairstyle_right", "keeps_color"),
    }.items():
        figures = rows_of(result, "mapper", kind=kind)["raw"]["figures"]
        assert not set(absent) & set(figures)
    assert {"mean", "low", "high", "count"} == set(rows_of(result, "mapper")["raw"]["figures"]["identity"])


def test_the_report_has_a_row_for_each_form_and_the_truth_has_distance_zero(painted: Path):
    result = compare(painted / "out", watched("mapper"), watched(), asked=["text", "picture"])
    assert json.loads((painted / "out" / "report.json").read_text()) == result.report
    for method in ("mapper", "inversion"):
        for asked in ("text", "picture"):
            assert {form: row["count"] for form, row in rows_of(result, method, asked).items()} == {
                "raw": 4,
                "blended": 4,
            }
    truth = rows_of(result, "truth")["raw"]["figures"]
    assert truth["fid"]["mean"] == pytest.approx(0, abs=1e-3)
    assert truth["psnr"]["mean"] >= 100
    assert rows_of(result, "inversion")["raw"]["figures"]["psnr_inversion"]["mean"] == pytest.approx(100)
    told = (painted / "out" / "report.md").read_text()
    assert "Requests by text" in told
    assert "Requests by reference picture" in told
    assert [one["method"] for one in result.report["methods"]] == ["mapper", "inversion"]
    described = result.report["methods"][0]
    assert described["parameters"] == sum(p.numel() for p in tiny_networks().mapper.parameters())
    for name in ("text_raw", "text_blended", "picture_raw", "picture_blended"):
        assert (painted / "out" / f"{name}.png").stat().st_size > 0


def test_a_run_that_was_cut_off_goes_on_with_the_next_batch(painted: Path):
    cut = watched(dies_in=1)
    with pytest.raises(KeyboardInterrupt):
        compare(painted / "out", cut)
    assert cut.batches == [("text", [0, 1])]
    second = watched()
    gone_on = compare(painted / "out", second)
    assert second.batches == [("text", [2, 3])]
    assert gone_on.report == compare(painted / "fresh", watched()).report
    third = watched()
    compare(painted / "out", third, count=6)
    assert third.batches == [("text", [4, 5])]


def test_other_settings_and_damaged_files_are_answered_anew(painted: Path):
    compare(painted / "out", watched("mapper"))
    (kept,) = (painted / "out" / "answers").glob("mapper-*")
    (kept / "0003.text.safetensors").write_bytes(b"damaged")
    again = watched("mapper")
    compare(painted / "out", again)
    assert again.batches == [("text", [2, 3])]
    stronger = Watched(again.editor, EditOptions(strength=0.5))
    compare(painted / "out", stronger)
    assert len(stronger.batches) == 2


def test_slow_methods_answer_fewer_requests(painted: Path):
    slow = watched(seconds=3.0)
    result = compare(painted / "out", slow, slow_count=3)
    assert slow.batches == [("text", [0, 1]), ("text", [2])]
    assert rows_of(result, "inversion")["raw"]["count"] == 3
    assert rows_of(result, "truth")["raw"]["count"] == 4
    assert result.report["methods"][0]["seconds"] == 3.0


def test_what_a_method_refuses_is_an_empty_cell_with_the_reason(painted: Path):
    result = compare(painted / "out", watched("styleclip-optimize"), watched(), asked=["picture"], count=3)
    assert rows_of(result, "styleclip-optimize", "picture") == {}
    refused = result.report["refused"]
    assert {one["method"] for one in refused} == {"styleclip-optimize"}
    assert sum(one["count"] for one in refused) == 3
    assert refused[0]["reason"] in (painted / "out" / "report.md").read_text()


def test_pictures_of_other_programs_are_measured_too(painted: Path):
    answers = painted / "theirs"
    for number, image in enumerate(render_cases(make_paired_cases(4)[0], SIZE).truth.images):
        save_image(image, answers / f"{number:04}.text.png")
    (answers / "0002.text.png").unlink()
    result = compare(painted / "out", watched(), answers=[answers])
    theirs = rows_of(result, "theirs")["raw"]
    assert theirs["count"] == 3
    assert theirs["figures"]["psnr"]["mean"] >= 100
    assert [(one["method"], one["count"]) for one in result.report["refused"]] == [("theirs", 1)]
    requests = json.loads((painted / "out" / "requests.json").read_text())["requests"]
    assert requests[0]["answer"] == "0000.text.png"
    assert (painted / "out" / "people" / requests[0]["photo"]).is_file()


def test_settings_go_to_the_options_or_to_the_method():
    options = set_options("optimize", {"steps": 7, "lr": 0.05})
    assert (options.steps, options.method_settings) == (7, {"lr": 0.05})
    options = set_options("vq", {"steps": 7, "strength": 0.5})  # which has steps of its own
    assert (options.steps, options.strength, options.method_settings) == (100, 0.5, {"steps": 7})
    with pytest.raises(HairclipError, match="has no setting 'blend'"):
        set_options("optimize", {"blend": False})
    with pytest.raises(HairclipError, match="it is not compared"):
        plan_methods(HairEditor(tiny_networks()), ["mapper"], {"optimize": {"steps": 7}})


def page_of(folder: Path) -> dict:
    page = (folder / "index.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, flags=re.DOTALL)
    assert found is not None
    assert "http" not in page.replace("http-equiv", "")  # nothing is fetched
    for word in ("Accuracy", "Preservation", "Naturalness", "準確度", "保留度", "自然度"):
        assert word in page
    return json.loads(found[1])


def test_a_study_is_blind_and_its_answers_are_scored(painted: Path):
    result = compare(painted / "out", watched("mapper"), watched("optimize"), watched(), count=6, batch_size=6)
    folder = painted / "study"
    write_study(result, folder, count=5, say=lambda _: None)
    shown, key = page_of(folder), json.loads((folder / "key.json").read_text())
    assert len(shown["items"]) == len(key["items"]) == len(list((folder / "sheets").glob("*.png"))) == 5
    assert "mapper" not in json.dumps(shown)
    letters = {one["item"]: one["letters"] for one in key["items"]}
    assert all(sorted(one.values()) == ["mapper", "optimize"] for one in letters.values())
    assert len({tuple(one.values()) for one in letters.values()}) == 2  # shuffled anew for each request

    def vote(person: str, liked: dict[str, str]) -> Path:
        answers = [
            {"item": item, **{q: next(a for a, label in one.items() if label == liked[q]) for q in liked}}
            for item, one in letters.items()
        ]
        path = painted / f"{person}.json"
        path.write_text(json.dumps({"study": shown["study"], "language": "en", "answers": answers}))
        return path

    always = vote("one", dict.fromkeys(QUESTIONS, "mapper"))
    partly = vote("two", {"accuracy": "optimize"})
    scores = score_study(folder, [always, partly], say=lambda _: None)
    assert scores["methods"]["mapper"]["accuracy"]["share"] == 0.5
    assert scores["methods"]["optimize"]["accuracy"]["count"] == 10
    assert scores["methods"]["mapper"]["naturalness"] == {"share": 1.0, "low": 1.0, "high": 1.0, "count": 5}
    assert json.loads((folder / "results.json").read_text()) == scores
    foreign = painted / "foreign.json"
    foreign.write_text(json.dumps({"study": "other", "answers": []}))
    with pytest.raises(HairclipError, match="answers another study"):
        score_study(folder, [foreign])


def test_the_command_compares_writes_a_study_and_scores_it(painted: Path, capsys: pytest.CaptureFixture[str]):
    bundle, out, study = save_bundle(painted / "bundle"), painted / "out", painted / "study"
    shared = ["--bundle", str(bundle), "--out", str(out), "--workers", "0", "--device", "cpu", "--count", "3"]
    few = ["--methods", "mapper,optimize", "--set", "optimize.steps=1", "--study", str(study), "--asked", "text"]
    assert cli.main(["compare", *shared, *few]) == 0
    assert "3 people" in capsys.readouterr().out
    answers = painted / "answers.json"
    answers.write_text(json.dumps({"study": page_of(study)["study"], "answers": [{"item": 1, "accuracy": "A"}]}))
    assert cli.main(["compare", "--study", str(study), "--study-answers", str(answers)]) == 0
    assert "100.0 %" in capsys.readouterr().out
    assert cli.main(["compare", "--photos", str(painted / "none"), "--bundle", str(bundle), "--device", "cpu"]) == 2
    assert "there is no folder of photos" in capsys.readouterr().err
    assert cli.main(["compare", *shared, "--sweep", "mapper", "strength=0.5,1", "--asked", "text"]) == 0
    table = capsys.readouterr().out
    assert "mapper strength=0.5" in table
    assert "mapper strength=1 " in table
    assert json.loads((out / "report.json").read_text())["split"] == "val"


@pytest.mark.browser
def test_a_person_answers_the_study_in_a_browser(painted: Path, chromium: Any, capsys: pytest.CaptureFixture[str]):
    result = compare(painted / "out", watched("mapper"), watched("optimize"), count=2)
    folder = painted / "study"
    write_study(result, folder, count=2, say=lambda _: None)
    key = json.loads((folder / "key.json").read_text())
    letter = [{label: a for a, label in one["letters"].items()} for one in key["items"]]
    liked = {"accuracy": "mapper", "preservation": "optimize", "naturalness": "mapper"}
    page, errors, asked = chromium.new_page(locale="en-US", accept_downloads=True), [], []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("request", lambda request: asked.append(request.url))

    def answer(item: int) -> None:
        for question, label in liked.items():
            page.check(f"input[name={question}][value={letter[item][label]}]")

    page.goto((folder / "index.html").as_uri())
    assert page.locator("#title").inner_text() == "Which edit is the best?"
    assert page.locator("#place").inner_text() == "1 of 2"
    assert page.locator("#pictures img").count() == 3  # the photo and two edits
    assert page.eval_on_selector_all("#pictures img", "all => all.every((one) => one.naturalWidth > 0)")
    answer(0)
    with page.expect_download():
        page.click("#save")
    assert page.locator("#message").inner_text() == "3 questions are still open."
    page.click("#next")
    assert page.locator("#next").is_disabled()
    answer(1)
    page.reload()  # the browser keeps the answers
    assert page.is_checked(f"input[name=accuracy][value={letter[0]['mapper']}]")
    page.select_option("#language", "zh-TW")
    assert page.locator("#title").inner_text() == "哪一張編輯結果最好?"
    with page.expect_download() as download:
        page.click("#save")
    assert page.locator("#message").inner_text().startswith("謝謝您")
    download.value.save_as(painted / "answers.json")
    page.close()
    assert errors == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert cli.main(["compare", "--study", str(folder), "--study-answers", str(painted / "answers.json")]) == 0
    assert "100.0 %" in capsys.readouterr().out
    scores = json.loads((folder / "results.json").read_text())["methods"]
    for question, label in liked.items():
        assert scores[label][question] == {"share": 1.0, "low": 1.0, "high": 1.0, "count": 2}


def test_the_command_compares_methods_on_photos(painted: Path, capsys: pytest.CaptureFixture[str]):
    bundle, out, photos = save_bundle(painted / "bundle"), painted / "out", painted / "photos"
    for name, picture in zip(("ann", "bob"), torch.rand(2, 3, SIZE, SIZE) * 2 - 1, strict=True):
        save_image(picture[None], photos / f"{name}.png")
    command = ["compare", "--photos", str(photos), "--bundle", str(bundle), "--out", str(out), "--device", "cpu"]
    methods = ["--methods", "mapper,difference,inversion", "--aligned", "--asked", "text"]
    assert cli.main([*command, *methods]) == 0
    table = capsys.readouterr().out
    assert "2 photos" in table
    report = json.loads((out / "report.json").read_text())
    kinds = {kind: {row["kind"] for row in report["rows"] if row["method"] == kind} for kind in ("mapper", "inversion")}
    texts = {"text-hairstyle", "text-color", "text-both"}
    assert all(texts <= found and not any(kind.startswith("reference") for kind in found) for found in kinds.values())
    told = [failure for failure in report["failures"] if failure["method"] == "difference"]
    assert len(told) == 6
    assert all("train-text-encoder" in failure["reason"] for failure in told)
    assert cli.main([*command, *methods]) == 0
    assert "6 of 6 results were taken from an earlier run" in capsys.readouterr().out
    for wrong in (["--study", "study"], ["--sweep", "optimize", "steps=1,2"], ["--split", "test"]):
        assert cli.main([*command, *wrong]) == 2
        assert f"{wrong[0]} is for rendered people" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "none"], "there is no editing method 'none'"),
        (["--asked", "song"], "--asked song: choose of text, picture."),
        (["--set", "steps=3"], "write METHOD.NAME=VALUE"),
        (["--sweep", "optimize"], "--sweep takes a method and its settings"),
        (["--study-answers", "x.json"], "give it as --study"),
        (["--count", "0"], "--count 0: give 1 or more."),
        (["--bundle", "ffhq"], "ffhq has no judge of hairstyles"),
    ],
)
def test_a_mistake_is_one_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str):
    assert cli.main(["compare", "--device", "cpu", *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("hairclip: error: ")
    assert words in error

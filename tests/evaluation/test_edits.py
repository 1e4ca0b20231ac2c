"""The evaluation of edits without the renderer: pictures are painted from the spec, so that every figure is known."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from hairclip.common.color import NAMED_COLORS, mean_lab
from hairclip.common.images import from_uint8
from hairclip.editing.editor import HairEditor
from hairclip.evaluation import renders
from hairclip.evaluation.cases import calibrate_colors, make_cases
from hairclip.evaluation.edit_report import FIGURES, evaluate_editor, rank_worst, summarize
from hairclip.evaluation.edits import Referee, render_cases
from hairclip.evaluation.portrait_networks import NETWORK_FIGURES, evaluate_networks
from hairclip.evaluation.renders import Drawing, fingerprint_source, render_all
from hairclip.evaluation.tables import Figure, format_figures
from hairclip.networks.face_parser import HAIR
from hairclip.portraits.spec import PortraitSpec, split_of
from hairclip.pretrained.bundle import load_bundle
from tests.helpers.tiny_networks import SIZE, save_bundle, tiny_networks


def drawing(image: np.ndarray, hair: np.ndarray) -> Drawing:
    labels = np.where(hair, HAIR, 0).astype(np.uint8)
    return Drawing(
        image, labels, hair.astype(np.float32), np.zeros((5, 2), np.float32), np.zeros((*labels.shape, 2), np.int8)
    )


def paint(spec: PortraitSpec, size: int) -> Drawing:
    """A flat background, and a rectangle of hair in its color whose height tells the style."""
    image = np.full((size, size, 3), 120, np.uint8)
    hair = np.zeros((size, size), bool)
    hair[2 : 6 + len(spec.hair.style), 4:-4] = True
    image[hair] = (np.array(spec.color.rgb) ** (1 / 2.2) * 255).astype(np.uint8)
    image[-4:, :, 0] = spec.identity.seed % 256
    return drawing(image, hair)


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(renders, "draw", paint)
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_cases_are_held_out_balanced_and_repeatable():
    cases = make_cases(60, seed=3)
    assert cases == make_cases(60, seed=3)
    assert cases[0] != make_cases(3, seed=4)[0]
    assert Counter(case.kind for case in cases) == {"style": 20, "color": 20, "both": 20}
    people = [
        spec.identity.seed
        for case in cases
        for spec in (case.source, case.hairstyle_reference, case.color_reference)
        if spec is not None
    ]
    assert len(set(people)) == len(people)
    assert {split_of(seed) for seed in people} == {"test"}
    styled = [case for case in cases if case.hairstyle is not None]
    colored = [case for case in cases if case.color is not None]
    assert sum(case.hairstyle_reference is not None for case in styled) == len(styled) // 2
    assert sum(case.color_reference is not None for case in colored) == len(colored) // 2


def test_the_truth_differs_from_the_source_in_what_was_asked_and_nothing_else():
    for case in make_cases(30):
        assert case.truth.identity == case.source.identity
        assert case.truth.scene == case.source.scene
        if case.hairstyle is None:
            assert case.truth.hair == case.source.hair
        else:
            assert case.truth.hair.style == case.hairstyle != case.source.hair.style
        if case.color is None:
            assert case.truth.color == case.source.color
        else:
            assert case.truth.color.name == case.color != case.source.color.name
        if case.hairstyle_reference is not None:
            assert case.hairstyle_reference.hair == case.truth.hair
        if case.color_reference is not None:
            assert case.color_reference.color == case.truth.color
        assert "bald" not in (case.source.hair.style, case.truth.hair.style)


def test_measuring_the_truth_itself_is_perfect_where_pictures_decide(painted: Path):
    nets = tiny_networks()
    rendered = render_cases(make_cases(6), SIZE)
    referee = Referee(HairEditor(nets), nets.judge, NAMED_COLORS)
    referee.parser = Rectangles(rendered.truth.images, rendered.truth.hair)
    records = referee.measure(rendered, rendered.truth.images, rendered.truth.images)
    for record in records:
        assert record["mask_iou"] == 1.0
        assert record["psnr"] > 90
        assert record["perceptual"] == pytest.approx(0, abs=1e-6)
        assert ("hairstyle_right" in record) == (record["kind"] != "color")
        assert ("color_right" in record) == (record["kind"] != "style")
        assert ("keeps_mask" in record) == (record["kind"] == "color")
        assert ("keeps_color" in record) == (record["kind"] == "style")
    assert summarize(records)["keeps_mask"] == 1.0


class Rectangles:
    """A parser that knows the hair of the pictures it was given."""

    def __init__(self, images: torch.Tensor, hair: torch.Tensor) -> None:
        self.known = [(image, mask) for image, mask in zip(images, hair)]

    def hair_mask(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([next(m for i, m in self.known if torch.equal(i, image)) for image in images])


def test_the_report_is_printed_and_written(painted: Path):
    nets = tiny_networks()
    lines: list[str] = []
    report = evaluate_editor(
        HairEditor(nets, groups=(3, 5)),
        nets.judge,
        painted / "report",
        count=6,
        optimize_count=2,
        optimize_steps=2,
        named=NAMED_COLORS,
        progress=False,
        say=lines.append,
    )
    assert json.loads((painted / "report" / "report.json").read_text()) == report
    assert set(report["figures"]) == {"mapper", "optimize", "unedited", "blended", "truth"}
    assert len(report["cases"]) == 6
    for name in ("edits.png", "worst.png", "optimize.png"):
        assert (painted / "report" / name).stat().st_size > 0
    table = "\n".join(lines)
    shown = table.splitlines()
    assert shown[0].split("|")[-2].strip() == "truth"
    assert "optimize (first 2)" in shown[0]
    for figure, line in zip([figure for figure in FIGURES if not figure.is_optional], shown[2:]):
        assert line.startswith(f"| {figure.title} ")
        for name in ("mapper", "optimize", "unedited", "blended", "truth"):
            assert figure.show(report["figures"][name][figure.name]) in line
    right = [case["hairstyle_right"] for case in report["cases"] if "hairstyle_right" in case]
    assert report["figures"]["mapper"]["hairstyle_right"] == sum(right) / len(right)
    assert "FAIL" in table  # random networks pass nothing


def test_the_networks_report_holds_every_figure(painted: Path):
    lines: list[str] = []
    report = evaluate_networks(
        load_bundle(save_bundle(painted / "bundle")),
        painted / "networks",
        count=6,
        optimize_count=2,
        optimize_steps=3,
        named=NAMED_COLORS,
        fine_from=5,
        progress=False,
        say=lines.append,
    )
    assert set(report["figures"]) == {figure.name for figure in NETWORK_FIGURES}
    assert json.loads((painted / "networks" / "networks.json").read_text()) == report
    for name in ("samples.png", "inversion.png", "swap.png"):
        assert (painted / "networks" / name).stat().st_size > 0
    assert len(lines[0].splitlines()) == 2 + len(NETWORK_FIGURES)


def test_the_worst_case_comes_first():
    fine = {"hairstyle_right": 1.0, "mask_iou": 0.9, "perceptual": 0.1}
    assert rank_worst([fine, fine | {"hairstyle_right": 0.0}, fine | {"mask_iou": 0.2}]) == [1, 2, 0]


def test_colors_are_calibrated_on_rendered_hair(painted: Path):
    named = calibrate_colors(2, size=SIZE)
    assert set(named) == set(NAMED_COLORS)
    assert named["white"][0] > named["black"][0]


def test_portraits_almost_without_hair_do_not_blur_the_calibration(monkeypatch: pytest.MonkeyPatch):
    painted_before: list[bool] = []

    def every_second_is_shaved(spec: PortraitSpec, size: int) -> Drawing:
        image, hair = np.full((size, size, 3), 250, np.uint8), np.zeros((size, size), bool)
        painted_before.append(True)
        hair[: size if len(painted_before) % 2 else 0] = True
        image[hair] = (200, 20, 20)
        return drawing(image, hair)

    monkeypatch.setattr(renders, "draw", every_second_is_shaved)
    pure = mean_lab(from_uint8(np.full((1, 8, 8, 3), (200, 20, 20), np.uint8)), torch.ones(1, 1, 8, 8).bool())
    for row in calibrate_colors(4, size=SIZE).values():
        torch.testing.assert_close(torch.tensor([row]), pure, atol=1e-3, rtol=0)


def test_a_table_says_what_passes():
    figures = [Figure("a", "share", "%", floor=0.9), Figure("b", "distance", ceiling=2.0), Figure("c", "free", "dB")]
    figures.append(Figure("d", "where there is one", is_optional=True))
    table = format_figures(figures, {"ours": {"a": 0.95, "b": 3.0, "c": 20.0}, "theirs": {"a": None}})
    share, distance, free = table.splitlines()[2:]
    assert share.replace("|", "").split() == ["share", ">=", "90.0", "%", "ok", "95.0", "%", "-"]
    assert "FAIL" in distance
    assert free.replace("|", "").split() == ["free", "20.00", "dB", "-"]


def test_a_change_of_prose_renders_nothing_anew():
    code = '''"""Head."""

SIZE = 3
"""Of a picture."""

def grow(x):
    """Return it larger."""
    return x + SIZE  # pixels
'''
    other_prose = '''"""Another head."""
SIZE = 3
def grow(x):
    return (x
            + SIZE)
'''
    assert fingerprint_source(code) == fingerprint_source(other_prose)
    assert fingerprint_source(code) != fingerprint_source(code.replace("SIZE = 3", "SIZE = 4"))
    assert fingerprint_source(code) != fingerprint_source(code.replace("x + SIZE", "x - SIZE"))


@pytest.mark.slow
def test_renders_are_cached_and_equal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("anny")
    pytest.importorskip("numba")
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path))
    specs = [case.source for case in make_cases(2)]
    first = render_all(specs, 64)
    assert len(list(tmp_path.rglob("*.npz"))) == 2
    again = render_all(specs, 64)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.hair, again.hair)
    assert first.hair.flatten(1).any(dim=1).all()

"""The inversion report without its renderer: portraits are painted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.common.color import NAMED_COLORS
from hairclip.editing.editor import HairEditor
from hairclip.editing.inversion.cache import InversionCache
from hairclip.evaluation import renders
from hairclip.evaluation.inversions import INVERSION_FIGURES, evaluate_inversions, measure_sharpness
from hairclip.evaluation.renders import Drawing
from hairclip.networks.face_parser import HAIR
from hairclip.portraits.spec import PortraitSpec
from tests.helpers.tiny_networks import tiny_networks


def paint(spec: PortraitSpec, size: int) -> Drawing:
    image = np.random.default_rng(spec.identity.seed).integers(0, 256, (size, size, 3)).astype(np.uint8)
    labels = np.zeros((size, size), np.uint8)
    labels[2:12, 4:-4] = HAIR
    return Drawing(
        image,
        labels,
        (labels == HAIR).astype(np.float32),
        np.zeros((5, 2), np.float32),
        np.full((*labels.shape, 2), 80, np.int8),
    )


def test_the_report_has_every_method_figure_and_portrait(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(renders, "draw", paint)
    nets = tiny_networks()
    editor = HairEditor(nets, cache=InversionCache(tmp_path / "cache"))
    report = evaluate_inversions(
        editor,
        nets.judge,
        tmp_path / "out",
        count=3,
        steps=8,
        batch_size=2,
        named=NAMED_COLORS,
        progress=False,
    )
    assert json.loads((tmp_path / "out" / "inversions.json").read_text()) == report
    figures = report["figures"]
    assert list(figures) == ["encoder", "optimize", "pivotal", "codec"]
    assert all(0 <= low["identity"] <= 1 and low["psnr"] > 0 for low in report["low"].values())
    assert figures["encoder"]["psnr"] < figures["optimize"]["psnr"] < figures["pivotal"]["psnr"]
    for method, rows in report["portraits"].items():
        assert len(rows) == 3
        for figure in INVERSION_FIGURES:
            values = [row[figure.name] for row in rows if figure.name in row]
            if method == "codec" and figure.name in ("style_right", "color_right"):
                assert not values  # it finds no code to edit
                continue
            if figure.name == "hair_energy_12":
                assert not values  # no filter of this size fits into the hair of so small a picture
                continue
            assert len(values) == {"style_right": 2, "color_right": 2}.get(figure.name, 3)  # style, color, both
            mean = sum(values) / len(values)
            assert figures[method][figure.name] == pytest.approx(mean)
    assert not (tmp_path / "cache").exists()  # what is remembered cannot be timed
    with Image.open(tmp_path / "out" / "inversions.png") as sheet:
        assert sheet.width > 5 * 224
    printed = capsys.readouterr().out
    assert all(figure.title in printed for figure in INVERSION_FIGURES)


def test_sharpness_is_the_share_of_texture_inside_the_hair():
    random = torch.Generator().manual_seed(0)
    target = torch.randn(1, 3, 32, 32, generator=random)
    hair = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    hair[..., 8:24, 8:24] = True
    torch.testing.assert_close(measure_sharpness(0.5 * target, target, hair), torch.tensor([0.5]))
    outside = torch.where(hair, target, torch.randn(1, 3, 32, 32, generator=random))
    torch.testing.assert_close(measure_sharpness(outside, target, hair), torch.ones(1))

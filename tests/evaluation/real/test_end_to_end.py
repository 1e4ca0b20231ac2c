"""The command from photos to tables: with the shipped networks, and with stand-ins of official files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from facenet_pytorch import InceptionResnetV1
from PIL import Image

from hairclip.cli.main import main
from hairclip.common.files import data_folder
from hairclip.evaluation.scenes import draw_clutter
from hairclip.pretrained.registry import WEIGHTS

Rows = dict[tuple[str, str], dict[str, Any]]


def evaluate(photos: Path, out: Path, *more: str) -> tuple[dict[str, Any], Rows]:
    assert main(["evaluate", "--photos", str(photos), "--out", str(out), "--device", "cpu", *more]) == 0
    report = json.loads((out / "report.json").read_text())
    return report, {(row["form"], row["kind"]): row["figures"] for row in report["rows"]}


def test_people_in_snapshots_are_found_edited_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "home"))
    (tmp_path / "photos").mkdir()
    for number, name in enumerate(("anna", "ben")):
        scene = Image.fromarray(draw_clutter(420, 360, np.random.default_rng(number)).astype(np.uint8))
        with Image.open(data_folder() / "portraits" / f"{name}.png") as person:
            scene.paste(person.resize((256, 256), Image.Resampling.BICUBIC), (60 + 30 * number, 50))
        scene.save(tmp_path / "photos" / f"{name}.png")
    settings = ["--bundle", "portraits", "--kinds", "text-both,reference-color"]
    report, rows = evaluate(tmp_path / "photos", tmp_path / "out", *settings)
    assert not report["failures"]
    blended, raw = rows["blended", "text-both"], rows["raw", "text-both"]
    assert blended["changed_outside_mask"]["mean"] == 0.0
    assert 0 < blended["changed"]["mean"] < 0.6
    assert blended["psnr"]["mean"] > raw["psnr"]["mean"] + 3
    assert blended["ids"]["mean"] > 0.8
    assert raw["rank_hairstyle"]["mean"] <= 3
    assert raw["rank_color"]["mean"] <= 2
    assert rows["raw", "reference-color"]["acd"]["mean"] < 30
    assert report["judges"]["perceptual"] == "portraits/judge"


def test_the_official_networks_are_measured_and_facenet_judges_where_it_was_downloaded(stand_in: Path, tmp_path: Path):
    """Figures of the stand-in mean nothing: what counts is that each is there."""
    (tmp_path / "photos").mkdir()
    for name in ("anna", "ben"):
        with Image.open(data_folder() / "portraits" / f"{name}.png") as person:
            person.resize((64, 64)).save(tmp_path / "photos" / f"{name}.png")
    settings = ["--bundle", "ffhq", "--aligned", "--kinds", "text-hairstyle,reference-both"]
    report, rows = evaluate(tmp_path / "photos", tmp_path / "out", *settings)
    assert report["judges"]["identity"] == "ir-se50, the loss's"
    assert len(report["edits"]) == 2 * (1 + 2 * 2)
    kept = {"ids", "psnr", "ssim", "perceptual"}
    for form in ("raw", "blended"):
        assert kept | {f"{name}_inversion" for name in kept} <= set(rows[form, "text-hairstyle"])
        assert {"clip_hairstyle", "rank_hairstyle", "clip_fid", "seconds"} <= set(rows[form, "text-hairstyle"])
    torch.save(InceptionResnetV1().state_dict(), stand_in / "weights" / WEIGHTS["facenet-vggface2"].file)
    again, _ = evaluate(tmp_path / "photos", tmp_path / "out", *settings, "--count", "1")
    assert again["judges"]["identity"] == "facenet-vggface2"
    assert "(facenet-vggface2)" in (tmp_path / "out" / "report.md").read_text()

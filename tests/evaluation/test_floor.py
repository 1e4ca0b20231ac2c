"""The shipped networks edit the shipped portraits through the command line: a floor under the figures of README."""

import shutil
from pathlib import Path

import torch

from hairclip.cli import main as cli
from hairclip.common.files import data_folder
from hairclip.common.images import load_image
from hairclip.editing.blending.regions import dilate
from hairclip.evaluation.cases import portrait_colors
from hairclip.evaluation.metrics import named_hair_color
from hairclip.pretrained.bundle import load_bundle

PEOPLE = ("anna", "ben", "clara", "dora", "emil")
REQUESTS = (("bob cut", "red"), ("afro", "blond"))
STYLES, COLORS = 9, 9  # of ten edits
UNTOUCHED = 0.999  # of the pixels further than this from old and new hair
FAR = 10  # pixels of 128: the ramp around all that changed has three


def test_ten_edits_have_the_style_and_the_color_and_leave_the_rest(tmp_path: Path):
    for name in PEOPLE:
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(data_folder() / "portraits" / f"{name}.png", tmp_path / "in")
    texts = [word for style, color in REQUESTS for word in ("--text", f"{color} {style}")]
    places = ["--image", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert cli.main(["edit", *places, *texts]) == 0
    networks = load_bundle("portraits")
    before = torch.cat([load_image(tmp_path / "in" / f"{name}.png") for name in PEOPLE])
    styles, colors, kept = 0, 0, []
    with torch.no_grad():
        old = networks.parser.hair_mask(before)
        for number, (style, color) in enumerate(REQUESTS, start=1):
            after = torch.cat([load_image(next((tmp_path / "out").glob(f"{name}_{number}_*.png"))) for name in PEOPLE])
            new = networks.parser.hair_mask(after)
            styles += networks.judge.names(after).count(style)
            colors += named_hair_color(after, new, portrait_colors()).count(color)
            outside = ~dilate(old | new, FAR)
            kept.append(float(((before == after).all(dim=1, keepdim=True) & outside).sum() / outside.sum()))
    assert styles >= STYLES
    assert colors >= COLORS
    assert min(kept) >= UNTOUCHED

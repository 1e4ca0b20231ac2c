"""Editing with fewer bits: what it does to the picture, and what it leaves alone."""

from pathlib import Path

import pytest
import torch

from hairclip.cli import main as cli
from hairclip.common.errors import HairclipError
from hairclip.common.images import load_image
from hairclip.common.metrics import psnr
from hairclip.editing.editor import HairEditor
from hairclip.editing.inversion.cache import InversionCache
from hairclip.pretrained import load_bundle

ANNA = Path(__file__).resolve().parents[2] / "data" / "portraits" / "anna.png"
FLOORS = {"bfloat16": 45.0, "float16": 48.0}
"""Least PSNR in dB between an edit and its float32 twin, (B,). The edit is 19 dB away from its photo."""


def edit(precision: str, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Return the edited crop and the generator's picture of it."""
    editor = HairEditor(load_bundle("portraits", device), precision=precision)
    result = editor.edit(ANNA, hairstyle="bob cut", color="red")
    for tensor in (result.image, result.synthesized, result.inversion, result.w_plus, result.edited_w_plus):
        assert tensor.dtype is torch.float32
    return result.image.cpu(), result.synthesized.cpu()


def test_bfloat16_changes_the_picture_less_than_anybody_sees():
    exact, rounded = edit("float32"), edit("bfloat16")
    for one, other in zip(exact, rounded, strict=True):
        assert not torch.equal(one, other)
        assert float(psnr(one, other)) > FLOORS["bfloat16"]
    photo = load_image(ANNA)
    assert float(psnr(exact[0], photo)) < 25


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_on_a_gpu(precision: str):
    for one, other in zip(edit("float32", "cuda"), edit(precision, "cuda"), strict=True):
        assert float(psnr(one, other)) > FLOORS[precision]


def test_descents_and_remembered_inversions_stay_in_float32(tmp_path: Path):
    bundle, cache = load_bundle("portraits"), InversionCache(tmp_path)
    exact, rounded = (HairEditor(bundle, cache=cache, precision=one) for one in ("float32", "bfloat16"))
    assert exact.digest() != rounded.digest()
    first, second = (one.prepare([ANNA]).inversion.w_plus for one in (rounded, exact))
    assert not torch.equal(first, second)  # the rounded codes are not remembered as the exact ones
    assert torch.equal(second, HairEditor(bundle).prepare([ANNA]).inversion.w_plus)


def test_a_precision_that_a_device_lacks_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(HairclipError, match=r"precision 'float16': choose float32 or bfloat16 on cpu\.$"):
        HairEditor.from_bundle("portraits", device="cpu", precision="float16")
    command = ["edit", "--image", str(ANNA), "--text", "red", "--device", "cpu", "--precision", "float16"]
    assert cli.main([*command, "--out", str(tmp_path / "out.png")]) == 2
    assert "--precision 'float16': choose float32 or bfloat16 on cpu" in capsys.readouterr().err

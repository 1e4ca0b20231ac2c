"""Strands at the resolution of a photo that is larger than what the generator draws."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from hairclip.common.images import from_pil, resize_area
from hairclip.editing.finer_strands import add_finer_strands, finer_size
from hairclip.editing.paste import paste_edits
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.networks.stylegan2 import Generator

BEN = Path(__file__).resolve().parents[2] / "data" / "portraits-256" / "ben.png"


def small(**options) -> Generator:
    torch.manual_seed(0)
    return Generator(32, 6, 6, 1, {4: 8, 8: 8, 16: 6, 32: 6}, **options).requires_grad_(False)


@pytest.mark.parametrize(("side", "size"), [(20, 32), (63, 32), (64, 64), (200, 128), (1e6, 1024)])
def test_strands_are_drawn_at_the_largest_size_within_the_square(side: float, size: int):
    assert finer_size(small(strands={"read_at": 8}), side) == size
    assert finer_size(small(), side) == 32


def test_what_is_added_is_finer_than_the_foreground():
    generator = small(strands={"read_at": 8})
    assert generator.strands is not None
    generator.strands.layers[-1].bias[2] = 9.0  # hair everywhere
    codes = torch.randn(1, generator.n_latent, 6)
    foreground = generator(codes) * 0.5 + 0.1  # as where colors are matched to a photo
    larger = add_finer_strands(foreground, codes, generator, 128)
    assert larger.shape == (1, 3, 128, 128)
    enlarged = F.interpolate(foreground, size=(128, 128), mode="bicubic", align_corners=False)
    assert float((larger - enlarged).std()) > 0.01
    off = resize_area(larger, 32) - resize_area(enlarged, 32)
    assert float(off.std()) < 0.5 * float((larger - enlarged).std())  # what 32 px can hold stays the foreground's


def test_an_edit_of_a_large_photo_has_finer_strands_in_its_hair_alone():
    with Image.open(BEN) as picture:
        photo = picture.convert("RGB").resize((768, 768), Image.Resampling.BICUBIC)
    editor = PhotoEditor.from_bundle("portraits-256", device="cpu")
    result = editor.edit(photo, hairstyle="long wavy", aligned=True)
    (opened,) = editor.invert([editor.cut(photo, aligned=True)])
    plain, mask, _ = paste_edits(opened, result.edits)
    finer, coarse = (from_pil(one.convert("RGB")) for one in (result.picture, plain))
    alpha = from_pil(mask.convert("RGB"))[:, :1] / 2 + 0.5
    change = (finer - coarse).abs().mean(dim=1, keepdim=True)
    assert float(change[alpha == 1].mean()) > 0.005
    assert float(change[alpha == 0].max()) == 0.0

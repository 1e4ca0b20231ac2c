"""StyleCLIP's latent optimization against its equations, written out in float64 with no code of ours."""

import math

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.editing.editor import HairEditor
from hairclip.editing.methods.styleclip_optimize import descend, rate_at
from tests.helpers.tiny_networks import N_LATENT, SIZE, W_DIM, tiny_networks


def test_the_rate_is_the_official_ramp():
    steps = 40
    for step in range(steps):
        t = step / steps
        ramp = min(1, (1 - t) / 0.25)
        ramp = 0.5 - 0.5 * math.cos(ramp * math.pi)
        ramp = ramp * min(1, t / 0.05)
        assert rate_at(t, 0.1) == pytest.approx(0.1 * ramp, abs=1e-12)
    assert rate_at(0.0, 0.1) == 0.0  # the first step of the official script moves nothing
    assert rate_at(0.5, 0.1) == pytest.approx(0.1)


def test_the_descent_is_adam_on_the_published_terms():
    random = torch.Generator().manual_seed(0)
    start = torch.randn(2, N_LATENT, W_DIM, generator=random, dtype=torch.float64)
    pull = torch.randn(2, N_LATENT, W_DIM, generator=random, dtype=torch.float64)

    def terms(codes: torch.Tensor) -> torch.Tensor:
        return (codes * pull).mean(dim=(1, 2)).sin()

    edited = descend(start, terms, steps=12, lr=0.1, l2=0.008)

    # Adam (Kingma and Ba 2015, algorithm 1), each sample alone
    for i in range(2):
        w, m, v = start[i].clone(), torch.zeros(N_LATENT, W_DIM).double(), torch.zeros(N_LATENT, W_DIM).double()
        for t in range(12):
            inner = (w * pull[i]).mean()
            gradient = inner.cos() * pull[i] / (N_LATENT * W_DIM) + 2 * 0.008 * (w - start[i])
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            m_hat, v_hat = m / (1 - 0.9 ** (t + 1)), v / (1 - 0.999 ** (t + 1))
            u = t / 12
            down = 0.5 - 0.5 * math.cos(math.pi * min(1, (1 - u) / 0.25))
            w = w - 0.1 * down * min(1, u / 0.05) * m_hat / (v_hat.sqrt() + 1e-8)
        torch.testing.assert_close(edited[i], w, atol=1e-9, rtol=0)


@pytest.fixture(scope="module")
def editor() -> HairEditor:
    return HairEditor(tiny_networks(), groups=(3, 5))


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_clip_reads_more_of_the_text_in_the_edit(editor: HairEditor, portrait: torch.Tensor):
    result = editor.edit(portrait, "afro", "red", method="styleclip-optimize", steps=15)
    clip = editor.networks.clip
    texts = clip.encode_text(["afro hairstyle", "red hair"])

    def distance(codes: torch.Tensor) -> float:
        seen = clip.encode_pixels(clip.raw_pixels(editor.networks.generator(codes)))
        return float((1 - torch.nn.functional.cosine_similarity(seen, texts)).sum())

    assert distance(result.edited_w_plus) < distance(result.w_plus)
    assert not torch.equal(result.edited_w_plus[:, 0], result.w_plus[:, 0])  # every layer is free
    assert not torch.equal(result.edited_w_plus[:, -1], result.w_plus[:, -1])


def test_a_reference_picture_is_refused_before_work_starts(editor: HairEditor, portrait: torch.Tensor):
    with pytest.raises(HairclipError, match="takes texts alone, and the color is a picture"):
        editor.edit(portrait, None, portrait, method="styleclip-optimize")
    with pytest.raises(HairclipError, match="'official' or 'normalized'"):
        editor.edit(portrait, "afro", method="styleclip-optimize", method_settings={"text_pixels": "raw"})


def test_the_floor_edits_nothing(editor: HairEditor, portrait: torch.Tensor):
    result = editor.edit(portrait, "afro", "red", method="inversion")
    assert torch.equal(result.edited_w_plus, result.w_plus)

"""The painter of hair: what it sees, what it keeps, and that its seed decides."""

import pytest
import torch

from hairclip.networks.denoiser import Canvas, HairPainter, unit_embeddings
from tests.helpers.tiny_painter import tiny_painter

SIZE = 32


@pytest.fixture(scope="module")
def painter() -> HairPainter:
    return tiny_painter(8, SIZE)


def canvas(seed: int = 1) -> Canvas:
    random = torch.Generator().manual_seed(seed)
    region = torch.zeros(2, 1, SIZE, SIZE)
    region[..., :20, 4:28] = 1
    return Canvas(torch.rand(2, 3, SIZE, SIZE, generator=random) * 2 - 1, region, torch.zeros(2, 3, SIZE, SIZE))


def words(seed: int) -> torch.Tensor:
    return unit_embeddings(torch.randn(2, 8, generator=torch.Generator().manual_seed(seed)))


def test_embeddings_are_told_with_mean_square_one_and_absent_ones_stay_zero() -> None:
    told = unit_embeddings(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(told.square().mean(dim=1), torch.tensor([1.0, 0.0]))


def test_what_the_region_hides_is_never_seen(painter: HairPainter) -> None:
    one, hidden = canvas(), canvas()
    hidden.picture[..., :20, 4:28] = 0.5
    assert torch.equal(painter.coarse_context(one), painter.coarse_context(hidden))
    coarse, level = torch.zeros_like(one.picture), torch.zeros(2)
    assert torch.equal(painter.fine_context(one, coarse, level), painter.fine_context(hidden, coarse, level))
    made, again = (painter.paint(each, words(2), words(3), steps=2) for each in (one, hidden))
    torch.testing.assert_close(made, again, atol=1e-4, rtol=1e-4)


def test_the_seed_decides_and_the_place_in_the_batch_does_not(painter: HairPainter) -> None:
    first = painter.paint(canvas(), words(2), words(3), steps=3, seed=5)
    assert torch.equal(first, painter.paint(canvas(), words(2), words(3), steps=3, seed=5))
    assert not torch.allclose(first, painter.paint(canvas(), words(2), words(3), steps=3, seed=6), atol=1e-3)
    turned = Canvas(*(part.flip(0) for part in (canvas().picture, canvas().region, canvas().shading)))
    again = painter.paint(turned, words(2).flip(0), words(3).flip(0), steps=3, seed=5).flip(0)
    torch.testing.assert_close(first, again, atol=1e-4, rtol=1e-4)


def test_guidance_one_is_the_plain_prediction_and_more_goes_beyond_it(painter: HairPainter) -> None:
    context, noisy, time = painter.coarse_context(canvas()), torch.randn(2, 6, 4, 4), torch.tensor([0.4, 0.9])
    with torch.no_grad():
        told = painter.coarse(noisy, time, context, words(2), words(3))
        untold = painter.coarse(noisy, time, context, torch.zeros(2, 8), torch.zeros(2, 8))
        for guidance in (1.0, 3.0):
            made = painter._guided(painter.coarse, context, words(2), words(3), guidance)(noisy, time)
            torch.testing.assert_close(made, untold + guidance * (told - untold), atol=1e-5, rtol=1e-4)


def test_a_late_start_keeps_more_of_the_picture(painter: HairPainter) -> None:
    one = canvas()
    near, far = (
        (painter.paint(one, words(2), words(3), steps=4, fine_steps=0, start=start) - painter.codec(one.picture))
        .square()
        .mean()
        for start in (0.05, 1.0)
    )
    assert float(near) < 0.1 * float(far)


def test_the_config_of_a_painter_builds_it_again(painter: HairPainter) -> None:
    copy = HairPainter(**painter.config)
    copy.load_state_dict(painter.state_dict())
    assert torch.equal(
        copy.eval().paint(canvas(), words(2), words(3), steps=2), painter.paint(canvas(), words(2), words(3), steps=2)
    )

"""The recipe of the denoisers on tiny pictures: it learns, resumes to the same weights, and hides hair."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import HAIR
from hairclip.networks.denoiser import HairPainter
from hairclip.portraits.fit.denoiser import Told, fit_painter, random_region, save_painter
from hairclip.portraits.fit.labeled_pictures import LabeledPictures
from hairclip.pretrained.loaders import load_denoiser

CPU, WIDTH = torch.device("cpu"), 8


def pictures(count: int = 12, size: int = 64) -> LabeledPictures:
    """Noise below, and above it hair of one brightness per color."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(90, 110, (count, 3, size, size), generator=random).byte()
    labels = torch.ones(count, size, size, dtype=torch.uint8)
    labels[:, : size // 2, 8:-8] = HAIR
    for i in range(count):
        pixels[i, :, : size // 2, 8:-8] = 220 if i % 2 else 30
    return LabeledPictures(pixels, labels, ("afro",) * count, ("red", "black") * (count // 2))


def told(count: int = 12) -> Told:
    random = torch.Generator().manual_seed(1)
    color = {"red": torch.ones(WIDTH), "black": -torch.ones(WIDTH)}
    style = torch.randn(WIDTH, generator=random)
    colors = torch.stack([color["red"], color["black"]] * (count // 2))
    return Told(style.expand(count, WIDTH).clone(), colors, {"afro": style}, color)


def fit(folder: Path, steps: int, fine_steps: int, **settings: int) -> HairPainter:
    torch.manual_seed(0)
    painter = HairPainter(WIDTH, channels=(6, 6), coarse=(8, 16), fine=(8, 8), middle=(2, 1), hidden=(16, 16))
    sizes = {"batch": 4, "save_every": 2, **settings}
    return fit_painter(pictures(), told(), folder, CPU, steps=steps, fine_steps=fine_steps, painter=painter, **sizes)


def test_a_training_that_is_continued_equals_one_that_was_never_stopped(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", 4, 4)
    fit_stopped(tmp_path / "parts")
    again = fit(tmp_path / "parts", 4, 4)
    for (name, one), other in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def fit_stopped(folder: Path) -> None:
    """Train with an interruption: the picture of step 3 of the coarse stage cannot be drawn."""
    calls = 0

    class Stopping(LabeledPictures):
        def images(self, rows: object) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == 4:  # the codecs look once
                raise KeyboardInterrupt
            return super().images(rows)  # type: ignore[arg-type]

    torch.manual_seed(0)
    painter = HairPainter(WIDTH, channels=(6, 6), coarse=(8, 16), fine=(8, 8), middle=(2, 1), hidden=(16, 16))
    with pytest.raises(KeyboardInterrupt):
        fit_painter(
            Stopping(**vars(pictures())), told(), folder, CPU, steps=4, fine_steps=4, batch=4, save_every=2,
            painter=painter,
        )  # fmt: skip
    assert (folder / "coarse.pt").exists()


def test_a_killed_training_gives_its_weights_when_no_more_steps_are_asked_for(tmp_path: Path) -> None:
    fit_stopped(tmp_path)
    assert fit(tmp_path, 2, 0).coarse.last.weight.any()


def test_finished_weights_are_read_back_nearly_as_they_were(tmp_path: Path) -> None:
    painter = fit(tmp_path, 3, 3)
    save_painter(tmp_path / "denoiser.safetensors", painter)
    loaded = load_denoiser(tmp_path / "denoiser.safetensors")
    assert loaded.config == painter.config
    for name, value in painter.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=1e-3, rtol=1e-2)


def test_regions_hide_the_hair_and_often_more() -> None:
    shown = pictures()
    hair = shown.hair(slice(0, 8))
    others = torch.zeros_like(hair)
    others[..., 40:, :] = True
    regions = random_region(np.random.default_rng(0), hair, others, others)
    assert regions[hair].all()
    more = regions[..., 50, 20].mean()
    assert 0.4 < float(more) < 1.0
    assert set(regions.unique().tolist()) == {0.0, 1.0}


def test_pictures_that_are_too_small_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HairclipError, match="needs pictures of 64 px or more, by 16 px, and these have 32 px"):
        fit_painter(pictures(size=32), told(), tmp_path, CPU, steps=1, fine_steps=1)

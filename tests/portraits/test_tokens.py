"""Training of the codec and of the token transformer."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hairclip.common.color import rgb_to_lab
from hairclip.common.face_labels import HAIR
from hairclip.networks.codec import Codec
from hairclip.networks.hair_priors import HairPriors
from hairclip.portraits.fit.hair_priors import measure_hair_priors
from hairclip.portraits.fit.labeled_pictures import LabeledPictures
from hairclip.portraits.fit.tokens import (
    CodebookAverage,
    fit_codec,
    fit_token_transformer,
    hide_tokens,
    soft_targets,
    token_loss,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures() -> LabeledPictures:
    """Eight smooth pictures; hair is the upper half of four, the left half of the others."""
    random = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(8, 3, 8, 8, generator=random), size=(64, 64), mode="bilinear")
    labels = torch.zeros(8, 64, 64, dtype=torch.uint8)
    labels[:4, :32], labels[4:, :, :32] = HAIR, HAIR
    return LabeledPictures((smooth * 255).byte(), labels, ("afro",) * 4 + ("bob cut",) * 4, ("red", "blue") * 4)


def test_priors_are_the_mean_shape_light_and_color(pictures: LabeledPictures):
    priors = measure_hair_priors(pictures, size=32, batch=3)
    assert (priors.hairstyles, priors.colors) == (("afro", "bob cut"), ("blue", "red"))
    assert torch.equal(priors.shapes(["afro"], 32)[0, 0, :15], torch.ones(15, 32))
    assert priors.shapes(["bob cut"], 32)[0, 0, :, 17:].max() == 0
    lab = rgb_to_lab(pictures.images(slice(0, 8)))
    hair = pictures.hair(slice(0, 8))
    red = torch.stack([lab[i][:, hair[i, 0]].mean(dim=1) for i in (0, 2, 4, 6)]).mean(dim=0)
    torch.testing.assert_close(priors.color_of("red"), red, atol=1e-3, rtol=1e-4)
    assert abs(float(priors.light[0, 0, :16].mean())) < 1e-3  # light is told apart from the mean


class Stopping(LabeledPictures):
    """Pictures that stop a training as Ctrl-C does, when they are asked for a third batch of four."""

    def images(self, rows: np.ndarray) -> torch.Tensor:
        object.__setattr__(self, "batches", getattr(self, "batches", 0) + (len(rows) == 4))
        if self.batches == 3:
            raise KeyboardInterrupt
        return super().images(rows)


class StoppingWords(dict[str, torch.Tensor]):
    """Embeddings that stop a training as Ctrl-C does, at their 13th look-up: in the fourth batch of four."""

    looked_up = 0

    def __getitem__(self, name: str) -> torch.Tensor:
        self.looked_up += 1
        if self.looked_up == 13:
            raise KeyboardInterrupt
        return super().__getitem__(name)


def test_a_codec_training_that_was_stopped_continues_bit_equal(pictures: LabeledPictures, tmp_path: Path):
    def fit(folder: str, shown: LabeledPictures = pictures) -> Codec:
        return fit_codec(shown, tmp_path / folder, CPU, steps=4, batch=4, save_every=2)

    whole = fit("whole").state_dict()
    with pytest.raises(KeyboardInterrupt):
        fit("cut", Stopping(**vars(pictures)))
    assert (tmp_path / "cut" / "codec.pt").is_file()
    continued = fit("cut").state_dict()
    for name, value in whole.items():
        assert torch.equal(continued[name], value), name


def test_a_transformer_training_that_was_stopped_continues_bit_equal(pictures: LabeledPictures, tmp_path: Path):
    codec = fit_codec(pictures, tmp_path, CPU, steps=1, batch=2)
    priors = HairPriors(("afro", "bob cut"), ("blue", "red"), 8)
    random = torch.Generator().manual_seed(0)
    styles, colors = (
        {name: torch.randn(1, 24, generator=random) for name in names} for names in (priors.hairstyles, priors.colors)
    )

    def fit(folder: str, colors: dict[str, torch.Tensor] = colors) -> dict[str, torch.Tensor]:
        place = tmp_path / folder
        return fit_token_transformer(
            pictures, codec, styles, colors, priors, place, CPU, steps=4, batch=4, save_every=2
        ).state_dict()

    whole = fit("whole")
    with pytest.raises(KeyboardInterrupt):
        fit("cut", StoppingWords(colors))
    assert (tmp_path / "cut" / "token_transformer.pt").is_file()
    continued = fit("cut")
    for name, value in whole.items():
        assert torch.equal(continued[name], value), name


def test_the_share_of_hidden_tokens_is_a_cosine_within_the_region():
    region = torch.zeros(4000, 4, 4, dtype=torch.bool)
    region[:, :2] = True
    hidden = hide_tokens(region, np.random.default_rng(0))
    assert not (hidden & ~region).any()
    counts = hidden.flatten(1).sum(dim=1)
    assert int(counts.min()) == 1
    # P(count <= k) = P(8 cos(pi u / 2) <= k) = 1 - 2/pi arccos(k / 8)
    for k in range(1, 8):
        assert float((counts <= k).float().mean()) == pytest.approx(1 - 2 / math.pi * math.acos(k / 8), abs=0.03)


def test_targets_are_the_entry_itself_first_and_near_entries_more_than_far_ones():
    codebook = torch.tensor([[0.0], [1.0], [2.0], [3.0], [10.0], [20.0]])
    targets = soft_targets(codebook)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(6))
    assert torch.equal(targets.argmax(dim=1), torch.arange(6))
    assert targets[0, 1] > targets[0, 2] > targets[0, 5]


def test_the_loss_counts_hidden_tokens_alone():
    random = torch.Generator().manual_seed(0)
    logits, tokens = torch.randn(2, 6, 4, 4, generator=random), torch.randint(6, (2, 4, 4), generator=random)
    hidden = torch.rand(2, 4, 4, generator=random) < 0.5
    loss, _ = token_loss(logits, tokens, hidden, torch.eye(6))
    chances = logits.softmax(dim=1).gather(1, tokens[:, None])[:, 0]
    torch.testing.assert_close(loss, -chances[hidden].log().mean())


def test_the_codebook_follows_its_codes_and_drops_entries_that_are_not_used():
    codebook = torch.tensor([[0.0, 0.0], [5.0, 5.0], [100.0, 100.0]])
    average = CodebookAverage(codebook)
    codes = torch.cat([torch.full((1, 2, 4, 2), 1.0), torch.full((1, 2, 4, 2), 4.0)], dim=3)
    tokens = torch.tensor([[[0, 0, 1, 1]] * 4])
    for step in range(600):
        codebook = average.update(codes, tokens, step)
    torch.testing.assert_close(codebook[:2], torch.tensor([[1.0, 1.0], [4.0, 4.0]]), atol=0.02, rtol=0)
    assert codebook[2].max() < 6

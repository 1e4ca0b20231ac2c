"""Each term against the official one, at 1024 px with the official networks' shapes."""

import pytest
import torch

from hairclip.common.color import rgb_to_lab
from hairclip.conditions.encoder import ConditionEncoder
from hairclip.losses import terms
from hairclip.losses.judge import Judged
from tests.golden import agrees, tensor


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def pictures(picture):
    return picture("loss:x"), picture("loss:x_hat")


@pytest.fixture(scope="module")
def judged(pictures, official_loss):
    """The edit of the first picture into the second, for any request."""
    encoder = ConditionEncoder(official_loss.clip, official_loss.parser)
    w_plus = torch.zeros(1, 18, 512)
    with torch.no_grad():
        source = official_loss.source_features(pictures[0])

    def judge(hairstyle=None, color=None) -> Judged:
        batch = encoder.encode([hairstyle], [color])
        return Judged(official_loss, source, pictures[1], w_plus, w_plus, batch)

    return judge


def test_text(official_loss, pictures, judged):
    agrees(official_loss.clip.raw_pixels(pictures[1])[:, :, ::7, ::7], "loss.clip_text_input_every_7th")
    agrees(terms.text_hairstyle(judged("afro"))[0], "loss.text")


def test_hairstyle_of_a_reference(pictures, judged):
    agrees(terms.image_hairstyle(judged(pictures[0]))[0], "loss.image_hairstyle")


def test_hair_masks(judged):
    masks = torch.cat((judged().source.hair_mask, judged().hair_mask))
    agrees(masks.float().mean(dim=(1, 2, 3)), "loss.hair_share")


def test_color(pictures, judged):
    agrees(terms.image_color(judged(color=pictures[0]))[0], "loss.color")
    agrees(terms.maintain_color(judged("afro"))[0], "loss.color")
    agrees(rgb_to_lab(tensor("lab:rgb", (1, 3, 4, 4), 0.5, 0.3) * 2 - 1), "loss.lab_pixels")


def test_background_and_identity(judged):
    agrees(terms.background(judged())[0], "loss.background")
    agrees(terms.identity(judged())[0], "loss.identity")

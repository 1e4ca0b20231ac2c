"""Each loss against the official one, at 1024 px with the official networks' shapes."""

import pytest
import torch

from hairclip.common.color import mean_lab, rgb_to_lab
from hairclip.losses.attribute_preservation import background_loss, identity_loss, maintain_color_loss
from hairclip.losses.image_manipulation import hair_color_loss, hairstyle_loss
from hairclip.losses.text_manipulation import text_loss
from tests.golden import agrees, tensor

ASKED = torch.tensor([True])


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def pictures(picture):
    return picture("loss:x"), picture("loss:x_hat")


@pytest.fixture(scope="module")
def masks(pictures, official_loss):
    return tuple(official_loss.parser.hair_mask(image) for image in pictures)


def test_text(official_loss, pictures):
    clip = official_loss.clip
    agrees(clip.raw_pixels(pictures[1])[:, :, ::7, ::7], "loss.clip_text_input_every_7th")
    edited = clip.encode_image(pictures[1], normalize_pixels=False)
    agrees(text_loss(edited, clip.encode_text(["afro hairstyle"]), ASKED)[0], "loss.text")


def test_hairstyle_of_a_reference(official_loss, pictures, masks):
    reference, edited = (official_loss.clip.encode_image(x * m) for x, m in zip(pictures, masks))
    agrees(hairstyle_loss(edited, reference, ASKED)[0], "loss.image_hairstyle")


def test_hair_masks(masks):
    agrees(torch.cat(masks).float().mean(dim=(1, 2, 3)), "loss.hair_share")


def test_color(pictures, masks):
    source, edited = (mean_lab(x, m) for x, m in zip(pictures, masks))
    agrees(hair_color_loss(edited, source, ASKED)[0], "loss.color")
    agrees(maintain_color_loss(edited, source, ASKED)[0], "loss.color")
    agrees(rgb_to_lab(tensor("lab:rgb", (1, 3, 4, 4), 0.5, 0.3) * 2 - 1), "loss.lab_pixels")


def test_background(pictures, masks):
    (source, edited), (source_hair, edited_hair) = pictures, masks
    agrees(background_loss(edited, source, edited_hair, source_hair)[0], "loss.background")


def test_identity(official_loss, pictures):
    source, edited = (official_loss.identity(image) for image in pictures)
    agrees(identity_loss(edited, source)[0], "loss.identity")

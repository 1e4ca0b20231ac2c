"""The official setting of the losses: the networks of `hairclip.pt`, the CelebAMask parser and IR-SE50."""

import pytest
from torch import Tensor
from torch.nn import functional as F

from hairclip.losses.hair_edit import HairEditLoss
from tests.golden import official, tensor
from tests.helpers.foreign import build


@pytest.fixture(scope="session")
def official_loss() -> HairEditLoss:
    return HairEditLoss(
        clip=build({"state_dict": official("hairclip_pt", prefix="mapper.clip_model.")}, "clip"),
        parser=build(official("parsenet"), "parser"),
        identity=build(official("ir_se50"), "identity"),
    )


@pytest.fixture(scope="session")
def picture():
    """A smooth random picture of 1024 px, the same on every machine for the same name."""

    def make(name: str) -> Tensor:
        small = tensor(name, (1, 3, 32, 32), 0, 0.6)
        return F.interpolate(small, size=(1024, 1024), mode="bilinear", align_corners=False).clamp(-1, 1)

    return make

"""The official setting of the losses: the networks of `hairclip.pt`, the CelebAMask parser and IR-SE50."""

import pytest
import torch
from reference import official, tensor
from torch import Tensor
from torch.nn import functional as F

from hairclip import checkpoint_keys
from hairclip.losses.total import HairEditLoss
from hairclip.networks.clip import Clip
from hairclip.networks.face_parser import UNetParser
from hairclip.networks.ir_se import IdentityEncoder


def load(network: torch.nn.Module, state: dict[str, Tensor]) -> torch.nn.Module:
    """Weights into a network; files of some networks lack the counters of their batch norms."""
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def official_loss() -> HairEditLoss:
    found_clip = checkpoint_keys.clip(official("hairclip_pt", prefix="mapper.clip_model."))
    found_parser = checkpoint_keys.unet_parser(official("parsenet"))
    found_identity = checkpoint_keys.identity(official("ir_se50"))
    return HairEditLoss(
        clip=load(Clip(**found_clip[1]), found_clip[2]),
        parser=load(UNetParser(**found_parser[1]), found_parser[2]),
        identity=load(IdentityEncoder(**found_identity[1]), found_identity[2]),
    )


@pytest.fixture(scope="session")
def picture():
    """A smooth random picture of 1024 px, the same on every machine for the same name."""

    def make(name: str) -> Tensor:
        small = tensor(name, (1, 3, 32, 32), 0, 0.6)
        return F.interpolate(small, size=(1024, 1024), mode="bilinear", align_corners=False).clamp(-1, 1)

    return make

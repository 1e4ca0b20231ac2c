"""facenet-pytorch's network as an identity network: its own numbers, and our crop."""

import pytest
import torch
from facenet_pytorch import InceptionResnetV1
from torch import nn

from hairclip.common.errors import HairclipError
from hairclip.networks.facenet import FacenetEncoder
from hairclip.networks.ir_se import IdentityEncoder
from tests.helpers.foreign import build


def test_a_file_of_facenet_pytorch_gives_its_embeddings():
    torch.manual_seed(0)
    theirs = InceptionResnetV1().eval()
    theirs.logits = nn.Linear(512, 8631)  # as in 20180402-114759-vggface2.pt
    network = build(theirs.state_dict(), "identity")
    assert isinstance(network, FacenetEncoder)
    images = torch.rand(2, 3, 256, 256) * 2 - 1
    faces = network.faces(images)
    assert torch.equal(faces, IdentityEncoder(units=(1, 1), widths=(4, 8), input_size=160).faces(images))
    pixels = (faces + 1) * 127.5
    with torch.no_grad():
        expected = theirs((pixels - 127.5) / 128)
    torch.testing.assert_close(network(images), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(network(images).norm(dim=1), torch.ones(2))
    changed = {key: value for key, value in theirs.state_dict().items() if key != "last_bn.weight"}
    with pytest.raises(HairclipError, match=r"InceptionResnetV1, but lacks 'last_bn\.weight'"):
        build(changed, "identity")

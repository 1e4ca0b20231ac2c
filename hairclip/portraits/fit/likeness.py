"""How far a made picture is from the rendered one: in pixels, in edges, and in the eyes of the frozen recognizers."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hairclip.common.face_labels import BACKGROUND, HAIR
from hairclip.common.images import Images, Labels
from hairclip.networks.clip import Clip
from hairclip.networks.face_parser import FaceParser
from hairclip.networks.ir_se import FaceEncoder


@dataclass(frozen=True)
class Recognizers:
    """The frozen networks that must recognise in a made picture what they recognise in the rendered one."""

    parser: FaceParser
    clip: Clip
    identity: FaceEncoder

    def freeze(self, device: torch.device) -> None:
        """Evaluation mode, no gradients of weights."""
        for network in (self.parser, self.clip, self.identity):
            network.to(device).eval().requires_grad_(False)

    def disagreement(self, made: Images, real: Images, labels: Labels) -> dict[str, Tensor]:
        """Cross entropy with the true labels; 1 - cosine of CLIP's and of identity embeddings: means over the batch."""
        with torch.no_grad():
            wanted = self.clip.encode_image(real), self.identity(real)
        embeddings = self.clip.encode_image(made), self.identity(made)
        clip, identity = (
            (1 - F.cosine_similarity(a.float(), b.float(), dim=-1)).mean()
            for a, b in zip(embeddings, wanted, strict=True)
        )
        return {
            "parser": F.cross_entropy(self.parser.logits(made).float(), labels),
            "clip": clip,
            "identity": identity,
        }


def reconstruction_loss(made: Images, real: Images, weight: Float[Tensor, "batch 1 height width"]) -> Tensor:
    """L1 and L2 of pixels, L1 of neighbour differences (edges), both weighted; L1 of smaller copies (form)."""
    error = made - real
    loss = (weight * (error.abs() + error.square())).mean()
    loss = (
        loss
        + (weight[..., 1:] * error.diff(dim=3).abs()).mean()
        + (weight[..., 1:, :] * error.diff(dim=2).abs()).mean()
    )
    for factor in (2, 4, 16):
        loss = loss + F.avg_pool2d(error, factor).abs().mean()
    return loss


def region_weight(labels: Labels) -> Float[Tensor, "batch 1 height width"]:
    """Pixel by pixel, the person counts most; inside hair less is asked, because strands are hard to foretell."""
    weight = torch.full(labels.shape, 1.2, device=labels.device)
    return weight.masked_fill(labels == BACKGROUND, 0.6).masked_fill(labels == HAIR, 0.7)[:, None]

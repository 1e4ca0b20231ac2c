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
    """The frozen networks that must recognize in a made picture what they recognize in the rendered one."""

    parser: FaceParser
    clip: Clip
    identity: FaceEncoder

    def freeze(self, device: torch.device) -> None:
        """Move the networks to a device and switch off training and the gradients of weights."""
        for network in (self.parser, self.clip, self.identity):
            network.to(device).eval().requires_grad_(False)

    def disagreement(self, made: Images, real: Images, labels: Labels) -> dict[str, Tensor]:
        """Return batch means: cross entropy with the true labels, 1 - cosine of CLIP's and of identity embeddings."""
        with torch.no_grad():
            wanted = self.clip.encode_image(real), self.identity(real)
        embeddings = self.clip.encode_image(made), self.identity(made)
        clip, identity = (
            (1 - F.cosine_similarity(a.float(), b.float(), dim=-1)).mean()
            for a, b in zip(embeddings, wanted, strict=True)
        )
        return {
            "parser": F.cross_entropy(_enlarge(self.parser.logits(made).float(), labels.shape[-1]), labels),
            "clip": clip,
            "identity": identity,
        }


def _enlarge(logits: Tensor, size: int) -> Tensor:
    """Return logits of the parser's own size at the size of the pictures."""
    if logits.shape[-1] == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def reconstruction_loss(made: Images, real: Images, weight: Float[Tensor, "batch 1 height width"]) -> Tensor:
    """Return weighted L1 and L2 of pixels, plus weighted L1 of edges, plus L1 of smaller copies."""
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
    """Return the weight of each pixel: most for the person, less for hair, whose strands no code can hold."""
    weight = torch.full(labels.shape, 1.2, device=labels.device)
    return weight.masked_fill(labels == BACKGROUND, 0.6).masked_fill(labels == HAIR, 0.7)[:, None]

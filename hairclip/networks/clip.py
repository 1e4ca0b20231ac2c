"""CLIP through open_clip, with the two ways in which HairCLIP shows images to it.

Radford et al. 2021. Sizes come from an open_clip model config, so the OpenAI networks and small ones trained elsewhere
are the same class; module names equal those of open_clip and of OpenAI's files.
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from hairclip.images import Images, resize_area

#: open_clip's config of OpenAI's ViT-B/32. Its activation is QuickGELU: plain GELU gives other numbers.
VIT_B_32: dict[str, Any] = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}

PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)

Tokens = Int[Tensor, "batch context"]
Pixels = Float[Tensor, "batch 3 side side"]
Embeddings = Float[Tensor, "batch embedding"]


class Clip(CLIP):
    """Text and images to embeddings of one space.

    Args:
        model: an open_clip model config: ``embed_dim``, ``vision_cfg``, ``text_cfg``, ``quick_gelu``.
    """

    def __init__(self, model: dict[str, Any]) -> None:
        super().__init__(
            embed_dim=model["embed_dim"],
            vision_cfg=CLIPVisionCfg(**model["vision_cfg"]),
            text_cfg=CLIPTextCfg(**model["text_cfg"]),
            quick_gelu=model.get("quick_gelu", False),
        )
        self.model_config = deepcopy(model)
        self.width: int = model["embed_dim"]
        self.image_size: int = self.model_config["vision_cfg"].get("image_size", 224)
        # not persistent: the state dict stays the one of open_clip
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"model": deepcopy(self.model_config)}

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Byte-pair tokens ``(B, context_length)`` int64; longer texts are cut off."""
        tokens = _tokenizer()(list(texts), context_length=self.context_length)
        return tokens.to(self.positional_embedding.device)

    def encode_text(self, texts: Sequence[str] | Tokens) -> Embeddings:
        """Texts, or their tokens, to ``(B, width)`` float32, not normalised."""
        return super().encode_text(texts if isinstance(texts, Tensor) else self.tokenize(texts)).float()

    def encode_image(self, images: Images, *, normalize_pixels: bool = True) -> Embeddings:
        """Images ``(B, 3, H, W)``, RGB, [-1, 1], any size, to ``(B, width)`` float32, not normalised.

        Args:
            normalize_pixels: True prepares pixels as CLIP was trained and as HairCLIP prepares references. False is
                what HairCLIP's text loss does: exact area resampling, values left in [-1, 1] (as in StyleCLIP).
        """
        return super().encode_image(self.pixels(images) if normalize_pixels else self.raw_pixels(images)).float()

    def pixels(self, images: Images) -> Pixels:
        """What the image tower sees of a reference: resized, rescaled to [0, 1], standardised per channel."""
        return (resize_area(images, self.image_size) * 0.5 + 0.5 - self.pixel_mean) / self.pixel_std

    def raw_pixels(self, images: Images) -> Pixels:
        """What the image tower sees in HairCLIP's text loss: area-resampled, values as they are."""
        return area_resample(images, self.image_size)

    def forward(
        self, images: Images, texts: Sequence[str] | Tokens
    ) -> tuple[Embeddings, Embeddings, Float[Tensor, "..."]]:
        """For contrastive training: normalised image and text embeddings, and the factor of their cosine."""
        image_embeddings = F.normalize(self.encode_image(images), dim=-1)
        text_embeddings = F.normalize(self.encode_text(texts), dim=-1)
        return image_embeddings, text_embeddings, self.logit_scale.exp()


@lru_cache(maxsize=1)
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


def area_resample(images: Images, size: int) -> Pixels:
    """To ``(B, 3, size, size)``, each target pixel the exact mean of the source area it covers.

    Equal to enlarging by repetition to a common multiple and average pooling, without the large intermediate. Differs
    from adaptive average pooling, which weights every touched source pixel the same.
    """
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    rows, columns = _area_weights(height, size, like=images), _area_weights(width, size, like=images)
    return rows @ images @ columns.T


def _area_weights(source: int, target: int, *, like: Tensor) -> Float[Tensor, "target source"]:
    # In units of 1/target of a source pixel every edge is an integer, so the overlaps are exact.
    t = torch.arange(target, device=like.device)[:, None]
    s = torch.arange(source, device=like.device)[None, :]
    overlap = torch.minimum((t + 1) * source, (s + 1) * target) - torch.maximum(t * source, s * target)
    return overlap.clamp(min=0).to(like.dtype) / source

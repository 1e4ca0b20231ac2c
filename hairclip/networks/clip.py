"""CLIP through open_clip, with the two ways in which HairCLIP shows images to it.

Radford et al. 2021. Sizes come from an open_clip model config, so one class serves OpenAI's networks and small ones.
Module names equal those of open_clip and of OpenAI's files. `TowersClip` serves models whose text tower is a separate
module (SigLIP and others). `CocaClip` serves CoCa models.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor, nn

from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, area_resample, resize_area
from hairclip.networks.clip_layers import replace_layers

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
    """Encodes texts and images to embeddings of one space.

    Args:
        model: an open_clip model config: ``embed_dim``, ``vision_cfg``, ``text_cfg``, ``quick_gelu``.
        pixel_mean, pixel_std: mean and standard deviation per channel of the training pixels in [0, 1]; OpenAI's by
            default.
    """

    def __init__(
        self,
        model: dict[str, Any],
        pixel_mean: Sequence[float] = PIXEL_MEAN,
        pixel_std: Sequence[float] = PIXEL_STD,
    ) -> None:
        self._build(**_sizes(model))
        replace_layers(self)
        self.model_config = deepcopy(model)
        self.pixel_scale = tuple(pixel_mean), tuple(pixel_std)
        self.width: int = model["embed_dim"]
        self.image_size: int = self.model_config["vision_cfg"].get("image_size", 224)
        # not persistent: the state dict stays the one of open_clip
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(3, 1, 1), persistent=False)

    def _build(self, **sizes: Any) -> None:
        CLIP.__init__(self, **sizes)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config: dict[str, Any] = {"model": deepcopy(self.model_config)}
        if self.pixel_scale != (PIXEL_MEAN, PIXEL_STD):
            config |= dict(zip(("pixel_mean", "pixel_std"), map(list, self.pixel_scale)))
        return config

    def tokenize(self, texts: Sequence[str], *, room: int = 0) -> Tokens:
        """Return byte-pair tokens, (B, context_length + room) int64; longer texts are cut off."""
        text = self.model_config["text_cfg"]
        name, options = text.get("hf_tokenizer_name") or "", text.get("tokenizer_kwargs") or {}
        tokenizer = _tokenizer(name, self.context_length, text.get("tokenizer_mode"), json.dumps(options))
        return tokenizer(list(texts), context_length=self.context_length + room).to(self.logit_scale.device)

    def encode_text(self, texts: Sequence[str] | Tokens) -> Embeddings:
        """Return embeddings (B, width), float32, not normalized, of B texts or of their tokens."""
        return self._embed_text(texts if isinstance(texts, Tensor) else self.tokenize(texts)).float()

    def encode_image(self, images: Images, *, normalize_pixels: bool = True) -> Embeddings:
        """Return embeddings (B, width), float32, not normalized, of images.

        Args:
            images: (B, 3, H, W), RGB in [-1, 1], of any size.
            normalize_pixels: True prepares pixels as in CLIP's training and in HairCLIP's references. False prepares
                them as in HairCLIP's text loss: exact area resampling, values left in [-1, 1] (as in StyleCLIP).
        """
        return self.encode_pixels(self.pixels(images) if normalize_pixels else self.raw_pixels(images))

    def encode_pixels(self, pixels: Pixels) -> Embeddings:
        """Return embeddings (B, width), float32, not normalized, of the output of `pixels` or `raw_pixels`."""
        return self._embed_pixels(pixels).float()

    def _embed_text(self, tokens: Tokens) -> Embeddings:
        return super().encode_text(tokens)

    def _embed_pixels(self, pixels: Pixels) -> Embeddings:
        return self.visual(pixels)

    def pixels(self, images: Images) -> Pixels:
        """Return images resized, rescaled to [0, 1] and standardized per channel, as CLIP was trained."""
        return (resize_area(images, self.image_size) * 0.5 + 0.5 - self.pixel_mean) / self.pixel_std

    def raw_pixels(self, images: Images) -> Pixels:
        """Return images resized by area resampling with values left in [-1, 1], as in HairCLIP's text loss."""
        return area_resample(images, self.image_size)

    def forward(
        self, images: Images, texts: Sequence[str] | Tokens
    ) -> tuple[Embeddings, Embeddings, Float[Tensor, "..."]]:
        """Return L2-normalized image and text embeddings and the scale of their cosine, for contrastive training."""
        image_embeddings = F.normalize(self.encode_image(images), dim=-1)
        text_embeddings = F.normalize(self.encode_text(texts), dim=-1)
        return image_embeddings, text_embeddings, self.logit_scale.exp()


class TowersClip(Clip, CustomTextCLIP):
    """A `Clip` with two separate tower modules: SigLIP, and models with a timm or Hugging Face tower."""

    def _build(self, **sizes: Any) -> None:
        CustomTextCLIP.__init__(self, **sizes)

    def _embed_text(self, tokens: Tokens) -> Embeddings:
        return self.text(tokens)


class CocaClip(Clip, CoCa):
    """The two contrastive towers of a CoCa model (Yu et al. 2022); its caption decoder is kept and not used."""

    def _build(self, **sizes: Any) -> None:
        CoCa.__init__(self, **sizes)

    def _embed_text(self, tokens: Tokens) -> Embeddings:
        # open_clip's text tower appends a class token in the last position
        return self.text(tokens)[0]

    def _embed_pixels(self, pixels: Pixels) -> Embeddings:
        return self.visual(pixels)[0]


CLASSES: dict[str, type[nn.Module]] = {"Clip": Clip, "TowersClip": TowersClip, "CocaClip": CocaClip}


def class_of(model: dict[str, Any]) -> str:
    """Return the name in `CLASSES` of the class for an open_clip model config."""
    if "multimodal_cfg" in model:
        return "CocaClip"
    return "TowersClip" if model.get("custom_text") or model["text_cfg"].get("hf_model_name") else "Clip"


def _sizes(model: dict[str, Any]) -> dict[str, Any]:
    """Return open_clip's constructor arguments for a model config. They never make a tower fetch weights."""
    vision, text = dict(model["vision_cfg"]), dict(model["text_cfg"])
    if ":" in str(vision.get("timm_model_name")):
        raise ValueError(f"the vision tower {vision['timm_model_name']!r} would have to be fetched")
    vision["timm_model_pretrained"], text["hf_model_pretrained"] = False, False
    others = ("quick_gelu", "init_logit_bias", "init_logit_scale", "nonscalar_logit_scale", "multimodal_cfg")
    return {
        "embed_dim": model["embed_dim"],
        "vision_cfg": CLIPVisionCfg(**vision),
        "text_cfg": CLIPTextCfg(**text),
        **{name: model[name] for name in others if name in model},
    }


@lru_cache(maxsize=4)
def _tokenizer(name: str, context_length: int, mode: str | None, options: str) -> Any:
    """Return the tokenizer with this name on the Hugging Face Hub; OpenAI's if the name is empty.

    Args:
        name: name of a repository, or "".
        context_length: number of tokens of a text.
        mode: open_clip's `tokenizer_mode`.
        options: further keyword arguments as JSON.
    """
    if not name:
        return SimpleTokenizer(context_length=context_length, **json.loads(options))
    try:
        return HFTokenizer(name, context_length=context_length, tokenizer_mode=mode, **json.loads(options))
    except Exception as error:  # whatever the hub, its client and the tokenizer's own package raise
        reason = " ".join(str(error).split())[:200]
        raise HairclipError(
            f"this CLIP's tokenizer {name} cannot be loaded ({reason}): it needs the package transformers and, the "
            "first time, the network."
        ) from None

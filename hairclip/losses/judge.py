"""What the loss terms look at: features of the source and edited pictures, each computed once a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from hairclip.common.color import Gamma, LabColors, mean_lab
from hairclip.common.images import Embeddings, Flags, Images, Masks, WPlus, area_resample, resize_area
from hairclip.conditions.encoder import EditBatch, shown_hair
from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.networks.face_parser import FaceParser
from hairclip.networks.ir_se import FaceEncoder
from hairclip.networks.mapper import References

if TYPE_CHECKING:  # open_clip takes seconds to import: it is loaded with the first CLIP
    import hairclip.networks.clip

__all__ = ["Judge", "Judged", "SourceFeatures", "TextPixels"]

TextPixels: TypeAlias = Literal["official", "normalized"]


@dataclass(frozen=True)
class SourceFeatures:
    """Features of the unedited pictures, computed once.

    Attributes:
        images: the pictures as the losses see them, ``(B, 3, H, W)``, RGB, [-1, 1].
        hair_mask: where they show hair, ``(B, 1, H, W)``.
        identity: L2-normalized identity embeddings, ``(B, width)``.
        mean_lab: mean Lab color of their hair, ``(B, 3)``.
    """

    images: Images
    hair_mask: Masks
    identity: Float[Tensor, "batch embedding"]
    mean_lab: LabColors

    def __len__(self) -> int:
        return len(self.images)


class Judge:
    """The frozen networks that judge pictures, and how pictures are shown to them.

    The networks are switched to evaluation and their parameters excluded from gradients.

    Args:
        clip: judges text and hairstyle.
        parser: finds the hair.
        identity: judges who a face is.
        text_pixels: what CLIP sees in the text terms. "official": pixels in [-1, 1] as they are, as in HairCLIP;
            "normalized": pixels as CLIP was trained with.
        gamma: how colors become Lab, see `hairclip.common.color.rgb_to_lab`; "none" as in HairCLIP.
        resolution: pixels to which pictures are reduced before anything judges them; None leaves them as they are.
        precision: autocast of the three networks.
        references: what CLIP sees of reference pictures. "whole": the hair, as in HairCLIP. "separated": its shape
            without its color, or its color alone. The embedding of one of these plays the part of a text's embedding,
            so the text terms then apply to references too.
        hairstyles: names of all hairstyles, for terms that tell one from the others.
        colors: names of all colors, for the same terms.
    """

    def __init__(
        self,
        clip: "hairclip.networks.clip.Clip",
        parser: FaceParser,
        identity: FaceEncoder,
        *,
        text_pixels: TextPixels = "official",
        gamma: Gamma = "none",
        resolution: int | None = None,
        precision: torch.dtype = torch.float32,
        references: References = "whole",
        hairstyles: Sequence[str] = (),
        colors: Sequence[str] = (),
    ) -> None:
        if text_pixels not in ("official", "normalized"):
            raise ValueError(f"text_pixels is 'official' or 'normalized', not {text_pixels!r}")
        self.clip = clip.requires_grad_(False).eval()
        self.parser = parser.requires_grad_(False).eval()
        self.identity = identity.requires_grad_(False).eval()
        self.normalize_text_pixels = text_pixels == "normalized"
        self.gamma: Gamma = gamma
        self.resolution, self.precision = resolution, precision
        self.references: References = references
        self.hairstyles, self.colors = tuple(hairstyles), tuple(colors)

    @cached_property
    def scale(self) -> float:
        """CLIP's logit scale, the inverse of its temperature."""
        return float(self.clip.logit_scale.detach().exp())

    @cached_property
    def hairstyle_words(self) -> Embeddings:
        """CLIP's embeddings of all hairstyles, ``(words, width)``."""
        with torch.no_grad():
            return self.clip.encode_text([hairstyle_prompt(name) for name in self.hairstyles])

    @cached_property
    def color_words(self) -> Embeddings:
        """CLIP's embeddings of all colors, ``(words, width)``."""
        with torch.no_grad():
            return self.clip.encode_text([color_prompt(name) for name in self.colors])

    def reduced(self, images: Images) -> Float[Tensor, "batch 3 _ _"]:
        """Return pictures as the losses see them: each pixel the mean of its area, float32.

        Reducing twice equals reducing once where every edge of the second grid lies on an edge of the first.

        Returns:
            ``(B, 3, resolution, resolution)``, or the pictures themselves if they are no larger.
        """
        images = images.float()
        if self.resolution is None or max(images.shape[-2:]) <= self.resolution:
            return images
        if images.shape[-1] % self.resolution == 0 and images.shape[-2] % self.resolution == 0:
            return resize_area(images, self.resolution)
        return area_resample(images, self.resolution)

    def autocast(self, images: Images) -> torch.autocast:
        """Return the autocast under which the networks look at pictures."""
        enabled = self.precision != torch.float32
        return torch.autocast(images.device.type, dtype=self.precision if enabled else None, enabled=enabled)

    @torch.no_grad()
    def source_features(self, images: Images) -> SourceFeatures:
        """Compute the features of unedited pictures, ``(B, 3, H, W)``, RGB, [-1, 1]."""
        images = self.reduced(images)
        with self.autocast(images):
            hair_mask, identity = self.parser.hair_mask(images), self.identity(images).float()
        return SourceFeatures(images, hair_mask, identity, mean_lab(images, hair_mask, self.gamma))


@dataclass(frozen=True)
class Judged:
    """Everything that a loss term may read of a batch of edits.

    The features of the edited pictures below are computed when the first term reads them, and once for all terms.

    Attributes:
        judge: the networks and their settings, for features that are not here.
        source: features of the pictures before the edit.
        edited: the pictures after it as the losses see them, ``(B, 3, H, W)``, RGB, about [-1, 1], with gradients.
        w_plus: codes before the edit, ``(B, n_latent, w_dim)``.
        w_hat: codes after it, with gradients.
        batch: what is asked of each sample.
    """

    judge: Judge
    source: SourceFeatures
    edited: Images
    w_plus: WPlus
    w_hat: WPlus
    batch: EditBatch

    @cached_property
    def hair_mask(self) -> Masks:
        """Where the edited pictures show hair, bool ``(B, 1, H, W)``."""
        with self.judge.autocast(self.edited):
            return self.judge.parser.hair_mask(self.edited.detach())

    @cached_property
    def identity(self) -> Float[Tensor, "batch embedding"]:
        """L2-normalized identity embeddings of the edited pictures, ``(B, width)``."""
        with self.judge.autocast(self.edited):
            return self.judge.identity(self.edited).float()

    @cached_property
    def mean_lab(self) -> LabColors:
        """Mean Lab color of the edited hair, ``(B, 3)``."""
        return mean_lab(self.edited, self.hair_mask, self.judge.gamma)

    @property
    def picture_embedding(self) -> Embeddings:
        """CLIP's embeddings of the whole edited pictures, ``(B, width)``; 0 where no text term applies."""
        return self.clip_embeddings[0]

    @property
    def hair_embedding(self) -> Embeddings:
        """CLIP's embeddings of the edited hair, ``(B, width)``; 0 for samples without a hairstyle reference."""
        return self.clip_embeddings[1]

    @property
    def hairstyle_as_text(self) -> Flags:
        """Whether the text terms apply to the hairstyle of a sample, ``(B,)``."""
        return self._as_text(self.batch.condition.has_hairstyle, self.batch.hairstyle_is_text)

    @property
    def color_as_text(self) -> Flags:
        """Whether the text terms apply to the color of a sample, ``(B,)``."""
        return self._as_text(self.batch.condition.has_color, self.batch.color_is_text)

    def _as_text(self, present: Flags, is_text: Flags) -> Flags:
        return present if self.judge.references == "separated" else is_text

    @cached_property
    def clip_embeddings(self) -> tuple[Embeddings, Embeddings]:
        """CLIP's embeddings of the whole pictures and of their hair, ``(B, width)`` each, in one pass.

        A picture is encoded only where a term needs it: with HairCLIP's task probabilities 0.94 times a sample, not
        twice (1.36 times with separated references). Elsewhere the embedding is 0.
        """
        judge, edited = self.judge, self.edited
        has_hairstyle, has_color, hairstyle_is_text, color_is_text = self.batch.on_host.unbind(1)
        needs_picture = self._as_text(has_hairstyle, hairstyle_is_text) | self._as_text(has_color, color_is_text)
        needs = needs_picture, has_hairstyle & ~hairstyle_is_text
        by_text, by_image = (flags.nonzero()[:, 0].to(edited.device, non_blocking=True) for flags in needs)
        prepare = judge.clip.pixels if judge.normalize_text_pixels else judge.clip.raw_pixels
        hair = shown_hair(edited.index_select(0, by_image), self.hair_mask.index_select(0, by_image), judge.references)
        pixels = [prepare(edited.index_select(0, by_text)), judge.clip.pixels(hair)]
        rows = torch.cat((by_text, by_image + len(edited)))
        embeddings = edited.new_zeros(2 * len(edited), judge.clip.width)
        if len(rows):
            with judge.autocast(edited):
                found = judge.clip.encode_pixels(torch.cat(pixels))
            embeddings = embeddings.index_copy(0, rows, found)
        return embeddings[: len(edited)], embeddings[len(edited) :]

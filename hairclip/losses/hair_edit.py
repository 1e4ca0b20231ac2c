"""The training loss of HairCLIP: three families of terms, weighted and summed, with networks shared between them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from hairclip.common.color import Gamma, LabColors, mean_lab
from hairclip.common.images import Embeddings, Flags, Images, Masks, Scores, WPlus, area_resample, resize_area
from hairclip.conditions.encoder import EditBatch, shown_hair
from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.losses.attribute_preservation import background_loss, identity_loss, latent_loss, maintain_color_loss
from hairclip.losses.image_manipulation import hair_color_loss, hairstyle_loss
from hairclip.losses.text_manipulation import contrast_loss, text_loss
from hairclip.networks.face_parser import FaceParser
from hairclip.networks.ir_se import FaceEncoder
from hairclip.networks.mapper import References

if TYPE_CHECKING:  # open_clip takes seconds to import: it is loaded with the first CLIP
    import hairclip.networks.clip

TextPixels: TypeAlias = Literal["official", "normalized"]


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts; the defaults are HairCLIP's (section 4.1), family weight times the term's constant.

    Attributes:
        text: both text terms; text family 2.0.
        image_hairstyle: hairstyle of a reference; 5.0 in the image family, 1.0.
        image_color: colour of a reference, in Lab units; 0.02 in the image family.
        identity: 0.3 in the preservation family, 1.0.
        maintain_color: 0.02 in that family.
        background: 1.0 in that family.
        latent: 0.8 in that family.
        contrast: of both text terms among the words, see :func:`hairclip.losses.text_manipulation.contrast_loss`;
            HairCLIP has none.
    """

    text: float = 2.0
    image_hairstyle: float = 5.0
    image_color: float = 0.02
    identity: float = 0.3
    maintain_color: float = 0.02
    background: float = 1.0
    latent: float = 0.8
    contrast: float = 0.0

    def of_terms(self) -> dict[str, float]:
        """The weight of each entry of :attr:`LossOutput.terms`."""
        weights = {field.name: float(getattr(self, field.name)) for field in fields(self)}
        text, contrast = weights.pop("text"), weights.pop("contrast")
        contrasts = {"contrast_hairstyle": contrast, "contrast_color": contrast} if contrast else {}
        return {"text_hairstyle": text, "text_color": text, **contrasts, **weights}


@dataclass(frozen=True)
class SourceFeatures:
    """What the losses need of the unedited pictures, computed once.

    Attributes:
        images: the source pictures as the losses see them, ``(B, 3, H, W)``, [-1, 1].
        hair_mask: where they show hair, ``(B, 1, H, W)``.
        identity: L2-normalised identity embeddings.
        mean_lab: mean Lab colour of their hair, ``(B, 3)``.
    """

    images: Images
    hair_mask: Masks
    identity: Float[Tensor, "batch embedding"]
    mean_lab: LabColors

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class LossOutput:
    """A batch's loss.

    Attributes:
        total: mean over the samples, scalar.
        per_sample: weighted sum of the terms of each sample, ``(B,)``.
        terms: each term before its weight, ``(B,)``; 0 where it does not apply to the sample.
    """

    total: Float[Tensor, ""]
    per_sample: Scores
    terms: dict[str, Scores]


class HairEditLoss:
    """Everything an edited picture is judged by.

    The networks are frozen: switched to evaluation and their parameters excluded from gradients. A term counts where
    its flag is set, and no sample depends on which tasks a batch happens to mix. CLIP sees only what a flag asks for,
    all in one pass.

    Args:
        clip: judges text and hairstyle.
        parser: finds the hair, once per call.
        identity: judges who it is.
        weights: of the terms.
        text_pixels: what CLIP sees in the text terms. ``"official"``: pixels in [-1, 1] as they are, as HairCLIP does;
            ``"normalized"``: pixels as CLIP was trained with.
        gamma: how colours become Lab, see :func:`hairclip.common.color.rgb_to_lab`; ``"none"`` as HairCLIP does.
        resolution: pixels to which pictures are area-reduced, once, before anything sees them; None leaves them as they
            are, as HairCLIP does. Exact for the text terms where it is a multiple of CLIP's input, see `reduced`.
        precision: in which the networks judge, by autocast; colours, differences and sums are always float32.
        references: what CLIP sees of hair where it judges a hairstyle by a reference, see
            :class:`hairclip.networks.mapper.HairMapper`; as the conditions were encoded. The embedding of a hairstyle
            without colour, or of a colour without hairstyle, is what a text would be: "separated" references are
            asked for by the text terms too.
        hairstyles: the names that the contrast terms tell apart; needed where their weight is not 0.
        colors: likewise.
    """

    def __init__(
        self,
        clip: "hairclip.networks.clip.Clip",
        parser: FaceParser,
        identity: FaceEncoder,
        weights: LossWeights | None = None,
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
        self.weights = weights or LossWeights()
        self.normalize_text_pixels = text_pixels == "normalized"
        self.gamma: Gamma = gamma
        self.resolution, self.precision = resolution, precision
        self.references: References = references
        if self.weights.contrast:
            if not hairstyles or not colors:
                raise ValueError("a contrast needs words: give hairstyles and colors")
            with torch.no_grad():
                self.scale = float(self.clip.logit_scale.exp())
                self.hairstyle_words = self.clip.encode_text([hairstyle_prompt(name) for name in hairstyles])
                self.color_words = self.clip.encode_text([color_prompt(name) for name in colors])

    def reduced(self, images: Images) -> Float[Tensor, "batch 3 _ _"]:
        """Pictures as the losses see them, ``(B, 3, resolution, resolution)``: each pixel the mean of its area.

        Reducing twice equals reducing once where every edge of the second grid lies on one of the first.
        """
        images = images.float()
        if self.resolution is None or max(images.shape[-2:]) <= self.resolution:
            return images
        if images.shape[-1] % self.resolution == 0 and images.shape[-2] % self.resolution == 0:
            return resize_area(images, self.resolution)
        return area_resample(images, self.resolution)

    def _judging(self, images: Images) -> torch.autocast:
        enabled = self.precision != torch.float32
        return torch.autocast(images.device.type, dtype=self.precision if enabled else None, enabled=enabled)

    @torch.no_grad()
    def source_features(self, images: Images) -> SourceFeatures:
        """What is compared with of the unedited pictures, ``(B, 3, H, W)``, RGB, [-1, 1]."""
        images = self.reduced(images)
        with self._judging(images):
            hair_mask, identity = self.parser.hair_mask(images), self.identity(images).float()
        return SourceFeatures(
            images=images,
            hair_mask=hair_mask,
            identity=identity,
            mean_lab=mean_lab(images, hair_mask, self.gamma),
        )

    def __call__(
        self, source: SourceFeatures, edited: Images, w_plus: WPlus, w_hat: WPlus, batch: EditBatch
    ) -> LossOutput:
        """Judge a batch of edits.

        Args:
            source: features of the pictures before the edit.
            edited: the pictures after it, ``(B, 3, H, W)``, RGB, about [-1, 1], with gradients.
            w_plus: codes before the edit, ``(B, n_latent, w_dim)``.
            w_hat: codes after it.
            batch: what was asked of each sample.
        """
        edited = self.reduced(edited)
        condition = batch.condition
        hairstyle_as_text, color_as_text = self._as_text(
            condition.has_hairstyle, condition.has_color, batch.hairstyle_is_text, batch.color_is_text
        )
        with self._judging(edited):
            hair_mask = self.parser.hair_mask(edited.detach())
            identity = self.identity(edited).float()
        whole, hair = self._embeddings(edited, hair_mask, batch)
        lab = mean_lab(edited, hair_mask, self.gamma)
        keeps_color = condition.has_hairstyle & ~condition.has_color

        terms = {
            "text_hairstyle": text_loss(whole, condition.hairstyle, hairstyle_as_text),
            "text_color": text_loss(whole, condition.color, color_as_text),
        }
        if self.weights.contrast:
            terms["contrast_hairstyle"] = contrast_loss(
                whole, condition.hairstyle, self.hairstyle_words, self.scale, hairstyle_as_text
            )
            terms["contrast_color"] = contrast_loss(whole, condition.color, self.color_words, self.scale, color_as_text)
        terms |= {
            "image_hairstyle": hairstyle_loss(hair, condition.hairstyle, batch.hairstyle_is_image),
            "image_color": hair_color_loss(lab, batch.reference_lab, batch.color_is_image),
            "identity": identity_loss(identity, source.identity),
            "maintain_color": maintain_color_loss(lab, source.mean_lab, keeps_color),
            "background": background_loss(edited, source.images, hair_mask, source.hair_mask),
            "latent": latent_loss(w_hat, w_plus),
        }
        weights = self.weights.of_terms()
        per_sample = torch.stack([weights[name] * term for name, term in terms.items()]).sum(dim=0)
        return LossOutput(total=per_sample.mean(), per_sample=per_sample, terms=terms)

    def _as_text(
        self, has_hairstyle: Flags, has_color: Flags, hairstyle_is_text: Flags, color_is_text: Flags
    ) -> tuple[Flags, Flags]:
        """Which hairstyles and which colours the text terms ask for."""
        return (has_hairstyle, has_color) if self.references == "separated" else (hairstyle_is_text, color_is_text)

    def _embeddings(self, edited: Images, hair_mask: Masks, batch: EditBatch) -> tuple[Embeddings, Embeddings]:
        """CLIP's embeddings of the whole pictures and of their hair, ``(B, width)`` each; 0 where no term asks for one.

        With HairCLIP's task probabilities 0.94 pictures a sample are asked for, not 2 (separated references: 1.36).
        """
        has_hairstyle, has_color, hairstyle_is_text, color_is_text = batch.on_host.unbind(1)
        as_text = self._as_text(has_hairstyle, has_color, hairstyle_is_text, color_is_text)
        asked = as_text[0] | as_text[1], has_hairstyle & ~hairstyle_is_text
        by_text, by_image = (flags.nonzero()[:, 0].to(edited.device, non_blocking=True) for flags in asked)
        prepare = self.clip.pixels if self.normalize_text_pixels else self.clip.raw_pixels
        hair = shown_hair(edited.index_select(0, by_image), hair_mask.index_select(0, by_image), self.references)
        pixels = [prepare(edited.index_select(0, by_text)), self.clip.pixels(hair)]
        rows = torch.cat((by_text, by_image + len(edited)))
        embeddings = edited.new_zeros(2 * len(edited), self.clip.width)
        if len(rows):
            with self._judging(edited):
                found = self.clip.encode_pixels(torch.cat(pixels))
            embeddings = embeddings.index_copy(0, rows, found)
        return embeddings[: len(edited)], embeddings[len(edited) :]

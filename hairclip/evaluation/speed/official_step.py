"""The training step as the official code takes it: one sample, nothing cached, frozen or shared.

- Every step computes the source picture, its features and every embedding anew.
- The parser runs wherever a mask is needed: 4 times for a hairstyle as text, up to 8 times for two references.
- CLIP encodes the edited picture once for each term that needs it, and a text for the mapper and again for its term.
- The weights of generator, CLIP and identity network require gradients, as in the official code, so the backward pass
  computes them too. Here they are dropped afterwards; the official code goes on adding them up.
- Everything is float32. On a GPU the official CLIP is float16.

The official code has no terms of a user's own. Here, the term's function is called with a batch of one sample. The
library calls it with the whole batch. Both agree if the value of a sample does not depend on the other samples.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.common.color import Gamma, LabColors, flat_hair_color, gray_hair, rgb_to_lab
from hairclip.common.images import Embeddings, Images, Masks, WPlus
from hairclip.conditions.encoder import EditBatch
from hairclip.evaluation.speed.official_networks import generate, hair_mask, mapper_output, text_pixels
from hairclip.losses.hair_edit import HairEditLoss
from hairclip.losses.judge import Judged
from hairclip.losses.terms import TERMS
from hairclip.networks.mapper import HairCondition, HairMapper
from hairclip.networks.stylegan2 import Generator

__all__ = ["OfficialStep", "PromptOrPicture"]

PromptOrPicture = str | Images | None
"""A complete prompt, a reference picture ``(1, 3, H, W)``, or nothing."""

Separated = Callable[[Images, Masks], Images]


@dataclass(frozen=True)
class OfficialStep:
    """The official step on the networks of the library.

    Attributes:
        mapper: the mapper that is trained.
        generator: makes the source and the edited picture.
        loss: gives its networks, weights of the terms and settings.
    """

    mapper: HairMapper
    generator: Generator
    loss: HairEditLoss

    def __call__(
        self,
        w_plus: WPlus,
        hairstyle: PromptOrPicture,
        color: PromptOrPicture,
        descend: Callable[[Tensor], None] = lambda total: total.backward(),
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run forward and backward on one sample, which adds to the gradients of the mapper.

        Args:
            w_plus: source code, ``(1, n_latent, w_dim)``.
            hairstyle: prompt or reference picture of the new hairstyle; None keeps it.
            color: prompt or reference picture of the new color; None keeps it.
            descend: takes the loss while all weights require gradients; by default runs its backward pass.

        Returns:
            The weighted sum of the terms, a scalar, and the terms that apply, each a scalar before its weight.
        """
        with _unfrozen(self.generator, self.loss.clip, self.loss.identity, self.loss.parser):
            terms = self._terms(w_plus, hairstyle, color)
            total = torch.stack([self.loss.weights[name] * term for name, term in terms.items()]).sum()
            descend(total)
        return total.detach(), {name: term.detach() for name, term in terms.items()}

    def _terms(self, w_plus: WPlus, hairstyle: PromptOrPicture, color: PromptOrPicture) -> dict[str, Tensor]:
        loss = self.loss
        with torch.no_grad():
            source = generate(self.generator, w_plus)
        conditions = self._condition(hairstyle, gray_hair), self._condition(color, flat_hair_color)
        move = mapper_output(self.mapper, w_plus, *conditions)
        w_hat = w_plus + move
        edited = generate(self.generator, w_hat)

        terms = {"identity": 1 - (loss.identity(edited) * loss.identity(source).detach()).sum()}
        contrasts = "contrast_hairstyle" in loss.weights
        for name, request, separated in (("hairstyle", hairstyle, gray_hair), ("color", color, flat_hair_color)):
            # With separated references the text terms apply to them too.
            if isinstance(request, str) or (request is not None and loss.references == "separated"):
                wanted = self._wanted(request, separated)
                shown = self._embedding(edited)
                terms[f"text_{name}"] = 1 - F.cosine_similarity(shown, wanted).mean()
                if contrasts:
                    words = loss.hairstyle_words if name == "hairstyle" else loss.color_words
                    terms[f"contrast_{name}"] = self._divergence(shown, wanted, words)
        if isinstance(hairstyle, Tensor):
            wanted, has = self._hair_embedding(hairstyle, gray_hair), self._hair_embedding(edited, gray_hair)
            terms["image_hairstyle"] = 1 - F.cosine_similarity(has, wanted).mean()
        if isinstance(color, Tensor):
            terms["image_color"] = self._color_distance(color, edited)
        if hairstyle is not None and color is None:
            terms["maintain_color"] = self._color_distance(source, edited)
        background = ~(hair_mask(loss.parser, source) | hair_mask(loss.parser, edited))
        terms["background"] = F.mse_loss(edited * background, source * background)
        terms["latent"] = F.mse_loss(w_hat, w_plus)
        own = [name for name in loss.weights if name not in TERMS]
        if own:
            judged = self._judged(source, edited, w_plus, w_hat, hairstyle, color, conditions)
            terms |= {name: loss.term(name, judged).squeeze(0) for name in own}
        return {name: term for name, term in terms.items() if name in loss.weights}

    def _judged(
        self,
        source: Images,
        edited: Images,
        w_plus: WPlus,
        w_hat: WPlus,
        hairstyle: PromptOrPicture,
        color: PromptOrPicture,
        conditions: tuple[Embeddings | None, Embeddings | None],
    ) -> Judged:
        """Return the sample as a user's own term reads it: whole pictures in float32."""
        judge = copy.copy(self.loss)
        judge.resolution, judge.precision = None, torch.float32
        absent = torch.zeros(1, judge.clip.width, device=w_plus.device)
        flags = [hairstyle is not None, color is not None, isinstance(hairstyle, str), isinstance(color, str)]
        has_hairstyle, has_color, hairstyle_is_text, color_is_text = torch.tensor(flags, device=w_plus.device)[:, None]
        lab = torch.zeros(1, 3, device=w_plus.device)
        if isinstance(color, Tensor):
            lab = _mean_lab(color, hair_mask(judge.parser, color), judge.gamma)
        style, shade = (absent if embedding is None else embedding for embedding in conditions)
        batch = EditBatch(
            condition=HairCondition(style, shade, has_hairstyle, has_color),
            hairstyle_is_text=hairstyle_is_text,
            color_is_text=color_is_text,
            reference_lab=lab,
            on_host=torch.tensor([flags]),
        )
        return Judged(judge, judge.source_features(source), edited, w_plus, w_hat, batch)

    def _condition(self, request: PromptOrPicture, separated: Separated) -> Embeddings | None:
        """Return the mapper's condition, without a graph back to CLIP."""
        return None if request is None else self._wanted(request, separated).detach()

    def _wanted(self, request: str | Images, separated: Separated) -> Embeddings:
        """Return the embedding of a text or of a reference's hair."""
        if isinstance(request, str):
            return self.loss.clip.encode_text([request])
        return self._hair_embedding(request, separated)

    def _hair_embedding(self, images: Images, separated: Separated) -> Embeddings:
        """Return the embedding of a picture's hair, or with separated references of its shape or its color alone."""
        mask = hair_mask(self.loss.parser, images)
        shown = separated(images, mask) if self.loss.references == "separated" else images * mask
        return self.loss.clip.encode_image(shown)

    def _embedding(self, images: Images) -> Embeddings:
        """Return the embedding of the whole picture, as the text terms use it."""
        clip = self.loss.clip
        if self.loss.normalize_text_pixels:
            return clip.encode_image(images)
        return clip.encode_image(text_pixels(clip, images), normalize_pixels=False)

    def _divergence(self, shown: Embeddings, wanted: Embeddings, words: Float[Tensor, "words embedding"]) -> Tensor:
        """Return the library's contrast term, which the official code lacks, by its definition."""
        odds = [self.loss.scale * F.cosine_similarity(embedding, words) for embedding in (shown, wanted)]
        return F.kl_div(odds[0].log_softmax(dim=0), odds[1].log_softmax(dim=0), reduction="sum", log_target=True)

    def _color_distance(self, images: Images, others: Images) -> Tensor:
        first, second = (_mean_lab(x, hair_mask(self.loss.parser, x), self.loss.gamma) for x in (images, others))
        return F.l1_loss(first, second)


def _mean_lab(images: Images, mask: Masks, gamma: Gamma) -> LabColors:
    lab = rgb_to_lab(images, gamma) * mask
    return lab.sum(dim=(2, 3)) / mask.sum(dim=(2, 3)).clamp(min=1)


@contextmanager
def _unfrozen(*networks: nn.Module) -> Iterator[None]:
    """Let the weights require gradients inside the context; drop the gradients afterwards."""
    parameters = [parameter for network in networks for parameter in network.parameters()]
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, required in zip(parameters, before, strict=True):
            parameter.requires_grad_(required)
            parameter.grad = None

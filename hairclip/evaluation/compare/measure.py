"""The figures of an answer: against the truth, against the photo, and against its inversion."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.color import LabColors, NamedColors, mean_lab
from hairclip.common.errors import HairclipError
from hairclip.common.files import digest
from hairclip.common.images import Embeddings, Images, Masks, Scores, from_uint8, resize_area, to_uint8
from hairclip.common.metrics import psnr
from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.editing.editor import HairEditor
from hairclip.editing.inversion.perceptual import PerceptualDistance
from hairclip.evaluation.edits import RenderedCases
from hairclip.evaluation.metrics import cosine, mask_iou, masked_psnr, masked_ssim, named_hair_color
from hairclip.networks.classifier import HairstyleClassifier

__all__ = ["Figures", "Jury", "Scene", "rounded"]

Figures: TypeAlias = dict[str, Any]
"""Name of a figure -> its value. A figure that does not apply is missing."""


@dataclass(frozen=True)
class Scene:
    """A batch of cases with everything that answers are compared with.

    Attributes:
        rendered: B cases.
        inversions: what the generator makes of the photos, (B, 3, size, size).
        photo_hair: hair that the parser finds in the photos.
        inverted_hair: hair that the parser finds in the inversions.
        identity: embeddings of the photos.
        lab: mean Lab of the hair that the color is compared with: of the reference, else of the truth.
        truth_features: of the perceptual distance.
        truth_pooled: of the distances between sets, (B, features).
        words: CLIP's embeddings of the requested words, one tensor (words, width) per case.
    """

    rendered: RenderedCases
    inversions: Images
    photo_hair: Masks
    inverted_hair: Masks
    identity: Embeddings
    lab: LabColors
    truth_features: list[Tensor]
    truth_pooled: Float[Tensor, "batch features"]
    words: list[Tensor]


class Jury:
    """Measures answers. The hairstyle judge is in no loss, so no method can be fitted to it.

    Args:
        editor: the editor whose parser, CLIP and identity network measure.
        judge: classifier of hairstyles.
        named: name of a color -> (L, a, b), as it looks on rendered hair.
    """

    def __init__(self, editor: HairEditor, judge: HairstyleClassifier, named: NamedColors) -> None:
        if editor.identity is None:
            raise HairclipError("methods are compared by an identity network, which this bundle lacks: add one to it.")
        self.parser, self.clip, self.identity = editor.networks.parser, editor.networks.clip, editor.identity
        self.judge, self.named, self.device = judge.to(editor.device).eval(), named, editor.device
        self.perceptual = PerceptualDistance(self.judge, layers=[f"blocks.{i}" for i in range(len(self.judge.blocks))])

    def key(self) -> str:
        """Return a digest of everything that the figures depend on, apart from the pictures."""
        return digest(self.parser, self.clip, self.identity, self.judge, self.named)

    @torch.no_grad()
    def look(self, rendered: RenderedCases, inversions: Images) -> Scene:
        """Return what answers to these cases are compared with.

        Args:
            rendered: B cases.
            inversions: what the generator makes of the photos, (B, 3, size, size).
        """
        photo, truth = rendered.source.images.to(self.device), rendered.truth.images.to(self.device)
        inversions = rounded(inversions).to(self.device)
        shown = truth.clone()
        for i, reference in enumerate(rendered.color_references):
            if reference is not None:
                shown[i : i + 1] = resize_area(reference, truth.shape[-1]).to(self.device)
        words = [
            [
                *([hairstyle_prompt(case.hairstyle)] if case.hairstyle else []),
                *([color_prompt(case.color)] if case.color else []),
            ]
            for case in rendered.cases
        ]
        return Scene(
            rendered=rendered,
            inversions=inversions,
            photo_hair=self.parser.hair_mask(photo),
            inverted_hair=self.parser.hair_mask(inversions),
            identity=self.identity(photo),
            lab=mean_lab(shown, self.parser.hair_mask(shown), "srgb"),
            truth_features=self.perceptual.features(truth),
            truth_pooled=self._pool(truth),
            words=[self.clip.encode_text(texts) for texts in words],
        )

    @torch.no_grad()
    def measure(self, scene: Scene, answers: Images) -> tuple[list[Figures], Float[Tensor, "batch features"]]:
        """Return the figures of the answers, and their features for distances between sets.

        Args:
            scene: the B cases.
            answers: their edited pictures, (B, 3, size, size).
        """
        answers, rendered = rounded(answers).to(self.device), scene.rendered
        photo, truth = rendered.source.images.to(self.device), rendered.truth.images.to(self.device)
        hair = self.parser.hair_mask(answers)
        styles, colors = self.judge.names(answers), named_hair_color(answers, hair, self.named)
        shown = self.clip.encode_image(answers)
        features = self.perceptual.features(answers)
        everywhere: dict[str, Scores] = {
            "mask_iou": mask_iou(hair, rendered.truth.hair.to(self.device)),
            "identity": cosine(self.identity(answers), scene.identity),
            "perceptual": self.perceptual.between(features, scene.truth_features),
            "psnr": psnr(answers, truth),
            "clip_score": torch.stack(
                [
                    F.cosine_similarity(one[None].float(), words.float(), dim=-1).mean()
                    for one, words in zip(shown, scene.words, strict=True)
                ]
            ),
            "acd": (mean_lab(answers, hair, "srgb") - scene.lab).norm(dim=1),
            "changed_outside": _changed(answers, photo, ~(hair | scene.photo_hair)),
        }
        for name, before, its_hair in (
            ("photo", photo, scene.photo_hair),
            ("inversion", scene.inversions, scene.inverted_hair),
        ):
            outside = ~(hair | its_hair)
            everywhere[f"psnr_{name}"] = masked_psnr(answers, before, outside)
            everywhere[f"ssim_{name}"] = masked_ssim(answers, before, outside)
            everywhere[f"keeps_mask_{name}"] = mask_iou(hair, its_hair)
        columns = {name: values.tolist() for name, values in everywhere.items()}
        has_hair = hair.any(dim=1).any(dim=1).any(dim=1)
        figures = [
            self._describe(rendered, i, styles[i], colors[i], {name: values[i] for name, values in columns.items()})
            for i in range(len(rendered))
        ]
        for one, found in zip(figures, has_hair.tolist(), strict=True):
            if not found:
                one.pop("acd", None)  # the color of no hair
        return figures, self._pool(answers).cpu()

    def _describe(self, rendered: RenderedCases, i: int, style: str, color: str | None, values: Figures) -> Figures:
        """Return the figures of one answer, without those that do not apply to its case."""
        case = rendered.cases[i]
        figures: Figures = {"judged": style, "color": color, **values}
        if case.hairstyle is not None:
            figures["hairstyle_right"] = float(style == case.hairstyle)
            del figures["keeps_mask_photo"], figures["keeps_mask_inversion"]
        if case.color is not None:
            figures["color_right"] = float(color == case.color)
        else:
            figures["keeps_color"] = float(color == case.source.color.name)
            del figures["acd"]
        return figures

    def _pool(self, images: Images) -> Float[Tensor, "batch features"]:
        """Return the features from which the judge tells hairstyles: the mean over space before its last layer."""
        found: list[Tensor] = []
        handle = self.judge.head.register_forward_pre_hook(lambda _module, inputs: found.append(inputs[0]))
        try:
            self.judge(images)
        finally:
            handle.remove()
        return found[0].float()


def rounded(images: Images) -> Images:
    """Return pictures as a file of 8 bits would hold them."""
    return from_uint8(to_uint8(images))


def _changed(answers: Images, photo: Images, outside: Masks) -> Scores:
    """Return the share of the pixels of `outside` that differ from the photo; 0 where there are none."""
    differs = ((answers - photo).abs() > 1 / 255).any(dim=1, keepdim=True)
    return (differs & outside).sum(dim=(1, 2, 3)) / outside.sum(dim=(1, 2, 3)).clamp_min(1)

"""The training loss: a weighted sum of terms that are found by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from hairclip.common.color import Gamma
from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, Scores, WPlus
from hairclip.common.names import NameTable
from hairclip.conditions.encoder import EditBatch
from hairclip.losses.judge import Judge, Judged, SourceFeatures, TextPixels
from hairclip.losses.terms import TERMS, TermFunction
from hairclip.networks.face_parser import FaceParser
from hairclip.networks.ir_se import FaceEncoder
from hairclip.networks.mapper import References

if TYPE_CHECKING:  # open_clip takes seconds to import: it is loaded with the first CLIP
    import hairclip.networks.clip

__all__ = ["HairEditLoss", "LossOutput", "SourceFeatures", "default_weights"]


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


class HairEditLoss(Judge):
    """The weighted sum of loss terms over edited pictures.

    No sample depends on the other requests of its batch.

    Args:
        clip: judges text and hairstyle.
        parser: finds the hair.
        identity: judges who a face is.
        weights: key of a weight -> weight. A key is one of this library's, such as "identity", or ``module:function``
            of a term of your own, which is then called by the function's name. Keys that are left out have HairCLIP's
            weights (`default_weights`). A term of weight 0 is not computed.
        text_pixels: what CLIP sees in the text terms, as all that follow, see `Judge`.
        gamma: how colors become Lab.
        resolution: pixels to which pictures are reduced.
        precision: autocast of the networks.
        references: what CLIP sees of reference pictures.
        hairstyles: names of all hairstyles; the contrast terms need them.
        colors: names of all colors; the contrast terms need them.

    Attributes:
        weights: name of each term that is computed -> its weight.

    Raises:
        HairclipError: if there is no term for a key.
    """

    def __init__(
        self,
        clip: "hairclip.networks.clip.Clip",
        parser: FaceParser,
        identity: FaceEncoder,
        weights: Mapping[str, float] | None = None,
        *,
        text_pixels: TextPixels = "official",
        gamma: Gamma = "none",
        resolution: int | None = None,
        precision: torch.dtype = torch.float32,
        references: References = "whole",
        hairstyles: Sequence[str] = (),
        colors: Sequence[str] = (),
    ) -> None:
        super().__init__(
            clip,
            parser,
            identity,
            text_pixels=text_pixels,
            gamma=gamma,
            resolution=resolution,
            precision=precision,
            references=references,
            hairstyles=hairstyles,
            colors=colors,
        )
        given = {**default_weights(), **(weights or {})}
        if given["contrast"] and not (self.hairstyles and self.colors):
            raise ValueError("the contrast terms need words: give hairstyles and colors")
        self.weights: dict[str, float] = {}
        self._functions: dict[str, TermFunction] = {}
        for name, (function, weight) in _find_terms(given).items():
            self.weights[name], self._functions[name] = weight, function

    def __call__(
        self, source: SourceFeatures, edited: Images, w_plus: WPlus, w_hat: WPlus, batch: EditBatch
    ) -> LossOutput:
        """Judge a batch of edits.

        Args:
            source: features of the pictures before the edit.
            edited: the pictures after it, ``(B, 3, H, W)``, RGB, about [-1, 1], with gradients.
            w_plus: codes before the edit, ``(B, n_latent, w_dim)``.
            w_hat: codes after it.
            batch: what is asked of each sample.
        """
        judged = Judged(self, source, self.reduced(edited), w_plus, w_hat, batch)
        terms = {name: self.term(name, judged) for name in self.weights}
        per_sample = torch.stack([self.weights[name] * values for name, values in terms.items()]).sum(dim=0)
        return LossOutput(total=per_sample.mean(), per_sample=per_sample, terms=terms)

    def term(self, name: str, judged: Judged) -> Scores:
        """Compute one of the terms in `weights`, ``(B,)``, before its weight.

        Raises:
            HairclipError: if the function of a term returns anything else.
        """
        values = self._functions[name](judged)
        if not isinstance(values, Tensor) or values.shape != (len(judged.edited),):
            found = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            raise HairclipError(
                f"loss term {name}: it returned {found}, but must return one number per sample, a tensor of shape "
                f"({len(judged.edited)},)."
            )
        return values


def default_weights() -> dict[str, float]:
    """Return HairCLIP's weight for each key of this library's terms (section 4.1); 0 for terms it does not have."""
    return {term.key: term.weight for term in TERMS.values()}


def _find_terms(weights: Mapping[str, float]) -> dict[str, tuple[TermFunction, float]]:
    """Return name -> function and weight of the terms whose weight is not 0."""
    own = NameTable[TermFunction]("loss term", dict.fromkeys(default_weights(), ""))
    found: dict[str, tuple[TermFunction, float]] = {}
    for name, term in TERMS.items():
        if weights[term.key]:
            found[name] = term.function, weights[term.key]
    for key, weight in weights.items():
        own.check(key)
        if key in own or not weight:
            continue
        name = key.rpartition(":")[2]
        if name in TERMS or name in found:
            raise HairclipError(f"loss term '{key}': there is a term called {name} already: rename the function.")
        found[name] = own.load(key), weight
    return found

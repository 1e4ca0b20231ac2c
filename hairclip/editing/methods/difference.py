"""Edit by the difference of two texts: the code of the wanted words minus the code of the person's own words.

This method is this library's own, and an honest baseline: its text encoder learned from W+ codes that are labeled by
words, while HairCLIP's mapper learns from CLIP alone. A mapper can learn from it too (`hairclip.training.teacher`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hairclip.common.errors import HairclipError
from hairclip.editing.methods.method import EditingMethod, Editor, MethodResult
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from hairclip.networks.mapper import HairCondition
from hairclip.networks.text_encoder import TextEncoder, nearest_words
from hairclip.pretrained.mapper import check_companions

__all__ = ["Difference", "find_text_encoder"]

_ONE_OF_THESE_NETWORKS = "train one with these by python -m hairclip train-text-encoder"


@dataclass(frozen=True)
class Difference(EditingMethod):
    """Adds E(wanted words) - E(own words) to the layers of what is asked, with E the text encoder.

    CLIP reads the person's own words from the aligned photo: the most similar of the words that the text encoder was
    trained on. A reference picture counts as its most similar word, so that its shade and its length are not taken.
    """

    parts = ("text_encoder",)

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse networks without a text encoder."""
        find_text_encoder(editor)

    def edit(
        self,
        prepared: Prepared,
        requests: Sequence[EditRequest],
        options: EditOptions,
        editor: Editor,
        *,
        progress: bool = False,
    ) -> MethodResult:
        """Edit a batch; see `EditingMethod.edit`."""
        encoder, words = find_text_encoder(editor), editor.conditions("whole")
        hairstyles, colors = words.hairstyle_words(encoder.hairstyles), words.color_words(encoder.colors)
        batch = editor.encode(requests, options)
        wanted, everyone = batch.in_words(hairstyles, colors), torch.ones_like(batch.condition.has_hairstyle)
        seen = editor.networks.clip.encode_image(prepared.aligned)
        own = HairCondition(nearest_words(seen, hairstyles), nearest_words(seen, colors), everyone, everyone)
        w_plus = prepared.inversion.w_plus
        return MethodResult(codes=w_plus + encoder.difference(own, wanted, editor.groups))


def find_text_encoder(editor: Editor) -> TextEncoder:
    """Return the text encoder of the editor's networks.

    Raises:
        HairclipError: if there is none, or if it was trained with another generator or CLIP.
    """
    networks = editor.networks
    encoder: TextEncoder | None = getattr(networks, "text_encoder", None)
    if encoder is None:
        raise HairclipError("these networks have no text encoder: train one by python -m hairclip train-text-encoder.")
    made = (encoder.n_latent, encoder.w_dim, encoder.condition_dim)
    fits = (networks.generator.n_latent, networks.generator.w_dim, networks.clip.width)
    if made != fits:
        raise HairclipError(
            f"the text encoder gives {made[0]} layers of width {made[1]} for embeddings of width {made[2]}, but "
            f"generator and CLIP have {fits[0]}, {fits[1]} and {fits[2]}: train one for them by python -m hairclip "
            "train-text-encoder."
        )
    parts = getattr(networks, "parts", {})
    check_companions(encoder, parts, "the text encoder", instead=_ONE_OF_THESE_NETWORKS)
    return encoder

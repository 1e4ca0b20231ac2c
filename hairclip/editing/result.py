"""What an edit starts from and what it gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from hairclip.common.face_labels import HAIR
from hairclip.common.images import save_image, to_pil
from hairclip.common.sheets import captioned_sheet
from hairclip.editing.blending.recolor import Recoloring
from hairclip.editing.inversion.invert import Inversion, join_inversions
from hairclip.editing.request import EditRequest

__all__ = ["EditResult", "Prepared", "compare", "edit_results", "keep_photo"]


@dataclass(frozen=True)
class Prepared:
    """Pictures once aligned, inverted and parsed: many edits can start from here."""

    aligned: Tensor
    """(B, 3, size, size) in [-1, 1]."""
    inversion: Inversion
    labels: Tensor
    """What the parser sees in `aligned`, CelebAMask-HQ ids, (B, size, size)."""

    @property
    def hair_mask(self) -> Tensor:
        """Hair of `aligned`, (B, 1, size, size) bool."""
        return (self.labels == HAIR)[:, None]

    def __len__(self) -> int:
        return len(self.aligned)

    def __getitem__(self, index: Sequence[int]) -> "Prepared":
        chosen = torch.as_tensor(list(index), device=self.aligned.device)
        return Prepared(self.aligned[chosen], self.inversion[index], self.labels[chosen])

    @classmethod
    def joined(cls, parts: Sequence["Prepared"]) -> "Prepared":
        """One batch of several."""
        return cls(
            torch.cat([part.aligned for part in parts]),
            join_inversions([part.inversion for part in parts]),
            torch.cat([part.labels for part in parts]),
        )


@dataclass(frozen=True)
class EditResult:
    """One edit. Images are (1, 3, size, size), float32, RGB, [-1, 1]; masks (1, 1, size, size)."""

    image: Tensor
    """The answer: the photo with the edited hair blended in, or `synthesized` where blending was switched off."""
    aligned: Tensor
    """The input as the networks saw it."""
    inversion: Tensor
    """What the generator makes of the input's codes."""
    synthesized: Tensor
    """What the generator makes of the edited codes, before blending."""
    foreground: Tensor
    """What `alpha` mixes with the input: `synthesized`, its colours matched to the photo around the hair; or the
    input's own hair in its new colour."""
    mask: Tensor
    """Hair of `synthesized`, bool."""
    source_mask: Tensor
    """Hair of `aligned`, bool."""
    alpha: Tensor
    """Weight of the edit in `image`, in [0, 1]."""
    w_plus: Tensor
    """Codes of the input, (1, n_latent, w_dim)."""
    edited_w_plus: Tensor | None
    """Codes of the edit; None of a method that edits pictures."""
    inversion_psnr: float
    """How well the generator rebuilds the input, dB."""
    inversion_identity: float | None
    """Cosine of the identity embeddings of input and inversion; None without an identity network."""
    hairstyle: str | None
    """What was asked: a text, "reference" for a picture, or None."""
    color: str | None
    notes: tuple[str, ...] = ()
    """What the person should know about how the words were understood, one sentence each."""
    bare: Tensor | None = None
    """The input with its hair taken away; None where the edit is seen behind it, and where nothing was taken away."""
    recoloring: Recoloring | None = None
    """How the input's own hair took its new colour; None where the edit's hair is seen."""

    def to_pil(self) -> Image.Image:
        """The edited picture."""
        return to_pil(self.image)

    def save(self, path: str | Path) -> None:
        """Write the edited picture; the suffix names the format."""
        save_image(self.image, path)

    def _repr_png_(self) -> bytes | None:
        return self.to_pil()._repr_png_()


def edit_results(
    prepared: Prepared,
    codes: Tensor | None,
    pictures: Mapping[str, Tensor],
    requests: Sequence[EditRequest],
    recolorings: Sequence[Recoloring | None],
) -> list[EditResult]:
    """Return one result per prepared picture.

    Args:
        prepared: what the edits started from.
        codes: the edited W+ codes, (B, n_latent, w_dim); None of a method that edits pictures.
        pictures: (B, ...) tensors for the fields of `EditResult` that have their names.
        requests: what was asked of each.
        recolorings: how each one's own hair took a new color, None for those whose hair was taken away.
    """
    inversion, results = prepared.inversion, []
    for i, (request, recoloring) in enumerate(zip(requests, recolorings, strict=True)):
        one = slice(i, i + 1)
        hairstyle, color = request.names
        mine = {name: value[one] for name, value in pictures.items() if recoloring is None or name != "bare"}
        results.append(
            EditResult(
                **mine,
                recoloring=recoloring,
                aligned=prepared.aligned[one],
                inversion=inversion.images[one],
                source_mask=prepared.hair_mask[one],
                w_plus=inversion.w_plus[one],
                edited_w_plus=None if codes is None else codes[one],
                inversion_psnr=float(inversion.psnr[i]),
                inversion_identity=None if inversion.identity is None else float(inversion.identity[i]),
                hairstyle=hairstyle,
                color=color,
                notes=request.notes,
            )
        )
    return results


def keep_photo(result: EditResult) -> EditResult:
    """Return a result whose answer is the input, bit for bit."""
    nothing = torch.zeros_like(result.alpha)
    return replace(result, image=result.aligned, foreground=result.aligned, alpha=nothing, bare=None, recoloring=None)


def compare(result: EditResult, tile: int = 256) -> Image.Image:
    """Source, inversion and edit in one picture, with captions; `tile` pixels each."""
    wanted = " + ".join(part for part in (result.hairstyle, result.color) if part) or "nothing asked"
    captions = ["source", f"inversion, {result.inversion_psnr:.1f} dB", f"edit: {wanted}"]
    return captioned_sheet([[result.aligned, result.inversion, result.image]], columns=captions, tile=tile)

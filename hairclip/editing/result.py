"""Hold what an edit starts from (`Prepared`) and what it results in (`EditResult`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from hairclip.common.face_labels import HAIR
from hairclip.common.images import save_image, to_pil
from hairclip.common.sheets import draw_sheet
from hairclip.editing.blending.recolor import Recoloring
from hairclip.editing.inversion.invert import Inversion, join_inversions
from hairclip.editing.request import EditRequest

__all__ = ["EditResult", "Prepared", "compare", "edit_results", "keep_photo"]


@dataclass(frozen=True)
class Prepared:
    """Pictures that are aligned, inverted and parsed: many edits can start from here.

    Attributes:
        aligned: the pictures, (B, 3, size, size) in [-1, 1].
        inversion: their codes.
        labels: what the parser sees in `aligned`, CelebAMask-HQ ids, (B, size, size).
    """

    aligned: Tensor
    inversion: Inversion
    labels: Tensor

    @property
    def hair_mask(self) -> Tensor:
        """The hair of `aligned`, (B, 1, size, size) bool."""
        return (self.labels == HAIR)[:, None]

    def __len__(self) -> int:
        return len(self.aligned)

    def __getitem__(self, index: Sequence[int]) -> "Prepared":
        chosen = torch.as_tensor(list(index), device=self.aligned.device)
        return Prepared(self.aligned[chosen], self.inversion[index], self.labels[chosen])

    @classmethod
    def joined(cls, parts: Sequence["Prepared"]) -> "Prepared":
        """Return one batch of several."""
        return cls(
            torch.cat([part.aligned for part in parts]),
            join_inversions([part.inversion for part in parts]),
            torch.cat([part.labels for part in parts]),
        )


@dataclass(frozen=True)
class EditResult:
    """One edit. Images are (1, 3, size, size), float32, RGB, [-1, 1]; masks are (1, 1, size, size).

    Attributes:
        image: the answer: the photo with the edited hair in it, or `synthesized` where blending was switched off.
        aligned: the input as the networks saw it.
        inversion: the generator's picture of the input's codes.
        synthesized: the generator's picture of the edited codes, before blending.
        foreground: the picture that `alpha` mixes with the input: `synthesized` with its colors matched to the photo
            around the hair, or the input with its own hair in the new color.
        mask: hair of `synthesized`, bool.
        source_mask: hair of `aligned`, bool.
        alpha: weight of `foreground` in `image`, in [0, 1].
        w_plus: codes of the input, (1, n_latent, w_dim).
        edited_w_plus: codes of the edit; None if the method edits pictures.
        inversion_psnr: how well the generator rebuilds the input, dB.
        inversion_identity: cosine of the identity embeddings of input and inversion; None without an identity network.
        hairstyle: the hairstyle that was asked for: a text, "reference" for a picture, or None.
        color: the color that was asked for, in the same form.
        notes: sentences for the user about how the words were understood.
        bare: the input with its hair removed; None if no hair was removed.
        recoloring: how the input's own strands got the new color; None if the hair is the generator's.
    """

    image: Tensor
    aligned: Tensor
    inversion: Tensor
    synthesized: Tensor
    foreground: Tensor
    mask: Tensor
    source_mask: Tensor
    alpha: Tensor
    w_plus: Tensor
    edited_w_plus: Tensor | None
    inversion_psnr: float
    inversion_identity: float | None
    hairstyle: str | None
    color: str | None
    notes: tuple[str, ...] = ()
    bare: Tensor | None = None
    recoloring: Recoloring | None = None

    def to_pil(self) -> Image.Image:
        """Return the edited picture."""
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
        codes: the edited W+ codes, (B, n_latent, w_dim); None if the method edits pictures.
        pictures: name of a field of `EditResult` -> its tensor for all pictures, (B, ...).
        requests: one request per picture.
        recolorings: one per picture: how its own strands got the new color; None if the hair is the generator's.
    """
    inversion, results = prepared.inversion, []
    for i, (request, recoloring) in enumerate(zip(requests, recolorings, strict=True)):
        one = slice(i, i + 1)
        hairstyle, color = request.names
        single = {name: value[one] for name, value in pictures.items() if recoloring is None or name != "bare"}
        results.append(
            EditResult(
                **single,
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
    """Return a result whose `image` is the input, bit for bit."""
    nothing = torch.zeros_like(result.alpha)
    return replace(result, image=result.aligned, foreground=result.aligned, alpha=nothing, bare=None, recoloring=None)


def compare(result: EditResult, tile: int = 256) -> Image.Image:
    """Return source, inversion and edit in one picture with captions, each `tile` pixels wide."""
    wanted = " + ".join(part for part in (result.hairstyle, result.color) if part) or "nothing asked"
    captions = ["source", f"inversion, {result.inversion_psnr:.1f} dB", f"edit: {wanted}"]
    return draw_sheet([[result.aligned, result.inversion, result.image]], columns=captions, tile=tile)

"""What is asked of each sample, encoded: texts and reference pictures to CLIP embeddings and presence flags.

A batch mixes tasks freely: every sample has its own hairstyle and its own colour, each a text, a reference or absent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hairclip.common.color import Gamma, LabColors, flat_hair_color, gray_hair, mean_lab
from hairclip.common.errors import HairclipError
from hairclip.common.images import Embeddings, Flags, Images, Masks
from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.networks.face_parser import FaceParser
from hairclip.networks.mapper import HairCondition, References

if TYPE_CHECKING:  # open_clip takes seconds to import: it is loaded with the first CLIP
    import hairclip.networks.clip


@dataclass(frozen=True)
class Reference:
    """One reference picture, encoded.

    Attributes:
        hairstyle: CLIP embedding of its hair as a hairstyle, ``(width,)``, not normalised.
        color: CLIP embedding of its hair as a colour, ``(width,)``, not normalised.
        lab: mean Lab colour of its hair, ``(3,)``.
        hair_share: fraction of its pixels that are hair, scalar.
    """

    hairstyle: Float[Tensor, " width"]
    color: Float[Tensor, " width"]
    lab: Float[Tensor, " 3"]
    hair_share: Float[Tensor, ""]


Wish: TypeAlias = str | Float[Tensor, "1 3 _ _"] | Reference | None
"""A text, a reference picture ``(1, 3, H, W)`` of any size, an encoded reference, or nothing."""


@dataclass(frozen=True)
class EditBatch:
    """What a mapper and its losses need to know of a batch of edits.

    Attributes:
        condition: embeddings and presence flags; the losses' CLIP targets too.
        hairstyle_is_text: whether the hairstyle is given as text, ``(B,)``; False where it is a reference or absent.
        color_is_text: likewise of the colour.
        reference_lab: mean Lab of the colour reference's hair, ``(B, 3)``; zeros where there is none.
        on_host: the four flags, hairstyle and colour present, then hairstyle and colour as text, ``(B, 4)``, always in
            host memory: what to compute follows from them, and asking a GPU would wait for all its work.
    """

    condition: HairCondition
    hairstyle_is_text: Flags
    color_is_text: Flags
    reference_lab: LabColors
    on_host: Bool[Tensor, "batch 4"]

    def __len__(self) -> int:
        return len(self.hairstyle_is_text)

    @property
    def hairstyle_is_image(self) -> Flags:
        """Whether the hairstyle is given as a reference."""
        return self.condition.has_hairstyle & ~self.hairstyle_is_text

    @property
    def color_is_image(self) -> Flags:
        """Whether the colour is given as a reference."""
        return self.condition.has_color & ~self.color_is_text

    def to(self, device: torch.device | str) -> "EditBatch":
        """The same batch on another device, but for `on_host`."""
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self) if field.name != "on_host"}
        return EditBatch(**moved, on_host=self.on_host)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> "EditBatch":
        """Some of the samples; a single number keeps the batch dimension."""
        if isinstance(index, int):
            index = [index]
        parts = {field.name: getattr(self, field.name)[index] for field in fields(self) if field.name != "on_host"}
        return EditBatch(**parts, on_host=self.on_host[index.cpu() if isinstance(index, Tensor) else index])

    @classmethod
    def cat(cls, batches: Sequence["EditBatch"]) -> "EditBatch":
        """Several batches as one."""
        return cls(
            condition=HairCondition.cat([batch.condition for batch in batches]),
            hairstyle_is_text=torch.cat([batch.hairstyle_is_text for batch in batches]),
            color_is_text=torch.cat([batch.color_is_text for batch in batches]),
            reference_lab=torch.cat([batch.reference_lab for batch in batches]),
            on_host=torch.cat([batch.on_host for batch in batches]),
        )


class ConditionEncoder:
    """Encodes texts, each once, and reference pictures as HairCLIP does (section 3.2).

    A text goes through its template and CLIP's text tower. Of a reference, all but the hair is set to 0 (mid-grey), and
    the rest goes through CLIP's image tower, once for both roles ("whole"). Such an embedding holds the colour as much
    as the hairstyle; "separated" shows CLIP the hair without its colour, and the colour without the hair.

    Args:
        clip: the text and image towers.
        parser: finds the hair of references.
        gamma: how :func:`hairclip.common.color.mean_lab` reads references, as in the losses.
        references: what CLIP sees of them, as the mapper was trained, see there.
    """

    def __init__(
        self,
        clip: "hairclip.networks.clip.Clip",
        parser: FaceParser,
        *,
        gamma: Gamma = "none",
        references: References = "whole",
    ) -> None:
        self.clip = clip
        self.parser = parser
        self.gamma: Gamma = gamma
        self.seen: References = references
        self._texts: dict[str, Tensor] = {}

    @property
    def device(self) -> torch.device:
        return next(self.clip.parameters()).device

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Embeddings:
        """Complete prompts ("red hair") to ``(B, width)``; what was encoded before is taken from memory."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._texts]
        if new:
            self._texts.update(zip(new, self.clip.encode_text(new)))
        return torch.stack([self._texts[prompt].to(self.device, non_blocking=True) for prompt in prompts])

    @torch.no_grad()
    def references(self, images: Images) -> list[Reference]:
        """Pictures of one size, ``(B, 3, H, W)``, RGB, [-1, 1], to one encoded reference each."""
        images = images.to(self.device)
        masks = self.parser.hair_mask(images)
        styles = colors = self.clip.encode_image(shown_hair(images, masks, self.seen))
        if self.seen == "separated":
            colors = self.clip.encode_image(flat_hair_color(images, masks))
        labs = mean_lab(images, masks, self.gamma)
        shares = masks.float().mean(dim=(1, 2, 3))
        return [Reference(*row) for row in zip(styles, colors, labs, shares)]

    def encode(self, hairstyles: Sequence[Wish], colors: Sequence[Wish], *, minimum_hair: float = 0.0) -> EditBatch:
        """One hairstyle and one colour per sample, each a name, a reference or None, to a batch.

        Args:
            hairstyles: names such as "bob cut" (the template is added), pictures of any size, references or None.
            colors: names such as "red", pictures, references or None.
            minimum_hair: smallest share of hair that a colour reference must show.

        Raises:
            HairclipError: if a colour reference shows less hair than that.
        """
        if len(hairstyles) != len(colors):
            raise ValueError(f"{len(hairstyles)} hairstyles and {len(colors)} colours do not pair up")
        known = self._encode_pictures([*hairstyles, *colors])
        styles = [known[id(wish)] if isinstance(wish, Tensor) else wish for wish in hairstyles]
        shades = [known[id(wish)] if isinstance(wish, Tensor) else wish for wish in colors]
        if minimum_hair > 0:
            for number, shade in enumerate(shades):
                if isinstance(shade, Reference) and float(shade.hair_share) < minimum_hair:
                    raise HairclipError(
                        f"colour reference {number + 1} shows hair on {float(shade.hair_share):.1%} of its pixels, so "
                        "its colour cannot be read: give a picture in which the hair is visible."
                    )
        no_lab = torch.zeros(3, device=self.device)
        labs = [s.lab.to(self.device, non_blocking=True) if isinstance(s, Reference) else no_lab for s in shades]
        present = [[wish is not None for wish in wishes] for wishes in (styles, shades)]
        as_text = [[isinstance(wish, str) for wish in wishes] for wishes in (styles, shades)]
        on_host = torch.tensor([*present, *as_text], dtype=torch.bool)
        has_hairstyle, has_color, hairstyle_is_text, color_is_text = on_host.to(self.device, non_blocking=True)
        return EditBatch(
            condition=HairCondition(
                hairstyle=self._embed(
                    [s.hairstyle if isinstance(s, Reference) else s and hairstyle_prompt(s) for s in styles]
                ),
                color=self._embed([s.color if isinstance(s, Reference) else s and color_prompt(s) for s in shades]),
                has_hairstyle=has_hairstyle,
                has_color=has_color,
            ),
            hairstyle_is_text=hairstyle_is_text,
            color_is_text=color_is_text,
            reference_lab=torch.stack(labs),
            on_host=on_host.T,
        )

    def _encode_pictures(self, wishes: Sequence[Wish]) -> dict[int, Reference]:
        """Each picture among the wishes, once, by its `id`; pictures of one size go through the networks together."""
        by_size: dict[tuple[int, ...], dict[int, Tensor]] = {}
        for wish in wishes:
            if isinstance(wish, Tensor):
                if len(wish) != 1:
                    raise ValueError(f"a reference is one picture (1, 3, H, W), not {tuple(wish.shape)}")
                by_size.setdefault(tuple(wish.shape[-2:]), {})[id(wish)] = wish
        known: dict[int, Reference] = {}
        for pictures in by_size.values():
            stacked = torch.cat([picture.to(self.device) for picture in pictures.values()])
            known.update(zip(pictures, self.references(stacked)))
        return known

    def _embed(self, wishes: Sequence[str | Tensor | None]) -> Embeddings:
        """Prompts, embeddings and None, one row each."""
        texts = [wish for wish in wishes if isinstance(wish, str)]
        of_texts = iter(self.texts(texts)) if texts else iter(())
        absent = torch.zeros(self.clip.width, device=self.device)
        rows = [next(of_texts) if isinstance(w, str) else absent if w is None else w for w in wishes]
        return torch.stack([row.to(self.device, non_blocking=True) for row in rows])


def shown_hair(images: Images, masks: Masks, references: References) -> Images:
    """What CLIP is shown of pictures that stand for a hairstyle: their hair, or its shape alone."""
    return gray_hair(images, masks) if references == "separated" else images * masks

"""Encode texts and reference pictures as conditions: CLIP embeddings and presence flags.

A batch mixes tasks: every sample has its own hairstyle and its own color, each a text, a reference or absent.
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
from hairclip.networks.text_encoder import Words, nearest_words

if TYPE_CHECKING:  # open_clip takes seconds to import: it is loaded with the first CLIP
    import hairclip.networks.clip


@dataclass(frozen=True)
class Reference:
    """One reference picture, encoded.

    Attributes:
        hairstyle: CLIP embedding of its hair as a hairstyle, (width,), not normalized.
        color: CLIP embedding of its hair as a color, (width,), not normalized.
        lab: mean Lab color of its hair, (3,).
        hair_share: fraction of its pixels that are hair, scalar.
    """

    hairstyle: Float[Tensor, " width"]
    color: Float[Tensor, " width"]
    lab: Float[Tensor, " 3"]
    hair_share: Float[Tensor, ""]


ConditionInput: TypeAlias = str | Float[Tensor, "1 3 _ _"] | Reference | None
"""What a condition is made of: a text, a picture (1, 3, H, W) of any size, an encoded reference, or None for absent."""


@dataclass(frozen=True)
class EditBatch:
    """What a mapper and its losses need to know of a batch of edits.

    Attributes:
        condition: embeddings and presence flags. The losses use the embeddings as CLIP targets.
        hairstyle_is_text: whether the hairstyle is given as text, (B,); False where it is a reference or absent.
        color_is_text: the same for the color.
        reference_lab: mean Lab color of the color reference's hair, (B, 3); zeros where there is no reference.
        on_host: four flags per sample, (B, 4): hairstyle present, color present, hairstyle is text, color is text.
            They stay in host memory, because a question to a GPU would wait for all its work.
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
        """Whether the hairstyle is given as a reference, (B,)."""
        return self.condition.has_hairstyle & ~self.hairstyle_is_text

    @property
    def color_is_image(self) -> Flags:
        """Whether the color is given as a reference, (B,)."""
        return self.condition.has_color & ~self.color_is_text

    def in_words(self, hairstyles: Words, colors: Words) -> HairCondition:
        """Return the condition in which each reference picture is replaced by its most similar word.

        Args:
            hairstyles: embeddings of the known hairstyles, (N, width).
            colors: embeddings of the known colors, (N, width).
        """

        def read(embeddings: Tensor, is_picture: Tensor, words: Tensor) -> Tensor:
            return torch.where(is_picture[:, None], nearest_words(embeddings, words), embeddings)

        return HairCondition(
            read(self.condition.hairstyle, self.hairstyle_is_image, hairstyles),
            read(self.condition.color, self.color_is_image, colors),
            self.condition.has_hairstyle,
            self.condition.has_color,
        )

    def to(self, device: torch.device | str) -> "EditBatch":
        """Return the batch on another device; `on_host` stays in host memory."""
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self) if field.name != "on_host"}
        return EditBatch(**moved, on_host=self.on_host)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> "EditBatch":
        """Return some of the samples; a single number keeps the batch dimension."""
        if isinstance(index, int):
            index = [index]
        parts = {field.name: getattr(self, field.name)[index] for field in fields(self) if field.name != "on_host"}
        return EditBatch(**parts, on_host=self.on_host[index.cpu() if isinstance(index, Tensor) else index])

    @classmethod
    def cat(cls, batches: Sequence["EditBatch"]) -> "EditBatch":
        """Return several batches as one."""
        return cls(
            condition=HairCondition.cat([batch.condition for batch in batches]),
            hairstyle_is_text=torch.cat([batch.hairstyle_is_text for batch in batches]),
            color_is_text=torch.cat([batch.color_is_text for batch in batches]),
            reference_lab=torch.cat([batch.reference_lab for batch in batches]),
            on_host=torch.cat([batch.on_host for batch in batches]),
        )


class ConditionEncoder:
    """Encodes texts and reference pictures as HairCLIP does (section 3.2); each text is encoded once.

    A text goes through its template and CLIP's text tower. A reference goes through CLIP's image tower, with all but
    the hair set to 0 (mid-gray). With `references="whole"`, one embedding serves as hairstyle and as color, so it holds
    both. With `references="separated"`, CLIP sees the hair without its color, and the color without the hair.

    Args:
        clip: the text and image towers.
        parser: finds the hair of references.
        gamma: how `hairclip.common.color.mean_lab` reads references, as in the losses.
        references: "whole" or "separated"; must equal the mapper's `references`.
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
        """Encode complete prompts ("red hair"); a prompt that was encoded before is taken from memory.

        Args:
            prompts: the prompts.

        Returns:
            Embeddings (B, width), not normalized.

        Raises:
            HairclipError: if a prompt is longer than CLIP reads.
        """
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._texts]
        if new:
            self._check_lengths(new)
            self._texts.update(zip(new, self.clip.encode_text(new)))
        return torch.stack([self._texts[prompt].to(self.device, non_blocking=True) for prompt in prompts])

    def hairstyle_words(self, names: Sequence[str]) -> Embeddings:
        """Return the embeddings of the prompts of hairstyles, (B, width)."""
        return self.texts([hairstyle_prompt(name) for name in names])

    def color_words(self, names: Sequence[str]) -> Embeddings:
        """Return the embeddings of the prompts of colors, (B, width)."""
        return self.texts([color_prompt(name) for name in names])

    @torch.no_grad()
    def references(self, images: Images) -> list[Reference]:
        """Encode pictures of one size, (B, 3, H, W), RGB in [-1, 1], to one reference each."""
        images = images.to(self.device)
        masks = self.parser.hair_mask(images)
        styles = colors = self.clip.encode_image(shown_hair(images, masks, self.seen))
        if self.seen == "separated":
            colors = self.clip.encode_image(flat_hair_color(images, masks))
        labs = mean_lab(images, masks, self.gamma)
        shares = masks.float().mean(dim=(1, 2, 3))
        return [Reference(*row) for row in zip(styles, colors, labs, shares)]

    def encode(
        self, hairstyles: Sequence[ConditionInput], colors: Sequence[ConditionInput], *, minimum_hair: float = 0.0
    ) -> EditBatch:
        """Encode one hairstyle and one color per sample.

        Args:
            hairstyles: per sample a name such as "bob cut" (the template is added), a picture, a reference or None.
            colors: per sample a name such as "red", a picture, a reference or None.
            minimum_hair: smallest share of hair that a color reference must show.

        Raises:
            HairclipError: if a color reference shows less hair than that, or if a text is too long.
        """
        if len(hairstyles) != len(colors):
            raise ValueError(f"{len(hairstyles)} hairstyles and {len(colors)} colors do not pair up")
        known = self._encode_pictures([*hairstyles, *colors])
        styles = [known[id(given)] if isinstance(given, Tensor) else given for given in hairstyles]
        shades = [known[id(given)] if isinstance(given, Tensor) else given for given in colors]
        if minimum_hair > 0:
            for number, shade in enumerate(shades):
                if isinstance(shade, Reference) and float(shade.hair_share) < minimum_hair:
                    raise HairclipError(
                        f"color reference {number + 1} shows hair on {float(shade.hair_share):.1%} of its pixels, so "
                        "its color cannot be read: give a picture in which the hair is visible."
                    )
        no_lab = torch.zeros(3, device=self.device)
        labs = [s.lab.to(self.device, non_blocking=True) if isinstance(s, Reference) else no_lab for s in shades]
        present = [[given is not None for given in inputs] for inputs in (styles, shades)]
        as_text = [[isinstance(given, str) for given in inputs] for inputs in (styles, shades)]
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

    def _check_lengths(self, prompts: Sequence[str]) -> None:
        """Refuse prompts that CLIP would cut off."""
        length = self.clip.context_length
        for prompt in prompts:
            # A token is one letter at least. A text that is cut off has other tokens where there is more room.
            if len(prompt) > length - 2 and not torch.equal(
                self.clip.tokenize([prompt]), self.clip.tokenize([prompt], room=1)[:, :length]
            ):
                raise HairclipError(
                    f"the text '{prompt[:60]}...' has more than the {length} tokens CLIP reads: cut it."
                )

    def _encode_pictures(self, inputs: Sequence[ConditionInput]) -> dict[int, Reference]:
        """Encode each picture among the inputs once, by its `id`; pictures of one size share a pass."""
        by_size: dict[tuple[int, ...], dict[int, Tensor]] = {}
        for given in inputs:
            if isinstance(given, Tensor):
                if len(given) != 1:
                    raise ValueError(f"a reference is one picture (1, 3, H, W), not {tuple(given.shape)}")
                by_size.setdefault(tuple(given.shape[-2:]), {})[id(given)] = given
        known: dict[int, Reference] = {}
        for pictures in by_size.values():
            stacked = torch.cat([picture.to(self.device) for picture in pictures.values()])
            known.update(zip(pictures, self.references(stacked)))
        return known

    def _embed(self, inputs: Sequence[str | Tensor | None]) -> Embeddings:
        """Return one row per prompt, embedding or None, (B, width); zeros for None."""
        texts = [given for given in inputs if isinstance(given, str)]
        of_texts = iter(self.texts(texts)) if texts else iter(())
        absent = torch.zeros(self.clip.width, device=self.device)
        rows = [next(of_texts) if isinstance(given, str) else absent if given is None else given for given in inputs]
        return torch.stack([row.to(self.device, non_blocking=True) for row in rows])


def shown_hair(images: Images, masks: Masks, references: References) -> Images:
    """Return what CLIP sees of pictures that stand for a hairstyle: their hair, or its gray shape alone."""
    return gray_hair(images, masks) if references == "separated" else images * masks

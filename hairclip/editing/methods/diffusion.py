"""Paint the hair anew by diffusion inside the region that an edit may change, and keep the photo everywhere else.

On the embedded world an own small denoiser paints (`hairclip.networks.denoiser`). On real photos any inpainting
pipeline of diffusers does, named by its Hub id, such as ``stable-diffusion-v1-5/stable-diffusion-inpainting``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hairclip.common.color import flat_hair_color, gray_hair
from hairclip.common.errors import HairclipError, check_range
from hairclip.common.images import Embeddings, Flags, Images, Masks
from hairclip.editing.blending.regions import dilate, to_pixels
from hairclip.editing.methods.inpainting import check_pipeline, inpaint
from hairclip.editing.methods.method import EditingMethod, Editor, MethodResult
from hairclip.editing.methods.region import edit_region, head_region, name_hairstyles, paste_region
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from hairclip.networks.denoiser import Canvas, unit_embeddings
from hairclip.networks.mapper import References

__all__ = ["Diffusion"]

_SEAM = 4 / 128
"""How far around old and new hair the painted picture is kept, as a share of the height."""
_VISIBLE = 0.005
"""Share of a picture that must be hair before its color is read."""


@dataclass(frozen=True)
class Diffusion(EditingMethod):
    """Paints hair by diffusion. A text or a reference picture says which hairstyle and color.

    What is not asked for is read from the photo: its own color, or its own hairstyle with the light on its strands.
    `EditOptions.strength` below 1 starts from the photo with so much noise, and so keeps its large shapes; above 1 it
    multiplies the guidance.

    Attributes:
        steps: denoising steps; 0 takes 20, or 50 for a pipeline.
        guidance: how far the request is exaggerated; 0 takes 3, or 7.5 for a pipeline.
        fine_steps: steps of the own denoiser's second stage, which adds strands; 0 leaves it out.
        pipeline: Hub id or folder of an inpainting pipeline of diffusers; empty for the own denoiser.
        size: height and width at which a pipeline paints, in pixels.
    """

    steps: int = 0
    guidance: float = 0.0
    fine_steps: int = 8
    pipeline: str = ""
    size: int = 512

    def __post_init__(self) -> None:
        check_range("steps", self.steps, 0)
        check_range("guidance", self.guidance, 0.0)
        check_range("fine_steps", self.fine_steps, 0)
        check_range("size", self.size, 32)

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse what the painter cannot do, and networks that lack it."""
        if not self.pipeline:
            _ = editor.networks.denoiser, editor.networks.hair_priors
            return
        if isinstance(request.hairstyle, Tensor) or isinstance(request.color, Tensor):
            raise HairclipError(
                'method="diffusion" with a pipeline takes texts alone, and the request holds a reference picture: name '
                'the hair in words, or use method="mapper".'
            )
        check_pipeline()

    def references(self, editor: Editor) -> References:
        """Return "separated": CLIP sees hair without its color, and the color without the hair."""
        return "separated"

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
        paint = self._paint_by_pipeline if self.pipeline else self._paint
        region, painted = paint(prepared, requests, options, editor, progress)
        return MethodResult(images=paste_region(prepared.aligned, painted, region))

    def _paint(
        self,
        prepared: Prepared,
        requests: Sequence[EditRequest],
        options: EditOptions,
        editor: Editor,
        progress: bool,
    ) -> tuple[Masks, Images]:
        """Return the regions and what the own denoiser paints in them."""
        networks, photos = editor.networks, prepared.aligned
        hair = prepared.hair_mask
        batch = editor.encode(requests, options)
        named = name_hairstyles(requests, batch, networks.hair_priors.hairstyles, editor)
        asked = [not request.is_empty for request in requests]
        region = edit_region(prepared.labels, named, asked, networks.hair_priors)
        condition, keeps_shape = batch.condition, ~batch.condition.has_hairstyle
        gray = gray_hair(photos, hair)
        own_style = networks.clip.encode_image(gray)
        own_color = networks.clip.encode_image(flat_hair_color(photos, hair))
        own_color = own_color * (hair.float().mean(dim=(1, 2, 3)) >= _VISIBLE)[:, None]
        shading = gray * keeps_shape[:, None, None, None]
        painted = networks.denoiser.paint(
            Canvas(photos, region.float(), shading),
            _told(condition.hairstyle, own_style, condition.has_hairstyle),
            _told(condition.color, own_color, condition.has_color),
            steps=self.steps or 20,
            fine_steps=self.fine_steps,
            guidance=(self.guidance or 3.0) * max(1.0, options.strength),
            start=min(1.0, options.strength),
            seed=options.seed,
            progress=progress,
        )
        # The denoiser may paint whatever the hairstyle may cover. Where no hair came of it, the photo is right.
        grow = to_pixels(_SEAM, photos.shape[-2])
        after = networks.parser.hair_mask(paste_region(photos, painted, region))
        return region & dilate(hair | after, grow), painted

    def _paint_by_pipeline(
        self,
        prepared: Prepared,
        requests: Sequence[EditRequest],
        options: EditOptions,
        editor: Editor,
        progress: bool,
    ) -> tuple[Masks, Images]:
        """Return the regions and what a pipeline of diffusers paints in them."""
        region = head_region(prepared.labels, [None if one.is_empty else one.hairstyle is not None for one in requests])
        painted = prepared.aligned.clone()
        for i, request in enumerate(requests):
            if request.is_empty:
                continue
            painted[i] = inpaint(
                prepared.aligned[i : i + 1],
                region[i : i + 1],
                request,
                pipeline=self.pipeline,
                size=self.size,
                steps=self.steps or 50,
                guidance=(self.guidance or 7.5) * max(1.0, options.strength),
                strength=min(1.0, options.strength),
                seed=options.seed,
                progress=progress,
            )[0]
        return region, painted


def _told(asked: Embeddings, own: Embeddings, is_asked: Flags) -> Embeddings:
    """Return the embeddings that the denoiser is told: those asked for, else the photo's own."""
    return unit_embeddings(torch.where(is_asked[:, None], asked, own))

"""Paste the mean hair of the named hairstyle: a floor that any method which looks at the person must beat."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hairclip.common.color import lab_to_rgb, mean_lab, rgb_to_lab
from hairclip.common.errors import HairclipError
from hairclip.common.images import Images
from hairclip.editing.blending.layers import uncover
from hairclip.editing.blending.regions import dilate, smoothstep, soften, to_pixels
from hairclip.editing.methods.method import EditingMethod, Editor, MethodResult, refuse_pictures
from hairclip.editing.methods.region import edit_region
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared

__all__ = ["MeanHair"]

_EDGE = (0.3, 0.7)
"""Share of people with hair at a pixel below which the pasted hair is clear, and above which it is opaque."""


@dataclass(frozen=True)
class MeanHair(EditingMethod):
    """Takes the person's hair off and pastes the mean hair of the hairstyle, in the named or the person's color.

    Where a color alone is asked for, the Lab color of the person's hair is shifted, so that its mean is the color's.
    """

    parts = ("hair_priors",)

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse reference pictures, and words whose mean hair is not known."""
        priors = editor.networks.hair_priors
        refuse_pictures("mean-hair", request)
        for name, value, known in (
            ("hairstyle", request.hairstyle, priors.hairstyles),
            ("color", request.color, priors.colors),
        ):
            if value is not None and value not in known:
                raise HairclipError(f'method="mean-hair" knows no {name} {value!r}: it knows {", ".join(known)}.')

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
        priors, photos, hair = editor.networks.hair_priors, prepared.aligned, prepared.hair_mask
        styles = [request.hairstyle if isinstance(request.hairstyle, str) else None for request in requests]
        region = edit_region(prepared.labels, styles, [not request.is_empty for request in requests], priors)
        bare = self._take_off(prepared, editor)
        own = mean_lab(photos, hair)
        edited = []
        for i, request in enumerate(requests):
            color = own[i] if request.color is None else priors.color_of(str(request.color))
            style = styles[i]
            if style is None:
                weight = soften(hair[i : i + 1].float(), 1)
                lab = rgb_to_lab(photos[i : i + 1]) + (color - own[i])[None, :, None, None]
                behind = photos[i : i + 1]
            else:
                size = photos.shape[-1]
                weight = smoothstep(*_EDGE, priors.shapes([style], size))
                lab = color[None, :, None, None].expand(1, 3, size, size).clone()
                lab[:, :1] += priors.lights([style], size)
                behind = bare[i : i + 1]
            painted = lab_to_rgb(lab).clamp(-1, 1)
            edited.append(behind + weight * (painted - behind))
        mixed = (photos + options.strength * (torch.cat(edited) - photos)).clamp(-1, 1)
        return MethodResult(images=torch.where(region, mixed, photos))

    def _take_off(self, prepared: Prepared, editor: Editor) -> Images:
        """Return the photos without their hair."""
        grown = dilate(prepared.hair_mask, to_pixels(2 / 128, prepared.aligned.shape[-2]))
        inverted = prepared.inversion.images
        with torch.no_grad():
            labels = editor.networks.parser.smooth_labels(inverted)
        return uncover(prepared.aligned, inverted, prepared.labels, labels, grown, grown)

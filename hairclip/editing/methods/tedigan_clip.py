"""The CLIP variant of TediGAN, from the official repository: instance-level optimization guided by CLIP.

TediGAN's text encoder (Xia et al. 2021, section 3.2) was never released, so papers that compare with TediGAN use this
variant: it starts at the encoder's code for the photo and adds CLIP's distance from the text to the loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hairclip.common.errors import HairclipError, check_range
from hairclip.common.images import Images, Scores
from hairclip.editing.methods.method import EditingMethod, Editor, MethodResult, refuse_pictures
from hairclip.editing.methods.styleclip_optimize import distance
from hairclip.editing.methods.tedigan import InstanceLoss, optimize_instance
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared

__all__ = ["TediGanClip"]


@dataclass(frozen=True)
class TediGanClip(EditingMethod):
    """Descends on the codes for `steps` steps of Adam; the official code takes 200.

    The features of the perceptual term are those of `hairclip.editing.methods.tedigan`.

    Attributes:
        lr: rate of Adam.
        pixels: weight of the mean squared difference of photo and picture.
        perceptual: weight of the squared difference of their features.
        latent: weight of the mean squared difference of the code and the encoder's code for its picture.
        clip: weight of 1 - the cosine of CLIP's embeddings of picture and text.
        text_pixels: what CLIP sees. "official": pixels in [-1, 1] as they are; "normalized": as CLIP was trained.
    """

    lr: float = 0.01
    pixels: float = 1.0
    perceptual: float = 0.5
    latent: float = 2.0
    clip: float = 2.0
    text_pixels: str = "official"

    def __post_init__(self) -> None:
        for name in ("lr", "pixels", "perceptual", "latent", "clip"):
            check_range(name, getattr(self, name), 0.0)
        if self.text_pixels not in ("official", "normalized"):
            raise HairclipError(f"text_pixels is 'official' or 'normalized', not {self.text_pixels!r}.")

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse reference pictures."""
        refuse_pictures("tedigan-clip", request)

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
        clip, condition = editor.networks.clip, editor.encode(requests, options).condition
        w_plus = prepared.inversion.w_plus
        pixels = clip.raw_pixels if self.text_pixels == "official" else clip.pixels

        def words(images: Images) -> Scores:
            seen = clip.encode_pixels(pixels(images))
            apart = distance(seen, condition.hairstyle, condition.has_hairstyle)
            return self.clip * (apart + distance(seen, condition.color, condition.has_color))

        loss = InstanceLoss.of(prepared, editor, self.pixels, self.perceptual, self.latent, beside=words)
        codes = optimize_instance(w_plus, loss, steps=options.steps, lr=self.lr, progress=progress)
        asked = condition.has_hairstyle | condition.has_color
        return MethodResult(codes=torch.where(asked[:, None, None], codes, w_plus))

"""StyleCLIP's latent optimization with its own two terms and its own schedule (Patashnik et al. 2021, section 4).

It differs from `latent_descent` in everything but the idea: all layers are free, no term knows of hair, the latent term
is a sum, the schedule is StyleCLIP's, and the last code counts, not the best.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from hairclip.common.errors import HairclipError, check_range
from hairclip.common.images import Embeddings, Flags, Images, Scores, WPlus
from hairclip.common.progress import progress_bar
from hairclip.editing.methods.method import EditingMethod, Editor, MethodResult, refuse_pictures
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared

__all__ = ["StyleClipOptimize", "descend", "rate_at"]

_RAMP_DOWN, _RAMP_UP = 0.25, 0.05  # shares of the steps, as in the official script


@dataclass(frozen=True)
class StyleClipOptimize(EditingMethod):
    """Descends on the codes until CLIP reads the text in the picture. The official script takes 300 `steps`.

    Attributes:
        lr: peak rate of Adam.
        l2: weight of the squared change of the code, summed over all its entries.
        identity: weight of 1 - the cosine of the identity embeddings; 0 needs no identity network.
        text_pixels: what CLIP sees. "official": pixels in [-1, 1] as they are; "normalized": as CLIP was trained.
    """

    lr: float = 0.1
    l2: float = 0.008
    identity: float = 0.0
    text_pixels: str = "official"

    def __post_init__(self) -> None:
        check_range("lr", self.lr, 0.0)
        check_range("l2", self.l2, 0.0)
        check_range("identity", self.identity, 0.0)
        if self.text_pixels not in ("official", "normalized"):
            raise HairclipError(f"text_pixels is 'official' or 'normalized', not {self.text_pixels!r}.")

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse reference pictures: StyleCLIP is guided by text alone."""
        refuse_pictures("styleclip-optimize", request)
        if self.identity and editor.networks.identity is None:
            raise HairclipError("these networks have no identity network: leave out the setting identity.")

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
        inversion, networks = prepared.inversion, editor.networks
        clip, condition = networks.clip, editor.encode(requests, options).condition
        pixels = clip.raw_pixels if self.text_pixels == "official" else clip.pixels
        identity = networks.identity if self.identity else None
        source = None if identity is None else identity(inversion.images).float()

        def terms(images: Images) -> Scores:
            seen = clip.encode_pixels(pixels(images))
            value = distance(seen, condition.hairstyle, condition.has_hairstyle)
            value = value + distance(seen, condition.color, condition.has_color)
            if identity is not None:
                value = value + self.identity * (1 - (identity(images).float() * source).sum(dim=1))
            return value

        codes = descend(
            inversion.w_plus,
            lambda codes: terms(inversion.synthesize(codes, networks.generator)),
            steps=options.steps,
            lr=self.lr,
            l2=self.l2,
            progress=progress,
        )
        asked = condition.has_hairstyle | condition.has_color
        return MethodResult(codes=torch.where(asked[:, None, None], codes, inversion.w_plus))


def distance(seen: Embeddings, wanted: Embeddings, applies: Flags) -> Scores:
    """Return 1 - cosine of two embeddings (B, width), and 0 where a text is absent.

    A request of a hairstyle and a color has two texts here, and the sum of their distances. StyleCLIP has one text.
    """
    wanted = torch.where(applies[:, None], wanted, torch.ones_like(wanted))
    values = 1 - F.cosine_similarity(seen, wanted, dim=1)
    return torch.where(applies, values, torch.zeros_like(values))


def descend(
    w_plus: WPlus,
    terms: Callable[[WPlus], Scores],
    *,
    steps: int = 300,
    lr: float = 0.1,
    l2: float = 0.008,
    progress: bool = False,
) -> WPlus:
    """Return the codes (B, n_latent, w_dim) after some steps of Adam on `terms(codes) + l2 ||codes - w_plus||^2`.

    Args:
        w_plus: codes to start at, (B, n_latent, w_dim).
        terms: gives the loss of each sample's code beside the latent term, (B,).
        steps: steps of Adam.
        lr: peak rate; see `rate_at`.
        l2: weight of the latent term.
        progress: show a progress bar.
    """
    codes = w_plus.clone().requires_grad_()
    optimizer = torch.optim.Adam([codes], lr=lr)
    with torch.enable_grad(), progress_bar(total=steps, label="optimizing", show=progress, leave=False) as bar:
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step / steps, lr)
            losses = terms(codes) + l2 * (codes - w_plus).square().sum(dim=(1, 2))
            # The sum, not the mean: each sample descends as if it were alone.
            (codes.grad,) = torch.autograd.grad(losses.sum(), codes)
            optimizer.step()
            bar.update()
    return codes.detach()


def rate_at(share: float, lr: float) -> float:
    """Return the rate at a share of the steps in [0, 1): it grows for 1/20 of them, and falls in the last quarter."""
    down = min(1.0, (1.0 - share) / _RAMP_DOWN)
    return lr * (0.5 - 0.5 * math.cos(math.pi * down)) * min(1.0, share / _RAMP_UP)

"""TediGAN: put a text into the latent space of the pictures and mix it into a person's code (Xia et al. 2021).

The text encoder gives a code for the words. Style mixing takes the layers of the asked attributes from that code and
the others from the person's (section 3.3). Instance-level optimization then pulls the result towards the photo
(section 3.4). The official text encoder was never released; this one is this library's (`train-text-encoder`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hairclip.common.errors import check_range
from hairclip.common.images import Images, Scores, WPlus
from hairclip.common.progress import progress_bar
from hairclip.editing.inversion.perceptual import PerceptualDistance, parser_distance
from hairclip.editing.methods.difference import find_text_encoder
from hairclip.editing.methods.method import EditingMethod, Editor, MethodResult, refuse_pictures
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from hairclip.networks.mapper import HairCondition

__all__ = ["InstanceLoss", "TediGan", "mix_styles", "optimize_instance"]


@dataclass(frozen=True)
class TediGan(EditingMethod):
    """Mixes the text's layers into the code, then takes `steps` steps towards the photo; the official code takes 200.

    The official features F are VGG16's. Here they are the parser's, with unit length in each pixel, because VGG's
    weights do not come with this library. Their weight is therefore another one than the official 5e-5.

    Attributes:
        lr: rate of Adam.
        pixels: weight of the mean squared difference of photo and picture.
        perceptual: weight of the squared difference of their features.
        latent: weight of the mean squared difference of the code and the encoder's code for its picture.
        optimize: whether to take the steps; without them the method is style mixing alone.
    """

    lr: float = 0.01
    pixels: float = 1.0
    perceptual: float = 0.5
    latent: float = 2.0
    optimize: bool = True
    parts = ("text_encoder",)

    def __post_init__(self) -> None:
        for name in ("lr", "pixels", "perceptual", "latent"):
            check_range(name, getattr(self, name), 0.0)

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse reference pictures, and networks without a text encoder."""
        refuse_pictures("tedigan", request)
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
        condition, w_plus = editor.encode(requests, options).condition, prepared.inversion.w_plus
        codes = mix_styles(w_plus, find_text_encoder(editor)(condition), condition, editor.groups)
        if self.optimize:
            loss = InstanceLoss.of(prepared, editor, self.pixels, self.perceptual, self.latent)
            codes = optimize_instance(codes, loss, steps=options.steps, lr=self.lr, progress=progress)
        asked = condition.has_hairstyle | condition.has_color
        return MethodResult(codes=torch.where(asked[:, None, None], codes, w_plus))


def mix_styles(w_plus: WPlus, text: WPlus, condition: HairCondition, groups: tuple[int, int]) -> WPlus:
    """Return codes with layers from the text's code: those below `groups[1]` for a hairstyle, the others for a color.

    Args:
        w_plus: codes of the people, (B, n_latent, w_dim).
        text: codes of the texts, (B, n_latent, w_dim).
        condition: tells what is asked of each sample.
        groups: the first medium and the first fine layer.
    """
    is_fine = torch.arange(w_plus.shape[1], device=w_plus.device) >= groups[1]
    taken = torch.where(is_fine[None], condition.has_color[:, None], condition.has_hairstyle[:, None])
    return torch.where(taken[..., None], text, w_plus)


@dataclass(frozen=True)
class InstanceLoss:
    """The loss of the instance-level optimization, one number per sample (Xia et al. 2021, section 3.4).

    It is `pixels` mean((x - G(w))^2) + `perceptual` d(F(x), F(G(w))) + `latent` mean((w - E(G(w)))^2), plus `beside`.

    Attributes:
        target: the photos x, (B, 3, size, size) in [-1, 1].
        generator: G, codes (B, n_latent, w_dim) -> pictures (B, 3, size, size).
        encoder: E, pictures -> codes.
        features: F and the distance d between two lists of features.
        pixels: weight.
        perceptual: weight.
        latent: weight.
        beside: a further term, pictures -> (B,); None for none.
    """

    target: Images
    generator: Callable[[Tensor], Tensor]
    encoder: Callable[[Tensor], Tensor]
    features: PerceptualDistance
    pixels: float
    perceptual: float
    latent: float
    beside: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def of(
        cls,
        prepared: Prepared,
        editor: Editor,
        pixels: float,
        perceptual: float,
        latent: float,
        beside: Callable[[Tensor], Tensor] | None = None,
    ) -> "InstanceLoss":
        """Return the loss of prepared pictures with the networks of an editor."""
        networks, inversion = editor.networks, prepared.inversion
        return cls(
            prepared.aligned,
            lambda codes: inversion.synthesize(codes, networks.generator),
            networks.encoder,
            parser_distance(networks.parser),
            pixels,
            perceptual,
            latent,
            beside,
        )

    def __call__(self, codes: WPlus) -> Scores:
        """Return the loss of codes (B, n_latent, w_dim)."""
        images = self.generator(codes)
        loss = self.pixels * (self.target - images).square().mean(dim=(1, 2, 3))
        if self.perceptual:
            loss = loss + self.perceptual * self.features(images, self.target)
        if self.latent:
            loss = loss + self.latent * (codes - self.encoder(images)).square().mean(dim=(1, 2))
        return loss if self.beside is None else loss + self.beside(images)


def optimize_instance(
    codes: WPlus, loss: Callable[[WPlus], Scores], *, steps: int, lr: float, progress: bool = False
) -> WPlus:
    """Return the codes (B, n_latent, w_dim) after some steps of Adam at a constant rate; the last ones count.

    Args:
        codes: where to start.
        loss: gives the loss of each sample, (B,).
        steps: steps of Adam.
        lr: its rate.
        progress: show a progress bar.
    """
    codes = codes.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([codes], lr=lr)
    with torch.enable_grad(), progress_bar(total=steps, label="optimizing", show=progress, leave=False) as bar:
        for _ in range(steps):
            # The sum, not the mean: each sample descends as if it were alone.
            (codes.grad,) = torch.autograd.grad(loss(codes).sum(), codes)
            optimizer.step()
            bar.update()
    return codes.detach()

"""Edit hair without a mapper: descend on the latent code itself, guided by CLIP.

The method is StyleCLIP's latent optimization (Patashnik et al. 2021, section 4), with the hair-editing losses the
mapper is trained on in place of its two terms. It starts at the inverted code. A hairstyle may move only the coarse
and medium layers and a color only the fine ones, as the three sub-mappers of HairCLIP do (Wei et al. 2022, section
3.2).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hairclip.common.errors import check_range
from hairclip.common.images import Flags, WPlus
from hairclip.common.progress import progress_bar
from hairclip.common.schedules import warm_up_then_cosine
from hairclip.conditions.encoder import EditBatch
from hairclip.editing.methods.method import EditingMethod, Editor, MethodResult
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from hairclip.losses.hair_edit import HairEditLoss, SourceFeatures
from hairclip.networks.mapper import LAYER_SPLIT, References

__all__ = ["LatentDescent", "layer_mask", "optimize_codes"]


@dataclass(frozen=True)
class LatentDescent(EditingMethod):
    """Descends on the codes; it needs no mapper.

    Attributes:
        lr: peak rate of Adam, in units of the codes' own spread.
        noise: spread of the random offsets, in the same units; see `optimize_codes`.
    """

    lr: float = 0.1
    noise: float = 0.05
    parts = ("identity",)

    def __post_init__(self) -> None:
        check_range("lr", self.lr, 0.0)
        check_range("noise", self.noise, 0.0)

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse networks without an identity network, which the loss needs."""
        _ = editor.loss

    def references(self, editor: Editor) -> References:
        """Return how the loss sees reference pictures."""
        return editor.loss.references

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
        inversion, generator = prepared.inversion, editor.networks.generator
        codes = optimize_codes(
            inversion.w_plus,
            lambda codes: inversion.synthesize(codes, generator),
            editor.loss,
            editor.loss.source_features(inversion.images),
            editor.encode(requests, options),
            steps=options.steps,
            lr=self.lr,
            noise=self.noise,
            groups=editor.groups,
            seed=options.seed,
            progress=progress,
        )
        return MethodResult(codes=codes)


def layer_mask(
    has_hairstyle: Flags, has_color: Flags, n_latent: int, groups: tuple[int, int] = LAYER_SPLIT
) -> Float[Tensor, "batch n_latent 1"]:
    """Return 1 on the W+ layers that an edit may move, else 0: below `groups[1]` for a hairstyle, above for a color."""
    is_fine = torch.arange(n_latent, device=has_hairstyle.device) >= groups[1]
    free = torch.where(is_fine[None], has_color[:, None], has_hairstyle[:, None])
    return free[..., None].float()


def optimize_codes(
    w_plus: WPlus,
    generator: Callable[[Tensor], Tensor],
    loss: HairEditLoss,
    source: SourceFeatures,
    batch: EditBatch,
    *,
    steps: int = 100,
    lr: float = 0.1,
    noise: float = 0.05,
    groups: tuple[int, int] = LAYER_SPLIT,
    seed: int = 0,
    progress: bool = False,
) -> WPlus:
    """Return edited W+ codes of a batch that may mix tasks.

    Args:
        w_plus: inverted codes, (B, n_latent, w_dim).
        generator: W+ codes -> images, the same for the same codes.
        loss: the training loss; its frozen networks judge the picture at every step.
        source: what the loss remembers of the pictures of `w_plus`.
        batch: what is asked of each sample.
        steps: Adam steps.
        lr: peak rate, in units of the codes' own spread; linear warm-up, cosine cool-down.
        noise: spread of random offsets added to the code during the first three quarters, in the same units and
            fading out, as in StyleGAN2's projector (Karras et al. 2020, appendix D); helps against adversarial
            solutions.
        groups: first medium and first fine layer.
        seed: of those offsets.
        progress: show a progress bar.

    Returns:
        The best code seen per sample, by its own loss; a sample whose loss never falls keeps its code.
    """
    unit = w_plus.std(dim=-1, keepdim=True).mean().clamp_min(1e-6)
    free = layer_mask(batch.condition.has_hairstyle, batch.condition.has_color, w_plus.shape[1], groups) * unit
    offset = torch.zeros_like(w_plus, requires_grad=True)
    optimizer = torch.optim.Adam([offset], lr=lr, betas=(0.9, 0.99))
    random = torch.Generator().manual_seed(seed)
    best_codes, best_loss = w_plus.clone(), torch.full((len(w_plus),), math.inf, device=w_plus.device)
    with torch.enable_grad(), progress_bar(total=steps, label="optimizing", show=progress, leave=False) as bar:
        for step in range(steps + 1):  # the first code judged is the unedited one, the last that of the last step
            fade = noise * max(0.0, 1.0 - step / (0.75 * steps)) ** 2 if 0 < step < steps else 0.0
            jitter = torch.randn(w_plus.shape, generator=random).to(w_plus.device) * fade if fade > 0 else 0.0
            codes = w_plus + (offset + jitter) * free
            losses = loss(source, generator(codes), w_plus, codes, batch).per_sample
            better = losses.detach() < best_loss
            best_codes = torch.where(better[:, None, None], codes.detach(), best_codes)
            best_loss = torch.where(better, losses.detach(), best_loss)
            if step == steps:
                break
            for group in optimizer.param_groups:
                group["lr"] = lr * warm_up_then_cosine(step / steps)
            # The sum, not the mean: each sample descends as if it were alone.
            (offset.grad,) = torch.autograd.grad(losses.sum(), offset)
            optimizer.step()
            bar.update()
            if step % 5 == 0:
                bar.set_postfix_str(f"loss {float(best_loss.mean()):.3f}")
    return best_codes

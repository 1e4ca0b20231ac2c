"""Invert pictures: find the W+ codes from which a generator makes them.

There are three methods. `encoder` takes the codes of one pass of an encoder. `optimize` starts from these and improves
them by gradient descent. `pivotal` does the same and then tunes a copy of the generator to each picture. The descent
stays near its start: codes far from the encoder's rebuild pixels better but edit worse (the distortion-editability
trade-off of Tov et al. 2021, "Designing an Encoder for StyleGAN Image Manipulation").
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, Scores, WPlus, resize_area
from hairclip.common.metrics import psnr
from hairclip.common.progress import progress_bar
from hairclip.common.schedules import warm_up_then_cosine
from hairclip.editing.choices import InversionMethod
from hairclip.editing.inversion.loss import Features, ReconstructionLoss
from hairclip.editing.inversion.pivotal import Tuned, tune
from hairclip.networks.stylegan2 import Generator

__all__ = ["INVERSION_METHODS", "Inversion", "finish_inversion", "invert", "join_inversions"]

INVERSION_METHODS: tuple[InversionMethod, ...] = get_args(InversionMethod)


@dataclass(frozen=True)
class Inversion:
    """The inversion of a batch of pictures.

    Attributes:
        w_plus: the codes, (B, n_latent, w_dim).
        images: what the generator makes of the codes, (B, 3, size, size) in about [-1, 1]. Where there are tuned
            generators, each makes its own sample.
        psnr: peak signal-to-noise ratio of `images` to the pictures in dB, (B,).
        steps: steps of the descent on the codes; 0 for the encoder alone.
        method: how the codes were found.
        identity: cosine of the identity embeddings of picture and inversion, (B,); None without an identity network.
        tuned: one generator per sample for the method "pivotal", else None.
    """

    w_plus: WPlus
    images: Images
    psnr: Scores
    steps: int
    method: InversionMethod = "encoder"
    identity: Scores | None = None
    tuned: tuple[Tuned, ...] | None = None

    def __len__(self) -> int:
        return len(self.w_plus)

    def __getitem__(self, index: Sequence[int]) -> "Inversion":
        """Return the samples at these positions; a position may occur several times."""
        chosen = torch.as_tensor(list(index), device=self.w_plus.device)
        return Inversion(
            self.w_plus[chosen],
            self.images[chosen],
            self.psnr[chosen],
            self.steps,
            self.method,
            None if self.identity is None else self.identity[chosen],
            None if self.tuned is None else tuple(self.tuned[i] for i in index),
        )

    def synthesize(
        self, codes: WPlus, generator: Generator, style_offsets: Sequence[Tensor | None] | None = None
    ) -> Images:
        """Return the pictures of edited codes, (B, 3, size, size).

        Args:
            codes: (B, n_latent, w_dim); codes[i] is an edit of sample i.
            generator: the generator that the pictures were inverted with. It is used where no generator was tuned.
            style_offsets: what is added to the styles, see `Generator.forward`.
        """
        if self.tuned is None:
            return generator(codes, noise="const", style_offsets=style_offsets)
        pictures: list[Tensor | None] = [None] * len(codes)
        generators = {id(tuned.generator): tuned.generator for tuned in self.tuned}
        for key, tuned_generator in generators.items():  # edits of one photo go through its generator together
            samples = [i for i, tuned in enumerate(self.tuned) if id(tuned.generator) == key]
            offsets = None
            if style_offsets is not None:
                offsets = [None if offset is None else offset[samples] for offset in style_offsets]
            made = tuned_generator(codes[samples], noise="const", style_offsets=offsets)
            for i, picture in zip(samples, made, strict=True):
                pictures[i] = picture
        return torch.stack([picture for picture in pictures if picture is not None])


def join_inversions(parts: Sequence[Inversion]) -> Inversion:
    """Return one inversion of several batches, all made by one method with the same networks."""
    identities = [part.identity for part in parts if part.identity is not None]
    tuned = [one for part in parts for one in part.tuned or ()]
    return Inversion(
        torch.cat([part.w_plus for part in parts]),
        torch.cat([part.images for part in parts]),
        torch.cat([part.psnr for part in parts]),
        max(part.steps for part in parts),
        parts[0].method,
        torch.cat(identities) if identities else None,
        tuple(tuned) or None,
    )


def invert(
    images: Images,
    encoder: Callable[[Tensor], Tensor],
    generator: Generator,
    *,
    method: InversionMethod = "encoder",
    steps: int = 100,
    lr: float = 0.05,
    stay: float = 0.01,
    agree: float = 0.3,
    loss: ReconstructionLoss | None = None,
    identity: Features | None = None,
    patience: int = 40,
    seed: int = 0,
    progress: bool = False,
) -> Inversion:
    """Return the inversion of aligned pictures. Each sample is inverted by itself, whatever else is in the batch.

    Args:
        images: (B, 3, H, W) in [-1, 1], any size; compared at the generator's size.
        encoder: images (B, 3, H, W) -> W+ codes (B, n_latent, w_dim).
        generator: W+ codes -> images, called with constant noise. It does not change.
        method: "encoder", "optimize" or "pivotal"; see the head of this module.
        steps: most steps of the descent, and most steps of the tuning.
        lr: peak rate of Adam, in units of the standard deviation of random latents. The rate rises over the first 5 %
            of the steps and falls with a cosine over the second half.
        stay: weight of the squared distance to the encoder's codes, in the same units.
        agree: weight of the squared difference between the offsets of single layers and their common offset.
        loss: distance that descent and tuning minimize; None compares pixels and texture.
        identity: aligned faces -> (B, width) embeddings, for `Inversion.identity`.
        patience: a sample stops when its loss has not fallen by 0.5 % in this many steps.
        seed: seed of the random latents that regularize the tuning. Nothing else is random.
        progress: show progress bars.

    Returns:
        The codes with the lowest loss of each sample, and what the generator makes of them.

    Raises:
        HairclipError: if there is no such method.
    """
    if method not in INVERSION_METHODS:
        raise HairclipError(f"there is no inversion '{method}': choose one of {', '.join(INVERSION_METHODS)}.")
    with torch.no_grad():
        codes = encoder(images).float()  # of fewer bits, where the caller computes so
    if method == "encoder":
        return finish_inversion(images, codes, generator, method=method, identity=identity)
    loss = loss or ReconstructionLoss()
    target = resize_area(images, generator.size)
    codes, taken = _descend(codes, generator, loss.to(target), steps, lr, (stay, agree), patience, progress)
    tuned: list[Tuned] = []
    if method == "pivotal":
        for i in range(len(images)):
            one = slice(i, i + 1)
            tuned.append(
                tune(
                    generator,
                    codes[one],
                    loss.to(target[one]),
                    steps=steps,
                    perceptual=loss.perceptual,
                    patience=patience,
                    seed=seed,
                    progress=progress,
                )
            )
    return finish_inversion(images, codes, generator, method=method, steps=taken, identity=identity, tuned=tuned)


@torch.no_grad()
def finish_inversion(
    images: Images,
    codes: WPlus,
    generator: Generator,
    *,
    method: InversionMethod,
    steps: int = 0,
    identity: Features | None = None,
    tuned: Sequence[Tuned] = (),
) -> Inversion:
    """Return the inversion that given codes make: the pictures, their PSNR and their identity cosine.

    Args:
        images: the inverted pictures, (B, 3, H, W) in [-1, 1].
        codes: their codes, (B, n_latent, w_dim).
        generator: the generator that was inverted.
        method: how the codes were found.
        steps: steps of the descent on the codes.
        identity: aligned faces -> (B, width) embeddings; None leaves `Inversion.identity` empty.
        tuned: one tuned generator per picture; none for methods that tune nothing.
    """
    target = resize_area(images, generator.size)
    draft = Inversion(codes, target, psnr(target, target), steps, method, None, tuple(tuned) or None)
    rebuilt = draft.synthesize(codes, generator).float()
    alike = None if identity is None else F.cosine_similarity(identity(rebuilt.clamp(-1, 1)), identity(target), dim=-1)
    return Inversion(codes, rebuilt, psnr(rebuilt, target), steps, method, alike, draft.tuned)


def _descend(
    start: WPlus,
    generator: Generator,
    loss: Callable[[Tensor], Tensor],
    steps: int,
    lr: float,
    weights: tuple[float, float],
    patience: int,
    progress: bool,
) -> tuple[Tensor, int]:
    """Return the codes with the lowest loss of a descent from `start`, and the number of steps taken.

    Codes edit well where generator and mapper know them. They know codes near W, where all layers are equal (Tov et
    al., section 3.2), and within W those near random latents (Zhu et al. 2020, "Improved StyleGAN Embedding: Where are
    the Good Latents?"). So an offset common to all layers costs `stay`, an offset of a single layer costs `agree`, and
    both are measured in units of the covariance of random latents.

    Args:
        start: (B, n_latent, w_dim).
        generator: the frozen generator.
        loss: pictures -> (B,) distance to the inverted pictures.
        steps: most steps.
        lr: peak rate of Adam.
        weights: `stay` and `agree`.
        patience: a sample stops when its loss has not fallen by 0.5 % in this many steps.
        progress: show a progress bar.
    """
    (stay, agree), unit = weights, measure_latent_spread(generator)
    shared = torch.zeros_like(start[:, :1], requires_grad=True)
    single = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.Adam([shared, single], lr=lr, betas=(0.9, 0.99))
    best: Scores = torch.full((len(start),), math.inf, device=start.device)
    mark, codes_of_best = best.clone(), start.clone()
    stale, taken = torch.zeros(len(start), dtype=torch.int64, device=start.device), 0
    with torch.enable_grad(), progress_bar(total=steps, label="inverting", show=progress, leave=False) as bar:
        for step in range(steps + 1):
            codes = start + (shared + single) @ unit
            near = stay * shared.square().mean(dim=(1, 2)) + agree * single.square().mean(dim=(1, 2))
            total = loss(generator(codes, noise="const")) + near
            score = total.detach()
            running = stale < patience  # a sample that has stopped keeps what it has, whatever its neighbors do
            better = (score < best) & running
            codes_of_best = torch.where(better[:, None, None], codes.detach(), codes_of_best)
            best = torch.where(better, score, best)
            fell = score < mark * 0.995
            mark, stale, taken = torch.where(fell, score, mark), torch.where(fell & running, 0, stale + 1), step
            if step == steps or not bool((stale < patience).any()):
                break
            for group in optimizer.param_groups:
                group["lr"] = lr * warm_up_then_cosine(step / steps)
            shared.grad, single.grad = torch.autograd.grad(total.sum(), (shared, single))
            optimizer.step()
            bar.update()
            if step % 10 == 0:
                bar.set_postfix_str(f"loss {float(best.mean()):.3f}")
    return codes_of_best, taken


@torch.no_grad()
def measure_latent_spread(generator: Generator, count: int = 4000) -> Float[Tensor, "w_dim w_dim"]:
    """Return the symmetric square root of the covariance of `count` random latents w.

    Standard normal rows times this matrix spread as random latents do. Directions in which random latents hardly vary
    get a tenth of the mean spread, because encoders use these directions a little.
    """
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(0))
    w = generator.mapping(z.to(generator.constant)).cpu().double()
    variance, directions = torch.linalg.eigh(torch.cov(w.T))
    least = 0.01 * float(variance.mean()) + 1e-12
    spread = directions * variance.clamp_min(least).sqrt() @ directions.T
    return spread.to(generator.constant)

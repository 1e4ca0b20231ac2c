"""Find what makes a generator show a picture: its W+ codes, and if asked a generator tuned to it.

`encoder` is one pass. `optimize` goes on by gradient descent on the codes. `pivotal` then tunes a copy of the generator
around them. The descent is held near where it starts, because codes far from the encoder's rebuild
pixels better but edit worse (the distortion-editability trade-off, Tov et al. 2021, "Designing an Encoder for StyleGAN
Image Manipulation").
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, Scores, WPlus, resize_area
from hairclip.common.metrics import psnr
from hairclip.common.progress import progress_bar
from hairclip.common.schedules import warm_up_then_cosine
from hairclip.editing.inversion.loss import Features, ReconstructionLoss
from hairclip.editing.inversion.pivotal import Tuned, tune
from hairclip.networks.stylegan2 import Generator

__all__ = ["METHODS", "Inversion", "InversionMethod", "finish_inversion", "invert", "join_inversions"]

InversionMethod: TypeAlias = Literal["encoder", "optimize", "pivotal"]
Start: TypeAlias = Literal["encoder", "mean"]
METHODS: tuple[InversionMethod, ...] = get_args(InversionMethod)


@dataclass(frozen=True)
class Inversion:
    """Codes of a batch of pictures, with tuned generators where there are any, and how well they rebuild them."""

    w_plus: Tensor
    """W+ codes, (B, n_latent, w_dim)."""
    images: Tensor
    """What the generator, or each one's own, makes of them, (B, 3, size, size) in about [-1, 1]."""
    psnr: Tensor
    """Peak signal-to-noise ratio to the input in dB, (B,)."""
    steps: int
    """Steps of descent taken on the codes (0: the encoder alone)."""
    method: InversionMethod = "encoder"
    identity: Tensor | None = None
    """Cosine of the identity embeddings of input and inversion, (B,); None where there was no identity network."""
    tuned: tuple[Tuned, ...] | None = None
    """The generator tuned to each picture, method `pivotal` only."""

    def __len__(self) -> int:
        return len(self.w_plus)

    def __getitem__(self, index: Sequence[int]) -> "Inversion":
        """Some of the samples, any number of times."""
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

    def synthesize(self, codes: WPlus, generator: Generator) -> Images:
        """Pictures of codes near those of the samples: by each sample's own generator, else by `generator`.

        Args:
            codes: (B, n_latent, w_dim), the i-th one an edit of the i-th sample.
            generator: the one that the pictures were inverted with.
        """
        if self.tuned is None:
            return generator(codes, noise="const")
        pictures: list[Tensor | None] = [None] * len(codes)
        own = [id(tuned.generator) for tuned in self.tuned]
        for first, tuned in {key: tuned.generator for key, tuned in zip(own, self.tuned, strict=True)}.items():
            where = [i for i, key in enumerate(own) if key == first]  # edits of one photo go through together
            for i, picture in zip(where, tuned(codes[where], noise="const"), strict=True):
                pictures[i] = picture
        return torch.stack([picture for picture in pictures if picture is not None])


def join_inversions(parts: Sequence[Inversion]) -> Inversion:
    """One batch of several, all made by one method with the same networks."""
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
    start: Start = "encoder",
    lr: float = 0.05,
    stay: float = 0.01,
    agree: float = 0.3,
    loss: ReconstructionLoss | None = None,
    identity: Features | None = None,
    patience: int = 40,
    seed: int = 0,
    progress: bool = False,
) -> Inversion:
    """W+ codes of aligned pictures, and tuned generators if `method` says so. Each sample is treated by itself.

    Args:
        images: (B, 3, H, W) in [-1, 1], any size; compared at the generator's size.
        encoder: images -> W+ codes.
        generator: W+ codes -> images, called with constant noise; never changed.
        method: "encoder" (one pass), "optimize" (then descent on the codes) or "pivotal" (then tuning of a copy).
        steps: of the descent, and as many of the tuning.
        start: where the descent starts, the encoder's codes or the mean of all, which needs no good encoder.
        lr: peak rate of Adam, in units of the spread of random latents; it rises over the first 5 % and falls with a
            cosine.
        stay: weight of the squared distance to the start, in the same units; 0 when starting from the mean, which is
            nobody's portrait.
        agree: weight of the squared difference of the layers' offsets from what they have in common.
        loss: what the descent and the tuning go down; None for pixels and texture only.
        identity: aligned faces -> (B, width) embedding, which `Inversion.identity` compares.
        patience: a sample stops once its loss has not fallen by 0.5 % for this many steps.
        seed: of the random latents of the tuning's regularisation; nothing else is random.
        progress: show progress bars.

    Returns:
        The best seen of each sample.
    """
    if method not in METHODS:
        raise HairclipError(f"there is no inversion method '{method}': choose {', '.join(METHODS[:-1])} or pivotal.")
    with torch.no_grad():
        codes = encoder(images) if start == "encoder" or method == "encoder" else _mean_codes(generator, len(images))
    if method == "encoder":
        return finish_inversion(images, codes, generator, method=method, identity=identity)
    loss = loss or ReconstructionLoss()
    target = resize_area(images, generator.size)
    held = 0.0 if start == "mean" else stay
    codes, taken = _descend(codes, generator, loss.to(target), steps, lr, (held, agree), patience, progress)
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
    """The pictures that found codes make, by tuned generators where there are any, and how good they are."""
    target = resize_area(images, generator.size)
    draft = Inversion(codes, target, psnr(target, target), steps, method, None, tuple(tuned) or None)
    rebuilt = draft.synthesize(codes, generator)
    alike = None if identity is None else F.cosine_similarity(identity(rebuilt.clamp(-1, 1)), identity(target), dim=-1)
    return Inversion(codes, rebuilt, psnr(rebuilt, target), steps, method, alike, draft.tuned)


def _mean_codes(generator: Generator, count: int) -> WPlus:
    average = generator.latent_avg
    if average is None:
        average = generator.mean_latent(10_000, torch.Generator().manual_seed(0))
    return generator.expand(average.expand(count, -1)).clone()


def _descend(
    start: WPlus,
    generator: Generator,
    loss: Callable[[Tensor], Tensor],
    steps: int,
    lr: float,
    held: tuple[float, float],
    patience: int,
    progress: bool,
) -> tuple[Tensor, int]:
    """The best codes of a descent from `start`, and the steps taken.

    Codes edit well where the generator and the mapper know them: near W (section 3.2 of Tov et al.), all layers alike,
    and within W where random latents lie (Zhu et al. 2020, "Improved StyleGAN Embedding: Where are the Good Latents?").
    So all layers move together as far as they like, singly at a price, and in the units of W's own covariance.
    """
    (stay, agree), unit = held, latent_spread(generator)
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
            running = stale < patience  # a sample that has stopped keeps what it has, whatever its neighbours do
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
def latent_spread(generator: Generator, count: int = 4000) -> Float[Tensor, "w_dim w_dim"]:
    """The symmetric square root of the covariance of random latents w: standard normal rows times it are spread alike.

    Directions in which they hardly vary get a tenth of the mean spread, because encoders use them a little.
    """
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(0))
    w = generator.mapping(z.to(generator.constant)).cpu().double()
    variance, directions = torch.linalg.eigh(torch.cov(w.T))
    least = 0.01 * float(variance.mean()) + 1e-12
    spread = directions * variance.clamp_min(least).sqrt() @ directions.T
    return spread.to(generator.constant)

"""Recipes of the codec and of the token transformer: pictures become tokens, and hidden tokens are guessed."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.common.averages import moving_average, update_average
from hairclip.common.errors import HairclipError
from hairclip.common.images import Embeddings, Images, Masks
from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.conditions.encoder import ConditionEncoder
from hairclip.networks.codec import Codec, TokenGrid, code_rows, straight_through
from hairclip.networks.hair_priors import GROW, MAY_COVER, HairPriors
from hairclip.networks.patch_codes import PatchCodes
from hairclip.networks.token_transformer import Logits, TokenMask, TokenTransformer
from hairclip.portraits.fit.labeled_pictures import LabeledPictures
from hairclip.portraits.fit.loop import StepLog, autocast, run
from hairclip.portraits.vocabulary import BALD
from hairclip.pretrained.bundle import Networks

__all__ = [
    "CodebookAverage",
    "embed_words",
    "encode_pictures",
    "fit_codec",
    "fit_token_transformer",
    "hide_tokens",
    "soft_targets",
    "token_loss",
]

_CODEC_RATE, _RATE = 2e-3, 1.5e-3
_WARMUP = 60
_SAMPLE = 600
"""Pictures from which the components and the first codebook are computed."""
_DECAY, _UNUSED = 0.99, 0.03
"""Decay of the averages that the codebook follows, and the share of the mean use below which an entry is replaced."""
_OTHER_HAIR, _PRIOR = 0.85, 0.5
"""Shares of samples whose region takes in another picture's hair, or all that the hairstyle may cover."""
_UNTOLD, _HALF_TOLD = 0.1, 0.05
"""Shares of samples that are told nothing, which guidance needs, and that are not told the hairstyle, or the color."""
_NEIGHBORS = 4
"""The distance to the neighbor of this number is the unit in which targets become soft."""


def fit_codec(
    pictures: LabeledPictures,
    folder: Path,
    device: torch.device,
    *,
    steps: int = 400,
    batch: int = 16,
    seed: int = 0,
    save_every: int = 100,
) -> Codec:
    """Train the codec. It starts from principal components and k-means.

    Args:
        pictures: what it learns to rebuild.
        folder: where the checkpoint is kept; a training continues from it.
        device: where to train.
        steps: number of steps.
        batch: pictures of a step.
        seed: of all that is random.
        save_every: steps between two checkpoints.
    """
    torch.manual_seed(seed)  # initial weights
    rng = np.random.default_rng([seed, 1])
    sample = rng.choice(len(pictures), min(_SAMPLE, len(pictures)), replace=False)
    codec = Codec()
    patches = len(sample) * (pictures.pixels.shape[-1] // codec.patch) ** 2
    if patches < codec.entries:
        raise HairclipError(
            f"{len(pictures)} pictures have {patches} patches, and the codebook has {codec.entries} entries: give "
            "more pictures."
        )
    codec = codec.fit(pictures.images(sample), seed=seed).to(device)
    average = CodebookAverage(codec.codebook)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=_CODEC_RATE, weight_decay=1e-3)

    def step(index: int, rng: np.random.Generator) -> StepLog:
        images = pictures.images(rng.integers(len(pictures), size=batch)).to(device)
        for group in optimizer.param_groups:
            group["lr"] = _CODEC_RATE * warm_up_then_half_cosine(index, steps, warmup=min(_WARMUP, steps // 4 + 1))
        with autocast(device):
            codes = codec.encode(images)
            tokens = codec.quantize(codes.detach())
            entries = codec.look_up(tokens)
            rebuilt = codec.decode(straight_through(codes, entries))
        error = F.l1_loss(rebuilt, images) + 0.5 * gradient_loss(rebuilt, images)
        commitment = F.mse_loss(codes, entries)
        optimizer.zero_grad(set_to_none=True)
        (error + 0.25 * commitment).backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        if index < 0.8 * steps:  # then the decoder learns what no longer moves
            codec.codebook.copy_(average.update(codes.detach(), tokens, int(rng.integers(2**31))))
        mse = F.mse_loss(rebuilt.detach().clamp(-1, 1), images)
        return {"error": error.item(), "dB": 10 * math.log10(4 / mse.item())}

    state: dict[str, Any] = {"codec": codec, "average": average, "optimizer": optimizer}
    run("codec", steps=steps, state=state, step=step, folder=folder, seed=seed, save_every=save_every)
    return codec.eval().requires_grad_(False)


class CodebookAverage(nn.Module):
    """The moving averages that a codebook follows (van den Oord et al. 2017, appendix A.1).

    Attributes:
        usage: how often each entry is chosen in a batch, (entries,).
        totals: the sum of the codes that choose it, (entries, channels).
    """

    usage: Tensor
    totals: Tensor
    started: Tensor

    def __init__(self, codebook: Float[Tensor, "entries channels"]) -> None:
        super().__init__()
        self.register_buffer("usage", torch.zeros(len(codebook), device=codebook.device))
        self.register_buffer("totals", torch.zeros_like(codebook))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self.first = codebook.clone()

    @torch.no_grad()
    def update(self, codes: PatchCodes, tokens: TokenGrid, seed: int) -> Float[Tensor, "entries channels"]:
        """Return the codebook after a batch. Entries that hardly any code chooses are replaced by codes of the batch.

        Args:
            codes: codes before quantization.
            tokens: the entries that they chose.
            seed: of the choice of replacements.
        """
        rows, chosen = code_rows(codes), tokens.flatten()
        mean_use = len(rows) / len(self.usage)
        if not self.started:
            self.usage.fill_(mean_use)
            self.totals.copy_(self.first * mean_use)
            self.started.fill_(True)
        counts = torch.bincount(chosen, minlength=len(self.usage)).to(rows)
        self.usage.mul_(_DECAY).add_(counts, alpha=1 - _DECAY)
        self.totals.mul_(_DECAY).add_(torch.zeros_like(self.totals).index_add_(0, chosen, rows), alpha=1 - _DECAY)
        unused = self.usage < _UNUSED * mean_use
        random = torch.Generator().manual_seed(seed)
        spare = rows[torch.randint(len(rows), (len(self.usage),), generator=random).to(rows.device)]
        self.usage[unused] = mean_use
        self.totals[unused] = spare[unused] * mean_use
        return self.totals / self.usage[:, None]


def gradient_loss(images: Images, others: Images) -> Float[Tensor, ""]:
    """Return the mean absolute difference of the pictures' differences between neighboring pixels."""
    off = images - others
    return off.diff(dim=2).abs().mean() + off.diff(dim=3).abs().mean()


@torch.no_grad()
def encode_pictures(codec: Codec, pictures: LabeledPictures, device: torch.device, *, batch: int = 64) -> TokenGrid:
    """Return the tokens of all pictures, int16 on the CPU."""
    parts = []
    for first in range(0, len(pictures), batch):
        with autocast(device):
            parts.append(codec.tokens(pictures.images(slice(first, first + batch)).to(device)).short().cpu())
    return torch.cat(parts)


@torch.no_grad()
def embed_words(networks: Networks, priors: HairPriors) -> tuple[dict[str, Embeddings], dict[str, Embeddings]]:
    """Return the CLIP embeddings (1, width) of the texts of all hairstyles and colors, by name."""
    encoder = ConditionEncoder(networks.clip, networks.parser, references="separated")
    return (
        {name: encoder.encode([name], [None]).condition.hairstyle for name in priors.hairstyles},
        {name: encoder.encode([None], [name]).condition.color for name in priors.colors},
    )


def fit_token_transformer(
    pictures: LabeledPictures,
    codec: Codec,
    hairstyles: Mapping[str, Embeddings],
    colors: Mapping[str, Embeddings],
    priors: HairPriors,
    folder: Path,
    device: torch.device,
    *,
    steps: int = 2000,
    batch: int = 32,
    seed: int = 0,
    save_every: int = 200,
) -> TokenTransformer:
    """Train the transformer to guess the hidden tokens of hair, and return it with averaged weights.

    Args:
        pictures: what it learns from.
        codec: makes their tokens.
        hairstyles: name -> embedding of its text, (1, width).
        colors: name -> embedding of its text, (1, width).
        priors: where hair of each hairstyle may lie.
        folder: where the checkpoint is kept; a training continues from it.
        device: where to train.
        steps: number of steps.
        batch: pictures of a step.
        seed: of all that is random.
        save_every: steps between two checkpoints.
    """
    tokens = encode_pictures(codec, pictures, device)
    grid = tokens.shape[-1]
    hair = torch.cat([_hair_cells(pictures.hair(slice(i, i + 64)), grid) for i in range(0, len(pictures), 64)])
    covered = {name: _prior_cells(priors, name, pictures.pixels.shape[-1], grid) for name in priors.hairstyles}
    nowhere = torch.zeros(grid, grid, dtype=torch.bool)
    width = next(iter(hairstyles.values())).shape[1]
    torch.manual_seed(seed)  # initial weights
    network = TokenTransformer(codec.entries, codec.codebook.shape[1], width, grid).start_from(codec.codebook)
    network = network.to(device).train()
    average = moving_average(network, 0.995)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, betas=(0.9, 0.98), weight_decay=0.03)
    targets = soft_targets(codec.codebook)

    def step(index: int, rng: np.random.Generator) -> StepLog:
        rows = rng.integers(len(pictures), size=batch)
        shown, others = tokens[torch.from_numpy(rows)].long(), torch.from_numpy(rng.integers(len(pictures), size=batch))
        styles = [pictures.hairstyles[i] for i in rows]
        region = hair[torch.from_numpy(rows)]
        region = region | hair[others] & torch.from_numpy(rng.random((batch, 1, 1)) < _OTHER_HAIR)
        prior = torch.stack([covered.get(name, nowhere) for name in styles])
        region = region | prior & torch.from_numpy(rng.random((batch, 1, 1)) < _PRIOR)
        hidden = hide_tokens(region, rng)
        told = torch.from_numpy(rng.random(batch) >= _UNTOLD)
        told_style = told & torch.from_numpy(rng.random(batch) >= _HALF_TOLD)
        told_color = told & torch.from_numpy(rng.random(batch) >= _HALF_TOLD)
        told_color = told_color & torch.tensor([name != BALD for name in styles])
        style = torch.cat([hairstyles[name] for name in styles])
        color = torch.cat([colors[pictures.colors[i]] for i in rows])
        inputs = (shown, hidden, region, style, color, told_style, told_color)
        shown, hidden, region, style, color, told_style, told_color = (one.to(device) for one in inputs)
        for group in optimizer.param_groups:
            group["lr"] = _RATE * warm_up_then_half_cosine(index, steps, warmup=min(_WARMUP, steps // 4 + 1))
        with autocast(device):
            logits = network(shown, hidden, region, style, color, told_style, told_color)
        loss, right = token_loss(logits.float(), shown, hidden, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        update_average(average, network, index)
        return {"loss": loss.item(), "right": right.item()}

    state = {"network": network, "average": average, "optimizer": optimizer}
    run("token_transformer", steps=steps, state=state, step=step, folder=folder, seed=seed, save_every=save_every)
    averaged: TokenTransformer = average.module
    return averaged.eval().requires_grad_(False)


def hide_tokens(region: TokenMask, rng: np.random.Generator) -> TokenMask:
    """Return tokens of a region to hide: a share cos(pi/2 u) of each sample's, u uniform, and at least one token."""
    share = torch.from_numpy(np.cos(0.5 * np.pi * rng.random(len(region))))
    counts = region.flatten(1).sum(dim=1)
    wanted = (share * counts).ceil().clamp(min=1)
    scores = torch.from_numpy(rng.random(region.shape)).masked_fill(~region, 2.0).flatten(1)
    ranks = scores.argsort(dim=1).argsort(dim=1)
    return (ranks < wanted[:, None]).view_as(region) & region


def soft_targets(codebook: Float[Tensor, "entries channels"]) -> Float[Tensor, "entries entries"]:
    """Return what counts as right for each entry, rows that sum to 1: itself most, and entries near it a little."""
    distances = torch.cdist(codebook, codebook).square()
    unit = distances.sort(dim=1).values[:, min(_NEIGHBORS, len(codebook) - 1), None].clamp_min(1e-12)
    return torch.softmax(-2.0 * distances / unit, dim=1)


def token_loss(
    logits: Logits, tokens: TokenGrid, hidden: TokenMask, targets: Float[Tensor, "entries entries"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the cross entropy of the hidden tokens with soft targets, and the share of them that are guessed right."""
    guessed, wanted = logits.movedim(1, -1)[hidden], tokens[hidden]
    loss = -(targets[wanted] * guessed.log_softmax(dim=1)).sum(dim=1).mean()
    return loss, (guessed.argmax(dim=1) == wanted).float().mean()


def _hair_cells(hair: Masks, grid: int) -> Bool[Tensor, "batch grid grid"]:
    """Return the cells of a grid that grown hair reaches."""
    reach = max(1, round(GROW * hair.shape[-1]))
    grown = F.max_pool2d(hair.float(), 2 * reach + 1, stride=1, padding=reach)
    return F.adaptive_max_pool2d(grown, grid)[:, 0] > 0


def _prior_cells(priors: HairPriors, hairstyle: str, size: int, grid: int) -> Bool[Tensor, "grid grid"]:
    """Return the cells of a grid that hair of a hairstyle may reach."""
    return _hair_cells(priors.shapes([hairstyle], size) > MAY_COVER, grid)[0]

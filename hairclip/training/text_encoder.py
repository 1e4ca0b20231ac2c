"""Train the text encoder: it regresses W+ codes by the words that label them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.networks.mapper import HairCondition
from hairclip.networks.text_encoder import TextEncoder
from hairclip.portraits.fit.loop import StepLog, run
from hairclip.training.latents import LatentSet

if TYPE_CHECKING:  # open_clip takes seconds to import: it is loaded with the first CLIP
    import hairclip.networks.clip

__all__ = ["fit_text_encoder"]

_RATE, _DECAY, _WARMUP = 1e-3, 0.05, 50
_ABSENT = 0.15
"""Share of samples from which the hairstyle is left out, and share from which the color is."""


def fit_text_encoder(
    latents: LatentSet,
    clip: "hairclip.networks.clip.Clip",
    folder: Path,
    device: torch.device,
    *,
    steps: int = 500,
    batch: int = 128,
    width: int = 384,
    components: int = 96,
    seed: int = 0,
    save_every: int = 250,
) -> TextEncoder:
    """Train a text encoder and return it.

    Args:
        latents: codes with the names of their hairstyles and colors.
        clip: embeds the words.
        folder: where the checkpoint is kept; a training continues from it.
        device: where to train.
        steps: number of steps.
        batch: codes of a step.
        width: neurons of a hidden layer.
        components: principal components of the codes that are kept.
        seed: seed of the initial weights and of the batches.
        save_every: steps between two checkpoints.

    Raises:
        HairclipError: if the codes have no labels, or for a checkpoint that cannot be continued.
    """
    if not len(latents) or latents.hairstyles is None or latents.colors is None:
        raise HairclipError("the codes of the train split have no labels hairstyle and color: give codes with labels.")
    codes = latents[range(len(latents))].to(device)
    names = [sorted(set(labels)) for labels in (latents.hairstyles, latents.colors)]
    with torch.no_grad():
        tables = [
            clip.encode_text([prompt(name) for name in kind]).to(device)
            for kind, prompt in zip(names, (hairstyle_prompt, color_prompt), strict=True)
        ]
    numbers = [
        torch.tensor([kind.index(name) for name in labels], device=device)
        for kind, labels in zip(names, (latents.hairstyles, latents.colors), strict=True)
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = TextEncoder(
            n_latent=codes.shape[1],
            w_dim=codes.shape[2],
            condition_dim=tables[0].shape[1],
            width=width,
            components=components,
            hairstyles=names[0],
            colors=names[1],
        ).to(device)
    network.fit_components(codes)
    targets = network.project(codes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)

    def step(index: int, rng: np.random.Generator) -> StepLog:
        chosen = torch.from_numpy(rng.integers(len(codes), size=batch)).to(device)
        present = torch.from_numpy(rng.random((2, batch)) >= _ABSENT).to(device)
        for group in optimizer.param_groups:
            group["lr"] = _RATE * warm_up_then_half_cosine(index, steps, warmup=_WARMUP)
        words: list[Tensor] = [table[number[chosen]] for table, number in zip(tables, numbers, strict=True)]
        found = network.coefficients(HairCondition(words[0], words[1], present[0], present[1]))
        # The components that are left out cost the same whatever the network gives.
        loss = (found - targets[chosen]).square().sum(dim=1).mean() / network.mean.numel()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"loss": loss.item()}

    state: dict[str, Any] = {"network": network, "optimizer": optimizer}
    run("text_encoder", steps=steps, state=state, step=step, folder=folder, seed=seed, save_every=save_every)
    return network.eval()

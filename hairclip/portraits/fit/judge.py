"""Recipe of the judge: a hairstyle classifier that only evaluation asks, so that no loss can learn to please it."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.portraits.fit.data import Quads, augmented_portraits, pick
from hairclip.portraits.fit.loop import StepLog, autocast, run


def fit_judge(
    quads: Quads, folder: Path, device: torch.device, *, steps: int = 1200, batch: int = 32
) -> HairstyleClassifier:
    """Train by cross entropy with label smoothing over the names of hairstyles."""
    torch.manual_seed(1)  # initial weights
    network = HairstyleClassifier(list(quads.style_names), widths=(24, 48, 96, 128), input_size=quads.size).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02)
    count = len(quads) * 4

    def step(index: int, rng: np.random.Generator) -> StepLog:
        chosen = rng.choice(count, batch, replace=False)
        images, _ = augmented_portraits(quads, chosen, device, rng)
        target = torch.from_numpy(pick(quads.styles, chosen)).to(device)
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * warm_up_then_half_cosine(index, steps, warmup=100)
        with autocast(device):
            logits = network(images).float()
        loss = F.cross_entropy(logits, target, label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"loss": loss.item(), "right": (logits.argmax(1) == target).float().mean().item()}

    run("judge", steps=steps, state={"network": network, "optimizer": optimizer}, step=step, folder=folder, seed=4)
    return network.eval()

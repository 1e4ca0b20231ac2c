"""Recipe of the face parser: cross entropy on the renderer's exact label maps (Ronneberger et al. 2015, section 3)."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.networks.face_parser import UNetParser
from hairclip.portraits.fit.data import Quads, augmented_portraits
from hairclip.portraits.fit.loop import StepLog, autocast, run


def fit_parser(quads: Quads, folder: Path, device: torch.device, *, steps: int = 2000, batch: int = 16) -> UNetParser:
    """Train a U-Net at the size of the rendered pictures."""
    torch.manual_seed(0)  # initial weights
    network = UNetParser(filters=(16, 32, 48, 64, 96), input_size=quads.size).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    count = len(quads) * 4

    def step(index: int, rng: np.random.Generator) -> StepLog:
        chosen = rng.choice(count, batch, replace=False)
        images, labels = augmented_portraits(quads, chosen, device, rng)
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * warm_up_then_half_cosine(index, steps, warmup=100)
        with autocast(device):
            logits = network.logits(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"loss": loss.item()}

    run("parser", steps=steps, state={"network": network, "optimizer": optimizer}, step=step, folder=folder, seed=3)
    return network.eval()

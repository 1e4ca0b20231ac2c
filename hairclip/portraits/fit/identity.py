"""Recipe of the identity network: two pictures of a person agree, whatever the hair, light and scene.

Supervised contrastive learning (Khosla et al. 2020, equation 2): a batch holds two pictures of every person in it, of
another hairstyle in another scene where the quad has one, and everybody else is a negative.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.networks.ir_se import IdentityEncoder
from hairclip.portraits.fit.data import Quads, augmented_portraits
from hairclip.portraits.fit.loop import StepLog, autocast, run

TEMPERATURE = 0.1


def fit_identity(
    quads: Quads, folder: Path, device: torch.device, *, steps: int = 2000, persons: int = 32
) -> IdentityEncoder:
    """Train a small IR-SE network on face crops of 64 pixels."""
    torch.manual_seed(2)  # initial weights
    network = IdentityEncoder(
        units=(1, 1, 1, 1), widths=(32, 64, 96, 128), input_size=64, embedding=512, dropout=0.2, frame=quads.size
    ).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    twins = np.flatnonzero(quads.persons[:, 0, 0] == quads.persons[:, 1, 0])

    def step(index: int, rng: np.random.Generator) -> StepLog:
        chosen = rng.choice(twins, min(persons, len(twins)), replace=False)
        color = rng.integers(0, 2, (2, len(chosen)))
        index_a, index_b = chosen * 4 + color[0], chosen * 4 + 2 + color[1]
        images, _ = augmented_portraits(quads, np.concatenate([index_a, index_b]), device, rng)
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * warm_up_then_half_cosine(index, steps, warmup=100)
        with autocast(device):
            embeddings = network(images).float()
        similarity = embeddings @ embeddings.T / TEMPERATURE
        similarity.fill_diagonal_(-1e4)
        partner = torch.arange(len(images), device=device).roll(len(chosen))
        loss = F.cross_entropy(similarity, partner)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"loss": loss.item(), "right": (similarity.argmax(1) == partner).float().mean().item()}

    run("identity", steps=steps, state={"network": network, "optimizer": optimizer}, step=step, folder=folder, seed=5)
    return network.eval()

"""What follows from a trained encoder: training latents, and the mapping network of random portraits."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hairclip.common.images import Latents, WPlus
from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.networks.pca_encoder import PcaEncoder
from hairclip.networks.stylegan2_layers import MappingNetwork
from hairclip.portraits.fit.data import Quads, images_at
from hairclip.portraits.fit.loop import StepLog, run


@torch.no_grad()
def encode_all(encoder: PcaEncoder, quads: Quads, device: torch.device, *, batch: int = 64) -> WPlus:
    """Return the W+ code of each portrait, by flat index."""
    chunks = np.array_split(np.arange(len(quads) * 4), max(1, len(quads) * 4 // batch))
    return torch.cat([encoder(images_at(quads, chunk, device)).cpu() for chunk in chunks])


def energy_distance(made: Latents, real: Latents) -> Float[Tensor, ""]:
    """Return 2 E|X - Y| - E|X - X'| - E|Y - Y'|, which is zero only for equal distributions.

    See Szekely and Rizzo 2013, "Energy statistics", equation 1.1.
    """

    def spread(x: Latents) -> Tensor:
        return torch.pdist(x).mean()

    return 2 * torch.cdist(made, real).mean() - spread(made) - spread(real)


def fit_mapping(
    mapping: MappingNetwork, w: Latents, z_dim: int, folder: Path, *, steps: int = 1500, batch: int = 512
) -> None:
    """Teach the mapping network to turn normal vectors into latents distributed like `w` ``(N, w_dim)``.

    The generator is finished by then: this gives it random portraits, which the pairs alone do not.
    """
    mean, scale = w.mean(dim=0), w.std(dim=0).mean()
    with torch.no_grad():  # start at the right mean: the last layer's output is leaky, its bias shifts it
        mapping.layers[-1].bias.copy_(mean / mapping.layers[-1].rate)  # type: ignore[operator]
    # Its weights are stored a hundred times larger than they act.
    optimizer = torch.optim.Adam(mapping.parameters(), lr=0.5, betas=(0.5, 0.99))

    def step(index: int, rng: np.random.Generator) -> StepLog:
        for group in optimizer.param_groups:
            group["lr"] = 0.5 * warm_up_then_half_cosine(index, steps, warmup=20)
        real = w[rng.choice(len(w), min(batch, len(w)), replace=False)]
        z = torch.from_numpy(rng.standard_normal((len(real), z_dim), dtype=np.float32))
        loss = energy_distance(mapping(z) / scale, real / scale)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"distance": loss.item()}

    run("mapping", steps=steps, state={"mapping": mapping, "optimizer": optimizer}, step=step, folder=folder, seed=7)

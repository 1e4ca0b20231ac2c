"""Draw W+ codes from a generator instead of reading them from a file, as the official code does where it has no file.

No code is stored: code number `i` follows from the seed and `i`, and is computed whenever it is read.
"""

import copy
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hairclip.common.files import digest
from hairclip.common.images import WPlus
from hairclip.networks.stylegan2 import Generator

__all__ = ["SAMPLED", "SampledCodes", "Stream"]

SAMPLED = "sampled"
"""What `data.latents` says instead of a name or a file."""

Stream: TypeAlias = Literal["train", "val"]
_STREAMS = {"train": 3, "val": 4}
_MEAN_OF = 10_000  # random z whose mean w stands for a `latent_avg` that the generator lacks, as in e4e


class SampledCodes:
    """W+ codes that a generator maps random normal vectors z to, with truncation.

    All layers of a code hold the same w. Each code is computed alone and on the CPU, so that neither the batch, nor the
    device, nor the number of processes changes its bits.

    Args:
        generator: its mapping network is copied.
        count: number of codes.
        truncation: psi in [0, 1]: each w is pulled to the average w by this factor. 1 leaves it.
        truncated: number of layers, from the first on, that truncation applies to; None for all.
        seed: codes of other seeds are other codes.
        stream: codes of "train" and of "val" are different ones, whatever the seed.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        count: int,
        truncation: float,
        seed: int,
        stream: Stream,
        truncated: int | None = None,
    ) -> None:
        self.count, self.truncation, self.seed, self.stream = count, truncation, seed, stream
        self.truncated = truncated
        self._n_latent, self._w_dim, self._z_dim = generator.n_latent, generator.w_dim, generator.z_dim
        self._mapping = copy.deepcopy(generator.mapping).to("cpu", torch.float32).eval().requires_grad_(False)
        self._average: Tensor | None = None
        if truncation < 1:
            average = generator.latent_avg
            if average is None:
                average = copy.deepcopy(generator).cpu().mean_latent(_MEAN_OF, torch.Generator().manual_seed(0))
            self._average = average.detach().to("cpu", torch.float32)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of all codes together: (count, n_latent, w_dim)."""
        return self.count, self._n_latent, self._w_dim

    def __len__(self) -> int:
        return self.count

    @torch.no_grad()
    def __getitem__(self, numbers: Tensor) -> WPlus:
        """Return the codes with these numbers, (B, n_latent, w_dim) float32, on the CPU."""
        w = torch.stack([self._draw(number) for number in numbers.tolist()])[:, None].expand(-1, self._n_latent, -1)
        if self._average is None:
            return w
        truncated = torch.lerp(self._average, w, self.truncation)
        if self.truncated is None:
            return truncated
        return torch.cat([truncated[:, : self.truncated], w[:, self.truncated :]], dim=1)

    def digest(self) -> str:
        """Return a digest of everything that the codes follow from."""
        setting = [self.count, self.truncation, self.seed, self.stream]
        layers = () if self.truncated is None else (self.truncated,)
        return digest(self._mapping, self._average, setting, *layers)

    def _draw(self, number: int) -> Tensor:
        """Return the w of one code, (w_dim,)."""
        if not 0 <= number < self.count:
            raise IndexError(f"code {number} of {self.count}")
        random = np.random.default_rng([self.seed, _STREAMS[self.stream], number])
        z = torch.from_numpy(random.standard_normal((1, self._z_dim), dtype=np.float32))
        w: Tensor = self._mapping(z)[0]
        return w

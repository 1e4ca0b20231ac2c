"""An editor that encodes a picture as its mean color: hundreds of photos a second, for tests of whole folders."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hairclip.common.framing import FFHQ
from hairclip.common.images import ImageSource
from hairclip.editing.editor import HairEditor
from hairclip.editing.inversion.invert import Inversion
from hairclip.editing.options import InversionOptions
from hairclip.pretrained.bundle_files import InversionLimits


class Weight(nn.Module):
    """A network that is one number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))


class MeanEditor(HairEditor):
    """Inverts a picture to a code in which every number is its mean, in [0, 255].

    A black picture gives codes that are not finite. The inversion of a picture that is darker than 50 shows a stranger.
    """

    def __init__(self, n_latent: int = 4, w_dim: int = 6, *, weight: float = 0.0) -> None:
        self.batches: list[int] = []
        generator: Any = Weight(0.0)
        generator.size, generator.n_latent, generator.w_dim = 8, n_latent, w_dim
        networks: Any = SimpleNamespace(
            generator=generator,
            encoder=Weight(weight),
            identity=None,
            framing=FFHQ,
            plain_background=False,
            inversion_limits={"encoder": InversionLimits(0.5, 10.0)},
        )
        super().__init__(networks)

    def invert(
        self,
        images: Sequence[ImageSource],
        options: InversionOptions | None = None,
        *,
        plain: bool | None = None,
        batch_size: int,
        progress: bool = False,
    ) -> Inversion:
        """Return codes of means."""
        self.batches.append(len(images))
        means = torch.tensor([np.asarray(image, np.float64).mean() for image in images], dtype=torch.float32)
        means = torch.where(means == 0, torch.nan, means)
        generator = self.networks.generator
        codes = means[:, None, None].expand(-1, generator.n_latent, generator.w_dim)
        nothing: Tensor = torch.zeros(len(images), 3, 1, 1)
        return Inversion(codes, nothing, torch.full_like(means, 20.0), 0, identity=(means >= 50).float())

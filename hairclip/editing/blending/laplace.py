"""Solve Laplace's equation on the pixels of a picture: each free pixel becomes the mean of its neighbors.

The solver is conjugate gradients (Hestenes and Stiefel 1952) with one V-cycle of multigrid as preconditioner (Tatebe
1993). The coarse grids of an irregular region follow McAdams, Sifakis and Teran (2010, "A parallel multigrid Poisson
solver for fluids simulation on large grids"): a coarse pixel is free if all pixels under it are free.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.editing.blending.pyramid import halve

__all__ = ["relax"]

Planes = Float[Tensor, "planes height width"]
COARSEST_SIZE, COARSEST_SWEEPS = 4, 4
PACE = 0.8 / 4.0
"""Step of a damped Jacobi sweep: the damping over the number of neighbors."""
TOGETHER_ON_CPU, TOGETHER = 2**20, 2**26
"""Pixels that are solved at once: few enough for the cache of a CPU, and to leave room in the memory of a GPU."""


def relax(fields: Planes, free: Planes, steps: int) -> Planes:
    """Return the fields with each free pixel near the mean of its neighbors within the picture.

    The number of steps is fixed, so a plane's result does not depend on the other planes, and nothing waits for a GPU.
    Each step leaves about a third of the error.

    Args:
        fields: (planes, H, W): known values, and a first guess at free pixels. Each plane is solved by itself.
        free: 1 at free pixels, 0 elsewhere.
        steps: steps of conjugate gradients.
    """
    most = TOGETHER_ON_CPU if fields.device.type == "cpu" else TOGETHER
    together = max(1, most // fields[0].numel())
    pieces = zip(fields.split(together), free.split(together), strict=True)
    return torch.cat([_descend(piece.clone(), Grid(mask), steps) for piece, mask in pieces])


def _descend(fields: Planes, grid: "Grid", steps: int) -> Planes:
    """Improve `fields` in place by conjugate gradients, and return them."""
    product, bent = torch.empty_like(fields), torch.empty_like(fields)

    def dot(a: Planes, b: Planes) -> Tensor:
        return torch.mul(a, b, out=product).sum(dim=(-2, -1), keepdim=True)

    residual = -grid.stiffness(fields, out=bent)
    direction = grid.v_cycle(residual).clone()
    energy = dot(residual, direction)
    still = 1e-14 * energy  # converged: further steps would divide noise by noise
    for _ in range(steps):
        grid.stiffness(direction, out=bent)
        stiffness = dot(direction, bent)
        alive = (energy > still) & (stiffness > 0)
        pace = torch.where(alive, energy / stiffness.clamp_min(1e-30), 0.0)
        fields.addcmul_(pace, direction)
        residual.addcmul_(pace, bent, value=-1.0)
        renewed = grid.v_cycle(residual)
        before, energy = energy, dot(residual, renewed)
        direction.mul_(torch.where(alive, energy / before.clamp_min(1e-30), 0.0)).add_(renewed)
    return fields


class Grid:
    """One resolution and the coarser ones below it, with buffers: allocating memory would take longer than the work.

    Args:
        free: 1 where pixels may change, 0 elsewhere.
    """

    def __init__(self, free: Planes) -> None:
        self.free = free
        self._correction, self._bent = torch.empty_like(free), torch.empty_like(free)
        is_coarsest = max(free.shape[-2:]) <= COARSEST_SIZE
        self.coarser = None if is_coarsest else Grid((halve(free) == 1).to(free.dtype))

    def v_cycle(self, residual: Planes) -> Planes:
        """Return an approximate correction for a residual. The next call overwrites it."""
        correction = torch.mul(residual, PACE, out=self._correction)
        sweeps = COARSEST_SWEEPS
        if self.coarser is not None:
            left = torch.sub(residual, self.stiffness(correction, out=self._bent), out=self._bent)
            coarse = self.coarser.v_cycle(shrink(left).mul_(self.coarser.free))
            correction.addcmul_(enlarge(coarse, like=residual), self.free)
            sweeps = 1
        for _ in range(sweeps):
            correction.sub_(self.stiffness(correction, out=self._bent).sub_(residual), alpha=PACE)
        return correction

    def stiffness(self, fields: Planes, *, out: Planes) -> Planes:
        """Write to `out` the sum of differences to the four neighbors at free pixels, and 0 elsewhere."""
        torch.mul(fields, 4.0, out=out)
        for dim in (-1, -2):
            last = fields.shape[dim] - 1
            out.narrow(dim, 1, last).sub_(fields.narrow(dim, 0, last))
            out.narrow(dim, 0, last).sub_(fields.narrow(dim, 1, last))
            for end in (0, last):  # beyond the border a pixel has its own value
                out.select(dim, end).sub_(fields.select(dim, end))
        return out.mul_(self.free)


def enlarge(coarse: Tensor, like: Tensor) -> Tensor:
    """Return planes enlarged bilinearly to twice the size, cut to the size of `like`."""
    height, width = like.shape[-2:]
    fine = F.interpolate(coarse[:, None], scale_factor=2.0, mode="bilinear", align_corners=False)
    return fine[:, 0, :height, :width]


def shrink(fine: Tensor) -> Tensor:
    """Return the transpose of `enlarge`. Conjugate gradients need a symmetric preconditioner."""
    return _shrink_height(_shrink_height(fine).mT).mT


def _shrink_height(fine: Tensor) -> Tensor:
    even, odd = fine[:, ::2], fine[:, 1::2]
    coarse = 0.75 * even
    coarse[:, : odd.shape[1]].add_(odd, alpha=0.75)
    coarse[:, :-1].add_(even[:, 1:], alpha=0.25)
    coarse[:, 1:].add_(odd[:, : coarse.shape[1] - 1], alpha=0.25)
    coarse[:, 0].add_(even[:, 0], alpha=0.25)
    if odd.shape[1] == coarse.shape[1]:
        coarse[:, -1].add_(odd[:, -1], alpha=0.25)
    return coarse

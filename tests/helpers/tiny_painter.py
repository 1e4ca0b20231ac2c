"""A small random painter of hair."""

import torch

from hairclip.networks.denoiser import HairPainter


def tiny_painter(embedding: int, size: int = 32) -> HairPainter:
    """Return a painter with random weights whose answers differ by request, seed and place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"channels": (6, 6), "coarse": (8, 16), "fine": (8, 8), "middle": (2, 1), "hidden": (16, 16)}
        painter = HairPainter(embedding, **sizes).eval().requires_grad_(False)
        pictures = torch.nn.functional.interpolate(torch.rand(16, 3, 8, 8) * 2 - 1, size=(size, size), mode="bicubic")
        painter.codec.fit(pictures, power=0.5)
        painter.detail.fit(pictures - painter.codec(pictures), power=0.5)
        for name, weight in painter.named_parameters():  # some start as zeros: every answer would be the same
            if not weight.any() and name.endswith("weight"):
                torch.nn.init.normal_(weight, std=0.1)
    return painter

"""Measure the portrait networks on people they have never seen."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.color import NamedColors
from hairclip.common.images import save_image
from hairclip.common.sheets import draw_sheet
from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.editing.inversion.invert import invert
from hairclip.editing.inversion.loss import ReconstructionLoss
from hairclip.editing.inversion.perceptual import PerceptualDistance
from hairclip.evaluation.cases import held_out_people, portrait_colors
from hairclip.evaluation.metrics import auc, mask_iou, ms_ssim, named_hair_color
from hairclip.evaluation.renders import Rendered, render_all
from hairclip.evaluation.tables import Figure, format_figures, make_folder, write_json
from hairclip.portraits import spec as portrait_spec
from hairclip.portraits.vocabulary import BALD
from hairclip.pretrained.bundle import Bundle

__all__ = ["NETWORK_FIGURES", "evaluate_networks"]

NETWORK_FIGURES: tuple[Figure, ...] = (
    Figure("inversion_psnr", "generator: inversion by optimization, PSNR", "dB", floor=24.0),
    Figure("inversion_iou", "generator: that inversion's hair-mask IoU", floor=0.90),
    Figure("inversion_perceptual", "generator: that inversion's perceptual distance"),
    Figure("inversion_ms_ssim", "generator: that inversion's MS-SSIM"),
    Figure("swap_iou", "W+ swap: coarse+medium keep the hair mask (IoU)", floor=0.85),
    Figure("swap_color", "W+ swap: fine codes bring the hair color", "%", floor=0.90),
    Figure("clip_style", "CLIP: zero-shot hairstyle, top 1", "%", floor=0.90),
    Figure("clip_color", "CLIP: zero-shot hair color, top 1", "%", floor=0.95),
    Figure("clip_reference_style", "CLIP: hairstyle of masked references, top 1", "%"),
    Figure("parser_iou", "parser: hair IoU", floor=0.95),
    Figure("identity_auc", "identity: verification AUC, other hair and light", floor=0.98),
    Figure("identity_auc_pose", "identity: the same, other pose and expression too"),
    Figure("encoder_gap", "encoder: behind optimization", "dB", ceiling=2.0),
    Figure("encoder_psnr", "encoder: PSNR", "dB"),
    Figure("encoder_iou", "encoder: hair-mask IoU"),
    Figure("encoder_perceptual", "encoder: perceptual distance"),
    Figure("encoder_style", "encoder: hairstyle recognized by the judge", "%"),
    Figure("judge", "judge: held-out accuracy", "%", floor=0.97),
)


@dataclass(frozen=True)
class People:
    """Three portraits each of N held-out people.

    Attributes:
        first: N portraits.
        relit: the same people with other hair, light and background; pose, expression and clothes stay.
        elsewhere: the same people; everything else differs.
    """

    first: Rendered
    relit: Rendered
    elsewhere: Rendered

    def everything(self) -> Rendered:
        """Return the 3 N portraits, one part after another."""
        parts = (self.first, self.relit, self.elsewhere)
        return Rendered(
            torch.cat([part.images for part in parts]),
            torch.cat([part.hair for part in parts]),
            tuple(spec for part in parts for spec in part.specs),
            torch.cat([part.direction for part in parts]),
        )


LIGHT_AND_BACKGROUND = (
    "light_azimuth", "light_elevation", "light_strength", "light_warmth", "fill", "rim", "ambient", "background",
    "background_colors",
)  # fmt: skip


def sample_people(count: int, seed: int, size: int, *, workers: int = 0, progress: bool = False) -> People:
    """Return `count` people of the test split. Their other hair and scenes are those of other people of the split."""
    stream = held_out_people(seed)
    first, other, third = ([next(stream) for _ in range(count)] for _ in range(3))
    relit = [
        replace(
            spec,
            scene=replace(spec.scene, **{name: getattr(donor.scene, name) for name in LIGHT_AND_BACKGROUND}),
            hair=donor.hair,
            color=donor.color,
        )
        for spec, donor in zip(first, other, strict=True)
    ]
    elsewhere = [
        replace(spec, scene=donor.scene, hair=donor.hair, color=donor.color)
        for spec, donor in zip(first, third, strict=True)
    ]
    rendered = render_all([*first, *relit, *elsewhere], size, workers=workers, progress=progress)
    return People(*(rendered.pick(range(start, start + count)) for start in (0, count, 2 * count)))


@torch.no_grad()
def evaluate_networks(
    networks: Bundle,
    out: str | Path,
    *,
    count: int = 200,
    optimize_count: int = 24,
    optimize_steps: int = 300,
    seed: int = 1,
    workers: int = 0,
    named: NamedColors | None = None,
    fine_from: int = 8,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Print a table of figures of every network, and write `networks.json` and pictures to a folder.

    Args:
        networks: the bundle.
        out: folder of the report.
        count: number of held-out people (three portraits each).
        optimize_count: number of portraits that are also inverted by optimization.
        optimize_steps: steps of the optimization.
        seed: seed of the people.
        workers: processes that render; 0 renders in this process.
        named: name of a color -> (L, a, b); None takes the colors of rendered hair.
        fine_from: first fine layer of W+. The swap takes the layers from there on from the other person.
        progress: show progress bars.
        say: receives the lines to print.
    """
    out = Path(out)
    make_folder(out)
    device = next(networks.generator.parameters()).device
    size = networks.generator.size
    people = sample_people(count, seed, size, workers=workers, progress=progress)
    named = named or portrait_colors(size=size, workers=workers, progress=progress)
    everything = people.everything()

    figures: dict[str, float | None] = {}
    figures |= inversion_figures(networks, people.first, out, optimize_count, optimize_steps, progress)
    figures |= swap_figures(networks, people.first, named, out, fine_from)
    figures |= clip_figures(networks, everything, device)
    figures |= recognition_figures(networks, everything, device)
    draw_samples(networks.generator, out / "samples.png", seed)

    report = {
        "count": count,
        "seed": seed,
        "optimize_count": optimize_count,
        "optimize_steps": optimize_steps,
        "figures": figures,
        "passed": {figure.name: figure.passes(figures.get(figure.name)) for figure in NETWORK_FIGURES},
    }
    write_json(report, out / "networks.json")
    say(format_figures(NETWORK_FIGURES, {"held-out people": figures}))
    say(f"{count} people, three portraits each; figures and pictures in {out}")
    return report


def inversion_figures(
    networks: Bundle, people: Rendered, out: Path, count: int, steps: int, progress: bool
) -> dict[str, float]:
    """Return how well encoder and optimization rebuild portraits.

    Codes that rebuild pixels well may lose the hairstyle, and then no edit of them can be right. So the judge also
    names the hairstyles of the inversions.
    """
    judge, device = networks.judge, next(networks.generator.parameters()).device
    images, hair = people.images.to(device), people.hair.to(device)
    perceptual = PerceptualDistance(judge, layers=[f"blocks.{i}" for i in range(len(judge.blocks))])
    quick = [invert(part, networks.encoder, networks.generator) for part in images.split(32)]
    encoded, encoded_psnr = torch.cat([q.images for q in quick]), torch.cat([q.psnr for q in quick])
    rebuilt = torch.cat([networks.parser.hair_mask(part) for part in encoded.split(32)])
    seen = [name for q in quick for name in judge.names(q.images)]
    figures = {
        "encoder_psnr": float(encoded_psnr.mean()),
        "encoder_iou": float(mask_iou(rebuilt, hair).mean()),
        "encoder_perceptual": float(perceptual(encoded, images).mean()),
        "encoder_style": float(
            np.mean([name == spec.hair.style for name, spec in zip(seen, people.specs, strict=True)])
        ),
    }
    count = min(count, len(images))
    if count:
        chosen = images[:count]
        pixels = ReconstructionLoss(texture_weight=0.0)  # measures how near the generator can get at all
        slow = [
            invert(
                part,
                networks.encoder,
                networks.generator,
                method="optimize",
                steps=steps,
                stay=0.0,
                agree=0.0,
                loss=pixels,
                progress=progress,
            )
            for part in chosen.split(8)
        ]
        optimized = torch.cat([s.images for s in slow])
        figures |= {
            "inversion_psnr": float(torch.cat([s.psnr for s in slow]).mean()),
            "inversion_iou": float(mask_iou(networks.parser.hair_mask(optimized), hair[:count]).mean()),
            "inversion_perceptual": float(perceptual(optimized, chosen).mean()),
            "inversion_ms_ssim": float(ms_ssim(optimized, chosen).mean()),
        }
        figures["encoder_gap"] = figures["inversion_psnr"] - float(encoded_psnr[:count].mean())
        rows = [[chosen[i], encoded[i], optimized[i]] for i in range(min(count, 10))]
        captions = ("portrait", "encoder", "optimized")
        save_image(draw_sheet(rows, columns=captions, tile=192), out / "inversion.png")
    return figures


def swap_figures(networks: Bundle, people: Rendered, named: NamedColors, out: Path, fine_from: int) -> dict[str, float]:
    """Return what coarse and medium codes of one person and fine codes of another make together."""
    generator, device = networks.generator, next(networks.generator.parameters()).device
    shown = [i for i, spec in enumerate(people.specs) if spec.hair.style != BALD]
    partner = shown[1:] + shown[:1]
    images = people.images[shown].to(device)
    codes = torch.cat([networks.encoder(part) for part in images.split(32)])
    mixed = codes.clone()
    mixed[:, fine_from:] = codes.roll(-1, dims=0)[:, fine_from:]
    swapped = torch.cat([generator(part, noise="const") for part in mixed.split(32)])
    inverted = torch.cat([generator(part, noise="const") for part in codes.split(32)])
    hair = torch.cat([networks.parser.hair_mask(part) for part in swapped.split(32)])
    kept = torch.cat([networks.parser.hair_mask(part) for part in inverted.split(32)])
    colors = named_hair_color(swapped, hair, named)
    right = [color == people.specs[i].color.name for color, i in zip(colors, partner, strict=True)]
    rows = [[images[i], images[(i + 1) % len(shown)], swapped[i]] for i in range(min(10, len(shown)))]
    captions = ("A: shape", "B: color", "A's shape, B's color")
    save_image(draw_sheet(rows, columns=captions, tile=192), out / "swap.png")
    return {"swap_iou": float(mask_iou(hair, kept).mean()), "swap_color": float(np.mean(right))}


def clip_figures(networks: Bundle, people: Rendered, device: torch.device) -> dict[str, float]:
    """Return the accuracy of zero-shot classification with HairCLIP's prompts; colors of people with hair only."""
    clip, images, specs = networks.clip, people.images.to(device), people.specs
    styles, colors = portrait_spec.STYLE_NAMES, portrait_spec.COLOR_NAMES
    style_texts = F.normalize(clip.encode_text([hairstyle_prompt(name) for name in styles]), dim=-1)
    color_texts = F.normalize(clip.encode_text([color_prompt(name) for name in colors]), dim=-1)
    whole = torch.cat([clip.encode_image(part) for part in images.split(64)])
    masked = torch.cat([clip.encode_image(part * networks.parser.hair_mask(part)) for part in images.split(64)])
    hairy = torch.tensor([spec.hair.style != BALD for spec in specs])
    true_style = torch.tensor([styles.index(spec.hair.style) for spec in specs])
    true_color = torch.tensor([colors.index(spec.color.name) for spec in specs])

    def right(embeddings: Tensor, texts: Tensor, truth: Tensor) -> Tensor:
        return ((embeddings @ texts.T).argmax(dim=-1).cpu() == truth).float()

    return {
        "clip_style": float(right(whole, style_texts, true_style).mean()),
        "clip_color": float(right(whole, color_texts, true_color)[hairy].mean()),
        "clip_reference_style": float(right(masked, style_texts, true_style)[hairy].mean()),
    }


def recognition_figures(networks: Bundle, people: Rendered, device: torch.device) -> dict[str, float]:
    """Return the figures of parser, identity network and judge on all three portraits of everyone."""
    parts = people.images.to(device).split(32)
    found = torch.cat([networks.parser.hair_mask(part) for part in parts]).cpu()
    hairy = torch.tensor([spec.hair.style != BALD for spec in people.specs])
    judged = [name for part in parts for name in networks.judge.names(part)]
    faces = torch.cat([networks.identity(part) for part in parts]).cpu()
    first, relit, elsewhere = faces.split(len(faces) // 3)
    same = torch.eye(len(first), dtype=torch.bool).flatten()
    return {
        "parser_iou": float(mask_iou(found, people.hair)[hairy].mean()),
        "identity_auc": auc((first @ relit.T).flatten(), same),
        "identity_auc_pose": auc((first @ elsewhere.T).flatten(), same),
        "judge": float(np.mean([name == spec.hair.style for name, spec in zip(judged, people.specs, strict=True)])),
    }


def draw_samples(generator: Any, path: Path, seed: int) -> None:
    """Write a sheet of random people: three rows without truncation, three with truncation 0.7."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(48, generator.z_dim, generator=random).to(next(generator.parameters()).device)
    w = generator.mapping(z)
    if generator.latent_avg is not None:
        w = torch.cat([w[:24], generator.truncate(w[24:], 0.7)])
    pictures = generator(w[:, None].expand(-1, generator.n_latent, -1), noise="const")
    rows = [list(pictures[first : first + 8]) for first in range(0, 48, 8)]
    captions = ["psi 1"] * 3 + ["psi 0.7" if generator.latent_avg is not None else "psi 1"] * 3
    save_image(draw_sheet(rows, rows=captions, tile=128), path)

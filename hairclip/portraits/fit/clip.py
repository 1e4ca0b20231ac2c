"""Recipe of the small CLIP: contrastive training on captions, with HairCLIP's templates among them.

Many portraits of a batch fit one caption ("red hair"), so a caption's positives are all portraits it is true of, as in
UniCL (Yang et al. 2022, equations 3 and 4), instead of its own portrait alone. A share of the images is shown as
references are: hair only, everything else mid-gray; hair without its color, which only hairstyles are true of; and
nothing but the color, which only colors are true of. So their embeddings lie where those of the texts do.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hairclip.common.color import flat_hair_color, gray_hair
from hairclip.common.face_labels import HAIR
from hairclip.common.images import Images, Labels
from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.networks.clip import Clip
from hairclip.portraits.captions import Topic, caption
from hairclip.portraits.fit.data import Quads, augmented_portraits, pick
from hairclip.portraits.fit.loop import StepLog, autocast, run
from hairclip.portraits.spec import PortraitSpec
from hairclip.portraits.vocabulary import BALD

MODEL: dict[str, Any] = {
    "embed_dim": 128,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 32, "patch_size": None},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
SHARES = {"whole": 0.45, "hair": 0.25, "gray": 0.2, "flat": 0.1}
"""How often an image is shown whole, as hair alone, as hair without color, as color without hair."""
ANYTHING = -1
UNSEEN = -2


@dataclass(frozen=True)
class Captions:
    """Texts with what they claim: style and color index, `ANYTHING` where nothing is said.

    The same is said of images, with `UNSEEN` where a style or color cannot be seen: no claim about it is true.
    """

    texts: list[str]
    styles: np.ndarray
    colors: np.ndarray


def draw_captions(quads: Quads, chosen: np.ndarray, views: np.ndarray, rng: np.random.Generator) -> Captions:
    """Return one caption per portrait: HairCLIP's hairstyle template, its color template, or another sentence.

    It speaks of what the view of the portrait shows.
    """
    styles, colors = pick(quads.styles, chosen).copy(), pick(quads.colors, chosen).copy()
    texts = []
    for i, portrait in enumerate(chosen):
        style, color = quads.style_names[styles[i]], quads.color_names[colors[i]]
        topic: Topic = rng.choice(["style", "color", "both"], p=[0.45, 0.25, 0.3])
        if style == BALD or views[i] == "gray":
            topic = "style"
        elif views[i] == "flat":
            topic = "color"
        if topic != "both" and rng.random() < 0.6:
            texts.append(hairstyle_prompt(style) if topic == "style" else color_prompt(color))
        else:
            quad, geometry, shade = np.unravel_index(portrait, (len(quads), 2, 2))
            spec = PortraitSpec.from_dict(quads.metadata[quad][geometry][shade])
            texts.append(caption(spec, int(rng.integers(2**31)), topic))
        if topic == "style":
            colors[i] = ANYTHING
        if topic == "color":
            styles[i] = ANYTHING
    return Captions(texts, styles, colors)


def truth(captions: Captions, styles: np.ndarray, colors: np.ndarray, bald: int) -> Tensor:
    """Return (images, captions) bool, True where a caption is true of an image; a bald head has no color."""
    style_fits = (captions.styles[None] == ANYTHING) | (captions.styles[None] == styles[:, None])
    color_fits = (captions.colors[None] == ANYTHING) | (
        (captions.colors[None] == colors[:, None]) & (styles[:, None] != bald)
    )
    return torch.from_numpy(style_fits & color_fits)


def show(images: Images, labels: Labels, views: np.ndarray) -> Images:
    """Return each image in its view, one of `SHARES`."""
    hair = (labels == HAIR)[:, None]
    seen = {"hair": images * hair, "gray": gray_hair(images, hair), "flat": flat_hair_color(images, hair)}
    for view, shown in seen.items():
        chosen = torch.from_numpy(views == view).to(images.device)
        images = torch.where(chosen[:, None, None, None], shown, images)
    return images


def contrastive_loss(logits: Tensor, fits: Tensor) -> Tensor:
    """Return the cross entropy with a uniform distribution over the true pairs, from images to captions and back."""

    def one_way(scores: Tensor, target: Tensor) -> Tensor:
        weight = target.float() / target.sum(dim=1, keepdim=True).clamp(min=1)
        rows = -(weight * F.log_softmax(scores, dim=1)).sum(dim=1)
        return rows.sum() / target.any(dim=1).sum().clamp(min=1)

    return (one_way(logits, fits) + one_way(logits.T, fits.T)) / 2


def fit_clip(quads: Quads, folder: Path, device: torch.device, *, steps: int = 2400, batch: int = 48) -> Clip:
    """Train open_clip's CLIP with a small ResNet image tower."""
    torch.manual_seed(3)  # initial weights
    network = Clip(MODEL).to(device)
    decay = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=1e-3
    )
    count = len(quads) * 4
    bald = quads.style_names.index(BALD) if BALD in quads.style_names else ANYTHING

    def step(index: int, rng: np.random.Generator) -> StepLog:
        chosen = rng.choice(count, batch, replace=False)
        views = rng.choice(list(SHARES), batch, p=list(SHARES.values()))
        styles, colors = pick(quads.styles, chosen), pick(quads.colors, chosen)
        views[(views == "flat") & (styles == bald)] = "whole"
        captions = draw_captions(quads, chosen, views, rng)
        images = show(*augmented_portraits(quads, chosen, device, rng), views)
        styles, colors = np.where(views == "flat", UNSEEN, styles), np.where(views == "gray", UNSEEN, colors)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * warm_up_then_half_cosine(index, steps, warmup=200)
        with autocast(device):
            image_embeddings, text_embeddings, scale = network(images, captions.texts)
        logits = scale * image_embeddings.float() @ text_embeddings.float().T
        fits = truth(captions, styles, colors, bald).to(device)
        loss = contrastive_loss(logits, fits)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            network.logit_scale.clamp_(max=float(np.log(100)))
        best = fits[torch.arange(batch), logits.argmax(1)]
        return {"loss": loss.item(), "right": best.float().mean().item()}

    run("clip", steps=steps, state={"network": network, "optimizer": optimizer}, step=step, folder=folder, seed=6)
    return network.eval()

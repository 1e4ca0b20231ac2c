"""Run an inpainting pipeline of diffusers on the region of an edit. It needs the extra `hairclip[diffusion]`."""

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch.nn import functional as F

from hairclip.common.errors import HairclipError
from hairclip.common.images import Images, Masks, from_pil, mask_to_pil, resize_area, to_pil
from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.editing.request import EditRequest

__all__ = ["check_pipeline", "inpaint", "prompt_of"]


def check_pipeline(find: Callable[[str], object] = importlib.util.find_spec) -> None:
    """Refuse to work without the packages of the extra.

    Args:
        find: returns None for the name of a package that is not installed.

    Raises:
        HairclipError: if one is missing.
    """
    missing = [name for name in ("diffusers", "transformers", "accelerate") if find(name) is None]
    if missing:
        raise HairclipError(
            f"a pipeline of diffusers needs {' and '.join(missing)}, which are not installed: run "
            "pip install 'hairclip[diffusion]'."
        )


def prompt_of(request: EditRequest) -> str:
    """Return a request as the prompt of a pipeline: "a photo of a person with red hair, bob cut hairstyle"."""
    hairstyle, color = request.names
    parts = [color and color_prompt(color), hairstyle and hairstyle_prompt(hairstyle)]
    return "a photo of a person with " + ", ".join(part for part in parts if part)


def inpaint(
    photo: Images,
    region: Masks,
    request: EditRequest,
    *,
    pipeline: str,
    size: int,
    steps: int,
    guidance: float,
    strength: float,
    seed: int,
    progress: bool = False,
) -> Images:
    """Return what a pipeline paints, at the size of the photo, (1, 3, H, W). Only the region counts.

    Args:
        photo: (1, 3, H, W) in [-1, 1], square.
        region: where to paint, (1, 1, H, W).
        request: what to paint, in words.
        pipeline: Hub id or folder.
        size: height and width at which it paints.
        steps: denoising steps.
        guidance: of the prompt.
        strength: 1 starts from pure noise, less from the noised photo.
        seed: of the noise.
        progress: show the pipeline's progress bar.

    Raises:
        HairclipError: if there is no such pipeline, or its filter refuses the picture.
    """
    painter = _load(pipeline, str(photo.device))
    painter.set_progress_bar_config(disable=not progress, leave=False)
    answer = painter(
        prompt=prompt_of(request),
        image=to_pil(resize_area(photo, size)),
        mask_image=mask_to_pil(F.adaptive_max_pool2d(region.float(), size)),
        height=size,
        width=size,
        num_inference_steps=steps,
        guidance_scale=guidance,
        strength=strength,
        generator=torch.Generator().manual_seed(seed),
    )
    if any(getattr(answer, "nsfw_content_detected", None) or []):
        raise HairclipError(f"the safety filter of {pipeline} refused its picture: give another seed.")
    painted = from_pil(answer.images[0]).to(photo)
    return F.interpolate(painted, size=photo.shape[-2:], mode="bicubic", align_corners=False).clamp(-1, 1)


@lru_cache(maxsize=1)
def _load(pipeline: str, device: str) -> Any:
    """Return a pipeline; the last one stays in memory."""
    from diffusers import AutoPipelineForInpainting

    try:
        return AutoPipelineForInpainting.from_pretrained(pipeline).to(device)
    except Exception as error:  # the Hub, the disk and the classes of a pipeline raise almost anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise HairclipError(
            f"{pipeline} is no inpainting pipeline of diffusers that can be loaded ({reason}): give the Hub id or the "
            "folder of one."
        ) from error

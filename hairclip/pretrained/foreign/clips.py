"""Read CLIP under the names of OpenAI and open_clip, which are the same, alone or inside hairclip.pt."""

import math
from typing import Any

from hairclip.pretrained.foreign.formats import Format, State, Surroundings


def openai_clip_config(state: State) -> dict[str, Any]:
    """Return open_clip's config of the OpenAI model with these tensors, vision transformer or residual network."""
    text_width, embed_dim = state["text_projection"].shape
    vision: dict[str, Any]
    if "visual.proj" in state:
        width, _, patch_size, _ = state["visual.conv1.weight"].shape
        grid = math.isqrt(state["visual.positional_embedding"].shape[0] - 1)
        layers = _layers(state, "visual.transformer.resblocks.")
        vision = {"image_size": patch_size * grid, "layers": layers, "width": width, "patch_size": patch_size}
    else:
        grid = math.isqrt(state["visual.attnpool.positional_embedding"].shape[0] - 1)
        stages = [_layers(state, f"visual.layer{i}.") for i in (1, 2, 3, 4)]
        width = state["visual.layer1.0.conv1.weight"].shape[0]
        vision = {"image_size": 32 * grid, "layers": stages, "width": width, "patch_size": None}
    return {
        "embed_dim": embed_dim,
        "quick_gelu": True,  # every OpenAI model; the tensors cannot tell
        "vision_cfg": vision,
        "text_cfg": {
            "context_length": state["positional_embedding"].shape[0],
            "vocab_size": state["token_embedding.weight"].shape[0],
            "width": text_width,
            "heads": text_width // 64,
            "layers": _layers(state, "transformer.resblocks."),
        },
    }


def _read_clip(state: State, around: Surroundings) -> tuple[dict[str, Any], State]:
    return {"model": openai_clip_config(state)}, {}


def _layers(state: State, prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


CLIP_FORMATS = (
    Format(
        name="CLIP",
        kind="clip",
        class_name="Clip",
        names=r"(visual|transformer\.resblocks|ln_final)\..+|token_embedding\.weight|positional_embedding"
        r"|text_projection|logit_scale",
        sizes={"visual.conv1.weight": 4, "text_projection": 2, "token_embedding.weight": 2, "positional_embedding": 2},
        read=_read_clip,
        unused=r"input_resolution|context_length|vocab_size|(.+\.)?attn_mask",
        holders=("state_dict", ""),
        prefixes=("mapper.clip_model.", "clip_model.", ""),
    ),
)

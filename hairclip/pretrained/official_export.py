"""Write a mapper of ours as a checkpoint that HairCLIP's own code loads: ``{"state_dict", "opts"}``.

Its code builds the networks from `opts` and loads strictly, so the names, their order and the types are those of the
published ``hairclip.pt``: CLIP in OpenAI's mixed precision, "course" for coarse, the blur kernels with the decoder.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.networks.mapper import LAYER_SPLIT
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained.foreign import generator_to_rosinality, mapper_to_hairclip
from hairclip.pretrained.mapper import HairMapper
from hairclip.pretrained.weight_files import write_torch

if TYPE_CHECKING:  # open_clip takes seconds to import
    import hairclip.networks.clip

__all__ = ["official_opts", "official_state_dict", "refuse_unofficial", "save_hairclip"]

#: What OpenAI keeps in float16: weights and biases of convolutions, linear layers and attention, and the projections.
_CLIP_HALF = re.compile(
    r"text_projection|visual\.proj|visual\.conv1\.weight"
    r"|(visual\.)?transformer\.resblocks\.\d+\.(attn\.(in_proj_|out_proj\.)|mlp\.c_(fc|proj)\.)(weight|bias)"
)
#: Option of HairCLIP's training script -> the key of our configuration that gives its value.
_OPTIONS = {
    "hairstyle_manipulation_prob": "tasks.hairstyle",
    "color_manipulation_prob": "tasks.color",
    "both_manipulation_prob": "tasks.both",
    "hairstyle_text_manipulation_prob": "tasks.hairstyle_text",
    "color_text_manipulation_prob": "tasks.color_text",
    "batch_size": "training.batch_size",
    "max_steps": "training.steps",
    "optim_name": "optimizer.name",
    "learning_rate": "optimizer.lr",
    "text_manipulation_lambda": "losses.text",
    "image_hairstyle_lambda": "losses.image_hairstyle",
    "image_color_lambda": "losses.image_color",
    "id_lambda": "losses.identity",
    "maintain_color_lambda": "losses.maintain_color",
    "background_lambda": "losses.background",
    "latent_l2_lambda": "losses.latent",
}


def save_hairclip(
    path: str | Path, mapper: HairMapper, generator: Generator, clip: "hairclip.networks.clip.Clip"
) -> None:
    """Write a checkpoint that HairCLIP's own code loads, in the layout of the published ``hairclip.pt``.

    Args:
        path: the file to write.
        mapper: one of 18 layers, trained with configs/hairclip.yaml or loaded from an official checkpoint.
        generator: StyleGAN2 config-f of 1024 px.
        clip: OpenAI's ViT-B/32.

    Raises:
        HairclipError: for networks that HairCLIP's code does not build, or if the file cannot be written.
    """
    from hairclip.networks.clip import VIT_B_32

    refuse_unofficial(mapper.config, generator.config, clip.config, {"model": VIT_B_32})
    state = official_state_dict(mapper.state_dict(), generator.state_dict(), clip.state_dict())
    opts = official_opts(mapper.config, generator.size, mapper.notes.get("training"), mapper.notes.get("opts"))
    write_torch(Path(path), {"state_dict": state, "opts": opts})


def official_state_dict(
    mapper: Mapping[str, Tensor], generator: Mapping[str, Tensor], clip: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of our three networks under HairCLIP's names, in its order and types, on the CPU."""
    clip = {key: tensor.half() if _CLIP_HALF.fullmatch(key) else tensor for key, tensor in clip.items()}
    parts = {
        "mapper.clip_model.": clip,
        "mapper.": mapper_to_hairclip(mapper),
        "decoder.": generator_to_rosinality(generator),
    }
    return {
        prefix + key: tensor.detach().cpu().contiguous() if tensor.device.type != "meta" else tensor
        for prefix, part in parts.items()
        for key, tensor in part.items()
    }


def official_opts(
    mapper_config: Mapping[str, Any],
    size: int,
    training: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the options from which HairCLIP's code builds the networks, and those of the mapper's training.

    Args:
        mapper_config: `HairMapper.config`.
        size: side of the generator's pictures in pixels.
        training: the configuration of the run; None where it is unknown.
        given: the options of the official checkpoint that the mapper comes from; None for a mapper of ours.
    """
    opts: dict[str, Any] = {
        "checkpoint_path": None,
        "device": "cuda:0",
        # its inference script takes these from the checkpoint, not from the command line
        "parsenet_weights": "../pretrained_models/parsenet.pth",
        "stylegan_weights": "../pretrained_models/stylegan2-ffhq-config-f.pt",
        "ir_se50_weights": "../pretrained_models/model_ir_se50.pth",
        **(given or {}),
        "stylegan_size": size,
        **{f"no_{part}_mapper": not mapper_config[part] for part in ("coarse", "medium", "fine")},
    }
    for option, key in _OPTIONS.items():
        section, name = key.split(".")
        value = ((training or {}).get(section) or {}).get(name)
        if value is not None:
            opts[option] = value
    return opts


def refuse_unofficial(
    mapper: Mapping[str, Any], generator: Mapping[str, Any], clip: Mapping[str, Any], official_clip: Mapping[str, Any]
) -> None:
    """Refuse networks that HairCLIP's code cannot build, or whose results would differ from ours.

    Args:
        mapper: `HairMapper.config`.
        generator: `Generator.config`.
        clip: `Clip.config`.
        official_clip: the config of the CLIP that HairCLIP's code builds.

    Raises:
        HairclipError: with the first difference.
    """
    fixed: dict[str, tuple[Any, Any]] = {
        "mapper.groups": (list(mapper["groups"]), list(LAYER_SPLIT)),
        "mapper.scale": (mapper["scale"], 0.1),
        "mapper.pixel_norm": (mapper["pixel_norm"], "layer"),
        "mapper.output": (mapper["output"], "leaky_relu"),
        "mapper.references": (mapper["references"], "whole"),
        "mapper.absent": (mapper["absent"], "passthrough"),
        "the mapper's width": (mapper["w_dim"], 512),
        "the mapper's number of layers": (mapper["n_latent"], 18),
        "the generator's size in pixels": (generator["size"], 1024),
        "the generator's widths": ((generator["z_dim"], generator["w_dim"]), (512, 512)),
        "the generator's mapping layers": (generator["mapping_layers"], 8),
        "the generator's channels": (_channels(generator), _channels({"size": generator["size"]})),
        "the generator's clamp": (generator.get("clamp"), None),
        "the generator's strands": (generator.get("strands"), None),
        "the generator's number of latents": (generator.get("n_latent", 18), 18),
        "the CLIP": ("another architecture" if clip["model"] != official_clip["model"] else "ViT-B/32", "ViT-B/32"),
    }
    for what, (ours, theirs) in fixed.items():
        if ours != theirs:
            raise HairclipError(
                f"HairCLIP's code cannot run this mapper: {what} is {ours}, but its code has {theirs} fixed: "
                "export a mapper trained with configs/hairclip.yaml, or use --to huggingface."
            )


def _channels(generator: Mapping[str, Any]) -> dict[int, int]:
    """Return resolution -> channels; a generator's config without any has those of StyleGAN2's config-f."""
    given = generator.get("channels")
    if given is not None:
        return {int(resolution): count for resolution, count in given.items()}
    sizes = [2**k for k in range(2, int(generator["size"]).bit_length())]
    return {size: min(512, 2**15 // size) for size in sizes}

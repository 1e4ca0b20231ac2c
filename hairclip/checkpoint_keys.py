"""Foreign weight files to ours: the names of their tensors, and what their shapes say about the network.

One section per network. Nothing here reads a file: functions take the tensors that `hairclip.pretrained`
has read. Those that recognise return ``(class name, constructor arguments, state)``.
"""

import math
import re
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from hairclip.errors import HairclipError

State = dict[str, Tensor]
Found = tuple[str, dict[str, Any], State]


def strip_prefix(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries whose key begins with `prefix`, without it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str], what: str) -> State:
    """`state` under the names ``theirs -> ours``; every name must be there, and nothing else."""
    missing = [key for key in names if key not in state]
    unknown = [key for key in state if key not in names]
    if missing or unknown:
        problem = f"lacks {missing[0]!r}" if missing else f"holds {unknown[0]!r}, which such a file does not have"
        raise HairclipError(f"the {what} weights do not fit: the file {problem}; give an unmodified checkpoint.")
    return {ours: state[theirs] for theirs, ours in names.items()}


# ----------------------------------------------------------------------------------------------------------------------
# StyleGAN2 generator: rosinality (stylegan2-pytorch; `decoder.` of HairCLIP and e4e), NVIDIA (stylegan2-ada-pytorch)
# ----------------------------------------------------------------------------------------------------------------------


def _styled(theirs: str, ours: str, names: tuple[str, ...], parts: Mapping[str, str]) -> dict[str, str]:
    return {theirs + parts[name]: ours + name for name in names}


_LAYER = ("weight", "style.weight", "style.bias", "noise_strength", "bias")
_RGB = ("bias", "weight", "style.weight", "style.bias")
_ROSINALITY = {
    "weight": "conv.weight",
    "style.weight": "conv.modulation.weight",
    "style.bias": "conv.modulation.bias",
    "noise_strength": "noise.weight",
    "bias": "activate.bias",
}
_ROSINALITY_RGB = {**_ROSINALITY, "bias": "bias"}
_NVIDIA = {
    "weight": "weight",
    "style.weight": "affine.weight",
    "style.bias": "affine.bias",
    "noise_strength": "noise_strength",
    "bias": "bias",
}
_KERNELS = (".blur.kernel", ".upsample.kernel", "resample_filter")  # always the same blur; ours is in the code


def _rosinality_names(blocks: int, mapping_layers: int) -> dict[str, str]:
    """Theirs to ours, in the official order, for `blocks` resolutions above 4."""
    names: dict[str, str] = {}
    for i in range(mapping_layers):
        names |= {f"style.{i + 1}.{p}": f"mapping.layers.{i}.{p}" for p in ("weight", "bias")}
    names["input.input"] = "constant"
    names |= _styled("conv1.", "layers.0.", _LAYER, _ROSINALITY)
    names |= _styled("to_rgb1.", "to_rgb.0.", _RGB, _ROSINALITY_RGB)
    for k in range(2 * blocks):
        names |= _styled(f"convs.{k}.", f"layers.{k + 1}.", _LAYER, _ROSINALITY)
    for j in range(blocks):
        names |= _styled(f"to_rgbs.{j}.", f"to_rgb.{j + 1}.", _RGB, _ROSINALITY_RGB)
    return names | {f"noises.noise_{k}": f"layers.{k}.noise" for k in range(2 * blocks + 1)}


def _nvidia_names(blocks: int, mapping_layers: int) -> dict[str, str]:
    names = {"mapping.w_avg": "latent_avg", "synthesis.b4.const": "constant"}
    for i in range(mapping_layers):
        names |= {f"mapping.fc{i}.{p}": f"mapping.layers.{i}.{p}" for p in ("weight", "bias")}
    layer = (*_LAYER, "noise")
    parts = {**_NVIDIA, "noise": "noise_const"}
    for j in range(blocks + 1):
        block = f"synthesis.b{2 ** (j + 2)}."
        if j > 0:
            names |= _styled(block + "conv0.", f"layers.{2 * j - 1}.", layer, parts)
        names |= _styled(block + "conv1.", f"layers.{2 * j}.", layer, parts)
        names |= _styled(block + "torgb.", f"to_rgb.{j}.", _RGB, _NVIDIA)
    return names


def _our_shape(name: str, tensor: Tensor) -> Tensor:
    """Foreign files keep broadcast dimensions of size one; ours do not."""
    if name == "constant":
        return tensor.reshape(tensor.shape[-3:])
    if name.startswith("to_rgb.") and not name.endswith(("style.weight", "style.bias")):
        return tensor.reshape(3, -1) if name.endswith("weight") else tensor.reshape(3)
    if name.endswith("noise_strength"):
        return tensor.reshape(())
    if name.endswith(".noise"):
        return tensor.reshape(tensor.shape[-2:])
    if re.fullmatch(r"layers\.\d+\.weight", name):
        return tensor.reshape(tensor.shape[-4:])
    return tensor


def _rosinality_shape(name: str, tensor: Tensor) -> Tensor:
    if name == "constant" or re.fullmatch(r"layers\.\d+\.weight", name):
        return tensor[None]
    if re.fullmatch(r"to_rgb\.\d+\.weight", name):
        return tensor[None, :, :, None, None]
    if re.fullmatch(r"to_rgb\.\d+\.bias", name):
        return tensor[None, :, None, None]
    if name.endswith("noise_strength"):
        return tensor[None]
    if name.endswith(".noise"):
        return tensor[None, None]
    return tensor


def _count(state: Mapping[str, Any], pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in state)


def generator_from_rosinality(state: Mapping[str, Tensor], latent_avg: Tensor | None = None) -> State:
    """Tensors of a rosinality generator (`g_ema`, or a `decoder`) as those of `networks.stylegan2.Generator`.

    Args:
        state: names as in stylegan2-pytorch, with the noise maps; blur kernels are dropped.
        latent_avg: the average latent, which such files keep beside the generator, ``(w_dim,)`` or a row per layer.
    """
    kept = {key: value for key, value in state.items() if not key.endswith(_KERNELS)}
    blocks = _count(kept, r"to_rgbs\.\d+\.bias")
    names = _rosinality_names(blocks, _count(kept, r"style\.\d+\.weight"))
    ours = {name: _our_shape(name, tensor) for name, tensor in _renamed(kept, names, "StyleGAN2 generator").items()}
    if latent_avg is not None:
        ours["latent_avg"] = latent_avg if latent_avg.ndim == 1 else latent_avg.mean(dim=0)
    return ours


def generator_to_rosinality(state: Mapping[str, Tensor]) -> State:
    """Tensors of a `Generator` as rosinality's `g_ema`, in its order, with the blur kernels, without `latent_avg`."""
    blocks = _count(state, r"to_rgb\.\d+\.bias") - 1
    names = _rosinality_names(blocks, _count(state, r"mapping\.layers\.\d+\.weight"))
    taps = state["constant"].new_tensor([1.0, 3.0, 3.0, 1.0])
    kernel = taps[:, None] * taps / 16
    theirs: State = {}
    for key, name in names.items():
        theirs[key] = _rosinality_shape(name, state[name])
        if re.fullmatch(r"convs\.\d*[02468]\.conv\.weight", key):
            theirs[key.replace("weight", "blur.kernel")] = kernel.clone()
        if re.fullmatch(r"to_rgbs\.\d+\.bias", key):
            theirs[key.replace("bias", "upsample.kernel")] = kernel.clone()
    return theirs


def generator_from_nvidia(state: Mapping[str, Tensor]) -> State:
    """Tensors of NVIDIA's `G_ema` (unconditional, skip architecture) as those of `networks.stylegan2.Generator`."""
    kept = {key: value for key, value in state.items() if not key.endswith(_KERNELS)}
    if any(key.startswith("mapping.embed.") for key in kept):
        raise HairclipError(
            "this NVIDIA generator is conditioned on classes: give an unconditional one, such as FFHQ's."
        )
    blocks = _count(kept, r"synthesis\.b\d+\.torgb\.bias") - 1
    names = _nvidia_names(blocks, _count(kept, r"mapping\.fc\d+\.weight"))
    if "mapping.w_avg" not in kept:
        del names["mapping.w_avg"]
    renamed = _renamed(kept, names, "NVIDIA StyleGAN2 generator")
    return {name: _our_shape(name, tensor) for name, tensor in renamed.items()}


def generator_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of the `Generator` whose tensors these are."""
    outputs = _count(state, r"to_rgb\.\d+\.bias")
    mapping_layers = _count(state, r"mapping\.layers\.\d+\.weight")
    w_dim = state["to_rgb.0.style.weight"].shape[1]
    return {
        "size": 2 ** (outputs + 1),
        "w_dim": w_dim,
        "z_dim": state["mapping.layers.0.weight"].shape[1] if mapping_layers else w_dim,
        "mapping_layers": mapping_layers,
        "channels": {str(2 ** (j + 2)): state[f"to_rgb.{j}.weight"].shape[1] for j in range(outputs)},
    }


def generator(content: Mapping[str, Any]) -> Found | None:
    """A StyleGAN2 generator from what a file holds, None if there is none.

    Understood are rosinality's files (``g_ema`` and ``latent_avg``), a bare rosinality generator, HairCLIP's and e4e's
    checkpoints (``decoder.`` in their ``state_dict``), and the tensors of NVIDIA's ``G_ema``.
    """
    latent_avg = content.get("latent_avg")
    inner = content.get("g_ema", content.get("state_dict", content))
    if not isinstance(inner, Mapping):
        return None
    if "decoder.input.input" in inner:
        inner = strip_prefix(inner, "decoder.")
    if "input.input" in inner:
        bare = {key: value for key, value in inner.items() if key != "latent_avg"}
        state = generator_from_rosinality(bare, latent_avg if isinstance(latent_avg, Tensor) else None)
    elif "synthesis.b4.const" in inner:
        state = generator_from_nvidia(inner)
    else:
        return None
    return "Generator", generator_config(state), state


# ----------------------------------------------------------------------------------------------------------------------
# HairMapper: the `mapper.` of hairclip.pt
# ----------------------------------------------------------------------------------------------------------------------

_SUB_MAPPERS = {"course_mapping": "coarse", "medium_mapping": "medium", "fine_mapping": "fine"}  # their spelling


def mapper_from_hairclip(state: Mapping[str, Tensor]) -> State:
    """Tensors of the official mapper (without prefix ``mapper.``, its CLIP ignored) as those of our `HairMapper`."""
    ours: State = {}
    for key, tensor in state.items():
        if key.startswith("clip_model."):
            continue
        match = re.fullmatch(r"(course|medium|fine)_mapping\.modulation_module_list\.(\d+)\.(.+)", key)
        if match is None:
            raise HairclipError(
                f"the file's mapper holds {key!r}, which HairCLIP's does not have: give an unmodified checkpoint."
            )
        group, block, rest = match.groups()
        ours[f"{_SUB_MAPPERS[group + '_mapping']}.blocks.{block}.{rest.replace('_function', '')}"] = tensor
    return ours


def mapper_to_hairclip(state: Mapping[str, Tensor]) -> State:
    """Tensors of a `HairMapper` under the official names, without the prefix ``mapper.``."""
    theirs: State = {}
    for key, tensor in state.items():
        group, rest = key.split(".blocks.")
        official = next(name for name, ours in _SUB_MAPPERS.items() if ours == group)
        rest = re.sub("(gamma|beta)", r"\1_function", rest)
        theirs[f"{official}.modulation_module_list.{rest}"] = tensor
    return theirs


def mapper_config(state: Mapping[str, Tensor], n_latent: int) -> dict[str, Any]:
    """Constructor arguments of the official kind of `HairMapper` with these tensors; none of them tells `n_latent`."""
    groups = {key.split(".")[0] for key in state}
    first = f"{min(groups)}.blocks.0"
    return {
        "n_latent": n_latent,
        "w_dim": state[f"{first}.fc.weight"].shape[0],
        "condition_dim": state[f"{first}.gamma.0.weight"].shape[1],
        "groups": [4, 8],
        "absent": "passthrough",
        "scale": 0.1,
        "pixel_norm": "layer",
        "coarse": "coarse" in groups,
        "medium": "medium" in groups,
        "fine": "fine" in groups,
    }


def mapper(content: Mapping[str, Any]) -> Found | None:
    """The mapper of an official HairCLIP checkpoint, else None. The decoder beside it tells the number of latents."""
    inner = content.get("state_dict", content)
    if not isinstance(inner, Mapping):
        return None
    theirs = strip_prefix(inner, "mapper.")
    if not any(re.match(r"(course|medium|fine)_mapping\.", key) for key in theirs):
        return None
    blocks = _count(inner, r"decoder\.to_rgbs\.\d+\.bias")
    state = mapper_from_hairclip(theirs)
    return "HairMapper", mapper_config(state, n_latent=2 * blocks + 2 if blocks else 18), state


# ----------------------------------------------------------------------------------------------------------------------
# Parsers, identity, encoder, CLIP. Each takes the tensors of an official file; sizes are read from the tensors.
# ----------------------------------------------------------------------------------------------------------------------


def unet_parser(state: Mapping[str, Any]) -> Found | None:
    """The U-Net of CelebAMask-HQ (``parsenet.pth``): ``conv1..N``, ``center``, ``up_concatN..1``, ``final``."""
    if not {"conv1.conv1.0.weight", "center.conv1.0.weight", "final.weight"} <= state.keys():
        return None
    depth = 1
    while f"conv{depth + 1}.conv1.0.weight" in state:
        depth += 1
    filters = [state[f"conv{i}.conv1.0.weight"].shape[0] for i in range(1, depth + 1)]
    filters.append(state["center.conv1.0.weight"].shape[0])
    renamed = {}
    for key, tensor in state.items():
        key = re.sub(r"^conv(\d+)\.", lambda match: f"down.{int(match[1]) - 1}.", key)
        key = re.sub(r"^up_concat(\d+)\.", lambda match: f"up.{depth - int(match[1])}.", key)
        renamed[key] = tensor
    return "UNetParser", {"filters": filters}, renamed


#: yakhyo/face-parsing's names for the parts of BiSeNet, in the order in which they are replaced.
_BISENET_RENAMED = (
    (r"^fpn\.backbone\.", "cp.resnet."),
    (r"^fpn\.", "cp."),
    (r"\.attention\.0\.", ".conv_atten."),
    (r"\.attention\.1\.", ".bn_atten."),
    (r"^(conv_out\d*)\.conv\.", r"\1.conv_out."),
    (r"^ffm\.conv_block\.", "ffm.convblk."),
    (r"\.conv_block\.", ".conv."),
    (r"\.norm\.", ".bn."),
)


def bisenet_parser(state: Mapping[str, Any]) -> Found | None:
    """BiSeNet (``79999_iter.pth``), also named as by yakhyo/face-parsing; what inference never uses is dropped."""
    state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    if "fpn.backbone.conv1.weight" in state:
        renamed = {}
        for key, tensor in state.items():
            for pattern, name in _BISENET_RENAMED:
                key = re.sub(pattern, name, key)
            renamed[key] = tensor
        state = renamed
    if "cp.resnet.conv1.weight" not in state:
        return None
    unused = ("conv_out16.", "conv_out32.", "cp.resnet.fc.")
    return "BiSeNet", {}, {key: tensor for key, tensor in state.items() if not key.startswith(unused)}


def identity(state: Mapping[str, Any]) -> Found | None:
    """IR-SE face recognition (``model_ir_se50.pth``)."""
    if not {"input_layer.0.weight", "output_layer.3.weight", "body.0.res_layer.5.fc1.weight"} <= state.keys():
        return None
    config: dict[str, Any] = _residual_stages(state)
    config["embedding"], features = state["output_layer.3.weight"].shape
    spatial = math.isqrt(features // config["widths"][-1])
    config["input_size"] = spatial * 2 ** len(config["units"])
    return "IdentityEncoder", config, {f"backbone.{key}": tensor for key, tensor in state.items()}


def encoder(checkpoint: Mapping[str, Any]) -> Found | None:
    """e4e (``e4e_ffhq_encode.pt``): ``encoder.*`` inside ``state_dict``, beside ``latent_avg``."""
    state = strip_prefix(checkpoint.get("state_dict", checkpoint), "encoder.")
    if not {"input_layer.0.weight", "latlayer1.weight", "styles.0.linear.weight"} <= state.keys():
        return None
    n_latent = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("styles."))
    halvings = [sum(f"styles.{i}.convs.{2 * j}.weight" in state for j in range(16)) for i in range(n_latent)]
    w_dim, style_width = state["styles.0.linear.weight"].shape
    config = {
        **_residual_stages(state),
        "n_latent": n_latent,
        "w_dim": w_dim,
        "style_width": style_width,
        "input_size": 16 * 2 ** halvings[0],
        "fpn_width": state["latlayer1.weight"].shape[0],
        "levels": [sum(count <= halvings[0] + level for count in halvings) for level in (0, 1)],
    }
    average = checkpoint.get("latent_avg")
    average = torch.zeros(n_latent, w_dim) if average is None else average.float()
    return "E4EEncoder", config, {**state, "latent_avg": average.expand(n_latent, w_dim).clone()}


def clip(checkpoint: Mapping[str, Any]) -> Found | None:
    """OpenAI's CLIP with a vision transformer, alone or as ``mapper.clip_model.*`` of ``hairclip.pt``."""
    tensors = checkpoint.get("state_dict", checkpoint)
    state = strip_prefix(tensors, "mapper.clip_model.") or dict(tensors)
    if not {"visual.proj", "visual.conv1.weight", "text_projection", "token_embedding.weight"} <= state.keys():
        return None
    for key in ("input_resolution", "context_length", "vocab_size"):
        state.pop(key, None)
    vision_width, _, patch_size, _ = state["visual.conv1.weight"].shape
    grid = math.isqrt(state["visual.positional_embedding"].shape[0] - 1)
    text_width, embed_dim = state["text_projection"].shape
    model = {
        "embed_dim": embed_dim,
        "quick_gelu": True,  # every OpenAI model; the tensors cannot tell
        "vision_cfg": {
            "image_size": patch_size * grid,
            "layers": _layers(state, "visual.transformer.resblocks."),
            "width": vision_width,
            "patch_size": patch_size,
        },
        "text_cfg": {
            "context_length": state["positional_embedding"].shape[0],
            "vocab_size": state["token_embedding.weight"].shape[0],
            "width": text_width,
            "heads": text_width // 64,
            "layers": _layers(state, "transformer.resblocks."),
        },
    }
    return "Clip", {"model": model}, state


def _layers(state: Mapping[str, Any], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def _residual_stages(state: Mapping[str, Any]) -> dict[str, Any]:
    """Units and widths of an IR-SE body: units of one width in a row are one stage (stages must differ in width)."""
    count = _layers(state, "body.")
    each = [state[f"body.{i}.res_layer.1.weight"].shape[0] for i in range(count)]
    stages = [(width, len(list(run))) for width, run in groupby(each)]
    return {"units": [length for _, length in stages], "widths": [width for width, _ in stages]}


# ----------------------------------------------------------------------------------------------------------------------
# What a file is
# ----------------------------------------------------------------------------------------------------------------------


_READERS: dict[str, tuple[Callable[[Mapping[str, Any]], Found | None], ...]] = {
    "generator": (generator,),
    "mapper": (mapper,),
    "parser": (unet_parser, bisenet_parser),
    "identity": (identity,),
    "encoder": (encoder,),
    "clip": (clip,),
}


def recognise(content: Mapping[str, Any], kind: str) -> Found | None:
    """The network of `kind` in what an official file holds, None if there is none that hairclip knows."""
    if kind in ("parser", "identity") and not all(isinstance(value, Tensor) for value in content.values()):
        return None
    for read in _READERS.get(kind, ()):
        if (found := read(content)) is not None:
            return found
    return None

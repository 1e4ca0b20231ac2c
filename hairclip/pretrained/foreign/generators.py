"""Read StyleGAN2 generators of rosinality (stylegan2-pytorch; also in HairCLIP's and e4e's files) and of NVIDIA."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.pretrained.foreign.formats import Format, State, Surroundings, series

_LAYER = {
    "weight": "conv.weight",
    "style.weight": "conv.modulation.weight",
    "style.bias": "conv.modulation.bias",
    "noise_strength": "noise.weight",
    "bias": "activate.bias",
}
_RGB = {**_LAYER, "bias": "bias"}
_MOST_OUTPUTS = 10  # of a 2048 px generator


def _rosinality_name(ours: str, config: Mapping[str, Any] | None = None) -> str:
    if ours == "constant":
        return "input.input"
    part, number, rest = _split(ours)
    if part == "mapping":
        return f"style.{number + 1}.{rest}"
    if part == "layers":
        if rest == "noise":
            return f"noises.noise_{number}"
        return f"{'conv1' if number == 0 else f'convs.{number - 1}'}.{_LAYER[rest]}"
    if part == "to_rgb":
        return f"{'to_rgb1' if number == 0 else f'to_rgbs.{number - 1}'}.{_RGB[rest]}"
    return ours


def _nvidia_name(ours: str, config: Mapping[str, Any] | None = None) -> str:
    if ours == "constant":
        return "synthesis.b4.const"
    part, number, rest = _split(ours)
    if part == "mapping":
        return f"mapping.fc{number}.{rest}"
    rest = {"noise": "noise_const"}.get(rest, rest.replace("style.", "affine."))
    if part == "layers":
        block, layer = (number + 1) // 2, "conv0" if number % 2 else "conv1"
        return f"synthesis.b{2 ** (block + 2)}.{layer}.{rest}"
    if part == "to_rgb":
        return f"synthesis.b{2 ** (number + 2)}.torgb.{rest}"
    return ours


def _split(ours: str) -> tuple[str, int, str]:
    """Return "layers.3.style.weight" as ("layers", 3, "style.weight"); the first is empty for any other name."""
    match = re.fullmatch(r"(mapping|layers|to_rgb)(?:\.layers)?\.(\d+)\.(.+)", ours)
    return (match[1], int(match[2]), match[3]) if match else ("", 0, ours)


def _our_shape(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor without the dimensions of size one that foreign files keep; any other shape stays as it is."""
    leading, trailing = 0, 0
    if name == "constant" or re.fullmatch(r"layers\.\d+\.weight", name):
        leading = tensor.ndim - (3 if name == "constant" else 4)
    elif re.fullmatch(r"to_rgb\.\d+\.weight", name):
        leading, trailing = tensor.ndim - 4, 2
    elif re.fullmatch(r"to_rgb\.\d+\.bias", name) and tensor.ndim == 4:
        leading, trailing = 1, 2
    elif name.endswith(("noise_strength", ".noise")):
        leading = tensor.ndim - (0 if name.endswith("noise_strength") else 2)
    shape = tuple(tensor.shape)
    stop = len(shape) - trailing
    if leading < 0 or leading > stop or any(side != 1 for side in (*shape[:leading], *shape[stop:])):
        return tensor
    return tensor.reshape(shape[leading:stop])


def _their_shape(name: str, tensor: Tensor) -> Tensor:
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


def generator_to_rosinality(state: Mapping[str, Tensor]) -> State:
    """Return the tensors of a `Generator` as rosinality's `g_ema`: its order, blur kernels added, no `latent_avg`."""
    taps = state["constant"].new_tensor([1.0, 3.0, 3.0, 1.0])
    kernel = taps[:, None] * taps / 16
    theirs: State = {}
    for ours in _rosinality_order(state):
        key = _rosinality_name(ours)
        theirs[key] = _their_shape(ours, state[ours])
        if re.fullmatch(r"convs\.\d*[02468]\.conv\.weight", key):
            theirs[key.replace("weight", "blur.kernel")] = kernel.clone()
        if re.fullmatch(r"to_rgbs\.\d+\.bias", key):
            theirs[key.replace("bias", "upsample.kernel")] = kernel.clone()
    return theirs


def _rosinality_order(state: Mapping[str, Tensor]) -> list[str]:
    """Return our names in the order of rosinality's files."""
    layers, outputs = (len(series(state, name)) for name in ("layers.{}.weight", "to_rgb.{}.weight"))
    order = [f"mapping.layers.{i}.{part}" for i in range(len(state)) for part in ("weight", "bias")]
    order += ["constant", *(f"layers.0.{part}" for part in _LAYER)]
    rgb = [[f"to_rgb.{j}.{part}" for part in ("bias", "weight", "style.weight", "style.bias")] for j in range(outputs)]
    order += [*rgb[0], *(f"layers.{k}.{part}" for k in range(1, layers) for part in _LAYER)]
    order += [name for names in rgb[1:] for name in names]
    return [name for name in (*order, *(f"layers.{k}.noise" for k in range(layers))) if name in state]


def _config(outputs: int, mapping: list[Tensor], rgb: list[Tensor], w_dim: int) -> dict[str, Any]:
    if not 2 <= outputs <= _MOST_OUTPUTS:
        raise ValueError(f"{outputs} image outputs")
    return {
        "size": 2 ** (outputs + 1),
        "w_dim": w_dim,
        "z_dim": mapping[0].shape[1] if mapping else w_dim,
        "mapping_layers": len(mapping),
        "channels": {str(2 ** (j + 2)): weight.shape[-3] for j, weight in enumerate(rgb)},
    }


def _read_rosinality(state: State, around: Surroundings) -> tuple[dict[str, Any], State]:
    if around.key == "g":
        raise HairclipError(
            "it holds a generator `g` in the middle of training, but not its average `g_ema`, which makes the "
            "pictures: give a checkpoint with g_ema"
        )
    mapping = series(state, "style.{}.weight", first=1)
    rgb = [state["to_rgb1.conv.weight"], *series(state, "to_rgbs.{}.conv.weight")]
    config = _config(len(rgb), mapping, rgb, state["to_rgb1.conv.modulation.weight"].shape[1])
    extras = _latent_avg(around.content.get("latent_avg"), config["w_dim"])
    if not any(key.startswith("noises.") for key in state):
        extras |= _drawn_noise(len(rgb))
    return config, extras


def _drawn_noise(outputs: int) -> State:
    """Return noise maps for a file without any, such as rosinality's 550000.pt: always the same normal numbers.

    rosinality's code keeps the numbers that it drew when it built the network, which are others in every run.
    """
    source = torch.Generator().manual_seed(0)
    sizes = [2 ** ((layer + 1) // 2 + 2) for layer in range(2 * outputs - 1)]
    return {f"layers.{layer}.noise": torch.randn(size, size, generator=source) for layer, size in enumerate(sizes)}


def _read_nvidia(state: State, around: Surroundings) -> tuple[dict[str, Any], State]:
    if any(key.startswith("mapping.embed.") for key in state):
        raise HairclipError(
            "it is an NVIDIA generator conditioned on classes: give an unconditional one, such as FFHQ's"
        )
    outputs = len({key.split(".")[1] for key in state if re.fullmatch(r"synthesis\.b\d+\.torgb\.weight", key)})
    rgb = [state[f"synthesis.b{2 ** (j + 2)}.torgb.weight"] for j in range(outputs)]
    config = _config(
        len(rgb), series(state, "mapping.fc{}.weight"), rgb, state["synthesis.b4.torgb.affine.weight"].shape[1]
    )
    clamp = around.content.get("conv_clamp")
    if clamp is not None:
        config["clamp"] = float(clamp)
    return config, _latent_avg(state.get("mapping.w_avg"), config["w_dim"])


def _read_stylegan3(state: State, around: Surroundings) -> tuple[dict[str, Any], State]:
    raise HairclipError("it is a StyleGAN3 generator, whose images HairCLIP cannot edit: give a StyleGAN2 one")


def _latent_avg(average: object, w_dim: int) -> State:
    """Return the average latent `(w_dim,)` from that of a file: `(w_dim,)`, or e4e's equal rows `(n_latent, w_dim)`."""
    if not isinstance(average, Tensor):
        return {}
    if average.ndim not in (1, 2) or average.shape[-1] != w_dim or not average.is_floating_point():
        raise ValueError(f"'latent_avg' is {tuple(average.shape)}, expected ({w_dim},)")
    return {"latent_avg": average if average.ndim == 1 else average.float().mean(dim=0)}


GENERATOR_FORMATS = (
    Format(
        name="rosinality's StyleGAN2",
        kind="generator",
        class_name="Generator",
        names=r"(style\.\d+|input|conv1|to_rgb1|convs\.\d+|to_rgbs\.\d+|noises)\..+",
        sizes={"input.input": 4, "to_rgb1.conv.weight": 5, "to_rgb1.conv.modulation.weight": 2},
        read=_read_rosinality,
        theirs=_rosinality_name,
        adapt=_our_shape,
        unused=r".+\.(blur|upsample)\.kernel|latent_avg",  # always the same blur; ours is in the code
        holders=("g_ema", "G_ema", "state_dict", "", "g"),
        prefixes=("", "decoder."),
    ),
    Format(
        name="NVIDIA's StyleGAN2",
        kind="generator",
        class_name="Generator",
        names=r"mapping\.(fc\d+\..+|w_avg)|synthesis\.b\d+\..+",
        sizes={"synthesis.b4.const": 3, "synthesis.b4.torgb.weight": 4, "synthesis.b4.torgb.affine.weight": 2},
        read=_read_nvidia,
        theirs=_nvidia_name,
        adapt=_our_shape,
        unused=r".*resample_filter|mapping\.w_avg",
        holders=("G_ema", "g_ema", "state_dict", ""),
    ),
    Format(
        name="NVIDIA's StyleGAN3",
        kind="generator",
        class_name="",
        names=r"mapping\.(fc\d+\..+|w_avg)|synthesis\.(input|L\d+_\d+_\d+)\..+",
        sizes={"synthesis.input.weight": 2},
        read=_read_stylegan3,
        holders=("G_ema", "g_ema", "state_dict", ""),
    ),
)

"""Turn one weight file into one network, and back: recognize, check, build, write.

Our own files are safetensors. Their metadata says what they hold, so a network is rebuilt from its file alone:

    hairclip_kind    generator, clip, parser, identity, encoder, mapper, judge, hair_priors, denoiser, codec,
                     token_transformer, text_encoder or latents
    hairclip_class   the class, where a kind has several
    config           JSON: the constructor's keyword arguments
    companions       JSON (mappers): names of the generator and CLIP that belong to it
    notes            JSON: how it was trained: a mapper's configuration as "training", the digests of the generator and
                     CLIP as "contents"

Files of other projects are recognized by their tensors (`hairclip.pretrained.foreign`). Before a network is built, the
tensors that it needs are compared with those of the file, so that a wrong file costs neither time nor memory.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from hairclip.common.errors import HairclipError
from hairclip.common.precision import in_float32
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained import foreign
from hairclip.pretrained.network_classes import class_in_file
from hairclip.pretrained.weight_files import (
    all_finite,
    as_float32,
    is_safetensors,
    read_safetensors,
    read_torch,
    write_safetensors,
)

Kind = Literal[
    "generator",
    "clip",
    "parser",
    "identity",
    "encoder",
    "mapper",
    "judge",
    "hair_priors",
    "codec",
    "token_transformer",
    "denoiser",
    "text_encoder",
    "latents",
    "style_mappers",
    "directions",
]
Source: TypeAlias = str | Path
Device: TypeAlias = str | torch.device

#: Ends of names that half-precision files keep in float32. These tensors are small, and rounding them costs most.
_KEEP_FLOAT32 = ("running_mean", "running_var", "latent_avg", "logit_scale")
_SCALE = ".scale"  # ends the name of what the whole numbers of a tensor are multiplied by
_AVERAGED = 10_000  # number of random latents whose mean replaces a missing latent_avg, as in e4e's code
_REASON = 200  # how many letters of a library's reason an error shows


class AnotherKindError(HairclipError):
    """The file is whole, but holds no network of the wanted kind."""


@dataclass(frozen=True)
class NetworkFile:
    """The content of a weight file before a network is built from it: arguments, and tensors that fit the network.

    Attributes:
        kind: the kind of network, such as "generator".
        class_name: our class.
        config: the arguments of the class.
        state: its tensors, under our names, in the file's precision.
        form: the name of the file's format, for people.
        notes: of a mapper, how it was trained, see `hairclip.pretrained.HairMapper`.
    """

    kind: str
    class_name: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    form: str
    notes: dict[str, Any] = field(default_factory=dict)


def save_network(
    path: Source,
    kind: Kind,
    network: nn.Module,
    half: bool = False,
    companions: Mapping[str, str] | None = None,
    *,
    quarter_above: int | None = None,
    spared: Collection[str] = (),
    bytes_above: int | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a network in our own format; the file appears whole or not at all.

    Args:
        path: the file to write, ending in ".safetensors".
        kind: the kind of network.
        network: any network of this library; its `config` rebuilds it.
        half: whether to store weights as float16; batch-norm statistics stay float32. They load as float32.
        companions: for a mapper, ``{"generator": name, "clip": name}``, so that `load_hairclip` finds them.
        quarter_above: store tensors of more numbers than this as float8, in the format (e4m3 or e5m2) with the smaller
            error. They load as float32.
        spared: names of tensors that are never stored as float8.
        bytes_above: store matrices, or stacks of them, of more numbers than this as whole numbers of 8 bits with one
            scale a matrix. They load as float32.
        notes: values fit for JSON; a mapper's become `hairclip.pretrained.HairMapper.notes`.
    """
    metadata = {
        "hairclip_kind": kind,
        "hairclip_class": type(network).__name__,
        "config": json.dumps(network.config),
    }
    if companions:
        metadata["companions"] = json.dumps(dict(companions))
    if notes:
        metadata["notes"] = json.dumps(dict(notes))
    tensors = {
        key: stored(key, tensor, half, None if key in spared else quarter_above)
        for key, tensor in network.state_dict().items()
    }
    if bytes_above is not None:
        for key, tensor in network.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim >= 2 and tensor.numel() > bytes_above:
                tensors[key], tensors[key + _SCALE] = _as_bytes(tensor.detach().float().cpu())
    write_safetensors(Path(path), tensors, metadata)


def _as_bytes(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return a stack of matrices (*, rows, columns) as int8, and what each matrix must be multiplied by, (*, 1, 1)."""
    scale = tensor.abs().amax(dim=(-2, -1), keepdim=True).clamp_min(1e-30) / 127
    return (tensor / scale).round().to(torch.int8), scale


def _from_bytes(content: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in which those that `_as_bytes` made are numbers again."""
    scaled = {key for key, tensor in content.items() if tensor.dtype == torch.int8 and key + _SCALE in content}
    kept = {key: tensor for key, tensor in content.items() if key.removesuffix(_SCALE) not in scaled or key in scaled}
    return {key: tensor.float() * content[key + _SCALE] if key in scaled else tensor for key, tensor in kept.items()}


def stored(key: str, tensor: Tensor, half: bool, quarter_above: int | None = None) -> Tensor:
    """Return a tensor as `save_network` stores it; one with numbers too large for float16 stays float32."""
    tensor = tensor.detach().cpu().contiguous()
    if quarter_above is not None and tensor.is_floating_point() and tensor.numel() > quarter_above:
        kinds = [tensor.to(kind) for kind in (torch.float8_e4m3fn, torch.float8_e5m2)]
        errors = [float((kind.to(tensor.dtype) - tensor).square().sum().nan_to_num(torch.inf)) for kind in kinds]
        return kinds[errors.index(min(errors))]
    if half and tensor.dtype == torch.float32 and not key.endswith(_KEEP_FLOAT32):
        smaller = tensor.half()
        if bool(smaller.isfinite().all()):
            return smaller
    return tensor


def read_content(path: Path) -> tuple[dict[str, str], Any]:
    """Return metadata and content of any weight file; the metadata of other projects' files is empty."""
    if not is_safetensors(path):
        return {}, read_torch(path)
    metadata, tensors = read_safetensors(path)
    return metadata, tensors


def read_network(path: Path, kind: str) -> NetworkFile:
    """Read a weight file and return the network of `kind` in it, see `recognize_network`."""
    return recognize_network(path, kind, *read_content(path))


def recognize_network(path: Path, kind: str, metadata: Mapping[str, str], content: Any) -> NetworkFile:
    """Return the network of `kind` in what `read_content` returned.

    Raises:
        AnotherKindError: if there is none.
        HairclipError: if its tensors do not fit.
    """
    if "hairclip_kind" in metadata:
        return _own_network(path, kind, metadata, content)
    try:
        found = foreign.recognize(content, kind)
        if found is not None:
            expected = _expected(kind, found.class_name, found.config, len(found.state))
            state, notes = found.fit(expected), _options(content)
            _check_finite(state)
            return NetworkFile(kind, found.class_name, found.config, state, found.form.name, notes)
    except HairclipError as error:
        raise HairclipError(f"{path}: {error}.") from None
    raise wrong_kind(path, kind, content)


def with_config(file: NetworkFile, path: Path, config: Mapping[str, Any]) -> NetworkFile:
    """Return the file with some arguments of its network replaced.

    Raises:
        HairclipError: if the tensors do not fit these arguments.
    """
    merged = {**file.config, **config}
    try:
        expected = _expected(file.kind, file.class_name, merged, len(file.state))
        state = foreign.fit(file.state, expected, label=f"it should be a {file.kind} with other arguments")
    except HairclipError as error:
        raise HairclipError(f"{path}: {error}.") from None
    return replace(file, config=merged, state=state)


@in_float32
def build_network(file: NetworkFile, device: Device, cls: type[nn.Module] | None = None) -> Any:
    """Return the network in float32 and eval mode, frozen unless it is a mapper.

    A generator without a `latent_avg` gets the mean of 10,000 latents.

    Args:
        file: arguments and tensors.
        device: where to put the network.
        cls: a subclass to build in place of the file's class.
    """
    # The constructor draws random weights, which the file's replace: keep the caller's random numbers as they are.
    with torch.random.fork_rng(devices=[]):
        network = (cls or class_in_file(file.kind, file.class_name))(**file.config)
    # Not strict: counters of batch-norm steps may be missing. `fit` has checked all other tensors.
    network.load_state_dict({key: as_float32(value) for key, value in file.state.items()}, strict=False)
    network.to(device).eval().requires_grad_(file.kind == "mapper")
    if isinstance(network, Generator) and network.latent_avg is None:
        network.latent_avg = network.mean_latent(_AVERAGED, torch.Generator().manual_seed(0))
    return network


def wrong_kind(path: Path, wanted: str, content: Any) -> AnotherKindError:
    """Return the error for a file of another project that holds no network of the wanted kind."""
    if isinstance(content, Mapping) and {"step", "config", "mapper", "optimizer"} <= content.keys():
        return AnotherKindError(
            f"{path} is a checkpoint of a training run: give {path.with_name('mapper.safetensors')}, its mapper."
        )
    best = foreign.best_candidate(content)
    if best is not None and best.complete:
        return AnotherKindError(
            f"{path} holds {best.form.kind} weights ({best.form.name}), but {wanted} weights are needed here: give "
            "another file."
        )
    if isinstance(content, Tensor):
        what = f", but a tensor {tuple(content.shape)}"
    elif not isinstance(content, Mapping):
        what = f", but a {type(content).__name__}"
    elif best is not None and best.is_like:
        what = f"; it looks most like {best.form.name}"
    else:
        what = f", first entry {str(next(iter(content)))[:80]!r}" if content else ", but nothing at all"
    return AnotherKindError(f"{path} holds no {wanted} that hairclip knows{what}: give another file.")


def _options(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training options of a foreign file as notes ``{"opts": ...}``, only those fit for JSON."""
    options = content.get("opts")
    if not isinstance(options, Mapping):
        return {}
    plain = {str(k): v for k, v in options.items() if v is None or isinstance(v, (str, int, float, bool))}
    return {"opts": plain} if plain else {}


def _own_network(path: Path, kind: str, metadata: Mapping[str, str], content: Mapping[str, Tensor]) -> NetworkFile:
    if metadata["hairclip_kind"] != kind:
        raise HairclipError(
            f"{path} holds {metadata['hairclip_kind'][:40]} weights, but {kind} weights are needed here: give another "
            "file."
        )
    try:
        config = dict(json.loads(metadata["config"]))
        notes = dict(json.loads(metadata.get("notes", "{}")))
        if "companions" in metadata:
            notes["companions"] = dict(json.loads(metadata["companions"]))
    except (KeyError, RecursionError, TypeError, ValueError):
        raise HairclipError(f"{path} has no readable config in its metadata: write it again.") from None
    class_name = metadata.get("hairclip_class", "")
    content = _from_bytes(content)
    try:
        expected = _expected(kind, class_name, config, len(content))
        if kind == "generator" and "latent_avg" in content:  # generators have one or not
            expected["latent_avg"] = torch.empty(config.get("w_dim", 512), device="meta")
        state = foreign.fit(content, expected, label=f"it says it is a {kind}")
        _check_finite(state)
    except HairclipError as error:
        raise HairclipError(f"{path}: {error}.") from None
    return NetworkFile(kind, class_name, config, state, "hairclip's own", notes)


def _check_finite(state: Mapping[str, Tensor]) -> None:
    """Refuse tensors with NaN or infinity, which would spoil every result."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not all_finite(tensor):
            raise HairclipError(f"its tensor {name} holds NaN or infinity: give an undamaged file, or train it again")


def _expected(kind: str, class_name: str, config: Mapping[str, Any], held: int) -> dict[str, Tensor]:
    """Return the tensors of the network that these arguments build, on the meta device.

    Args:
        kind: the kind of network.
        class_name: our class.
        config: arguments of the class. They come from a file and may be anything.
        held: number of tensors in the file.
    """
    cls = class_in_file(kind, class_name)
    try:
        return dict(build_on_meta(lambda: cls(**config), held).state_dict())
    except HairclipError:
        raise
    except Exception as error:  # the arguments are the file's: any error they cause is the file's mistake
        reason = " ".join(str(error).split())[:_REASON] or type(error).__name__
        raise HairclipError(f"it describes a {kind} that cannot be built ({reason}): give an unmodified file") from None


def build_on_meta(make: Callable[[], nn.Module], held: int) -> nn.Module:
    """Return a network without numbers, which takes no memory.

    Args:
        make: function that builds it.
        held: number of tensors in the file.

    Raises:
        ValueError: once the network has far more tensors than the file.
    """
    limit = 1000 + 2 * held

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal limit
        limit -= 1
        if limit < 0:
            raise ValueError("it has far more tensors than the file")

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return make()
    finally:
        hook.remove()

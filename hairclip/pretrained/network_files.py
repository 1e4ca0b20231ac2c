"""One weight file to one network, and back: reading, recognising, building, writing.

Own files are safetensors whose metadata says what they hold, so a network is rebuilt from its file alone:

    hairclip_kind    generator, clip, parser, identity, encoder, mapper, judge or latents
    hairclip_class   the class, where a kind has several
    config           JSON: the constructor's keyword arguments
    companions       JSON (mappers): names of the generator and CLIP that belong to it
    notes            JSON (mappers): how it came about, above all the run's configuration as "training"

Official files of other projects are recognised by what they hold (`hairclip.pretrained.foreign`). Before a network is
built, its tensors are compared with the file's, so that a wrong file costs neither time nor memory.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from hairclip.common.errors import HairclipError
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.networks.e4e import E4EEncoder
from hairclip.networks.face_parser import BiSeNet, UNetParser
from hairclip.networks.ir_se import IdentityEncoder
from hairclip.networks.mapper import HairMapper
from hairclip.networks.pca_encoder import PcaEncoder
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained import foreign as checkpoint_keys
from hairclip.pretrained.hub import plain_options
from hairclip.pretrained.weight_files import as_float32, is_safetensors, read_safetensors, read_torch, write_safetensors

Kind = Literal["generator", "clip", "parser", "identity", "encoder", "mapper", "judge", "latents"]
Source: TypeAlias = str | Path
Device: TypeAlias = str | torch.device

#: Kind -> class name -> class, the default first. CLIP and the facenet network are imported when first needed.
_CLASSES: dict[str, dict[str, type[nn.Module]]] = {
    "generator": {"Generator": Generator},
    "parser": {"UNetParser": UNetParser, "BiSeNet": BiSeNet},
    "identity": {"IdentityEncoder": IdentityEncoder},
    "encoder": {"E4EEncoder": E4EEncoder, "PcaEncoder": PcaEncoder},
    "mapper": {"HairMapper": HairMapper},
    "judge": {"HairstyleClassifier": HairstyleClassifier},
}
#: Kept in float32 in half-precision files: variances and averages, where rounding costs most and saves nothing.
_KEEP_FLOAT32 = ("running_mean", "running_var", "latent_avg", "logit_scale")
_AVERAGED = 10_000  # random codes whose mean replaces a missing latent_avg, as e4e does


class AnotherKindError(HairclipError):
    """A file that holds nothing of the wanted kind, as opposed to something damaged."""


@dataclass(frozen=True)
class NetworkFile:
    """What a weight file holds, before a network is built from it: tensors that fit the network.

    Attributes:
        kind: what it is used for.
        class_name: our class.
        config: the class's arguments.
        state: its tensors, under our names, in the file's precision.
        form: whose format the file is in, in words.
        notes: of a mapper, how it came about, see `hairclip.pretrained.HairMapper`.
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
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a network in the own format; the file appears whole or not at all.

    Args:
        path: the file to write, ending in ``.safetensors``.
        kind: what the network is used for.
        network: any network of this library; its `config` rebuilds it.
        half: store weights as float16 (batch-norm statistics stay float32); they load as float32.
        quarter_above: store tensors of more numbers than this as float8, of the kind (e4m3 or e5m2) that rounds
            them less; they load as float32.
        spared: keys of tensors that are not stored so, whatever their size.
        companions: for a mapper, ``{"generator": name, "clip": name}``, so that `load_hairclip` finds them.
        notes: for a mapper, JSON-able, what `hairclip.pretrained.HairMapper.notes` shall be once it is loaded.
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
    write_safetensors(Path(path), tensors, metadata)


def stored(key: str, tensor: Tensor, half: bool, quarter_above: int | None = None) -> Tensor:
    """A tensor as `save_network` writes it; what float16 cannot hold stays as it is."""
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
    """Metadata (empty for files of other projects) and content of any weight file."""
    if not is_safetensors(path):
        return {}, read_torch(path)
    metadata, tensors = read_safetensors(path)
    return metadata, tensors


def read_network(path: Path, kind: str) -> NetworkFile:
    """Read and recognise a weight file, wanting a network of `kind`."""
    return recognise_network(path, kind, *read_content(path))


def recognise_network(path: Path, kind: str, metadata: Mapping[str, str], content: Any) -> NetworkFile:
    """The network of `kind` in what `read_content` gave.

    Raises:
        HairclipError: if there is none, or one whose tensors do not fit.
    """
    if "hairclip_kind" in metadata:
        return _own_network(path, kind, metadata, content)
    try:
        found = checkpoint_keys.recognise(content, kind)
        if found is not None:
            expected = _expected(kind, found.class_name, found.config, len(found.state))
            state, notes = found.fit(expected), plain_options(content.get("opts"))
            return NetworkFile(kind, found.class_name, found.config, state, found.form.name, notes)
    except HairclipError as error:
        raise HairclipError(f"{path}: {error}.") from None
    raise wrong_kind(path, kind, content)


def with_config(file: NetworkFile, path: Path, config: Mapping[str, Any]) -> NetworkFile:
    """The file with some arguments of its network replaced; a `HairclipError` if its tensors do not fit them."""
    merged = {**file.config, **config}
    try:
        expected = _expected(file.kind, file.class_name, merged, len(file.state))
        state = checkpoint_keys.fit(file.state, expected, label=f"it should be a {file.kind} with other arguments")
    except HairclipError as error:
        raise HairclipError(f"{path}: {error}.") from None
    return replace(file, config=merged, state=state)


def build_network(file: NetworkFile, device: Device, cls: type[nn.Module] | None = None) -> Any:
    """The network, of the file's class or a subclass `cls`: float32, in eval mode, frozen unless it is a mapper.

    A generator without a `latent_avg` gets the mean of 10,000 latents.
    """
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, then replaced: leave no trace
        network = (cls or _class_of(file.kind, file.class_name))(**file.config)
    # counters of batch-norm steps may be missing; `fit` has seen to everything else
    network.load_state_dict({key: as_float32(value) for key, value in file.state.items()}, strict=False)
    network.to(device).eval().requires_grad_(file.kind == "mapper")
    if isinstance(network, Generator) and network.latent_avg is None:
        network.latent_avg = network.mean_latent(_AVERAGED, torch.Generator().manual_seed(0))
    return network


def wrong_kind(path: Path, wanted: str, content: Any) -> AnotherKindError:
    """What to say of a file of another project that holds nothing of the wanted kind."""
    best = checkpoint_keys.best_candidate(content)
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


def _own_network(path: Path, kind: str, metadata: Mapping[str, str], content: dict[str, Tensor]) -> NetworkFile:
    if metadata["hairclip_kind"] != kind:
        raise HairclipError(
            f"{path} holds {metadata['hairclip_kind']} weights, but {kind} weights are needed here: give another file."
        )
    try:
        config = dict(json.loads(metadata["config"]))
        notes = dict(json.loads(metadata.get("notes", "{}")))
        if "companions" in metadata:
            notes["companions"] = dict(json.loads(metadata["companions"]))
    except (KeyError, RecursionError, TypeError, ValueError):
        raise HairclipError(f"{path} has no readable config in its metadata: write it again.") from None
    class_name = metadata.get("hairclip_class", "")
    try:
        expected = _expected(kind, class_name, config, len(content))
        if kind == "generator" and "latent_avg" in content:  # generators have one or not
            expected["latent_avg"] = torch.empty(config.get("w_dim", 512), device="meta")
        state = checkpoint_keys.fit(content, expected, label=f"it says it is a {kind}")
    except HairclipError as error:
        raise HairclipError(f"{path}: {error}.") from None
    return NetworkFile(kind, class_name, config, state, "hairclip's own", notes)


def _expected(kind: str, class_name: str, config: Mapping[str, Any], held: int) -> dict[str, Tensor]:
    """The tensors, without their numbers, of the network that these arguments build.

    Arguments come from a file and may be anything: nothing is allocated, and building stops as soon as there are far
    more tensors than the file holds.
    """
    cls = _class_of(kind, class_name)
    limit = 1000 + 2 * held

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal limit
        limit -= 1
        if limit < 0:
            raise ValueError("it has far more tensors than the file")

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return dict(cls(**config).state_dict())
    except HairclipError:
        raise
    except Exception as error:  # the arguments are the file's: whatever they lead to is the file's mistake
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise HairclipError(f"it describes a {kind} that cannot be built ({reason}): give an unmodified file") from None
    finally:
        hook.remove()


def _class_of(kind: str, class_name: str) -> type[nn.Module]:
    if kind == "clip":  # open_clip takes seconds to import: it is loaded with the first CLIP
        from hairclip.networks import clip

        classes = clip.CLASSES
    elif (kind, class_name) == ("identity", "FacenetEncoder"):
        from hairclip.networks.facenet import FacenetEncoder

        return FacenetEncoder
    else:
        classes = _CLASSES.get(kind, {})
    cls = classes.get(class_name or next(iter(classes), ""))
    if cls is None:
        raise HairclipError(f"it is a {kind} of the unknown class {class_name!r}: update hairclip")
    return cls

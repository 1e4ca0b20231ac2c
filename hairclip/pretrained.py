"""Weight files to ready networks: the one place that joins the two.

Own files are safetensors whose metadata says what they hold, so a network is rebuilt from its file alone:

    hairclip_kind    generator, clip, parser, identity, encoder, mapper, judge or latents
    hairclip_class   the class, where a kind has several
    config           JSON: the constructor's keyword arguments
    companions       JSON (mappers): names of the generator and CLIP that belong to it
    notes            JSON (mappers): how it came about, above all the run's configuration as "training"

Every loader also takes official files of other projects, recognised by what they hold (`hairclip.checkpoint_keys`).
Networks come in eval mode, float32 and frozen; only a mapper comes trainable.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from hairclip import checkpoint_keys
from hairclip.errors import HairclipError
from hairclip.fetch import obtain
from hairclip.hub import HubFolder, plain_options, without_folders
from hairclip.images import WPlus
from hairclip.networks import mapper as mapper_network
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.networks.e4e import E4EEncoder
from hairclip.networks.face_parser import BiSeNet, FaceParser, UNetParser
from hairclip.networks.ir_se import IdentityEncoder
from hairclip.networks.pca_encoder import PcaEncoder
from hairclip.networks.stylegan2 import Generator
from hairclip.official_checkpoint import official_opts, official_state_dict, refuse_unofficial
from hairclip.registry import FFHQ, WEIGHTS
from hairclip.weight_files import (
    as_float32,
    is_safetensors,
    read_metadata,
    read_safetensors,
    read_torch,
    write_safetensors,
    write_torch,
)

if TYPE_CHECKING:  # open_clip takes seconds to import: it is loaded with the first CLIP
    import hairclip.networks.clip

Kind = Literal["generator", "clip", "parser", "identity", "encoder", "mapper", "judge", "latents"]
Source: TypeAlias = str | Path
Device: TypeAlias = str | torch.device

PARTS: tuple[str, ...] = ("generator", "clip", "parser", "identity", "encoder", "mapper", "judge", "latents")
#: Bundle name -> part -> name that every loader accepts.
BUNDLES: dict[str, dict[str, str]] = {"portraits": {part: f"portraits/{part}" for part in PARTS}, "ffhq": FFHQ}


class HairMapper(mapper_network.HairMapper, HubFolder):
    """The hair mapper of `hairclip.networks.mapper`, with files: `save_pretrained` and `from_pretrained`.

    Attributes:
        notes: how it came about: "training" is the configuration of its run, "opts" that of HairCLIP's own code,
            "companions" the names of its generator and CLIP; each only where its file tells.
    """

    notes: Mapping[str, Any] = {}

    def write_file(self, path: Path) -> None:
        """Write the own format, see `save_network`, without paths that mean nothing elsewhere."""
        notes = {key: without_folders(value) for key, value in self.notes.items() if key != "companions"}
        named = {part: name for part, name in self.notes.get("companions", {}).items() if name in weight_names()}
        save_network(path, "mapper", self, companions=named, notes=notes)

    @classmethod
    def read_file(cls, path: Path, config: Mapping[str, Any]) -> "HairMapper":
        """The mapper of a file, with these constructor arguments in place of the file's."""
        file = read_network(path, "mapper")
        return _build(replace(file, config={**file.config, **config}), path, "cpu")


_CLASSES: dict[str, type[nn.Module]] = {
    "generator": Generator,
    "UNetParser": UNetParser,
    "BiSeNet": BiSeNet,
    "identity": IdentityEncoder,
    "encoder": E4EEncoder,
    "PcaEncoder": PcaEncoder,
    "mapper": HairMapper,
    "judge": HairstyleClassifier,
}
#: Kept in float32 in half-precision files: variances and averages, where rounding costs most and saves nothing.
_KEEP_FLOAT32 = ("running_mean", "running_var", "latent_avg", "logit_scale")


@dataclass(frozen=True)
class NetworkFile:
    """What a weight file holds, before a network is built from it."""

    kind: str
    class_name: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    notes: dict[str, Any] = field(default_factory=dict)


def save_network(
    path: Source,
    kind: Kind,
    network: nn.Module,
    half: bool = False,
    companions: Mapping[str, str] | None = None,
    *,
    quarter_above: int | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a network in the own format; the file appears whole or not at all.

    Args:
        path: the file to write, ending in ``.safetensors``.
        kind: what the network is used for.
        network: any network of this library; its `config` rebuilds it.
        half: store weights as float16 (batch-norm statistics stay float32); they load as float32.
        quarter_above: store tensors of more numbers than this as float8 (e5m2); they load as float32.
        companions: for a mapper, ``{"generator": name, "clip": name}``, so that `load_hairclip` finds them.
        notes: for a mapper, JSON-able, what `HairMapper.notes` shall be once it is loaded.
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
    tensors = {key: _stored(key, tensor, half, quarter_above) for key, tensor in network.state_dict().items()}
    write_safetensors(Path(path), tensors, metadata)


def save_latents(path: Source, w_plus: WPlus, labels: Any = None, half: bool = False) -> None:
    """Write W+ codes ``(N, n_latent, w_dim)`` with optional JSON-able `labels`."""
    metadata = {"hairclip_kind": "latents", "config": "{}", "labels": json.dumps(labels)}
    write_safetensors(Path(path), {"w_plus": _stored("w_plus", w_plus, half)}, metadata)


def resolve(name_or_path: Source) -> Path:
    """The file that a name or a path means; weights of the registry are fetched if they are absent.

    Names are those of the embedded weights, such as ``portraits/generator``, and of `hairclip.registry`, such as
    ``stylegan2-ffhq``; ``ffhq/generator`` means that part of the bundle.
    """
    name = str(name_or_path)
    bundle, _, part = name.partition("/")
    name = BUNDLES.get(bundle, {}).get(part, name)
    if name in WEIGHTS:
        return obtain(WEIGHTS[name])
    if part in BUNDLES.get(bundle, {}):
        path = data_folder() / bundle / f"{part}.safetensors"
        if not path.is_file():
            raise HairclipError(
                f"the weights {name} are missing ({path}): install the package again, or train them with "
                "scripts/train_portrait_networks.py."
            )
        return path
    path = Path(name_or_path)
    if path.is_dir():
        raise HairclipError(f"{path} is a folder: give the weight file inside it.")
    if not path.is_file():
        known = ", ".join(sorted(weight_names()))
        raise HairclipError(f"there is no weight file {path}: check the path, or use one of the names {known}.")
    return path


def weight_names() -> set[str]:
    """The names that every loader accepts: of embedded weights, and of those that can be fetched."""
    return {*WEIGHTS, *(name for parts in BUNDLES.values() for name in parts.values())}


def data_folder() -> Path:
    """Where the embedded weights are: ``data/`` of a checkout, ``hairclip/_data/`` of an installed wheel."""
    package = Path(__file__).resolve().parent
    installed = package / "_data"
    return installed if installed.is_dir() else package.parent / "data"


def load_generator(name_or_path: Source, device: Device = "cpu") -> Generator:
    """A StyleGAN2 generator."""
    return _load(name_or_path, "generator", device)


def load_clip(name_or_path: Source, device: Device = "cpu") -> "hairclip.networks.clip.Clip":
    """A CLIP."""
    return _load(name_or_path, "clip", device)


def load_parser(name_or_path: Source, device: Device = "cpu") -> FaceParser:
    """A face parser, U-Net or BiSeNet."""
    return _load(name_or_path, "parser", device)


def load_identity(name_or_path: Source, device: Device = "cpu") -> IdentityEncoder:
    """An identity network for aligned faces."""
    return _load(name_or_path, "identity", device)


def load_encoder(name_or_path: Source, device: Device = "cpu") -> E4EEncoder | PcaEncoder:
    """An encoder from aligned faces to W+."""
    return _load(name_or_path, "encoder", device)


def load_mapper(name_or_path: Source, device: Device = "cpu") -> HairMapper:
    """A hair mapper; its parameters are trainable."""
    return _load(name_or_path, "mapper", device)


def load_judge(name_or_path: Source, device: Device = "cpu") -> HairstyleClassifier:
    """The hairstyle classifier that evaluation uses."""
    return _load(name_or_path, "judge", device)


def load_hairclip(
    name_or_path: Source, device: Device = "cpu"
) -> tuple[HairMapper, Generator, "hairclip.networks.clip.Clip"]:
    """Mapper, generator and CLIP of a HairCLIP checkpoint, official or own, or of a bundle by its name.

    An own mapper file names its companions; where it does not, they are looked for beside it, as
    ``generator.safetensors`` and ``clip.safetensors``.
    """
    if str(name_or_path) in BUNDLES:
        parts = BUNDLES[str(name_or_path)]
        return (
            load_mapper(parts["mapper"], device),
            load_generator(parts["generator"], device),
            load_clip(parts["clip"], device),
        )
    path = resolve(name_or_path)
    metadata, content = _read(path)
    mapper = _build(_network_file(path, "mapper", metadata, content), path, device)
    if "hairclip_kind" not in metadata:
        generator, clip = (_network_file(path, part, metadata, content) for part in ("generator", "clip"))
        return mapper, _build(generator, path, device), _build(clip, path, device)
    companions = json.loads(metadata.get("companions", "{}"))
    generator_source, clip_source = (
        companions.get(part, path.with_name(f"{part}.safetensors")) for part in ("generator", "clip")
    )
    return mapper, load_generator(generator_source, device), load_clip(clip_source, device)


def save_hairclip(path: Source, mapper: HairMapper, generator: Generator, clip: "hairclip.networks.clip.Clip") -> None:
    """Write a checkpoint that HairCLIP's own code loads, in the layout of the published ``hairclip.pt``.

    Raises a `HairclipError` for networks that it has no place for: it builds config-f generators and ViT-B/32 only.
    """
    from hairclip.networks.clip import VIT_B_32

    refuse_unofficial(mapper.config, generator.config, clip.config, {"model": VIT_B_32})
    state = official_state_dict(mapper.state_dict(), generator.state_dict(), clip.state_dict())
    opts = official_opts(mapper.config, generator.size, mapper.notes.get("training"), mapper.notes.get("opts"))
    write_torch(Path(path), {"state_dict": state, "opts": opts})


def load_latents(name_or_path: Source, device: Device = "cpu") -> WPlus:
    """W+ codes ``(N, n_latent, w_dim)`` float32: an own file, or a torch file with one tensor (``train_faces.pt``)."""
    path = resolve(name_or_path)
    metadata, content = _read(path)
    if metadata.get("hairclip_kind", "latents") != "latents":
        raise _wrong_kind(path, metadata["hairclip_kind"], "latents")
    codes = content.get("w_plus") if isinstance(content, Mapping) else content
    if not isinstance(codes, Tensor) or codes.ndim != 3 or not codes.is_floating_point():
        found = f"a tensor {tuple(codes.shape)}" if isinstance(codes, Tensor) else f"a {type(content).__name__}"
        raise HairclipError(f"{path} holds {found}, not W+ codes (count, layers, width): give a latent set.")
    return codes.to(device, torch.float32)


def load_latent_labels(name_or_path: Source) -> Any:
    """The labels saved beside own W+ codes by `save_latents`, None where there are none."""
    path = resolve(name_or_path)
    try:
        return json.loads(read_metadata(path).get("labels", "null")) if is_safetensors(path) else None
    except ValueError as error:
        raise HairclipError(f"{path} has labels that are not JSON ({error}): write it again.") from None


def read_network(path: Path, kind: str) -> NetworkFile:
    """Read and recognise a weight file, wanting a network of `kind`; float16 becomes float32."""
    return _network_file(path, kind, *_read(path))


def _read(path: Path) -> tuple[dict[str, str], Any]:
    """Metadata (empty for foreign files) and content."""
    return read_safetensors(path) if is_safetensors(path) else ({}, read_torch(path))


def _network_file(path: Path, kind: str, metadata: Mapping[str, str], content: Any) -> NetworkFile:
    if "hairclip_kind" in metadata:
        if metadata["hairclip_kind"] != kind:
            raise _wrong_kind(path, metadata["hairclip_kind"], kind)
        try:
            config = dict(json.loads(metadata["config"]))
            notes = dict(json.loads(metadata.get("notes", "{}")))
            if "companions" in metadata:
                notes["companions"] = json.loads(metadata["companions"])
        except (KeyError, TypeError, ValueError):
            raise HairclipError(f"{path} has no readable config in its metadata: write it again.") from None
        return NetworkFile(kind, metadata.get("hairclip_class", ""), config, content, notes)
    try:
        found = checkpoint_keys.recognise(content, kind) if isinstance(content, Mapping) else None
        if found is not None:
            class_name, config, state = found
            state = {key: as_float32(value) for key, value in state.items()}
            return NetworkFile(kind, class_name, config, state, plain_options(content.get("opts")))
    except HairclipError as error:
        raise HairclipError(f"{path}: {error}") from None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        pass  # names that fit, contents that do not: unknown all the same
    raise _wrong_kind(path, None, kind, content)


def _load(name_or_path: Source, kind: str, device: Device) -> Any:
    path = resolve(name_or_path)
    return _build(read_network(path, kind), path, device)


def _build(file: NetworkFile, path: Path, device: Device) -> Any:
    if file.kind == "clip":
        from hairclip.networks.clip import Clip

        cls: type[nn.Module] | None = Clip
    else:
        cls = _CLASSES.get(file.class_name) or _CLASSES.get(file.kind)
    if cls is None:
        raise HairclipError(f"{path} holds a {file.kind} of the unknown class {file.class_name!r}: update hairclip.")
    try:
        with torch.random.fork_rng(devices=[]):  # first weights are drawn, then replaced: leave no trace
            network = cls(**file.config)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise HairclipError(f"{path} has a config that builds no {file.kind} ({reason}): write it again.") from None
    try:
        missing, unexpected = network.load_state_dict(file.state, strict=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n\t")[1:2]) or str(error)
        raise HairclipError(f"{path} does not fit its own {file.kind} ({reason}): the file is damaged.") from None
    # counters of batch-norm steps are absent from some official files and change nothing in eval mode
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise HairclipError(
            f"{path} does not fit its own {file.kind}: {len(missing)} tensors are missing and {len(unexpected)} are "
            f"too many, first {[*missing, *unexpected][0]}: the file is damaged or of another version."
        )
    if isinstance(network, HairMapper):
        network.notes = file.notes
    return network.to(device).eval().requires_grad_(file.kind == "mapper")


def _stored(key: str, tensor: Tensor, half: bool, quarter_above: int | None = None) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if quarter_above is not None and tensor.is_floating_point() and tensor.numel() > quarter_above:
        return tensor.to(torch.float8_e5m2)
    if half and tensor.dtype == torch.float32 and not key.endswith(_KEEP_FLOAT32):
        smaller = tensor.half()
        if bool(smaller.isfinite().all()):
            return smaller
    return tensor


def _wrong_kind(path: Path, found: str | None, wanted: str, content: Any = None) -> HairclipError:
    if found is None:
        first = f", first entry {next(iter(content))!r}" if isinstance(content, Mapping) and content else ""
        return HairclipError(f"{path} holds no {wanted} that hairclip knows{first}: give another file.")
    return HairclipError(f"{path} holds {found} weights, but {wanted} weights are needed here: give another file.")


@dataclass(frozen=True)
class Bundle:
    """The networks that belong together, each loaded when first asked for and then kept.

    Attributes:
        sources: part -> name or path, for example ``BUNDLES["portraits"]``; replace single parts as you like.
        device: where the networks are put.
    """

    sources: Mapping[str, Source]
    device: Device = "cpu"

    @cached_property
    def generator(self) -> Generator:
        return load_generator(self._source("generator"), self.device)

    @cached_property
    def clip(self) -> "hairclip.networks.clip.Clip":
        return load_clip(self._source("clip"), self.device)

    @cached_property
    def parser(self) -> FaceParser:
        return load_parser(self._source("parser"), self.device)

    @cached_property
    def identity(self) -> IdentityEncoder:
        return load_identity(self._source("identity"), self.device)

    @cached_property
    def encoder(self) -> E4EEncoder | PcaEncoder:
        return load_encoder(self._source("encoder"), self.device)

    @cached_property
    def mapper(self) -> HairMapper:
        return load_mapper(self._source("mapper"), self.device)

    @cached_property
    def judge(self) -> HairstyleClassifier:
        return load_judge(self._source("judge"), self.device)

    def _source(self, part: str) -> Source:
        if part not in self.sources:
            raise HairclipError(f"this bundle has no {part}: it has {', '.join(sorted(self.sources))}.")
        return self.sources[part]


def load_bundle(name: Source, device: Device = "cpu") -> Bundle:
    """The bundle of that name, or the files ``generator.safetensors``, ``clip.safetensors``, ... of a folder."""
    if str(name) in BUNDLES:
        return Bundle(BUNDLES[str(name)], device)
    files = {part: Path(name) / f"{part}.safetensors" for part in PARTS}
    sources = {part: path for part, path in files.items() if path.is_file()}
    if not sources:
        raise HairclipError(
            f"there is no bundle {name}: give {' or '.join(BUNDLES)}, or a folder of files like generator.safetensors."
        )
    return Bundle(sources, device)

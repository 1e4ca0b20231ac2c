"""Names and paths to ready networks: the one place that joins the two.

Every loader takes a name of the registry, or the path of a file: our own or an official one of another project,
recognized by what it holds. Networks come in eval mode, float32 and frozen; only a mapper
comes trainable.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hairclip.common.images import WPlus
from hairclip.networks import mapper as mapper_network
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.networks.e4e import E4EEncoder
from hairclip.networks.face_parser import FaceParser
from hairclip.networks.ir_se import FaceEncoder
from hairclip.networks.pca_encoder import PcaEncoder
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained.bundle_files import list_bundles, read_bundle
from hairclip.pretrained.hub import HubFolder, without_folders
from hairclip.pretrained.latent_files import map_latents, read_labels, save_latents
from hairclip.pretrained.network_files import (
    Device,
    Kind,
    NetworkFile,
    Source,
    build_network,
    read_content,
    read_network,
    recognize_network,
    save_network,
    with_config,
)
from hairclip.pretrained.official_export import official_opts, official_state_dict, refuse_unofficial
from hairclip.pretrained.sources import is_weight_name, resolve, weight_names
from hairclip.pretrained.weight_files import write_torch

if TYPE_CHECKING:  # open_clip takes seconds to import: it is loaded with the first CLIP
    import hairclip.networks.clip

__all__ = [
    "Device",
    "HairMapper",
    "Kind",
    "NetworkFile",
    "Source",
    "load_clip",
    "load_encoder",
    "load_generator",
    "load_hairclip",
    "load_identity",
    "load_judge",
    "load_latent_labels",
    "load_latents",
    "load_mapper",
    "load_parser",
    "open_latents",
    "read_network",
    "save_hairclip",
    "save_latents",
    "save_network",
]


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
        mapper: HairMapper = _build(with_config(read_network(path, "mapper"), path, config), "cpu")
        return mapper


def load_generator(name_or_path: Source, device: Device = "cpu") -> Generator:
    """A StyleGAN2 generator."""
    return _load(name_or_path, "generator", device)


def load_clip(
    name_or_path: Source = "ViT-B-32-quickgelu/openai", device: Device = "cpu"
) -> "hairclip.networks.clip.Clip":
    """A CLIP: a name of the registry, a file, or a model and a pretrained tag of open_clip (OpenAI's ViT-B/32).

    A file's tensors cannot tell QuickGELU from GELU: without ``open_clip_config.json`` beside it, a file is taken for
    one of OpenAI's, with QuickGELU.
    """
    from hairclip.pretrained import open_clip as open_clip_files  # open_clip takes seconds to import

    name = str(name_or_path)
    if not is_weight_name(name) and not Path(name).exists() and open_clip_files.is_open_clip_name(name):
        return open_clip_files.load_open_clip(name, device)
    path = resolve(name_or_path)
    return open_clip_files.load_with_config(path, device) or _load(path, "clip", device)


def load_parser(name_or_path: Source, device: Device = "cpu") -> FaceParser:
    """A face parser, U-Net or BiSeNet."""
    return _load(name_or_path, "parser", device)


def load_identity(name_or_path: Source, device: Device = "cpu") -> FaceEncoder:
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
    if str(name_or_path) in list_bundles():
        parts = read_bundle(name_or_path).parts
        return (
            load_mapper(parts["mapper"], device),
            load_generator(parts["generator"], device),
            load_clip(parts["clip"], device),
        )
    path = resolve(name_or_path)
    metadata, content = read_content(path)
    mapper = _build(recognize_network(path, "mapper", metadata, content), device)
    if "hairclip_kind" not in metadata:
        generator, clip = (recognize_network(path, part, metadata, content) for part in ("generator", "clip"))
        return mapper, build_network(generator, device), build_network(clip, device)
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
    """W+ codes ``(N, n_latent, w_dim)`` float32: an own file, or a torch file with one tensor (``train_faces.pt``).

    On the CPU, codes stored as float32 are memory-mapped, not read.
    """
    return open_latents(name_or_path).to(device, torch.float32)


def open_latents(name_or_path: Source) -> WPlus:
    """W+ codes ``(N, n_latent, w_dim)`` memory-mapped, in the file's precision."""
    return map_latents(resolve(name_or_path))


def load_latent_labels(name_or_path: Source) -> Any:
    """The labels saved beside own W+ codes by `save_latents`, None where there are none."""
    return read_labels(resolve(name_or_path))


def _load(name_or_path: Source, kind: str, device: Device) -> Any:
    return _build(read_network(resolve(name_or_path), kind), device)


def _build(file: NetworkFile, device: Device) -> Any:
    if file.kind != "mapper":
        return build_network(file, device)
    mapper = build_network(file, device, HairMapper)
    mapper.notes = file.notes
    return mapper

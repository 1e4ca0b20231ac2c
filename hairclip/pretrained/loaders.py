"""Load networks and latents by name or by file.

Every loader takes a name (`hairclip.pretrained.sources.resolve`) or the path of a file: our own format, or one of
another project, which is recognized by its content. Networks come in float32 and eval mode, and frozen; only a mapper's
parameters can be trained. All loaders raise a `HairclipError` for a file that is missing, damaged or of another kind.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hairclip.common.errors import HairclipError
from hairclip.common.images import WPlus
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.networks.codec import Codec
from hairclip.networks.denoiser import HairPainter
from hairclip.networks.e4e import E4EEncoder
from hairclip.networks.face_parser import FaceParser
from hairclip.networks.hair_priors import HairPriors
from hairclip.networks.ir_se import FaceEncoder
from hairclip.networks.pca_encoder import PcaEncoder
from hairclip.networks.style_directions import StyleDirections
from hairclip.networks.style_mappers import StyleMappers
from hairclip.networks.stylegan2 import Generator
from hairclip.networks.text_encoder import TextEncoder
from hairclip.networks.token_transformer import TokenTransformer
from hairclip.pretrained.bundle_files import OwnNetwork, Source, list_bundles, read_bundle
from hairclip.pretrained.latent_files import map_latents, read_labels
from hairclip.pretrained.mapper import HairMapper, build_mapper, check_companions
from hairclip.pretrained.network_classes import CLASSES
from hairclip.pretrained.network_files import (
    Device,
    NetworkFile,
    build_network,
    read_content,
    read_network,
    recognize_network,
)
from hairclip.pretrained.sources import is_weight_name, resolve
from hairclip.pretrained.weight_files import all_finite, as_float32

if TYPE_CHECKING:  # open_clip takes seconds to import: it is loaded with the first CLIP
    import hairclip.networks.clip

__all__ = [
    "load_clip",
    "load_codec",
    "load_directions",
    "load_encoder",
    "load_generator",
    "load_hair_priors",
    "load_hairclip",
    "load_identity",
    "load_judge",
    "load_latent_labels",
    "load_latents",
    "load_mapper",
    "load_parser",
    "load_style_mappers",
    "load_text_encoder",
    "load_token_transformer",
    "open_latents",
]


def load_generator(name_or_path: Source, device: Device = "cpu") -> Generator:
    """Return a StyleGAN2 generator."""
    return _load(name_or_path, "generator", device)


def load_clip(
    name_or_path: Source = "ViT-B-32-quickgelu/openai", device: Device = "cpu"
) -> "hairclip.networks.clip.Clip":
    """Return a CLIP.

    The tensors of a file cannot tell QuickGELU from GELU. Without ``open_clip_config.json`` beside it, a file is taken
    for one of OpenAI's, which have QuickGELU.

    Args:
        name_or_path: a name, a file, or ``MODEL/TAG`` of open_clip; the default is OpenAI's ViT-B/32.
        device: where to put the network.
    """
    if isinstance(name_or_path, OwnNetwork):
        own: hairclip.networks.clip.Clip = load_own(name_or_path, "clip", device)
        return own
    from hairclip.pretrained import open_clip as open_clip_files  # open_clip takes seconds to import

    name = str(name_or_path)
    if not is_weight_name(name) and not Path(name).exists() and open_clip_files.is_open_clip_name(name):
        return open_clip_files.load_open_clip(name, device)
    path = resolve(name_or_path)
    return open_clip_files.load_with_config(path, device) or _load(path, "clip", device)


def load_parser(name_or_path: Source, device: Device = "cpu") -> FaceParser:
    """Return a face parser."""
    return _load(name_or_path, "parser", device)


def load_identity(name_or_path: Source, device: Device = "cpu") -> FaceEncoder:
    """Return an identity network for aligned faces."""
    return _load(name_or_path, "identity", device)


def load_encoder(name_or_path: Source, device: Device = "cpu") -> E4EEncoder | PcaEncoder:
    """Return an encoder from aligned faces to W+ codes."""
    return _load(name_or_path, "encoder", device)


def load_mapper(name_or_path: Source, device: Device = "cpu") -> HairMapper:
    """Return a hair mapper, whose parameters can be trained.

    Args:
        name_or_path: a name, a file, or ``hf-hub:USER/NAME`` of the Hugging Face Hub.
        device: where to put the network.
    """
    name = str(name_or_path)
    if name.startswith("hf-hub:"):
        return HairMapper.from_pretrained(name.removeprefix("hf-hub:")).to(device)
    return _load(name_or_path, "mapper", device)


def load_denoiser(name_or_path: Source, device: Device = "cpu") -> HairPainter:
    """Return the denoisers of the editing method `diffusion`."""
    return _load(name_or_path, "denoiser", device)


def load_judge(name_or_path: Source, device: Device = "cpu") -> HairstyleClassifier:
    """Return the hairstyle classifier that evaluation uses."""
    return _load(name_or_path, "judge", device)


def load_hair_priors(name_or_path: Source, device: Device = "cpu") -> HairPriors:
    """Return the mean hair of hairstyles and the mean colors."""
    return _load(name_or_path, "hair_priors", device)


def load_codec(name_or_path: Source, device: Device = "cpu") -> Codec:
    """Return a codec that turns pictures into tokens."""
    return _load(name_or_path, "codec", device)


def load_token_transformer(name_or_path: Source, device: Device = "cpu") -> TokenTransformer:
    """Return a transformer that fills in hidden tokens."""
    return _load(name_or_path, "token_transformer", device)


def load_style_mappers(name_or_path: Source, device: Device = "cpu") -> StyleMappers:
    """Return StyleCLIP's latent mappers of many words, or the one of a file of StyleCLIP's trainer."""
    if isinstance(name_or_path, OwnNetwork):
        own: StyleMappers = load_own(name_or_path, "style_mappers", device)
        return own
    path = resolve(name_or_path)
    metadata, content = read_content(path)
    file = recognize_network(path, "style_mappers", metadata, content)
    mappers: StyleMappers = build_network(file, device)
    mappers.notes = file.notes
    state = content.get("state_dict", content)
    constant = state.get("decoder.input.input") if isinstance(state, Mapping) else None
    if isinstance(constant, torch.Tensor) and constant.ndim == 4:
        mappers.constant = constant[0].to(device, torch.float32)
    return mappers


def load_directions(name_or_path: Source, device: Device = "cpu") -> StyleDirections:
    """Return StyleCLIP's global directions: this library's file, or an array such as the official `fs3.npy`.

    An array (channels, width) has neither mean nor deviation; `StyleDirections.measure` adds them.
    """
    if isinstance(name_or_path, OwnNetwork):
        own: StyleDirections = load_own(name_or_path, "directions", device)
        return own
    path = resolve(name_or_path)
    metadata, content = read_content(path)
    if not isinstance(content, torch.Tensor):
        file = recognize_network(path, "directions", metadata, content)
        directions: StyleDirections = build_network(file, device)
        directions.notes = file.notes
        return directions
    if content.ndim != 2 or not content.is_floating_point() or 0 in content.shape or not all_finite(content):
        raise HairclipError(
            f"{path} holds an array {tuple(content.shape)} of {str(content.dtype).removeprefix('torch.')}, but "
            "directions are finite numbers (channels, width of CLIP): give another file."
        )
    directions = StyleDirections(content.shape[0], content.shape[1], measured=False)
    directions.relevance.copy_(torch.nn.functional.normalize(content.float(), dim=1))
    return directions.to(device).eval()


def load_text_encoder(name_or_path: Source, device: Device = "cpu") -> TextEncoder:
    """Return an encoder from texts of hair to W+ codes."""
    if isinstance(name_or_path, OwnNetwork):
        own: TextEncoder = load_own(name_or_path, "text_encoder", device)
        return own
    file = read_network(resolve(name_or_path), "text_encoder")
    encoder: TextEncoder = build_network(file, device)
    encoder.notes = file.notes
    return encoder


def load_hairclip(
    name_or_path: Source, device: Device = "cpu"
) -> tuple[HairMapper, Generator, "hairclip.networks.clip.Clip"]:
    """Return mapper, generator and CLIP of a HairCLIP checkpoint or of a bundle.

    An official checkpoint holds all three. A mapper's own file names its generator and CLIP; without names they are
    ``generator.safetensors`` and ``clip.safetensors`` beside it.

    Args:
        name_or_path: a name, a file, or the name of a shipped bundle.
        device: where to put the networks.

    Raises:
        HairclipError: also if a named file no longer holds the network that the mapper was trained with.
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
    mapper: HairMapper = _build(recognize_network(path, "mapper", metadata, content), device)
    if "hairclip_kind" not in metadata:
        generator, clip = (recognize_network(path, part, metadata, content) for part in ("generator", "clip"))
        return mapper, build_network(generator, device), build_network(clip, device)
    named = mapper.notes.get("companions", {})
    sources = {part: named.get(part, path.with_name(f"{part}.safetensors")) for part in ("generator", "clip")}
    check_companions(mapper, sources, f"the mapper {path}")
    return mapper, load_generator(sources["generator"], device), load_clip(sources["clip"], device)


def load_latents(name_or_path: Source, device: Device = "cpu") -> WPlus:
    """Return W+ codes (N, n_latent, w_dim), float32; on the CPU, codes stored as float32 are memory-mapped."""
    return open_latents(name_or_path).to(device, torch.float32)


def open_latents(name_or_path: Source) -> WPlus:
    """Return W+ codes (N, n_latent, w_dim), memory-mapped, in the file's precision."""
    return map_latents(resolve(name_or_path))


def load_latent_labels(name_or_path: Source) -> Any:
    """Return the labels that `save_latents` wrote beside W+ codes, None where there are none."""
    return read_labels(resolve(name_or_path))


def _load(name_or_path: Source, kind: str, device: Device) -> Any:
    if isinstance(name_or_path, OwnNetwork):
        return load_own(name_or_path, kind, device)
    return _build(read_network(resolve(name_or_path), kind), device)


def load_own(own: OwnNetwork, kind: str, device: Device = "cpu") -> Any:
    """Return a network of a user's own class in float32 and eval mode, frozen unless it is a mapper.

    Args:
        own: its class, arguments and weights.
        kind: the kind of network that it takes the place of.
        device: where to put it.

    Raises:
        HairclipError: if there is no such class, its arguments build nothing, or the weights do not fit.
    """
    try:
        network = CLASSES[kind].load(own.class_name)(**own.config)
    except (TypeError, ValueError, KeyError) as error:
        raise HairclipError(f"{own.class_name} cannot be built ({_first_line(error)}): check its arguments.") from None
    if own.file is not None:
        _, content = read_content(own.file)
        state = content.get("state_dict", content) if isinstance(content, Mapping) else None
        try:
            network.load_state_dict({key: as_float32(value) for key, value in (state or {}).items()})
        except (AttributeError, RuntimeError) as error:
            raise HairclipError(
                f"{own.file} does not fit {own.class_name} ({_first_line(error)}): give weights of this class."
            ) from None
    return network.to(device).eval().requires_grad_(kind == "mapper")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".:") or type(error).__name__


def _build(file: NetworkFile, device: Device) -> Any:
    return build_mapper(file, device) if file.kind == "mapper" else build_network(file, device)

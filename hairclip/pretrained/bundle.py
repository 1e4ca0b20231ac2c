"""A bundle: the networks that belong together, each loaded when it is first needed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from hairclip.common.errors import HairclipError
from hairclip.common.files import digest
from hairclip.common.framing import Framing
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
from hairclip.pretrained.bundle_files import (
    NEEDED_TO_EDIT,
    PARTS,
    TRAINED_BY,
    BundleFile,
    BundleWords,
    InversionLimits,
    Source,
    list_bundles,
    read_bundle,
)
from hairclip.pretrained.loaders import (
    load_clip,
    load_codec,
    load_denoiser,
    load_directions,
    load_encoder,
    load_generator,
    load_hair_priors,
    load_identity,
    load_judge,
    load_latent_labels,
    load_mapper,
    load_parser,
    load_style_mappers,
    load_text_encoder,
    load_token_transformer,
)
from hairclip.pretrained.mapper import HairMapper
from hairclip.pretrained.network_files import Device
from hairclip.pretrained.registry import WEIGHTS, replaced_sha256, total_size
from hairclip.pretrained.sources import content_of, find_unfetched, is_missing, source_of

if TYPE_CHECKING:  # open_clip takes seconds to import: it is loaded with the first CLIP
    import hairclip.networks.clip

__all__ = [
    "EDITING_PARTS",
    "NEEDED_TO_EDIT",
    "PARTS",
    "Bundle",
    "BundleWords",
    "InversionLimits",
    "MissingPartError",
    "Networks",
    "list_bundles",
    "load_bundle",
]

EDITING_PARTS = (
    "generator",
    "clip",
    "parser",
    "photo_parser",
    "identity",
    "encoder",
    "mapper",
    "hair_priors",
    "codec",
    "token_transformer",
    "denoiser",
    "style_mappers",
    "directions",
    "text_encoder",
)
"""The parts on which the picture of an edit depends."""


class MissingPartError(HairclipError):
    """A bundle was asked for a network that it does not have, or whose weights have not been fetched."""


if TYPE_CHECKING:

    class Networks(Protocol):
        """What an editor needs: a `Bundle`, or any object with these attributes, on one device and in eval mode.

        Attributes:
            parser: finds the hair of the generator's pictures.
            photo_parser: finds the hair of photos; may be `parser` itself.
            identity: None where there is none: then no inversion is judged, and no code can be optimized.
            framing: the crop that the networks were trained on.
            plain_background: whether the generator knows people before plain backgrounds only.
            inversion_limits: method of inversion -> the figures below which an inversion is poor.
            for_others: the bundle to download for people whom these networks do not know; None for none.
        """

        @property
        def generator(self) -> Generator: ...
        @property
        def clip(self) -> "hairclip.networks.clip.Clip": ...
        @property
        def parser(self) -> FaceParser: ...
        @property
        def photo_parser(self) -> FaceParser: ...
        @property
        def encoder(self) -> E4EEncoder | PcaEncoder: ...
        @property
        def identity(self) -> FaceEncoder | None: ...
        @property
        def mapper(self) -> HairMapper: ...
        @property
        def hair_priors(self) -> HairPriors: ...
        @property
        def codec(self) -> Codec: ...
        @property
        def token_transformer(self) -> TokenTransformer: ...
        @property
        def style_mappers(self) -> StyleMappers: ...
        @property
        def directions(self) -> StyleDirections: ...
        @property
        def denoiser(self) -> HairPainter: ...
        @property
        def framing(self) -> Framing: ...
        @property
        def plain_background(self) -> bool: ...
        @property
        def inversion_limits(self) -> Mapping[str, InversionLimits]: ...
        @property
        def for_others(self) -> str | None: ...

else:
    Networks = Any  # a type check while the program runs would read, and so load, every network of a bundle


@dataclass(frozen=True)
class Bundle(BundleFile):
    """Networks that belong together; each is loaded when it is first read, and then kept.

    Reading a part that the bundle does not have, or whose weights must be fetched first, raises a `MissingPartError`.

    Attributes:
        device: where the networks are put.
    """

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
    def photo_parser(self) -> FaceParser:
        """The parser of photos; `parser` where the bundle names none, or where its weight file is missing."""
        source = self.parts.get("photo_parser")
        if source is None or is_missing(source):
            return self.parser
        return load_parser(self._source("photo_parser"), self.device)

    @cached_property
    def identity(self) -> FaceEncoder:
        return load_identity(self._source("identity"), self.device)

    @cached_property
    def encoder(self) -> E4EEncoder | PcaEncoder:
        return load_encoder(self._source("encoder"), self.device)

    @cached_property
    def mapper(self) -> HairMapper:
        return load_mapper(self._source("mapper"), self.device)

    @cached_property
    def denoiser(self) -> HairPainter:
        return load_denoiser(self._source("denoiser"), self.device)

    @cached_property
    def style_mappers(self) -> StyleMappers:
        return load_style_mappers(self._source("style_mappers"), self.device)

    @cached_property
    def directions(self) -> StyleDirections:
        return load_directions(self._source("directions"), self.device)

    @cached_property
    def judge(self) -> HairstyleClassifier:
        return load_judge(self._source("judge"), self.device)

    @cached_property
    def hair_priors(self) -> HairPriors:
        """The mean hair of hairstyles, which tells where an edit may paint."""
        return load_hair_priors(self._source("hair_priors"), self.device)

    @cached_property
    def codec(self) -> Codec:
        """The codec of pictures and tokens."""
        return load_codec(self._source("codec"), self.device)

    @cached_property
    def token_transformer(self) -> TokenTransformer:
        """The transformer that fills in tokens of `codec`."""
        return load_token_transformer(self._source("token_transformer"), self.device)

    @cached_property
    def text_encoder(self) -> TextEncoder:
        return load_text_encoder(self._source("text_encoder"), self.device)

    def known_words(self) -> BundleWords:
        """Return the words of the YAML; where it gives none, the labels of the latents, or None without labels."""
        words = self.words
        if words.hairstyles is None or words.colors is None:
            labels = self._latent_labels()
            styles, colors = (tuple(sorted(set(labels[kind]))) or None for kind in ("hairstyle", "color"))
            words = BundleWords(words.hairstyles or styles, words.colors or colors)
        return words

    def require(self, parts: Iterable[str]) -> None:
        """Refuse work that needs weights which have not been fetched. Nothing is fetched or loaded here.

        Args:
            parts: what the work needs; parts that the bundle does not have are passed over.

        Raises:
            MissingPartError: with one sentence that names the parts, their size and the command that fetches them.
        """
        unfetched = find_unfetched(self.parts, parts)
        if not unfetched:
            return
        names = list(dict.fromkeys(weight.name for weight in unfetched.values()))
        own = read_bundle(self.name).parts if self.name in list_bundles() else {}
        fetched = self.name if all(own.get(part) == self.parts[part] for part in unfetched) else " ".join(names)
        raise MissingPartError(
            f"{self.name} needs weights for its {', '.join(unfetched)} ({', '.join(names)}; "
            f"{total_size(unfetched.values())}) that are not here yet: run python -m hairclip download {fetched}."
        )

    def with_parts(self, parts: Mapping[str, Source]) -> "Bundle":
        """Return a bundle in which some parts are replaced by other names or paths."""
        return replace(self, parts={**self.parts, **parts})

    def digest(self) -> str:
        """Return a SHA-256 of everything in the bundle that the picture of an edit depends on.

        That is the content of `EDITING_PARTS` and the framing and background of the crop. A file is read once, and
        again when its time or size changes.
        """
        sources = {part: self.parts[part] for part in EDITING_PARTS if part in self.parts}
        contents = {part: content_of(part, source) for part, source in sources.items()}
        # A file of a mirror goes by the name of the published one, also where its content is another.
        replaced = {f"{part} of a mirror": replaced_sha256(source_of(source)) for part, source in sources.items()}
        contents |= {part: content for part, content in replaced.items() if content is not None}
        return digest(contents, self.framing, self.plain_background)

    def _source(self, part: str) -> Source:
        if part in TRAINED_BY and (part not in self.parts or is_missing(self.parts[part])):
            raise MissingPartError(
                f"{self.name} has no {part}: make it with python -m hairclip {TRAINED_BY[part]}, and name the file "
                f"under parts.{part} in the bundle's YAML."
            )
        if part not in self.parts:
            raise MissingPartError(f"{self.name} has no {part}: it has {', '.join(sorted(self.parts))}.")
        self.require([part])
        return self.parts[part]

    def _latent_labels(self) -> dict[str, list[str]]:
        """Return the labels of the latents per kind; none of latents that would have to be fetched."""
        source = self.parts.get("latents")
        labels = None if source is None or source_of(source) in WEIGHTS else load_latent_labels(source)
        return {kind: list((labels or {}).get(kind) or []) for kind in ("hairstyle", "color")}


def load_bundle(name_or_path: Source = "portraits", device: Device = "cpu") -> Bundle:
    """Return a bundle; its networks are loaded later.

    Args:
        name_or_path: a name of `list_bundles`, the path of a YAML file, or a folder that holds ``bundle.yaml`` or files
            such as ``generator.safetensors``.
        device: where its networks are put.

    Raises:
        HairclipError: if there is no such bundle, or its YAML has a mistake.
    """
    return Bundle(**vars(read_bundle(name_or_path)), device=device)

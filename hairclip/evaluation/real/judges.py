"""The networks that judge edits of real photos, and what they see in a picture."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from hairclip.common.color import LabColors, mean_lab
from hairclip.common.errors import HairclipError
from hairclip.common.files import digest
from hairclip.common.images import Embeddings, Images, Masks, to_uint8
from hairclip.conditions.encoder import shown_hair
from hairclip.editing.inversion.perceptual import PerceptualDistance
from hairclip.evaluation.metrics import lpips_file
from hairclip.networks.face_parser import FaceParser
from hairclip.networks.ir_se import FaceEncoder
from hairclip.pretrained.bundle import Bundle
from hairclip.pretrained.bundle_files import Source
from hairclip.pretrained.download import weight_path
from hairclip.pretrained.loaders import load_clip, load_identity, load_parser
from hairclip.pretrained.registry import WEIGHTS
from hairclip.pretrained.sources import content_of, is_missing

if TYPE_CHECKING:  # open_clip takes seconds to import: it is loaded with the first CLIP
    import hairclip.networks.clip

__all__ = ["Judges", "Seen", "inception_file", "load_inception", "pick_judges"]

_OTHERS: dict[str, tuple[str, ...]] = {"identity": ("facenet-vggface2",), "parser": ("bisenet", "bisenet-yakhyo")}
"""Part -> networks that take the place of the loss's own where they are in the cache."""
_ADVICE = {
    "identity": "python -m hairclip download facenet-vggface2 gets another network that knows faces",
    "clip": "Give another CLIP as the judge, such as ViT-L-14/openai",
    "parser": "python -m hairclip download bisenet gets another network that finds hair",
}
_INCEPTION_PAGE = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
"""The Inception of the FID in torch-fidelity's layout."""


@dataclass(frozen=True)
class Seen:
    """What the judges see in one picture.

    Attributes:
        image: the picture, (1, 3, H, W).
        hair: its hair.
        identity: embedding of the face.
        clip: CLIP's embedding of the picture.
        hair_clip: CLIP's embedding of its hair alone.
        lab: mean Lab of its hair, of decoded sRGB.
        lab_of_loss: mean Lab of its hair as HairCLIP's losses compute it.
        features: of the perceptual distance.
        inception: features of Inception; None where its weights are missing.
    """

    image: Images
    hair: Masks
    identity: Float[Tensor, "1 identity"]
    clip: Float[Tensor, "1 clip"]
    hair_clip: Float[Tensor, "1 clip"]
    lab: LabColors
    lab_of_loss: LabColors
    features: list[Tensor]
    inception: Float[Tensor, "1 inception"] | None


@dataclass
class Judges:
    """The networks that judge.

    Attributes:
        identity: tells whether two faces are one person.
        clip: tells whether a picture shows what a text says.
        parser: finds the hair.
        perceptual: the project's own distance of pictures.
        inception: images -> features of the FID; None where its weights are missing.
        names: judge -> what the report calls it.
        notes: sentences about what could not be had.
    """

    identity: FaceEncoder
    clip: "hairclip.networks.clip.Clip"
    parser: FaceParser
    perceptual: PerceptualDistance
    inception: Callable[[Images], Embeddings] | None = None
    names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def digest(self) -> str:
        """Return a digest of everything that a figure depends on, apart from the pictures."""
        networks = [self.identity, self.clip, self.parser, self.perceptual.network]
        return digest(networks, self.inception is not None, lpips_file().is_file())

    @torch.no_grad()
    def look(self, image: Images) -> Seen:
        """Return what the judges see in a picture."""
        image = image.to(next(self.identity.parameters()).device)
        hair = self.parser.hair_mask(image)
        shown = torch.cat([image, shown_hair(image, hair, "whole")])
        clip, hair_clip = self.clip.encode_image(shown.clamp(-1, 1)).split(1)
        return Seen(
            image=image,
            hair=hair,
            identity=self.identity(image).float(),
            clip=clip,
            hair_clip=hair_clip,
            lab=mean_lab(image.clamp(-1, 1), hair, "srgb"),
            lab_of_loss=mean_lab(image.clamp(-1, 1), hair),
            features=self.perceptual.features(image),
            inception=None if self.inception is None else self.inception(image),
        )


def pick_judges(
    networks: Bundle,
    *,
    identity: Source | None = None,
    clip: Source | None = None,
    parser: Source | None = None,
) -> Judges:
    """Return the judges for edits by a bundle's networks.

    A judge that is not given is one that no loss used, where such a network is at hand: FaceNet for the identity, the
    bundle's parser of photos or BiSeNet for the hair. Else it is the bundle's own, and a note says so. Nothing is
    fetched for a judge that is not given.

    Args:
        networks: the bundle.
        identity: a name or file as of `load_identity`.
        clip: a name or file as of `load_clip`.
        parser: a name or file as of `load_parser`.

    Raises:
        HairclipError: if a given network cannot be loaded, or the bundle has no such network either.
    """
    given = {"identity": identity, "clip": clip, "parser": parser}
    loaders: dict[str, Callable[..., Any]] = {"identity": load_identity, "clip": load_clip, "parser": load_parser}
    loaded: dict[str, Any] = {}
    names: dict[str, str] = {}
    notes: list[str] = []
    for part, loader in loaders.items():
        own, source = networks.parts.get(part), given[part] or _find_other(networks, part)
        if source is None and own is None:
            raise HairclipError(f"{networks.name} has no {part} to judge edits by: give a network as {part}.")
        loaded[part] = getattr(networks, part) if source is None else loader(source, networks.device)
        names[part] = name = _short(own if source is None else source)
        if source is None or (own is not None and content_of(part, source) == content_of(part, own)):
            names[part] = f"{name}, the loss's"
            notes.append(f"{name} judges, although the losses use it too. {_ADVICE[part]}.")
    layers = None
    network, names["perceptual"] = loaded["identity"], names["identity"]
    if "judge" in networks.parts:
        network, names["perceptual"] = networks.judge, _short(networks.parts["judge"])
        layers = [f"blocks.{i}" for i in range(len(network.blocks))]
    inception, reason = load_inception(networks.device)
    notes += [] if reason is None else [reason]
    if not lpips_file().is_file():
        notes.append(f"LPIPS is empty, because the file {lpips_file()} is missing: fetch torchvision's AlexNet.")
    return Judges(
        **loaded, perceptual=PerceptualDistance(network, layers), inception=inception, names=names, notes=notes
    )


def _short(source: Source | None) -> str:
    """Return a name as it is, and a path without its folder."""
    text = str(source)
    return Path(text).name if isinstance(source, Path) or Path(text).is_file() else text


def _find_other(networks: Bundle, part: str) -> Source | None:
    """Return a network that the losses do not use and that is at hand; None if there is none."""
    photo_parser = networks.parts.get("photo_parser") if part == "parser" else None
    if photo_parser is not None and not is_missing(photo_parser):
        return photo_parser
    own = networks.parts.get(part)
    for name in _OTHERS.get(part, ()):
        is_own = own is not None and content_of(part, own) == name
        if not is_own and weight_path(WEIGHTS[name]).is_file():
            return name
    return None


def inception_file() -> Path:
    """Return where torch-fidelity keeps the Inception of the FID, whether it is there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _INCEPTION_PAGE.rpartition("/")[2]


def load_inception(device: torch.device | str) -> tuple[Callable[[Images], Embeddings] | None, str | None]:
    """Return what computes the features of the FID, and a sentence if it cannot be had."""
    if find_spec("torch_fidelity") is None:
        return None, "FID and KID are empty, because torch-fidelity is missing: pip install 'hairclip[metrics]'."
    if not inception_file().is_file():
        return None, f"FID and KID are empty, because the file {inception_file()} is missing: fetch {_INCEPTION_PAGE}."
    from torchmetrics.image.fid import FrechetInceptionDistance

    network = FrechetInceptionDistance(2048, feature_extractor_weights_path=str(inception_file())).inception.to(device)

    def features(images: Images) -> Embeddings:
        pixels = torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2).to(images.device)
        return network(pixels).float()

    return features, None

"""StyleCLIP's global directions (Patashnik et al. 2021, section 6): a text moves the styles of the convolutions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.errors import HairclipError, check_range
from hairclip.common.images import Embeddings
from hairclip.conditions.prompts import color_prompt, hairstyle_prompt
from hairclip.editing.methods.method import EditingMethod, Editor, MethodResult, refuse_pictures
from hairclip.editing.methods.styleclip_mapper import serves_published
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from hairclip.networks.style_directions import StyleDirections, split_channels
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained.bundle import MissingPartError
from hairclip.pretrained.loaders import load_directions
from hairclip.pretrained.mapper import check_companions
from hairclip.pretrained.sources import content_of, find_unfetched

if TYPE_CHECKING:  # open_clip takes seconds to import: it is loaded with the first CLIP
    import hairclip.networks.clip

__all__ = ["StyleClipGlobal", "text_embedding"]

_OFFICIAL = "styleclip-fs3"
_OFFICIAL_CLIP = "clip-vit-b-32"
_DROPPED = "a photo of many {}."  # the only one of CLIP's 80 templates that the official code leaves out
_DRAWN, _PSI, _TRUNCATED = 20_000, 0.7, 8  # codes from which a file without statistics gets them


@dataclass(frozen=True)
class StyleClipGlobal(EditingMethod):
    """Adds the same offsets to the styles of every picture, chosen by the difference of two texts. It takes any text.

    A hairstyle and a color are two directions, which are added.

    Attributes:
        alpha: how far the strongest channel moves, in units of its deviation; the official demo takes 4.1, and the
            default was chosen on validation people of the portraits, as that of `channels`.
        channels: number of channels that move; the official advice is 10 to 20 for a color, 100 to 200 for a shape.
        beta: if above 0, it chooses the channels in place of `channels`: all whose cosine is as large. The official
            demo takes 0.15.
        target: a text in place of the request's words, such as "face with long curls".
        neutral: the text that says what is there before, such as "face with hair".
        wording: how a request's words become a text; {} stands for them.
        templates: "official" averages a text over 79 sentences, as for OpenAI's CLIP; "plain" takes the text alone;
            "auto" is "official" for OpenAI's ViT-B/32.
        relevance: a name or a file of directions, such as the official fs3.npy. Without it, those of the bundle, or
            the official ones for FFHQ's generator.
    """

    alpha: float = 5.0
    channels: int = 400
    beta: float = 0.0
    target: str = ""
    neutral: str = "face with hair"
    wording: str = "face with {}"
    templates: str = "auto"
    relevance: str = ""

    def __post_init__(self) -> None:
        check_range("alpha", self.alpha, -100.0, 100.0)
        check_range("beta", self.beta, 0.0, 1.0)
        check_range("channels", self.channels, 1)
        if self.templates not in ("auto", "official", "plain"):
            raise HairclipError(f"templates {self.templates!r}: choose auto, official or plain.")
        if "{}" not in self.wording:
            raise HairclipError(f"wording {self.wording!r}: put {{}} where the request's words shall stand.")

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse pictures, and directions that do not fit the networks."""
        refuse_pictures("styleclip-global", request)
        self._directions(editor)

    def edit(
        self,
        prepared: Prepared,
        requests: Sequence[EditRequest],
        options: EditOptions,
        editor: Editor,
        *,
        progress: bool = False,
    ) -> MethodResult:
        """Edit a batch; see `EditingMethod.edit`. The styles belong to no code, so pictures come back."""
        networks, directions = editor.networks, self._directions(editor)
        w_plus = prepared.inversion.w_plus
        texts = [list(self._texts(request)) for request in requests]
        different = sorted({text for listed in texts for text in listed})
        moves = w_plus.new_zeros(len(requests), directions.channels)
        if different:
            templates = self._templates(editor)
            neutral, *targets = text_embedding(networks.clip, [self.neutral, *different], templates)
            chosen = directions.choose(
                torch.stack(targets) - neutral,
                beta=self.beta,
                channels=None if self.beta else self.channels,
            )
            rows = dict(zip(different, chosen))
            moves = torch.stack([sum((rows[text] for text in listed), moves[0]) for listed in texts])
        offsets = directions.offsets(self.alpha * options.strength * moves, networks.generator)
        return MethodResult(images=prepared.inversion.synthesize(w_plus, networks.generator, offsets).float())

    def _texts(self, request: EditRequest) -> Iterator[str]:
        if self.target:
            if not request.is_empty:
                yield self.target
            return
        if isinstance(request.hairstyle, str):
            yield self.wording.replace("{}", hairstyle_prompt(request.hairstyle))
        if isinstance(request.color, str):
            yield self.wording.replace("{}", color_prompt(request.color))

    def _templates(self, editor: Editor) -> tuple[str, ...]:
        parts = getattr(editor.networks, "parts", {})
        official = "clip" in parts and content_of("clip", parts["clip"]) == _OFFICIAL_CLIP
        wanted = self.templates if self.templates != "auto" else "official" if official else "plain"
        return official_templates() if wanted == "official" else ("{}",)

    def _directions(self, editor: Editor) -> StyleDirections:
        """Return directions that fit the networks and know each channel's deviation."""
        generator, name = editor.networks.generator, self.relevance
        if not name:
            try:
                directions, name = editor.networks.directions, "directions"
            except MissingPartError:
                if not serves_published(editor.networks):
                    raise
                name = _OFFICIAL
        if name != "directions":
            if find_unfetched({"directions": name}, ["directions"]):
                raise MissingPartError(f"the weights {name} are not here yet: run python -m hairclip download {name}.")
            directions = _load(name, generator.constant.device)
        check_companions(directions, getattr(editor.networks, "parts", {}), name)
        width = editor.networks.clip.width
        if directions.width != width:
            raise HairclipError(
                f"{name} is for a CLIP of width {directions.width}, but this one has the width {width}: give "
                "directions of these networks, made by python -m hairclip directions."
            )
        try:
            split_channels(directions.relevance.T, generator.style_widths)
        except ValueError:
            raise HairclipError(
                f"{name} has {directions.channels} channels, which are not those of the first convolutions of this "
                "generator: give directions of these networks, made by python -m hairclip directions."
            ) from None
        if not directions.measured:
            directions.measure(generator, _draw(generator))
        return directions


@lru_cache(maxsize=4)
def _load(name: str, device: torch.device) -> StyleDirections:
    return load_directions(name, device)


@torch.no_grad()
def _draw(generator: Generator) -> Iterator[Tensor]:
    """Yield random codes as the official code draws them: truncated by 0.7 in the first eight layers."""
    random = torch.Generator().manual_seed(5)
    for _ in range(0, _DRAWN, 1000):
        z = torch.randn(1000, generator.z_dim, generator=random).to(generator.constant)
        w = generator.expand(generator.mapping(z))
        yield torch.cat([generator.truncate(w[:, :_TRUNCATED], _PSI), w[:, _TRUNCATED:]], dim=1)


def official_templates() -> tuple[str, ...]:
    """Return the 79 sentences over which the official code averages a text; {} stands for the text."""
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return tuple(made for template in OPENAI_IMAGENET_TEMPLATES if (made := template("{}")) != _DROPPED)


def text_embedding(
    clip: "hairclip.networks.clip.Clip", texts: Sequence[str], templates: Sequence[str] = ("{}",)
) -> Embeddings:
    """Return the embedding of each text, (B, width), of length 1: the mean of its templates' unit embeddings."""
    rows = []
    for text in texts:
        sentences = [template.replace("{}", text) for template in templates]
        rows.append(F.normalize(clip.encode_text(sentences), dim=1).mean(dim=0))
    return F.normalize(torch.stack(rows), dim=1)

"""Turn weight files of other projects into ours: recognize them, rename their tensors, read sizes from their shapes.

One module for each family of files. Nothing here reads a file or builds a network. `recognize` takes the content that
`weight_files` has read and says which network it is. `Found.fit` puts the tensors under our names once
`hairclip.pretrained.network_files` knows what that network expects.
"""

from hairclip.pretrained.foreign.clips import CLIP_FORMATS, openai_clip_config
from hairclip.pretrained.foreign.faces import FACE_FORMATS
from hairclip.pretrained.foreign.formats import Candidate, Format, Found, fit, recognize_among
from hairclip.pretrained.foreign.generators import GENERATOR_FORMATS, generator_to_rosinality
from hairclip.pretrained.foreign.mappers import MAPPER_FORMATS, mapper_to_hairclip
from hairclip.pretrained.foreign.parsers import PARSER_FORMATS

__all__ = [
    "FORMATS",
    "Candidate",
    "Format",
    "Found",
    "best_candidate",
    "fit",
    "generator_to_rosinality",
    "mapper_to_hairclip",
    "openai_clip_config",
    "recognize",
]

FORMATS: tuple[Format, ...] = (*GENERATOR_FORMATS, *MAPPER_FORMATS, *PARSER_FORMATS, *FACE_FORMATS, *CLIP_FORMATS)
"""Every foreign format."""


def recognize(content: object, kind: str) -> Found | None:
    """Return the network of `kind` in the content of a foreign file, None if there is nothing like one.

    Raises:
        HairclipError: if a network of this kind is there but lacks tensors that tell its sizes, or these contradict
            each other.
    """
    return recognize_among(FORMATS, content, kind)


def best_candidate(content: object) -> Candidate | None:
    """Return the network of any kind that a file looks most like, None if nothing fits at all."""
    found = [candidate for form in FORMATS if (candidate := form.locate(content)) is not None]
    return max(found, key=lambda candidate: candidate.score, default=None)

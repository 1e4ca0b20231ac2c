"""Foreign weight files to ours: how they are recognised, the names of their tensors, what their shapes say.

One module per family of files. Nothing here reads a file or builds a network: `recognise` takes the tensors that
`weight_files` has read and says which network they are, and `Found.fit` puts them under our names once
`hairclip.pretrained.network_files` knows what that network expects.
"""

from hairclip.pretrained.foreign.clips import CLIP_FORMATS, openai_clip_config
from hairclip.pretrained.foreign.faces import FACE_FORMATS
from hairclip.pretrained.foreign.formats import Candidate, Format, Found, fit, recognise_among
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
    "recognise",
]

FORMATS: tuple[Format, ...] = (*GENERATOR_FORMATS, *MAPPER_FORMATS, *PARSER_FORMATS, *FACE_FORMATS, *CLIP_FORMATS)
"""Every foreign kind of network."""


def recognise(content: object, kind: str) -> Found | None:
    """The network of `kind` in what a foreign file holds, None where nothing is like one.

    Raises:
        HairclipError: if a network of this kind is there but lacks tensors that tell its sizes, or these contradict
            each other.
    """
    return recognise_among(FORMATS, content, kind)


def best_candidate(content: object) -> Candidate | None:
    """What a file looks most like, whatever the kind, None where nothing fits at all."""
    found = [candidate for form in FORMATS if (candidate := form.locate(content)) is not None]
    return max(found, key=lambda candidate: candidate.score, default=None)

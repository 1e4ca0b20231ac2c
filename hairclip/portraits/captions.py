"""Captions of portraits, among them HairCLIP's prompt templates "<style> hairstyle" and "<color> hair"."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hairclip.portraits.spec import PortraitSpec, stable_seed
from hairclip.portraits.vocabulary import BALD

Topic = Literal["both", "style", "color"]

# What may stand for a style in a sentence: with a color before it, and with its article.
_NOUNS = {
    "afro": ("an", "afro"),
    "bob cut": ("a", "bob cut"),
    "bowl cut": ("a", "bowl cut"),
    "caesar cut": ("a", "caesar cut"),
    "cornrows": ("", "cornrows"),
    "crew cut": ("a", "crew cut"),
    "crown braid": ("a", "crown braid"),
    "dreadlocks": ("", "dreadlocks"),
    "finger waves": ("", "finger waves"),
    "hi-top fade": ("a", "hi-top fade"),
    "hime cut": ("a", "hime cut"),
    "mohawk": ("a", "mohawk"),
    "perm": ("a", "perm"),
    "pixie cut": ("a", "pixie cut"),
    "ringlets": ("", "ringlets"),
    "slicked-back": ("", "slicked-back hair"),
    "spiky hair": ("", "spiky hair"),
    "undercut": ("an", "undercut"),
    "updo": ("an", "updo"),
    "long straight": ("", "long straight hair"),
    "long wavy": ("", "long wavy hair"),
}

_BALD_TEMPLATES = (
    "a photo of a bald {person}",
    "a bald {person}",
    "a portrait of a {person} without hair",
    "a photo of a {person} with a bald head",
    "bald hairstyle",
    BALD,
)
_BOTH_TEMPLATES = (
    "a photo of a {person} with {colored}",
    "a {person} with {colored}",
    "a portrait of a {person} with {colored}",
    "a photo of a face with {colored}",
    "{colored}",
    "{style} hairstyle, {color} hair",
    "{color} hair, {style} hairstyle",
    "{color} {style} hairstyle",
)
_STYLE_TEMPLATES = (
    "{style} hairstyle",
    "a {person} with {styled}",
    "a photo of a {person} with {styled}",
    "a photo of a {person} with a {style} hairstyle",
    "{style}",
)
_COLOR_TEMPLATES = (
    "{color} hair",
    "a {person} with {color} hair",
    "a photo of a {person} with {color} hair",
    "a photo of {color} hair",
)
_TEMPLATES = {"both": _BOTH_TEMPLATES, "style": _STYLE_TEMPLATES, "color": _COLOR_TEMPLATES}


def article(word: str) -> str:
    """Return "a" or "an", whichever stands before a word."""
    return "an" if word[0] in "aeiou" else "a"


def person_word(spec: PortraitSpec) -> str:
    """Return "man" or "woman"."""
    return "man" if spec.identity.male > 0.5 else "woman"


def _fields(spec: PortraitSpec, person: str) -> dict[str, str]:
    style, color = spec.hair.style, spec.color.name
    before, noun = _NOUNS.get(style, ("a", f"{style} hairstyle"))
    return {
        "person": person,
        "style": style,
        "color": color,
        "styled": f"{before} {noun}".strip(),
        "colored": f"{article(color) if before else ''} {color} {noun}".strip(),
    }


def caption(spec: PortraitSpec, seed: int = 0, about: Topic | None = None) -> str:
    """Return one caption at random, about the style, the color or both.

    The same spec, seed and topic give the same caption.
    """
    rng = np.random.default_rng(stable_seed("caption", seed))
    person = person_word(spec) if rng.random() < 0.7 else "person"
    templates: tuple[str, ...]
    if spec.hair.style == BALD:
        templates = _BALD_TEMPLATES
    else:
        kind = rng.random()
        topic = about or ("both" if kind < 0.5 else "style" if kind < 0.75 else "color")
        templates = _TEMPLATES[topic]
    return templates[int(rng.integers(len(templates)))].format(**_fields(spec, person))


def full_caption(spec: PortraitSpec) -> str:
    """Return the plain sentence that names everything: "a photo of a woman with a red bob cut"."""
    template = _BALD_TEMPLATES[0] if spec.hair.style == BALD else _BOTH_TEMPLATES[0]
    return template.format(**_fields(spec, person_word(spec)))

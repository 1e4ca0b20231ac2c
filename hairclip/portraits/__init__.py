"""Synthetic portraits: people with groomed hair, rendered with labels, landmarks, captions and every parameter.

Needs the extra `hairclip[portraits]`; names load on first use, so importing this package stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "COLOR_NAMES": "spec",
    "STYLE_NAMES": "spec",
    "HairColor": "spec",
    "HairSpec": "spec",
    "IdentitySpec": "spec",
    "Portrait": "render",
    "PortraitSpec": "spec",
    "SceneSpec": "spec",
    "caption": "captions",
    "full_caption": "captions",
    "load_head_model": "head.mesh",
    "render_portrait": "render",
    "render_variants": "render",
    "sample_color": "spec",
    "sample_hair": "spec",
    "sample_identity": "spec",
    "sample_portrait": "spec",
    "sample_scene": "spec",
    "split_of": "spec",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

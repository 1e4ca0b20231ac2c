"""hairclip: hairstyle and hair color editing with text and reference pictures in StyleGAN2's W+ space.

The public names load with their first use, so that ``import hairclip`` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hairclip.common.errors import HairclipError
    from hairclip.conditions.prompts import Reading, read_request
    from hairclip.config import Config, load_config
    from hairclip.editing.editor import EditResult, HairEditor
    from hairclip.editing.photo_editor import PhotoEditor, PhotoResult
    from hairclip.editing.vocabulary import list_colors, list_hairstyles
    from hairclip.networks.mapper import HairCondition
    from hairclip.networks.stylegan2 import Generator
    from hairclip.pretrained.bundle_files import list_bundles
    from hairclip.pretrained.mapper import HairMapper

from hairclip.common.version import __version__

_HOMES = {
    "Config": "config",
    "EditResult": "editing.result",
    "Generator": "networks.stylegan2",
    "HairCondition": "networks.mapper",
    "HairEditor": "editing.editor",
    "HairMapper": "pretrained.mapper",
    "HairclipError": "common.errors",
    "PhotoEditor": "editing.photo_editor",
    "PhotoResult": "editing.photo_editor",
    "list_bundles": "pretrained.bundle_files",
    "list_colors": "editing.vocabulary",
    "list_hairstyles": "editing.vocabulary",
    "load_config": "config",
    "Reading": "conditions.prompts",
    "read_request": "conditions.prompts",
}

__all__ = [
    "Config",
    "EditResult",
    "Generator",
    "HairCondition",
    "HairEditor",
    "HairMapper",
    "HairclipError",
    "PhotoEditor",
    "PhotoResult",
    "Reading",
    "__version__",
    "list_bundles",
    "list_colors",
    "list_hairstyles",
    "load_config",
    "read_request",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hairclip' has no attribute {name!r}")
    return getattr(import_module(f"hairclip.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

"""hairclip: hairstyle and hair colour editing with text and reference pictures in StyleGAN2's W+ space.

The public names load with their first use, so that ``import hairclip`` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hairclip.config import Config, load_config
    from hairclip.edit import EditResult, HairEditor
    from hairclip.edit_photo import PhotoEditor, PhotoResult
    from hairclip.errors import HairclipError
    from hairclip.networks.mapper import HairCondition
    from hairclip.networks.stylegan2 import Generator
    from hairclip.pretrained import HairMapper
    from hairclip.prompts import split_prompt

__version__ = "0.1.0"

_HOMES = {
    "Config": "config",
    "EditResult": "edit",
    "Generator": "networks.stylegan2",
    "HairCondition": "networks.mapper",
    "HairEditor": "edit",
    "HairMapper": "pretrained",
    "HairclipError": "errors",
    "PhotoEditor": "edit_photo",
    "PhotoResult": "edit_photo",
    "load_config": "config",
    "split_prompt": "prompts",
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
    "__version__",
    "load_config",
    "split_prompt",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hairclip' has no attribute {name!r}")
    return getattr(import_module(f"hairclip.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

"""Load and save networks by name or by file. The names load with their first use, so that importing stays light."""

from importlib import import_module
from typing import Any

_HOMES = {
    **dict.fromkeys(("Device", "Kind", "NetworkFile", "read_network", "save_network"), "network_files"),
    "save_latents": "latent_files",
    "HairMapper": "mapper",
    "save_hairclip": "official_export",
    **dict.fromkeys(
        ("Bundle", "BundleWords", "InversionLimits", "MissingPartError", "Networks", "load_bundle"), "bundle"
    ),
    **dict.fromkeys(("PARTS", "OwnNetwork", "Source", "list_bundles"), "bundle_files"),
    **dict.fromkeys(("resolve", "weight_names"), "sources"),
    **dict.fromkeys(
        (
            "load_clip",
            "load_denoiser",
            "load_directions",
            "load_encoder",
            "load_generator",
            "load_hairclip",
            "load_identity",
            "load_judge",
            "load_latent_labels",
            "load_latents",
            "load_mapper",
            "load_parser",
            "load_style_mappers",
            "load_text_encoder",
            "open_latents",
        ),
        "loaders",
    ),
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

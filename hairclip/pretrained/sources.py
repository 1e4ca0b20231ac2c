"""Find the weight file that a name or a path means; fetch it where it is missing."""

from pathlib import Path

from hairclip.common.errors import HairclipError
from hairclip.common.files import data_folder
from hairclip.pretrained.bundle_files import Source, list_bundles, read_bundle
from hairclip.pretrained.download import obtain
from hairclip.pretrained.registry import WEIGHTS

__all__ = ["embedded_file", "is_weight_name", "resolve", "source_of", "weight_names"]


def weight_names() -> set[str]:
    """Return the names that every loader accepts: those of the registry and those of the shipped bundles' parts."""
    bundles = (read_bundle(name) for name in list_bundles())
    return {*WEIGHTS, *(str(source) for bundle in bundles for source in bundle.parts.values())}


def is_weight_name(name: str) -> bool:
    """Return whether `resolve` takes this as a name and not as a path."""
    return source_of(name) in weight_names()


def source_of(name: Source) -> str:
    """Return the source of a shipped bundle's part for ``BUNDLE/PART``, any other name or path unchanged."""
    bundle, _, part = str(name).partition("/")
    if bundle in list_bundles():
        return str(read_bundle(bundle).parts.get(part, name))
    return str(name)


def embedded_file(name: str) -> Path:
    """Return where the weights of a name such as ``portraits/generator`` lie, whether they are there or not."""
    return data_folder() / f"{name}.safetensors"


def resolve(name_or_path: Source) -> Path:
    """Return the file that a name or a path means; weights of the registry are fetched where they are missing.

    Args:
        name_or_path: a name of the registry such as ``stylegan2-ffhq``, of weights that come with hairclip such as
            ``portraits/generator``, of a shipped bundle's part such as ``ffhq/generator``, or a path.

    Raises:
        HairclipError: if there is no such name and no such file, or the weights cannot be fetched.
    """
    name = source_of(name_or_path)
    if name in WEIGHTS:
        return obtain(WEIGHTS[name])
    if name in weight_names():
        path = embedded_file(name)
        if not path.is_file():
            raise HairclipError(
                f"the weights {name} are missing ({path}): install the package again, or train them with "
                "scripts/train_portrait_networks.py."
            )
        return path
    path = Path(name_or_path)
    if path.is_dir():
        raise HairclipError(f"{path} is a folder: give the weight file inside it.")
    if not path.is_file():
        known = ", ".join(sorted(weight_names()))
        raise HairclipError(f"there is no weight file {path}: check the path, or use one of the names {known}.")
    return path

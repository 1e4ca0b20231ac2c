"""Find the weight file that a name or a path means, and fetch it if it is missing."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from hairclip.common.errors import HairclipError
from hairclip.common.files import data_folder
from hairclip.common.names import nearest
from hairclip.pretrained.bundle_files import OwnNetwork, Source, list_bundles, read_bundle
from hairclip.pretrained.download import obtain, weight_path
from hairclip.pretrained.registry import SAME_NETWORK, WEIGHTS, Weight

__all__ = [
    "content_of",
    "embedded_file",
    "file_of",
    "find_unfetched",
    "is_missing",
    "is_weight_name",
    "resolve",
    "source_of",
    "weight_names",
]


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


def file_of(name_or_path: Source) -> Path:
    """Return the file of weights that come with hairclip, by their name; anything else as a path."""
    name = source_of(name_or_path)
    return embedded_file(name) if is_weight_name(name) else Path(name)


def is_missing(name: Source) -> bool:
    """Return whether a name means weights that come with hairclip, but their file is not there."""
    found = source_of(name)
    return found not in WEIGHTS and found in weight_names() and not embedded_file(found).is_file()


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
    path = Path(str(name_or_path))
    if path.is_dir():
        mapper = path / "mapper.safetensors"
        raise HairclipError(f"{path} is a folder: give {mapper if mapper.is_file() else 'the weight file inside it'}.")
    if not path.is_file():
        near = nearest(str(path), sorted(weight_names()))
        raise HairclipError(
            f"there is no weight file {path} and no such name{near}: check the path, or take a name that python -m "
            "hairclip download lists."
        )
    return path


def find_unfetched(parts: Mapping[str, Source], wanted: Iterable[str]) -> dict[str, Weight]:
    """Return part -> weights of the wanted parts whose file would have to be fetched.

    Args:
        parts: part -> name or path, such as `Bundle.parts`.
        wanted: the parts to look at; those that are not in `parts` are passed over.
    """
    found = {part: WEIGHTS.get(source_of(parts[part])) for part in wanted if part in parts}
    return {part: weight for part, weight in found.items() if weight and not weight_path(weight).is_file()}


def content_of(part: str, name_or_path: Source) -> str | None:
    """Return a text that identifies a network. Equal content gives equal texts, whatever the file is called.

    Args:
        part: the part of a bundle, because some files hold several networks.
        name_or_path: see `resolve`, or ``MODEL/TAG`` of open_clip.

    Returns:
        The name of a published network, else the SHA-256 of the file; None where there is no file to read. Nothing is
        fetched.
    """
    if isinstance(name_or_path, OwnNetwork):
        name_or_path = name_or_path.file or str(name_or_path)
    name = source_of(name_or_path)
    if name in WEIGHTS:
        return SAME_NETWORK.get((part, name), name)
    path = file_of(name)
    if path.is_file():
        status = path.stat()
        content = _sha256(path, status.st_mtime_ns, status.st_size)
        name = next((weight.name for weight in WEIGHTS.values() if weight.sha256 == content), content)
    elif path.suffix or path.is_absolute():
        return None
    return SAME_NETWORK.get((part, name), name)


@lru_cache(maxsize=64)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    """Return the SHA-256 of a file in hexadecimal. A new modification time or size makes it read the file again."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha.update(block)
    return sha.hexdigest()

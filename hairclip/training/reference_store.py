"""Encoded reference pictures, known by what they show: by a digest of their content, not by their name."""

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import TypeAlias

from filelock import FileLock
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.conditions.encoder import Reference
from hairclip.pretrained.weight_files import read_safetensors, write_safetensors
from hairclip.training.sources import Told

__all__ = ["ReferenceFolder", "ReferenceStore", "content_of_code", "content_of_file"]


class ReferenceFolder:
    """Encoded references in one small file each, which later runs and other processes find there.

    A disk that is full takes nothing more in, and what is damaged is encoded again.

    Args:
        folder: holds one folder per key.
        key: of everything that encoding depends on, see :func:`hairclip.training.sources.features_key`.

    Raises:
        HairclipError: if the folder cannot be made.
    """

    def __init__(self, folder: str | Path, key: str) -> None:
        self.folder = Path(folder) / "references" / key
        self._is_full = False
        with Told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, content: str) -> Reference | None:
        """The reference of this content, None where it is not there."""
        path = self._path(content)
        try:
            tensors = read_safetensors(path)[1] if path.is_file() else {}
        except HairclipError:
            return None
        names = {part.name for part in fields(Reference)}
        # cloned: a tensor shall not hold its file open
        return (
            Reference(**{name: tensor.clone() for name, tensor in tensors.items()}) if names == set(tensors) else None
        )

    def __setitem__(self, content: str, reference: Reference) -> None:
        if self._is_full:
            return
        tensors = {part.name: getattr(reference, part.name).cpu().clone() for part in fields(Reference)}
        try:
            with FileLock(self.folder / "lock"):
                write_safetensors(self._path(content), tensors, {})
        except (HairclipError, OSError):
            self._is_full = True

    def _path(self, content: str) -> Path:
        return self.folder / f"{content}.safetensors"


ReferenceStore: TypeAlias = dict[str, Reference] | ReferenceFolder
"""Where encoded references are looked up by content: in memory for this run, or in a folder."""


def content_of_file(path: Path) -> str:
    """Digest of a picture's file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def content_of_code(w_plus: Tensor) -> str:
    """Digest of a code: with the generator, whose weights belong to a folder's key, it says what is seen."""
    return hashlib.sha256(w_plus.cpu().contiguous().numpy().tobytes()).hexdigest()[:32]

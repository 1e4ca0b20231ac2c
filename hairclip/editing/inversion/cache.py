"""Inversions kept on disk: ten edits of one photo invert once.

A file of the cache is named by a hash of everything that its content follows from: the picture's pixels, the weights of
the networks that took part, the method and its settings. It holds the codes and, of a tuned generator, the difference
to the original; pictures and figures are made anew, which takes one pass.

Files appear whole or not at all, so that any number of processes may use one folder. Whatever cannot be read, or is not
what its name says, is as good as absent.
"""

import hashlib
import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import safetensors.torch
import torch
from torch import Tensor, nn

from hairclip.common.errors import HairclipError
from hairclip.common.files import home_folder
from hairclip.common.images import Images
from hairclip.editing.inversion.invert import Inversion, finish_inversion, invert, join_inversions
from hairclip.editing.inversion.perceptual import PerceptualDistance
from hairclip.editing.inversion.pivotal import tuned_copy
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained.weight_files import read_safetensors

__all__ = ["InversionCache", "default_folder"]

_VERSION = 1  # to be raised when `invert` finds something else for the same arguments
_FORGOTTEN = 86_400  # seconds after which an unfinished file belongs to no one
_DELTA = "delta."


def default_folder() -> Path:
    """Where the command line keeps inversions."""
    return home_folder() / "inversions"


class InversionCache:
    """`invert` with a memory.

    Args:
        folder: where the files are; None for `default_folder`.
        limit: bytes they may take together; the longest unused ones are deleted first.
    """

    def __init__(self, folder: str | Path | None = None, *, limit: int = 2_000_000_000) -> None:
        self.folder = default_folder() if folder is None else Path(folder)
        self.limit = limit
        self._digests: WeakKeyDictionary[nn.Module, tuple[int, str]] = WeakKeyDictionary()
        self._complained = False

    def invert(self, images: Images, encoder: nn.Module, generator: Generator, **settings: Any) -> Inversion:
        """Invert only those pictures that are not in the cache, then add them to it; see `invert.invert`.

        Networks among the settings (`identity`, those of `loss`) must be modules, whose weights tell them apart.
        """
        signature = inspect.signature(invert).bind(images, encoder, generator, **settings)
        signature.apply_defaults()
        settings = {name: value for name, value in signature.arguments.items() if name in signature.kwargs}
        recipe = self._recipe(encoder, generator, settings)
        keys = [_hash([recipe, _digest([("image", image)])]) for image in images]
        found = {i: self._load(key, images[i : i + 1], generator, settings) for i, key in enumerate(keys)}
        missing = [i for i, inversion in found.items() if inversion is None]
        if missing:
            fresh = invert(images[missing], encoder, generator, **settings)
            for j, i in enumerate(missing):
                found[i] = fresh[[j]]
                self._store(keys[i], fresh[[j]])
        return join_inversions([inversion for inversion in found.values() if inversion is not None])

    def _recipe(self, encoder: nn.Module, generator: Generator, settings: dict[str, Any]) -> list[Any]:
        """What an inversion follows from beside the picture, fit for JSON."""
        recipe: list[Any] = [_VERSION, self._weights(encoder), self._weights(generator), settings["method"]]
        if settings["method"] == "encoder":
            return recipe
        numbers = {k: v for k, v in settings.items() if k not in ("method", "loss", "identity", "progress")}
        loss = settings["loss"]
        terms = None if loss is None else {f.name: self._plain(getattr(loss, f.name)) for f in fields(loss)}
        return [*recipe, numbers, terms]

    def _plain(self, part: Any) -> Any:
        """A part of the loss, fit for JSON."""
        if isinstance(part, PerceptualDistance):
            return [self._weights(part.network), part.layers]
        return self._weights(part) if callable(part) else part

    def _weights(self, network: Any) -> str:
        """A hash of a network's weights, taken once unless they change."""
        if not isinstance(network, nn.Module):
            raise TypeError(f"what a cached inversion depends on must be a module, not a {type(network).__name__}")
        state = network.state_dict()
        version = sum(tensor._version for tensor in state.values())
        known = self._digests.get(network)
        if known is None or known[0] != version:
            named = f"{type(network).__name__} {getattr(network, 'config', None)}"
            known = self._digests[network] = version, _hash([named, _digest(state.items())])
        return known[1]

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _load(self, key: str, image: Images, generator: Generator, settings: dict[str, Any]) -> Inversion | None:
        """The inversion of one picture, None where there is none that can be trusted."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            metadata, tensors = read_safetensors(path)
            if metadata["key"] != key or metadata["digest"] != _digest(tensors.items()):
                return None
            codes = tensors.pop("w_plus").to(image.device)
            deltas = {name.removeprefix(_DELTA): tensor for name, tensor in tensors.items()}
            tuned = [tuned_copy(generator, deltas)] if deltas else []
            steps = int(metadata["steps"])
        except (HairclipError, KeyError, ValueError):
            return None
        with suppress(OSError):
            os.utime(path)  # it has been used: others are deleted before it
        method, identity = settings["method"], settings["identity"]
        return finish_inversion(image, codes, generator, method=method, steps=steps, identity=identity, tuned=tuned)

    def _store(self, key: str, inversion: Inversion) -> None:
        """Write one sample's inversion. Where that is impossible the edit goes on, and the user is told once."""
        tensors = {"w_plus": inversion.w_plus.detach().cpu().contiguous()}
        for tuned in inversion.tuned or ():
            tensors |= {_DELTA + name: delta.cpu().contiguous() for name, delta in tuned.deltas.items()}
        metadata = {"key": key, "digest": _digest(tensors.items()), "steps": str(inversion.steps)}
        path = self._path(key)
        partial = path.with_name(f".{key}.{os.getpid()}.{threading.get_ident()}.partial")  # no one else writes there
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                partial.write_bytes(safetensors.torch.save(tensors, metadata))
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
            self._evict(path)
        except OSError as error:
            if not self._complained:
                reason = error.strerror or error
                print(f"hairclip: inversions cannot be kept in {self.folder} ({reason})", file=sys.stderr)
            self._complained = True

    def _evict(self, newest: Path) -> None:
        """Delete what was used longest ago until the limit is kept; `newest` stays."""
        kept: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process deletes, too
                stat = path.stat()
                if path.suffix == ".safetensors":
                    kept.append((stat.st_mtime, stat.st_size, path))
                elif path.suffix == ".partial" and time.time() - stat.st_mtime > _FORGOTTEN:
                    path.unlink()
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= self.limit:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]


def _digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A hash of names, types, shapes and numbers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

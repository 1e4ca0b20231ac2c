"""Inversions kept on disk, so that ten edits of one photo invert it once.

The name of a file is a hash of everything that its content follows from: the pixels of the picture, the weights of the
networks, the method and its settings. The file holds the codes and, for a tuned generator, the differences to the
original weights. Pictures and figures are computed again, which takes one pass.

A file appears whole or not at all, so any number of processes may use one folder. A file that is damaged, or that is
not what its name says, counts as missing and is written again.
"""

import inspect
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import safetensors.torch
from torch import Tensor, nn

from hairclip.common.errors import HairclipError
from hairclip.common.files import PARTIAL_SUFFIX, digest, home_folder, write_atomic
from hairclip.common.images import Images
from hairclip.editing.inversion.invert import Inversion, finish_inversion, invert, join_inversions
from hairclip.editing.inversion.perceptual import PerceptualDistance
from hairclip.editing.inversion.pivotal import tuned_copy
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained.weight_files import read_safetensors

__all__ = ["InversionCache", "default_folder"]

VERSION = 2
"""Part of every key. Raise it when `invert` finds other codes for the same arguments."""
FORGOTTEN = 86_400
"""Seconds after which an unfinished file of another process is deleted."""
DELTA = "delta."
"""Begins the names of the tensors that tune a generator."""


def default_folder() -> Path:
    """Return the folder in which the command line keeps inversions."""
    return home_folder() / "inversions"


class InversionCache:
    """`invert` with a memory on disk.

    Args:
        folder: folder of the files; None takes `default_folder`.
        limit: most bytes of all files together; the longest unused files are deleted first.
    """

    def __init__(self, folder: str | Path | None = None, *, limit: int = 2_000_000_000) -> None:
        self.folder = default_folder() if folder is None else Path(folder)
        self.limit = limit
        self._digests: WeakKeyDictionary[nn.Module, tuple[int, str]] = WeakKeyDictionary()
        self._complained = False

    def invert(self, images: Images, encoder: nn.Module, generator: Generator, **settings: Any) -> Inversion:
        """Return the inversion of a batch; only pictures that are not in the cache are inverted, and then added.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            encoder: see `invert`.
            generator: see `invert`.
            settings: keyword arguments of `invert`. The networks among them (`identity`, those of `loss`) must be
                modules, because their weights are part of the key.

        Raises:
            TypeError: if a function among the settings is not a module.
        """
        signature = inspect.signature(invert).bind(images, encoder, generator, **settings)
        signature.apply_defaults()
        settings = {name: value for name, value in signature.arguments.items() if name in signature.kwargs}
        recipe = self._recipe(encoder, generator, settings)
        keys = [digest(recipe, image)[:40] for image in images]
        inversions = [self._load(key, image[None], generator, settings) for key, image in zip(keys, images)]
        missing = [i for i, inversion in enumerate(inversions) if inversion is None]
        if missing:
            fresh = invert(images[missing], encoder, generator, **settings)
            for j, i in enumerate(missing):
                inversions[i] = fresh[[j]]
                self._store(keys[i], fresh[[j]])
        return join_inversions([inversion for inversion in inversions if inversion is not None])

    def _recipe(self, encoder: nn.Module, generator: Generator, settings: Mapping[str, Any]) -> list[Any]:
        """Return everything except the picture that an inversion follows from, for `digest`."""
        recipe: list[Any] = [VERSION, self._weights(encoder), self._weights(generator), settings["method"]]
        if settings["method"] == "encoder":
            return recipe
        numbers = {k: v for k, v in settings.items() if k not in ("method", "loss", "identity", "progress")}
        loss = settings["loss"]
        terms = None if loss is None else {f.name: self._describe(getattr(loss, f.name)) for f in fields(loss)}
        return [*recipe, numbers, terms]

    def _describe(self, term: Any) -> Any:
        """Return a field of the loss in a form that `digest` takes."""
        if isinstance(term, PerceptualDistance):
            return [self._weights(term.network), term.layers]
        return self._weights(term) if callable(term) else term

    def _weights(self, network: Any) -> str:
        """Return the digest of a network, which is computed again only after its weights have changed."""
        if not isinstance(network, nn.Module):
            raise TypeError(f"what a cached inversion depends on must be a module, not a {type(network).__name__}")
        version = sum(tensor._version for tensor in network.state_dict().values())
        known = self._digests.get(network)
        if known is None or known[0] != version:
            known = self._digests[network] = version, digest(network)
        return known[1]

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _load(self, key: str, image: Images, generator: Generator, settings: Mapping[str, Any]) -> Inversion | None:
        """Return the stored inversion of one picture, None if there is none that can be trusted."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            metadata, tensors = read_safetensors(path)
            if metadata["digest"] != _digest_content(key, metadata["steps"], tensors):
                return None
            codes = tensors.pop("w_plus").to(image.device)
            deltas = {name.removeprefix(DELTA): tensor for name, tensor in tensors.items()}
            tuned = [tuned_copy(generator, deltas)] if deltas else []
            steps = int(metadata["steps"])
        except (HairclipError, KeyError, ValueError):
            return None
        with suppress(OSError):
            os.utime(path)  # `_evict` deletes the longest unused first
        method, identity = settings["method"], settings["identity"]
        return finish_inversion(image, codes, generator, method=method, steps=steps, identity=identity, tuned=tuned)

    def _store(self, key: str, inversion: Inversion) -> None:
        """Write the inversion of one picture. If that fails, the edit goes on and the user is told once."""
        tensors = {"w_plus": inversion.w_plus.detach().cpu().contiguous()}
        for tuned in inversion.tuned or ():
            tensors |= {DELTA + name: delta.cpu().contiguous() for name, delta in tuned.deltas.items()}
        steps = str(inversion.steps)
        metadata = {"steps": steps, "digest": _digest_content(key, steps, tensors)}
        path = self._path(key)
        try:
            write_atomic(path, safetensors.torch.save(tensors, metadata))
            self._evict(path)
        except (HairclipError, OSError) as error:
            if not self._complained:
                print(f"hairclip: inversions cannot be kept: {error}", file=sys.stderr)
            self._complained = True

    def _evict(self, newest: Path) -> None:
        """Delete the longest unused files until the limit is kept; `newest` stays."""
        kept: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process deletes, too
                stat = path.stat()
                if path.suffix == ".safetensors":
                    kept.append((stat.st_mtime, stat.st_size, path))
                elif path.suffix == PARTIAL_SUFFIX and time.time() - stat.st_mtime > FORGOTTEN:
                    path.unlink()
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= self.limit:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size


def _digest_content(key: str, steps: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the digest that a file holds of its name and its content: any change of either shows."""
    return digest(key, steps, dict(tensors))

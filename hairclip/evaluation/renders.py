"""Render portraits, each once on this machine: a cache keeps what was rendered."""

import ast
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8, UInt8

from hairclip.common.files import digest, home_folder, package_folder, write_atomic
from hairclip.common.images import Images, Masks, from_uint8
from hairclip.common.progress import progress_bar
from hairclip.networks.face_parser import HAIR
from hairclip.portraits.spec import PortraitSpec

__all__ = ["Drawing", "Rendered", "cache_folder", "draw", "draw_all", "fingerprint_source", "render_all"]

RENDERER = ("portraits", "common/framing.py")
"""Everything in the package that pictures follow from, except what `NOT_RENDERER` names."""
NOT_RENDERER = ("portraits/fit", "portraits/randomize")


@dataclass(frozen=True)
class Drawing:
    """One rendered portrait as arrays.

    Attributes:
        image: (size, size, 3), sRGB.
        labels: (size, size), ids of CelebAMask-HQ.
        hair_coverage: share of each pixel that is hair, (size, size) in [0, 1].
        landmarks: eyes, nose and mouth corners in pixels, (5, 2).
        hair_direction: 127 times the direction of the strands, (size, size, 2), see `portraits.drawing.raster.Buffers`.
    """

    image: UInt8[np.ndarray, "size size 3"]
    labels: UInt8[np.ndarray, "size size"]
    hair_coverage: Float[np.ndarray, "size size"]
    landmarks: Float[np.ndarray, "5 2"]
    hair_direction: Int8[np.ndarray, "size size 2"]

    @property
    def hair(self) -> Bool[np.ndarray, "size size"]:
        """The pixels whose label is hair."""
        return self.labels == HAIR


@dataclass(frozen=True)
class Rendered:
    """A batch of rendered portraits.

    Attributes:
        images: (N, 3, size, size) in [-1, 1].
        hair: (N, 1, size, size), the pixels whose label is hair.
        specs: what each portrait shows.
        direction: `Drawing.hair_direction` of each portrait, (N, 2, size, size) int8.
    """

    images: Images
    hair: Masks
    specs: tuple[PortraitSpec, ...]
    direction: Int8[torch.Tensor, "batch 2 height width"]

    def __len__(self) -> int:
        return len(self.specs)

    def pick(self, indices: Sequence[int]) -> "Rendered":
        """Return the portraits at these positions."""
        chosen = torch.as_tensor(list(indices))
        specs = tuple(self.specs[i] for i in indices)
        return Rendered(self.images[chosen], self.hair[chosen], specs, self.direction[chosen])


def render_all(specs: Sequence[PortraitSpec], size: int, *, workers: int = 0, progress: bool = False) -> Rendered:
    """Return the portraits of all specs, from the cache where they are there.

    Args:
        specs: what to render.
        size: height and width in pixels.
        workers: number of processes; 0 renders in this process.
        progress: show a progress bar.
    """
    drawings = draw_all(specs, size, workers=workers, progress=progress)
    images = from_uint8(np.stack([drawing.image for drawing in drawings]))
    hair = torch.from_numpy(np.stack([drawing.hair for drawing in drawings]))[:, None]
    direction = torch.from_numpy(np.stack([drawing.hair_direction for drawing in drawings])).permute(0, 3, 1, 2)
    return Rendered(images, hair, tuple(specs), direction)


def draw_all(specs: Sequence[PortraitSpec], size: int, *, workers: int = 0, progress: bool = False) -> list[Drawing]:
    """Return the portraits of all specs as arrays; the arguments are those of `render_all`."""
    work: Callable[[PortraitSpec], Drawing] = partial(draw, size=size)
    show = partial(progress_bar, total=len(specs), label="rendering", show=progress, leave=False)
    if workers > 1 and len(specs) > 8:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            return list(show(pool.map(work, specs, chunksize=4)))
    return [work(spec) for spec in show(specs)]


def draw(spec: PortraitSpec, size: int) -> Drawing:
    """Return one portrait of `size` pixels, from the cache or rendered now and added to it."""
    key = digest(spec.to_dict(), size)[:32]
    path = cache_folder() / key[:2] / f"{key}.npz"
    try:
        with np.load(path) as stored:
            return Drawing(**stored)
    except (OSError, ValueError, TypeError, EOFError, BadZipFile):
        pass  # not there, or damaged: it is rendered and written again
    from hairclip.portraits.render import render_portrait

    portrait = render_portrait(spec, size)
    direction = np.round(portrait.hair_direction * 127).astype(np.int8)
    drawing = Drawing(portrait.image, portrait.labels, portrait.hair_coverage, portrait.landmarks, direction)
    stored_bytes = io.BytesIO()
    np.savez_compressed(stored_bytes, **vars(drawing))
    write_atomic(path, stored_bytes.getvalue())
    return drawing


def cache_folder() -> Path:
    """Return the folder of rendered portraits. Each state of the renderer has its own."""
    return home_folder() / "renders" / _fingerprint_renderer()


@lru_cache(maxsize=1)
def _fingerprint_renderer() -> str:
    """Return a digest of the renderer's code. A change of the code renders anew, a change of its prose does not."""
    package = package_folder()
    files: list[Path] = []
    for name in RENDERER:
        found = package / name
        files += sorted(found.rglob("*.py")) if found.is_dir() else [found]
    names = {file.relative_to(package).as_posix(): file for file in files}
    code = {
        name: fingerprint_source(file.read_text(encoding="utf-8"))
        for name, file in names.items()
        if not name.startswith(NOT_RENDERER)
    }
    return digest(code)[:16]


def fingerprint_source(source: str) -> str:
    """Return a digest of Python code that does not depend on comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # A text that stands alone does nothing: it documents a module, a function, a class or a constant.
            node.body = [line for line in body if not _is_text(line)] or [ast.Pass()]  # type: ignore[attr-defined]
    return digest(ast.dump(tree))


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)

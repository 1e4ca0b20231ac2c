"""The results of one photo on disk, so that an evaluation that was cut off goes on where it stopped."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hairclip.common.files import write_atomic
from hairclip.common.images import Images, from_pil, to_pil

__all__ = ["PhotoRecords", "read_arrays", "read_records", "read_tile", "write_records"]

TILE = 160
"""Height and width in pixels of the pictures that are kept for the sheet of the worst."""


@dataclass
class PhotoRecords:
    """The results of one photo by one method.

    Attributes:
        photo: name of the photo.
        edits: one per answer: method, form, kind, label and figures.
        failures: one per request that was not answered: kind (None for all) and reason.
        arrays: features of the photo and of the answers, and small pictures; empty after reading.
    """

    photo: str
    edits: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def keep_tile(self, name: str, image: Images) -> None:
        """Keep a small copy of a picture, (1, 3, H, W), as JPEG."""
        stored = io.BytesIO()
        to_pil(image).resize((TILE, TILE), Image.Resampling.LANCZOS).save(stored, "JPEG", quality=88)
        self.arrays[f"{name}.tile"] = np.frombuffer(stored.getvalue(), np.uint8)


def write_records(records: PhotoRecords, path: Path, key: str) -> None:
    """Write the results of a photo; `key` is a digest of everything that they depend on."""
    content = {"photo": records.photo, "edits": records.edits, "failures": records.failures}
    write_atomic(path, save(records.arrays, {"key": key, "content": json.dumps(content)}))


def read_records(path: Path, key: str) -> PhotoRecords | None:
    """Return the results of a photo without their arrays; None if there are none for this key."""
    try:
        with safe_open(path, "numpy") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            if metadata.get("key") != key:
                return None
            return PhotoRecords(**json.loads(metadata["content"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def read_arrays(path: Path, *names: str) -> list[np.ndarray | None]:
    """Return arrays of a photo's results; None for a name that is not there."""
    with safe_open(path, "numpy") as file:
        known = set(file.keys())
        return [file.get_tensor(name) if name in known else None for name in names]


def read_tile(path: Path, name: str) -> Images | None:
    """Return a small picture, (1, 3, TILE, TILE); None if there is none of that name."""
    (stored,) = read_arrays(path, f"{name}.tile")
    if stored is None:
        return None
    with Image.open(io.BytesIO(stored.tobytes())) as picture:
        return from_pil(picture.convert("RGB"))

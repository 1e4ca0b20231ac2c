"""The answer to one request on disk, so that a comparison that was cut off goes on where it stopped."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hairclip.common.files import write_atomic
from hairclip.common.images import PNG_LEVEL, Images, from_pil, to_pil

__all__ = ["AnswerRecord", "read_picture", "read_record", "write_record"]


@dataclass
class AnswerRecord:
    """One answer.

    Attributes:
        facts: what the case is: kind, the requested hairstyle and color, and the like.
        figures: form of the picture -> its figures.
        refused: why there is no answer; None where there is one.
        features: form of the picture -> features for distances between sets.
        pictures: form of the picture -> the picture as PNG; empty after reading.
    """

    facts: dict[str, Any]
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: str | None = None
    features: dict[str, np.ndarray] = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    def keep_picture(self, form: str, image: Images) -> None:
        """Keep a picture, (1, 3, H, W)."""
        stored = io.BytesIO()
        to_pil(image).save(stored, "PNG", compress_level=PNG_LEVEL)
        self.pictures[form] = np.frombuffer(stored.getvalue(), np.uint8)


def write_record(record: AnswerRecord, path: Path, key: str) -> None:
    """Write an answer; `key` is a digest of everything that it depends on."""
    content = {"facts": record.facts, "figures": record.figures, "refused": record.refused}
    arrays = {f"{form}.features": value for form, value in record.features.items()}
    arrays |= {f"{form}.picture": value for form, value in record.pictures.items()}
    write_atomic(path, save(arrays, {"key": key, "content": json.dumps(content)}))


def read_record(path: Path, key: str) -> AnswerRecord | None:
    """Return an answer without its pictures; None if there is none for this key."""
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("key") != key:
                return None
            names = [name for name in file.keys() if name.endswith(".features")]  # noqa: SIM118
            features = {name.removesuffix(".features"): file.get_tensor(name) for name in names}
            return AnswerRecord(**json.loads(metadata["content"]), features=features)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def read_picture(path: Path, form: str) -> Images | None:
    """Return the picture of an answer, (1, 3, H, W); None if there is none of that form."""
    try:
        with safe_open(path, "numpy") as file:
            stored = file.get_tensor(f"{form}.picture")
    except (OSError, SafetensorError):
        return None
    with Image.open(io.BytesIO(stored.tobytes())) as picture:
        return from_pil(picture.convert("RGB")).to(torch.float32)

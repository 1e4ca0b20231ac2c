"""A disk that fills in the middle of a file: one sentence, the old file intact, nothing left behind."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.common import files
from hairclip.common.color import save_named_colors
from hairclip.common.errors import HairclipError
from hairclip.common.files import write_atomic
from hairclip.common.images import save_image
from hairclip.editing.photo.files import read_photo, write_photo

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
IMAGES = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0)) * 2 - 1
WRITERS: dict[str, Callable[[Path], Any]] = {
    "a.txt": lambda path: write_atomic(path, "text " * 500),
    "a.png": lambda path: save_image(IMAGES, path),
    "a.jpg": lambda path: write_photo(NOISE, path, read_photo(NOISE)),
    "a.webp": lambda path: write_photo(NOISE, path),
    "a.tif": lambda path: save_image(NOISE, path, compression="tiff_lzw"),
    "a.gif": lambda path: save_image(NOISE, path, save_all=True, append_images=[NOISE.rotate(180)]),
    "a.json": lambda path: save_named_colors({f"color {number}": (50.0, 0.0, 0.0) for number in range(50)}, path),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("room", [0, 0.01, 0.5, 0.99])
def test_a_disk_that_fills_is_one_sentence_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, room: float
):
    path = tmp_path / name
    WRITERS[name](path)
    before = path.read_bytes()
    free = int(room * len(before))
    written = os.write

    def write(handle: int, content: memoryview) -> int:
        nonlocal free
        if free == 0 and len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = written(handle, content[:free])  # as much as there is room for, as a disk does
        free -= taken
        return taken

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "write", write)
        with pytest.raises(HairclipError, match=r"cannot write .*No space left on device.*free space"):
            WRITERS[name](path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", WRITERS)
def test_writing_twice_gives_identical_bytes_also_under_the_longest_name(tmp_path: Path, name: str):
    suffix = name.removeprefix("a")
    paths = [tmp_path / name, tmp_path / ("x" * (255 - len(suffix)) + suffix)]
    for path in paths:
        WRITERS[name](path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(os.listdir(tmp_path)) == 2


def test_a_name_that_no_file_can_have_is_one_sentence(tmp_path: Path):
    for name in ("x" * 300 + ".png", "a\0b.png"):
        with pytest.raises(HairclipError, match="cannot write"):
            save_image(NOISE, tmp_path / name)
        with pytest.raises(HairclipError, match="cannot write"):
            write_atomic(tmp_path / name, "text")
    assert os.listdir(tmp_path) == []

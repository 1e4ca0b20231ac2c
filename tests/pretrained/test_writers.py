"""Every file that this package writes appears whole or not at all, at whatever byte the disk is full."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from hairclip import pretrained
from hairclip.common.errors import HairclipError
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.pretrained import download
from hairclip.pretrained.registry import Url, Weight
from hairclip.pretrained.weight_files import write_safetensors, write_torch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
CODES = torch.arange(3000.0).view(10, 5, 60)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes: a write fails in its middle, as on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def adopted(path: Path) -> None:
    given = path.with_name("given")
    if not given.exists():
        torch.save(CODES, given)
    download.adopt(Weight("thing", path.name, "", (), "", (Url("https://example.org"),)), given)


WRITERS: dict[str, Callable[[Path], object]] = {
    "write_safetensors": lambda path: write_safetensors(path, {"a": CODES}, {"hairclip_kind": "latents"}),
    "write_torch": lambda path: write_torch(path, {"a": CODES, "opts": {"b": 1}}),
    "save_latents": lambda path: pretrained.save_latents(path, CODES, {"color": ["red"] * 10}),
    "save_network": lambda path: pretrained.save_network(
        path, "judge", HairstyleClassifier(["bob cut", "afro"], widths=(8, 16), input_size=16)
    ),
    "adopt": adopted,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(writer, tmp_path, monkeypatch):
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path))
    folder = tmp_path / "weights"
    path, write = folder / "file", WRITERS[writer]
    folder.mkdir()
    write(path)
    size = path.stat().st_size
    old = b"the file before" * (writer != "adopt")  # a weight of another content is never replaced
    kept = {name for name in os.listdir(folder) if name != "file"}
    for share in range(24):
        if old:
            path.write_bytes(old)
        else:
            path.unlink(missing_ok=True)
        with room_for(size * share // 24), pytest.raises(HairclipError) as caught:
            write(path)
        message = str(caught.value)
        assert message.startswith(f"cannot write {path} (")
        assert message.endswith(".")
        assert "\n" not in message
        assert path.read_bytes() == old if old else not path.exists()
        assert {name for name in os.listdir(folder) if name != "file"} == kept
    write(path)
    assert path.stat().st_size == size

"""Files appear whole or not at all, and digests tell contents apart."""

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.common import files
from hairclip.common.errors import HairclipError
from hairclip.common.files import digest, home_folder, open_atomic, open_regular, write_atomic


@pytest.fixture(params=["nameless", "named"])
def partial_file(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of writing: with a file that has no name, and with one that has."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return request.param


@pytest.mark.usefixtures("partial_file")
def test_a_file_appears_whole(tmp_path: Path):
    path = tmp_path / "new" / "a.bin"
    with open_atomic(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    assert os.listdir(path.parent) == ["a.bin"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.usefixtures("partial_file")
def test_a_failure_keeps_the_old_content_and_leaves_nothing(tmp_path: Path):
    path = tmp_path / "a.bin"
    write_atomic(path, "old")
    with pytest.raises(ZeroDivisionError), open_atomic(path) as file:
        print(file.write(b"half") // 0)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.usefixtures("partial_file")
@pytest.mark.parametrize("save", [torch.save, lambda content, file: np.savez(file, content.numpy())])
def test_a_full_disk_is_one_sentence_whatever_library_writes(save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.pt"
    write_atomic(path, "old")
    written = os.write

    def write(handle: int, content: memoryview) -> int:
        if os.fstat(handle).st_size + len(content) > 300:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(handle, content)

    monkeypatch.setattr(files.os, "write", write)
    with (
        pytest.raises(HairclipError, match=r"cannot write .*a\.pt \(No space left on device\)"),
        open_atomic(path) as file,
    ):
        save(torch.zeros(1000), file)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.usefixtures("partial_file")
def test_pictures_and_torch_files_can_be_written(tmp_path: Path):
    with open_atomic(tmp_path / "a.png") as file:
        Image.new("RGB", (5, 4), "red").save(file, format="PNG")
    with open_atomic(tmp_path / "a.tif") as file:
        Image.new("RGB", (5, 4), "red").save(file, format="TIFF", compression="tiff_lzw")
    with open_atomic(tmp_path / "a.pt") as file:
        torch.save({"a": torch.arange(3)}, file)
    with Image.open(tmp_path / "a.png") as png, Image.open(tmp_path / "a.tif") as tiff:
        assert png.size == tiff.size == (5, 4)
    assert torch.load(tmp_path / "a.pt")["a"].tolist() == [0, 1, 2]


def test_the_longest_name_of_a_file_can_be_written(tmp_path: Path):
    path = tmp_path / ("a" * 251 + ".txt")
    write_atomic(path, "long")
    assert path.read_text() == "long"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    write_atomic(tmp_path / "file", "")
    for path in (tmp_path / "file" / "a.txt", tmp_path):
        with pytest.raises(HairclipError, match=f"cannot write {path}"):
            write_atomic(path, "no")


WRITER = """
import sys
from hairclip.common.files import open_atomic
for _ in range(20):
    with open_atomic(sys.argv[1]) as file:
        for _ in range(50):
            file.write(sys.argv[2].encode() * 1000)
"""


def test_processes_that_write_one_path_leave_one_whole_file(tmp_path: Path):
    path = tmp_path / "a.txt"
    running = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "abcd"]
    assert [process.wait() for process in running] == [0] * 4
    assert path.read_text() in [letter * 50_000 for letter in "abcd"]
    assert os.listdir(tmp_path) == ["a.txt"]


KILLED = """
import os, signal, sys
from hairclip.common.files import open_atomic
with open_atomic(sys.argv[1]) as file:
    file.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")
def test_a_killed_process_leaves_nothing_behind(tmp_path: Path):
    write_atomic(tmp_path / "a.txt", "old")
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.txt")])
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@dataclasses.dataclass(frozen=True)
class Settings:
    strength: float = 1.0
    name: str | None = None


def test_equal_contents_have_equal_digests(tmp_path: Path):
    write_atomic(tmp_path / "a", "content")
    shutil.copy(tmp_path / "a", tmp_path / "b")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest({"a": 1, "b": [2.0]}) == digest({"b": (2.0,), "a": 1})
    assert digest(Settings()) == digest(Settings())
    assert digest(torch.nn.Linear(2, 2).eval().requires_grad_(False)) != digest(torch.nn.Linear(2, 2))


def test_different_contents_have_different_digests(tmp_path: Path):
    write_atomic(tmp_path / "a", "content")
    network = torch.nn.Linear(2, 2)
    with torch.no_grad():
        network.weight.zero_(), network.bias.zero_()
    parts = [
        *("ab", b"ab", ["a", "b"], ["ab"], [["a"], "b"], {"a": "b"}, None, 0, False, 0.0, "", [], {}),
        *(Settings(), Settings(0.5), Settings(name="a"), tmp_path / "a", "content", network, torch.nn.ReLU()),
        *(torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(2, 3, dtype=torch.bfloat16), torch.zeros(2, 3).half()),
        np.zeros((2, 3), np.int16),
    ]
    assert len({digest(part) for part in parts}) == len(parts)
    assert digest("a", "b") != digest("ab")
    with pytest.raises(TypeError, match="takes no object"):
        digest(object())


def test_what_is_fetched_lies_in_the_folder_of_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("HAIRCLIP_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if sys.platform == "linux":
        assert home_folder() == tmp_path / ".cache" / "hairclip"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert home_folder() == tmp_path / "xdg" / "hairclip"
    monkeypatch.setenv("HAIRCLIP_HOME", "~/mine")
    assert home_folder() == tmp_path / "mine"


def test_only_regular_files_are_opened(tmp_path: Path):
    write_atomic(tmp_path / "a", "content")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for name in ("a", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"content"
    os.mkfifo(tmp_path / "pipe")
    for place, words in {
        tmp_path: "is a folder: give a file",
        tmp_path / "pipe": "is a pipe or a device: give a file",
        "/dev/zero": "is a pipe or a device: give a file",
        tmp_path / "absent": "there is no file at",
        tmp_path / "a" / "b": "there is no file at",
        "": "there is no file at ''",
        "a\0b": r"there is no file at 'a\\x00b'",
        "x" * 300: "cannot be read",
    }.items():
        with pytest.raises(HairclipError, match=words):
            open_regular(place)

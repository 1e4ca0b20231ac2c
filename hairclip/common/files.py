"""Find hairclip's own folders, write files whole or not at all, and digest what files and networks hold."""

import errno
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import IO, Any, cast

import platformdirs

from hairclip.common.errors import HairclipError

__all__ = [
    "PARTIAL_SUFFIX",
    "config_folder",
    "data_folder",
    "digest",
    "home_folder",
    "open_atomic",
    "open_regular",
    "package_folder",
    "write_atomic",
]

PARTIAL_SUFFIX = ".partial"
"""Ends the name of a file that is being written, where the file system knows no file without a name."""


# ------------------------------------------------------------------------------------------ folders


def home_folder() -> Path:
    """Return the folder of everything that hairclip fetched, built or rendered.

    The environment variable HAIRCLIP_HOME names it. Without that, it is `hairclip` in the system's folder of caches:
    XDG_CACHE_HOME or else `~/.cache` on Linux.
    """
    home = os.environ.get("HAIRCLIP_HOME")
    return Path(home).expanduser() if home else platformdirs.user_cache_path("hairclip", appauthor=False)


def package_folder() -> Path:
    """Return the folder `hairclip` of this installation."""
    return Path(__file__).resolve().parents[1]


def data_folder() -> Path:
    """Return the folder of the shipped weights: `data/` of a checkout, `hairclip/_data/` of an installed wheel."""
    return _shipped("data")


def config_folder() -> Path:
    """Return the folder of the shipped YAML: `configs/` of a checkout, `hairclip/_configs/` of a wheel."""
    return _shipped("configs")


def _shipped(name: str) -> Path:
    installed = package_folder() / f"_{name}"
    return installed if installed.is_dir() else package_folder().parent / name


# ------------------------------------------------------------------------------------------ reading


def open_regular(path: str | Path, what: str = "file") -> IO[bytes]:
    """Open a regular file for reading. Folders, pipes and devices are refused: reading them may block or never end.

    Args:
        path: the file, or a link to one.
        what: what messages call such a file, such as "image".

    Raises:
        HairclipError: if there is no such file, or it cannot be read.
    """
    name = str(path) if str(path).strip() and str(path).isprintable() else repr(str(path))
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
            raise HairclipError(f"{name} is {kind}: give {_article(what)} {what}.")
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character in the name
        raise HairclipError(f"there is no {what} at {name}: check the path.") from None
    except OSError as error:
        raise HairclipError(f"{name} cannot be read ({error.strerror or error}): check the path.") from None


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


# ------------------------------------------------------------------------------------------ writing


@contextmanager
def open_atomic(path: str | Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing such that it holds either its old content or the whole new one.

    On Linux the bytes go to a file without a name, which takes the place of `path` when the block ends well: a process
    that is killed leaves nothing behind. Elsewhere they go to a file with a name of its own. Several processes may
    write one path at once; the last one wins.

    Args:
        path: the file to write; missing folders are made.

    Yields:
        A binary file that can be written, read and sought.

    Raises:
        HairclipError: if the file cannot be written, for example because the disk is full, even where the library
            that writes hides the system's error. `path` then keeps its old content.
    """
    path = Path(path)
    if "\0" in str(path):
        raise HairclipError(f"cannot write {str(path)!r} (its name holds a null character): choose another name.")
    partial = path.with_name(f".{secrets.token_hex(8)}{PARTIAL_SUFFIX}")
    file: _PartialFile | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _PartialFile(partial)
        yield cast(IO[bytes], file)
        file.flush()
        file.name_it(partial)
        os.replace(partial, path)
    except Exception as error:
        told = file.error if file is not None and file.error is not None else error
        if not isinstance(told, OSError):
            raise
        full = told.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "free space on the disk or choose another place" if full else "choose another place"
        raise HairclipError(f"cannot write {path} ({_explain(told, path)}): {advice}.") from None
    finally:
        if file is not None:
            file.close()
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _explain(error: OSError, path: Path) -> str:
    """Return why a file cannot be written."""
    if isinstance(error, (FileExistsError, NotADirectoryError)) and not path.parent.is_dir():
        return f"{path.parent} is not a folder"
    return error.strerror or str(error)


def write_atomic(path: str | Path, content: bytes | str) -> None:
    """Write bytes, or a text as UTF-8, to a file such that it appears whole or not at all; see `open_atomic`."""
    with open_atomic(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


class _PartialFile(io.RawIOBase):
    """A file that has no name yet where the system allows that; `error` keeps the first failure of a write."""

    def __init__(self, partial: Path) -> None:
        self.error: OSError | None = None
        self.nameless = False
        flags = os.O_RDWR | getattr(os, "O_BINARY", 0)
        if hasattr(os, "O_TMPFILE"):
            with suppress(OSError):  # not every file system knows such files
                self._handle = os.open(partial.parent, flags | os.O_TMPFILE, 0o666)
                self.nameless = True
        if not self.nameless:
            self._handle = os.open(partial, flags | os.O_CREAT | os.O_EXCL, 0o666)

    def name_it(self, partial: Path) -> None:
        """Give the file its first name; on Windows it must be closed before it can move."""
        if self.nameless:
            # A folder's handle, here without effect, makes Python call linkat, which alone follows /proc's link.
            os.link(f"/proc/self/fd/{self._handle}", partial, src_dir_fd=self._handle, follow_symlinks=True)
        self.close()

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        done = 0
        try:
            while done < len(view):  # the system may take less than all, and takes 2 GiB at most
                done += os.write(self._handle, view[done : done + 2**30])
        except OSError as error:
            self.error = self.error or error
            raise
        return done

    def readinto(self, buffer: Any) -> int:
        content = os.read(self._handle, len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._handle, offset, whence)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        os.ftruncate(self._handle, size)
        return size

    def fileno(self) -> int:
        return self._handle

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._handle)


# ------------------------------------------------------------------------------------------ digests


def digest(*parts: Any) -> str:
    """Return the SHA-256 of what the parts hold, 64 hexadecimal digits; equal content gives an equal digest.

    Args:
        parts: each a text, bytes, number, bool, None; a `Path`, of which the file's content counts and not the name;
            a tensor or an array (type, shape and numbers count); a network (class, configuration and weights count);
            a dataclass, a mapping, a list or a tuple of such.

    Raises:
        TypeError: if a part is of another type.
        OSError: if a file cannot be read.
    """
    sha = hashlib.sha256()
    for part in parts:
        _update(sha, part)
    return sha.hexdigest()


def _update(sha: Any, part: Any) -> None:
    """Feed one part to a hash, with its type and length, so that no two contents give the same bytes."""
    if part is None or isinstance(part, (bool, int, float, str)):
        _feed(sha, type(part).__name__, str(part).encode())
    elif isinstance(part, (bytes, bytearray, memoryview)):
        _feed(sha, "bytes", part)
    elif isinstance(part, Path):
        content = hashlib.sha256()
        with part.open("rb") as file:
            while block := file.read(2**20):
                content.update(block)
        _feed(sha, "file", content.digest())
    elif isinstance(part, Mapping):
        _feed(sha, "mapping", str(len(part)).encode())
        for key in sorted(part, key=str):
            _update(sha, key)
            _update(sha, part[key])
    elif isinstance(part, (list, tuple)):
        _feed(sha, "list", str(len(part)).encode())
        for item in part:
            _update(sha, item)
    elif is_dataclass(part) and not isinstance(part, type):
        _update(sha, type(part).__name__)
        _update(sha, {field.name: getattr(part, field.name) for field in fields(part)})
    elif hasattr(part, "state_dict"):
        _update(sha, [type(part).__name__, str(getattr(part, "config", None))])
        _update(sha, dict(part.state_dict()))
    elif hasattr(part, "__array__"):
        array = _as_array(part)
        _feed(sha, f"array {part.dtype} {tuple(part.shape)}", array.reshape(-1).view("u1").data)
    else:
        raise TypeError(f"a digest takes no {type(part).__name__}")


def _as_array(part: Any) -> Any:
    """Return an array whose bytes are those of a tensor or an array."""
    import numpy as np

    if not hasattr(part, "detach"):
        return np.ascontiguousarray(part)
    import torch

    # NumPy has no bfloat16: the bytes are what counts.
    return part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _feed(sha: Any, kind: str, content: Any) -> None:
    sha.update(f"{kind} {len(content)};".encode())
    sha.update(content)

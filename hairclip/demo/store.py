"""Keep what people give the page apart from each other, out of other people's reach, and no longer than an hour."""

import os
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from hairclip.demo.session import EditSession, Networks, Refusal

__all__ = ["LIFETIME", "PrivateFolder", "SessionStore"]

LIFETIME = 3600.0
"""Seconds after which an unused session, and any file, is deleted."""
_MOST_SESSIONS = 100
_PREFIX = "hairclip_demo_"


class SessionStore:
    """The sessions of a page, each under a secret key that only its browser's connection has.

    Args:
        networks: shared by all sessions.
        clock: returns seconds.
    """

    def __init__(self, networks: Networks, clock: Callable[[], float] = time.monotonic) -> None:
        self.networks = networks
        self._clock = clock
        self._sessions: OrderedDict[str, tuple[EditSession, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def make(self) -> tuple[str, EditSession]:
        """Return a new key and its session. The session that was unused longest makes room for it."""
        key, session = secrets.token_urlsafe(24), EditSession(self.networks)
        with self._lock:
            self._sessions[key] = session, self._clock()
            if len(self._sessions) > _MOST_SESSIONS:
                self._delete(next(iter(self._sessions)))
        return key, session

    def find(self, key: str) -> EditSession:
        """Return the session of a key.

        Raises:
            Refusal: if there is none, or no longer.
        """
        self.sweep()
        with self._lock:
            if key not in self._sessions:
                raise Refusal("expired" if key else "no_photo")
            session, _ = self._sessions.pop(key)
            self._sessions[key] = session, self._clock()
        return session

    def forget(self, key: str) -> None:
        """Delete a session and the file of its photo."""
        with self._lock:
            self._delete(key)

    def sweep(self) -> None:
        """Delete sessions that were not used for `LIFETIME`."""
        with self._lock:
            for key, (_, used) in list(self._sessions.items()):
                if self._clock() - used > LIFETIME:
                    self._delete(key)

    def _delete(self, key: str) -> None:
        session, _ = self._sessions.pop(key, (None, 0.0))
        if session is not None and session.path is not None:
            session.path.unlink(missing_ok=True)


class PrivateFolder:
    """A folder that only this user can read. It goes with the server, and its files go after `LIFETIME`.

    Folders of servers that were killed are deleted, too.
    """

    def __init__(self) -> None:
        _sweep_dead_servers()
        self.path = Path(mkdtemp(prefix=f"{_PREFIX}{os.getpid()}_"))

    def new(self) -> Path:
        """Return a new folder in it, with a name that nobody can guess."""
        path = self.path / secrets.token_urlsafe(24)
        path.mkdir(mode=0o700)
        return path

    def sweep(self, now: float | None = None) -> None:
        """Delete files older than `LIFETIME`, and folders that are empty.

        Args:
            now: seconds since 1970; None for the time that it is.
        """
        now = time.time() if now is None else now
        for path in sorted(self.path.rglob("*"), reverse=True):
            try:
                if path.is_dir():
                    if now - path.stat().st_mtime > LIFETIME:
                        path.rmdir()
                elif now - path.lstat().st_mtime > LIFETIME:
                    path.unlink()
            except OSError:  # it is not empty, or it is gone
                continue

    def delete(self) -> None:
        """Delete the folder with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def _sweep_dead_servers() -> None:
    """Delete the folders that servers of this user left behind when they were killed."""
    for path in Path(gettempdir()).glob(f"{_PREFIX}*"):
        process = path.name.removeprefix(_PREFIX).partition("_")[0]
        if process.isdigit() and path.is_dir() and path.stat().st_uid == os.getuid() and not _is_running(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

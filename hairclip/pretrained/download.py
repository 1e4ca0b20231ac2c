"""Return the files of weights from the cache. Fetch, verify and store a file that is missing.

A file gets its final name only after its size and sha256 are right. Beside it, "NAME.json" records the verification, so
that a file is hashed once, and a file put there by hand is hashed before its first use. An unfinished file stays for
the next attempt as "NAME.partial". While one process fetches a file, others wait for its lock.

Environment: HAIRCLIP_HOME (default "~/.cache/hairclip"), HAIRCLIP_OFFLINE=1 or HF_HUB_OFFLINE=1 to never use the
network.
"""

import glob
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hairclip.common.errors import HairclipError
from hairclip.common.files import home_folder, open_atomic, write_atomic
from hairclip.pretrained.registry import Drive, Origin, Weight, megabytes
from hairclip.pretrained.transfer import BrokenOff, Unavailable, host, transfer, unresolved

RETRIES = 3
"""Number of failed attempts in a row, without a new byte, after which the next source is tried."""
PAUSE = 1.0
"""Seconds before the second attempt; twice as many before each further one."""


def weights_folder() -> Path:
    """Return the folder of fetched weights."""
    return home_folder() / "weights"


def weight_path(weight: Weight) -> Path:
    """Return the path of a weight in the cache, whether it is there or not."""
    return weights_folder() / weight.file


def is_offline() -> bool:
    """Return whether the user forbids the network."""
    forbidding = ("1", "true", "yes", "on")
    return any(os.environ.get(name, "").lower() in forbidding for name in ("HAIRCLIP_OFFLINE", "HF_HUB_OFFLINE"))


def obtain(weight: Weight) -> Path:
    """Return the verified file of a weight; fetch it if it is absent.

    Raises:
        HairclipError: if it cannot be fetched or is not the right file.
    """
    path = weight_path(weight)
    if path.is_file():
        return _verified(weight, path)
    if is_offline():
        raise HairclipError(
            f"{path} is missing, and offline mode forbids to fetch it: put {weight.file} there, or unset "
            "HAIRCLIP_OFFLINE and HF_HUB_OFFLINE."
        )
    with _locked(weight, path):
        if path.is_file():  # another process has fetched it meanwhile
            return _verified(weight, path)
        _say(f"{weight.name}: {weight.about}, {megabytes(weight.size)}, to {path}")
        _say(f"{weight.name}: license of these weights: {weight.license}")
        _fetch(weight, path)
    return path


def adopt(weight: Weight, given: Path) -> Path:
    """Copy a file that was fetched by hand into the cache, if it is the right one, and return its path there."""
    path = weight_path(weight)
    if not given.is_file():
        raise HairclipError(f"there is no file {given}: give the {weight.file} that you have fetched.")
    with _locked(weight, path):
        if path.exists() and path.samefile(given):
            return _verified(weight, path)
        try:
            digest = _sha256(given)
            if problem := _problem(weight, path, given.stat().st_size, digest):
                raise HairclipError(f"{given} is not {weight.name}: {problem}: fetch it again.")
            with given.open("rb") as source, open_atomic(path) as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
        except OSError as error:
            raise HairclipError(f"cannot read {given} ({error.strerror}): check its permissions.") from None
        _record(weight, path, digest, source=given.name)
    return path


def _fetch(weight: Weight, path: Path) -> None:
    """Try the sources in order until one gives the right file; the caller holds the lock."""
    offline = unresolved(host(source) for source in weight.sources)
    failures: list[str] = []
    for source in weight.sources:
        partial = _partial(weight, path, source)
        try:
            if host(source) in offline:
                raise Unavailable("its name cannot be resolved")
            _say(f"{weight.name}: from {source}")
            digest = _fetch_from(source, weight, path, partial)
        except Unavailable as reason:
            failures.append(f"{host(source)}: {reason}")
            _say(f"{weight.name}: {source}: {reason}")
            continue
        partial.replace(path)
        for left in path.parent.glob(f"{glob.escape(path.name)}*.partial*"):
            left.unlink(missing_ok=True)
        _record(weight, path, digest, source=str(source))
        return
    advice = "connect to a network" if all(host(source) in offline for source in weight.sources) else "try again"
    raise HairclipError(
        f"cannot fetch {weight.name} ({'; '.join(failures)}): {advice}, or fetch {weight.sources[0].page} elsewhere "
        f"and run python -m hairclip download {weight.name} --from-file PATH."
    )


def _partial(weight: Weight, path: Path, source: Origin) -> Path:
    """Return the partial file for a source.

    Mirrors continue each other's part only where a sha256 tells whether the whole is right. Google Drive's part is
    gdown's own.
    """
    shared = weight.sha256 is not None and not isinstance(source, Drive)
    own = "" if shared else f".{hashlib.sha256(str(source).encode()).hexdigest()[:8]}"
    return path.with_name(f"{path.name}{own}.partial")


def _fetch_from(source: Origin, weight: Weight, path: Path, partial: Path) -> str:
    """Fill the partial file from one source and return its sha256, or raise `Unavailable`."""
    continued = partial.is_file()
    while True:
        _transfer_patiently(source, weight, partial)
        digest = _sha256(partial)
        problem = _problem(weight, path, partial.stat().st_size, digest)
        if problem is None:
            return digest
        partial.unlink()
        if not continued:
            raise Unavailable(problem)
        continued = False  # an earlier part may be wrong: once more, from the beginning


def _transfer_patiently(source: Origin, weight: Weight, partial: Path) -> None:
    """Continue after broken connections as long as new bytes come."""
    failed = 0
    while True:
        before = _size(partial)
        try:
            transfer(source, partial, size=weight.size)
            return
        except BrokenOff as reason:
            failed = 0 if _size(partial) > before else failed + 1
            if failed >= RETRIES:
                raise Unavailable(f"{reason}, after {_size(partial):,} bytes") from None
            time.sleep(PAUSE * 2 ** max(failed - 1, 0))


# ---------------------------------------------------------------------------------------------- verifying


def _verified(weight: Weight, path: Path) -> Path:
    """Return a file of the cache, after hashing it unless its record says that this was done."""
    status, record = path.stat(), read_record(path)
    known = record.get("size") == status.st_size and record.get("mtime_ns") == status.st_mtime_ns
    if known and weight.sha256 in (None, record.get("sha256")):
        return path
    digest = _sha256(path)
    if problem := _problem(weight, path, status.st_size, digest):
        raise HairclipError(
            f"{path} is not {weight.name}: {problem}: remove it, then run python -m hairclip download {weight.name}."
        )
    _record(weight, path, digest, source="put there by hand")
    return path


def _problem(weight: Weight, path: Path, size: int, digest: str) -> str | None:
    """Return in words what is wrong with a file, or None if it is right."""
    if size == 0:
        return "it is empty"
    expected = weight.sha256 or read_record(path).get("sha256")
    if weight.size is not None and size != weight.size:
        return f"it has {size:,} bytes in place of {weight.size:,}"
    if expected is not None and digest != expected:
        known = "" if weight.sha256 else f", which {_record_path(path).name} has from the first fetch"
        return f"its sha256 is {digest} in place of {expected}{known}"
    return None


def read_record(path: Path) -> dict[str, Any]:
    """Return the record of a file's verification: sha256, size, mtime_ns and source.

    The record is empty if its file is missing or damaged. The weight file is then hashed again.
    """
    try:
        record = json.loads(_record_path(path).read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError):
        return {}
    whole = isinstance(record, dict) and re.fullmatch("[0-9a-f]{64}", str(record.get("sha256"))) is not None
    return record if whole else {}


def _record(weight: Weight, path: Path, digest: str, *, source: str) -> None:
    if weight.sha256 is None and "sha256" not in read_record(path):
        _say(f"{weight.name}: no sha256 is known for this file; recorded on first use: {digest}")
    status = path.stat()
    record = {"sha256": digest, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "source": source}
    with suppress(HairclipError):  # in a cache that is shared read-only, the file is hashed again next time
        write_atomic(_record_path(path), json.dumps(record, indent=1))


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _sha256(path: Path) -> str:
    import pooch

    return str(pooch.file_hash(str(path), alg="sha256"))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


# ---------------------------------------------------------------------------------------------- one at a time


@contextmanager
def _locked(weight: Weight, path: Path) -> Iterator[None]:
    """Make the folder and hold the lock of this file; wait while another process has it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _say(f"{weight.name}: another process is fetching it; waiting")
            lock.acquire()
    except OSError as error:
        raise HairclipError(
            f"cannot write in {path.parent} ({error.strerror}): set HAIRCLIP_HOME to a folder of yours."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

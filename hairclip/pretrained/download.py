"""Weights by name: in the cache already, or fetched, verified and put there.

A file gets its final name only after its size and sha256 are right; beside it, ``NAME.json`` records what was verified,
so that a file is hashed once and one put there by hand is hashed before its first use. An unfinished file stays as
``NAME.partial`` for the next attempt. One process fetches while others wait for its lock.

Environment: ``HAIRCLIP_HOME`` (default ``~/.cache/hairclip``), ``HAIRCLIP_OFFLINE=1`` or ``HF_HUB_OFFLINE=1`` to never
use the network.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hairclip.common.errors import HairclipError
from hairclip.common.files import home_folder
from hairclip.pretrained.registry import Origin, Weight, megabytes
from hairclip.pretrained.transfer import BrokenOff, Unavailable, discard, transfer

RETRIES = 3
"""Attempts in a row that may bring nothing new before the next source is tried."""
PAUSE = 1.0
"""Seconds before the first of them; twice as many before each further one."""


def weights_folder() -> Path:
    """Where fetched weights are kept."""
    return home_folder() / "weights"


def weight_path(weight: Weight) -> Path:
    """Where a weight is, or would be."""
    return weights_folder() / weight.file


def is_offline() -> bool:
    """Whether the user forbids the network."""
    forbidding = ("1", "true", "yes", "on")
    return any(os.environ.get(name, "").lower() in forbidding for name in ("HAIRCLIP_OFFLINE", "HF_HUB_OFFLINE"))


def obtain(weight: Weight) -> Path:
    """The verified file of a weight, fetched if it is absent."""
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
        _say(f"{weight.name}: licence of these weights: {weight.licence}")
        _fetch(weight, path)
    return path


def adopt(weight: Weight, given: Path) -> Path:
    """Take a file that was fetched by hand: a verified copy of it in the cache."""
    path = weight_path(weight)
    if not given.is_file():
        raise HairclipError(f"there is no file {given}: give the {weight.file} that you have fetched.")
    with _locked(weight, path):
        if path.exists() and path.samefile(given):
            return _verified(weight, path)
        copy = path.with_name(f".{path.name}.copy")
        try:
            shutil.copyfile(given, copy)
            digest = _sha256(copy)
            if problem := _problem(weight, path, copy.stat().st_size, digest):
                raise HairclipError(f"{given} is not {weight.name}: {problem}: fetch it again.")
            copy.replace(path)
        except OSError as error:
            raise HairclipError(f"cannot copy {given} to {path} ({error.strerror}): make room or check both.") from None
        finally:
            copy.unlink(missing_ok=True)
        _record(weight, path, digest, source=given.name)
    return path


def _fetch(weight: Weight, path: Path) -> None:
    """Try the sources in order until one gives the right file; called with the lock held."""
    partial = path.with_name(f"{path.name}.partial")
    failures: list[str] = []
    for source in weight.sources:
        _say(f"{weight.name}: from {source}")
        try:
            digest = _fetch_from(source, weight, path, partial)
        except Unavailable as reason:
            failures.append(f"{source}: {reason}")
            _say(f"{weight.name}: {failures[-1]}")
            continue
        partial.replace(path)
        discard(partial)
        _record(weight, path, digest, source=str(source))
        return
    pages = " or ".join(source.page for source in weight.sources)
    raise HairclipError(
        f"cannot fetch {weight.name} ({'; '.join(failures)}): run the command again, or fetch {pages} by hand and run "
        f"python -m hairclip download {weight.name} --from-file PATH."
    )


def _fetch_from(source: Origin, weight: Weight, path: Path, partial: Path) -> str:
    """Fill the partial file from one source and verify it; the sha256."""
    continued = partial.is_file()
    while True:
        _transfer_patiently(source, weight, partial)
        digest = _sha256(partial)
        problem = _problem(weight, path, partial.stat().st_size, digest)
        if problem is None:
            return digest
        discard(partial)
        if not continued:
            raise Unavailable(problem)
        continued = False  # an earlier part may be to blame: once more, from the beginning


def _transfer_patiently(source: Origin, weight: Weight, partial: Path) -> None:
    """Go on after broken connections for as long as something new comes."""
    failed = 0
    while True:
        before = _size(partial)
        try:
            transfer(source, partial, size=weight.size, any_origin=weight.sha256 is not None)
            return
        except BrokenOff as reason:
            failed = 0 if _size(partial) > before else failed + 1
            if failed >= RETRIES:
                raise Unavailable(str(reason)) from None
            time.sleep(PAUSE * 2 ** max(failed - 1, 0))


# ---------------------------------------------------------------------------------------------- verifying


def _verified(weight: Weight, path: Path) -> Path:
    """A file in the cache, hashed unless its record says that this was done."""
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
    """What is wrong with a file, None where nothing is."""
    if size == 0:
        return "it is empty"
    expected = weight.sha256 or read_record(path).get("sha256")
    if weight.size is not None and size != weight.size:
        return f"it has {size:,} bytes in place of {weight.size:,}"
    if expected is not None and digest != expected:
        known = "" if weight.sha256 else f", which {_record_path(path)} has from the first fetch"
        return f"its sha256 is {digest} in place of {expected}{known}"
    return None


def read_record(path: Path) -> dict[str, Any]:
    """What was recorded of a file when it was verified: sha256, size, mtime_ns, source; empty where nothing was."""
    try:
        record = json.loads(_record_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _record(weight: Weight, path: Path, digest: str, *, source: str) -> None:
    if weight.sha256 is None and "sha256" not in read_record(path):
        _say(f"{weight.name}: no sha256 is known for this file; recorded on first use: {digest}")
    status = path.stat()
    record = {"sha256": digest, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "source": source}
    with suppress(OSError):  # a cache shared read-only: the file is verified, it will be hashed again
        _record_path(path).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


# ---------------------------------------------------------------------------------------------- one at a time


@contextmanager
def _locked(weight: Weight, path: Path) -> Iterator[None]:
    """The folder, and the right to write this file in it; waits for another process that has it."""
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

"""Fetch one file from one source into a partial file.

pooch fetches from plain addresses and from the Hugging Face Hub, gdown from Google Drive. Both continue a partial file.
huggingface_hub's own download would discard an unfinished file. Here it only gives the address and the login.
"""

import re
import shutil
import socket
import threading
import time
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from hairclip.common.errors import HairclipError
from hairclip.common.progress import progress_bar
from hairclip.pretrained.registry import Drive, HuggingFace, Origin, megabytes

TIMEOUT = (5.0, 30.0)
"""Seconds to wait for a connection, and seconds to wait for each answer."""
RESOLVING = 2.0
"""Seconds within which the name of a host must be resolved."""
HUGGING_FACE: str | None = None
"""Another endpoint of the Hub; None takes huggingface_hub's own, which the environment variable HF_ENDPOINT sets."""
_CHUNK = 1 << 16  # bytes; of a connection that breaks, an unfinished chunk is lost
_REASON = 80  # how many letters of a library's reason an error shows


class Unavailable(Exception):
    """This source does not give the file; another one may."""


class BrokenOff(Exception):
    """The connection ended early: the partial file is kept, and the same source may continue it."""


def transfer(origin: Origin, partial: Path, *, size: int | None) -> None:
    """Fetch what a partial file lacks. The caller checks the content.

    Args:
        origin: the source.
        partial: the file to fill.
        size: bytes of the whole file, None if unknown. A source that offers another size is refused at once.

    Raises:
        Unavailable: if another source must be tried.
        BrokenOff: if the same source can be tried again.
        HairclipError: if the disk is full or cannot be written.
    """
    try:
        if isinstance(origin, Drive):
            _from_drive(origin, partial, size)
        else:
            with partial.open("ab") as file:
                _from_web(origin, file, partial, size)
    except OSError as error:
        raise HairclipError(
            f"cannot write {partial} ({error.strerror or error}): make room or set HAIRCLIP_HOME to another disk, then "
            "run the command again to continue."
        ) from None
    finally:
        if _is_empty(partial):
            partial.unlink()


def host(origin: Origin) -> str:
    """Return the name of the host that has the file."""
    return urlsplit(_address(origin)).hostname or ""


def unresolved(hosts: Iterable[str]) -> set[str]:
    """Return the hosts whose names cannot be resolved, as on a machine without a network.

    All names are resolved at once, because a dead name server delays each answer by many seconds. Behind a proxy the
    set is empty, because the proxy resolves the names.
    """
    hosts = set(hosts)
    known: set[str] = set()

    def resolve(name: str) -> None:
        with suppress(OSError):
            socket.getaddrinfo(name, 443)
            known.add(name)

    if urllib.request.getproxies():
        return set()
    threads = [threading.Thread(target=resolve, args=(name,), daemon=True) for name in hosts]
    deadline = time.monotonic() + RESOLVING
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return hosts - known


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _address(origin: Origin) -> str:
    if not isinstance(origin, HuggingFace):
        return origin.page
    from huggingface_hub import hf_hub_url

    return hf_hub_url(origin.repo, origin.file, endpoint=HUGGING_FACE)


def _from_web(origin: Origin, file: IO[bytes], partial: Path, size: int | None) -> None:
    import pooch
    import requests

    if size is not None and file.tell() > size:
        file.truncate(0)
    start = file.seek(0, 2)
    if start == size:
        return

    answers: list[Any] = []

    def check(response: Any, **_: Any) -> None:
        """Look at the head of the answer before its body is written."""
        answers.append(response)
        if response.status_code not in (200, 206):
            return
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise Unavailable("it shows a web page in place of the file")
        if response.status_code == 200:
            if start:  # the server ignores ranges and sends the whole file
                file.truncate(0)
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise Unavailable("it sends another part of the file than asked for")
        length = response.headers.get("Content-Length", "")
        if length.isdecimal():
            _check_offer(file.seek(0, 2) + int(length), size)
            _check_room(int(length), partial.parent)

    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {}), **_login(origin)}
    # pooch sets the bar's total itself, but takes a bar without one for no bar.
    with progress_bar(label=partial.name, unit="B", unit_scale=True, total=size or 1) as bar:
        fetch = pooch.HTTPDownloader(
            bar, chunk_size=_CHUNK, timeout=TIMEOUT, headers=headers, hooks={"response": check}
        )
        try:
            fetch(_address(origin), file, None)
        except requests.HTTPError:
            answer = answers[-1]
            if answer.status_code == 416:  # the part is as long as the file, or longer
                if answer.headers.get("Content-Range") == f"bytes */{start}":
                    return
                file.truncate(0)
            busy = answer.status_code in (416, 429) or answer.status_code >= 500
            raise (BrokenOff if busy else Unavailable)(f"HTTP {answer.status_code} {answer.reason}") from None
        except requests.RequestException as error:
            if file.seek(0, 2) > start or isinstance(error, requests.exceptions.ChunkedEncodingError):
                raise BrokenOff("the connection broke off") from None
            raise Unavailable(_reason(error)) from None
        finally:
            for answer in answers:
                answer.close()


def _login(origin: Origin) -> dict[str, str]:
    if not isinstance(origin, HuggingFace):
        return {}
    from huggingface_hub.utils import build_hf_headers

    return {str(name): str(value) for name, value in build_hf_headers(library_name="hairclip").items()}


def _from_drive(origin: Drive, partial: Path, size: int | None) -> None:
    import gdown
    import requests

    with progress_bar(label=partial.name, unit="B", unit_scale=True) as bar:

        def advance(done: int, total: int | None) -> None:
            if bar.total is None and total is not None:
                _check_offer(total, size)
                _check_room(total - done, partial.parent)
                bar.total = total
            bar.update(done - bar.n)

        try:
            gdown.download(
                id=origin.id,
                output=str(partial),
                quiet=True,
                resume=True,
                retries=3,
                timeout=TIMEOUT,
                use_cookies=False,
                progress=advance,
            )
        except (HairclipError, Unavailable):
            raise
        except requests.RequestException as error:
            raise Unavailable(_reason(error)) from None
        except OSError:
            raise
        except Exception as error:  # gdown's own errors, and those of pages that it does not know
            raise Unavailable(_reason(error)) from None


def _check_offer(total: int, size: int | None) -> None:
    if size is not None and total != size:
        raise Unavailable(f"it offers {total:,} bytes in place of {size:,}")


def _check_room(missing: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < missing:
        raise HairclipError(
            f"{folder} has room for {megabytes(free)}, but {megabytes(missing)} are to be fetched: make room or set "
            "HAIRCLIP_HOME to another disk, then run the command again."
        )


def _reason(error: BaseException) -> str:
    """Return what a library's error says, without its lists of objects."""
    text = " ".join(str(error).replace("Failed to retrieve file url:", "").split())
    system = re.search(r"\[Errno -?\d+\] ([^')\"]+)", text)
    return (system[1] if system else text[:_REASON].rstrip(".: ")) or type(error).__name__

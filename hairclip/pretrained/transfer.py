"""One file from one source into a partial file, going on where an earlier attempt stopped.

Every source comes down to a plain HTTP request with a range, so that the mirrors of a file can continue each other's
work. Where Hugging Face keeps a file is asked through huggingface_hub; the bytes are not, for it throws an unfinished
file away and its retries keep the next mirror waiting.
"""

import http.client
import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hairclip.common.errors import HairclipError
from hairclip.common.progress import progress_bar
from hairclip.pretrained.registry import Drive, HuggingFace, Origin, megabytes

TIMEOUT = 30.0
"""Seconds without an answer after which a connection counts as broken."""
HUGGING_FACE: str | None = None
"""Another endpoint of the Hub; None takes huggingface_hub's, which heeds HF_ENDPOINT."""
DRIVE = "https://drive.google.com/uc"
_CHUNK = 1 << 20
_HEADERS = {"User-Agent": "hairclip"}


class Unavailable(Exception):
    """This source does not give the file; another one may."""


class BrokenOff(Exception):
    """The connection ended early: what came is kept, and the same source may go on."""


def transfer(origin: Origin, partial: Path, *, size: int | None, any_origin: bool) -> None:
    """Fetch what `partial` lacks; returning means that the source has given all it has.

    Args:
        origin: where from.
        partial: the file to fill; beside it ``NAME.origin`` says where its content came from.
        size: bytes of the whole file if known; a source that offers another size is refused at once.
        any_origin: whether to go on from what another source gave; only right where a sha256 will tell.

    Raises:
        Unavailable: try another source.
        BrokenOff: try again.
        HairclipError: the disk does not take it.
    """
    notes = partial.with_name(f"{partial.name}.origin")
    before = _read_notes(notes)
    same = before.get("origin") == str(origin)
    offset = partial.stat().st_size if partial.is_file() and (same or any_origin) else 0
    if size is not None and offset == size:
        return
    if size is not None and offset > size:
        offset = 0
    headers = {}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if same and before.get("validator"):
            headers["If-Range"] = before["validator"]
    with _open(origin, headers) as response:
        if response.status == 416:  # the range begins at the end of the file, or behind it
            if _total(response, 0) == offset:
                return
            partial.unlink(missing_ok=True)
            raise BrokenOff("what was fetched before does not fit")
        offset = _start(response, offset)
        total = _total(response, offset)
        if size is not None and total not in (None, size):
            raise Unavailable(f"it offers {total:,} bytes in place of {size:,}")
        total = size if total is None else total
        try:
            _room_for(None if total is None else total - offset, partial.parent)
            notes.write_text(json.dumps({"origin": str(origin), "validator": _validator(response)}), encoding="utf-8")
            _write(response, partial, offset, total)
        except OSError as error:
            raise HairclipError(
                f"cannot write {partial} ({error.strerror}): make room or set HAIRCLIP_HOME to another disk, then run "
                "the command again to go on."
            ) from None
    written = partial.stat().st_size
    if total is not None and written < total:
        raise BrokenOff(f"the connection ended after {written:,} of {total:,} bytes")


def discard(partial: Path) -> None:
    """Throw a partial file away."""
    partial.unlink(missing_ok=True)
    partial.with_name(f"{partial.name}.origin").unlink(missing_ok=True)


def _write(response: Any, partial: Path, offset: int, total: int | None) -> None:
    bar = progress_bar(
        label=partial.name.removesuffix(".partial"), initial=offset, total=total, unit="B", unit_scale=True
    )
    with bar, partial.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        for chunk in _chunks(response):
            file.write(chunk)
            bar.update(len(chunk))


def _chunks(response: Any) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise BrokenOff(_reason(error)) from None
        if not chunk:
            return
        yield chunk


def _room_for(missing: int | None, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if missing is not None and free < missing:
        raise HairclipError(
            f"{folder} has room for {megabytes(free)}, but {megabytes(missing)} are to be fetched: make room or set "
            "HAIRCLIP_HOME to another disk, then run the command again."
        )


# ---------------------------------------------------------------------------------------------- requests


def _address(origin: Origin) -> str:
    if isinstance(origin, Drive):
        return f"{DRIVE}?{urllib.parse.urlencode({'export': 'download', 'id': origin.id})}"
    if not isinstance(origin, HuggingFace):
        return origin.page
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        url = hf_hub_url(origin.repo, origin.file, endpoint=HUGGING_FACE)
        return get_hf_file_metadata(url, timeout=TIMEOUT).location
    except HfHubHTTPError as error:
        raise Unavailable(_reason(error)) from None
    except Exception as error:  # which HTTP client raises depends on the version; it may reuse a closed connection
        raise BrokenOff(_reason(error)) from None


def _open(origin: Origin, headers: dict[str, str]) -> Any:
    """The answer to a request for the file of `origin`, never a web page."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    url = _address(origin)
    if isinstance(origin, Drive):
        url = _confirmed(opener, url)
    response = _request(opener, url, headers)
    if _is_page(response):
        raise _unwanted(_read_page(response))
    return response


def _confirmed(opener: urllib.request.OpenerDirector, url: str) -> str:
    """Where Google Drive has the file itself: for large ones it first asks whether to go on without a virus scan."""
    response = _request(opener, url, {})
    if not _is_page(response):
        response.close()
        return str(response.url)
    page = _read_page(response)
    if page.action is None:
        raise _unwanted(page)
    return f"{urllib.parse.urljoin(response.url, page.action)}?{urllib.parse.urlencode(page.fields)}"


def _unwanted(page: "_Page") -> Unavailable:
    title = " ".join(page.title.split())
    return Unavailable(f"it shows a web page in place of the file{f' ({title})' if title else ''}")


def _request(opener: urllib.request.OpenerDirector, url: str, headers: dict[str, str]) -> Any:
    try:
        request = urllib.request.Request(url, headers={**_HEADERS, **headers})
        return opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return error  # itself a response
        error.close()
        busy = error.code >= 500 or error.code == 429
        raise (BrokenOff if busy else Unavailable)(f"HTTP {error.code} {error.reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unavailable(_reason(error)) from None


def _read_page(response: Any) -> "_Page":
    page = _Page()
    with response:
        page.feed(next(_chunks(response), b"").decode("utf-8", errors="replace"))
    return page


def _is_page(response: Any) -> bool:
    return response.status != 416 and response.headers.get_content_type() == "text/html"


class _Page(HTMLParser):
    """The title of a page, and action and fields of Google Drive's form ``download-form``."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "title" or (tag == "form" and given.get("id") == "download-form"):
            self._inside = tag
        if tag == "form" and self._inside == "form":
            self.action = given.get("action", "")
        elif tag == "input" and self._inside == "form" and given.get("name"):
            self.fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data


# ---------------------------------------------------------------------------------------------- answers


def _start(response: Any, offset: int) -> int:
    """Where in the file the answer begins: a server may ignore the range and send everything."""
    if response.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != offset:
        raise Unavailable("it sends another part of the file than asked for")
    return offset


def _total(response: Any, offset: int) -> int | None:
    """Bytes of the whole file, as the answer tells them."""
    found = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    if found is not None:
        return int(found[1])
    length = response.headers.get("Content-Length", "")
    return offset + int(length) if length.isdecimal() and response.status != 416 else None


def _validator(response: Any) -> str | None:
    """What names this state of the file at its source; weak ones do not hold for ranges."""
    tag = response.headers.get("ETag")
    return None if tag is None or tag.startswith("W/") else str(tag)


def _read_notes(path: Path) -> dict[str, Any]:
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", error)
    text = str(inner).strip().split("\n")[0].rstrip(".")
    return text or type(error).__name__

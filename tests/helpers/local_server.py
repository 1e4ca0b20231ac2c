"""A web server on 127.0.0.1 that behaves as a test tells it: ranges, cut connections, redirects, pages, errors."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Reply:
    """What a path answers with.

    Attributes:
        body: the whole file.
        status: other than 200 to fail.
        kind: the content type.
        cuts: how many bytes each of the first requests sends before the connection ends; later ones send all.
        ranges: whether ranges are heeded.
        headers: further headers.
        gate: if given, the answer waits for it half-way.
    """

    body: bytes = b""
    status: int = 200
    kind: str = "application/octet-stream"
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    gate: threading.Event | None = None


@dataclass
class Server:
    """Replies by path, and the requests seen."""

    url: str
    replies: dict[str, Reply] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def gets(self, path: str) -> list[dict[str, str]]:
        """Headers of the GET requests for a path, in order."""
        return [headers for method, target, headers in self.seen if method == "GET" and urlsplit(target).path == path]


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            self.close_connection = True
            headers = dict(self.headers.items())
            server.seen.append((self.command, self.path, headers))
            address = urlsplit(self.path)
            reply = server.replies.get(address.path, Reply(b"not found", status=404))
            if callable(reply):
                reply = reply(parse_qs(address.query), headers)
            status, body, more = reply.status, reply.body, dict(reply.headers)
            wanted = headers.get("Range")
            unchanged = headers.get("If-Range") in (None, more.get("ETag"))
            if status == 200 and reply.ranges and wanted and unchanged:
                first = int(wanted.removeprefix("bytes=").removesuffix("-"))
                more["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
                status, body = 206, body[first:]
                if not body:
                    status, more["Content-Range"] = 416, f"bytes */{len(reply.body)}"
            self.send_response(status)
            for name, value in {
                "Content-Type": reply.kind,
                "Content-Length": str(len(body)),
                "Connection": "close",
                **more,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if not with_body:
                return
            if reply.cuts and status < 300:
                body = body[: reply.cuts.pop(0)]
            half = len(body) // 2 if reply.gate else 0
            self.wfile.write(body[:half])
            if reply.gate:
                reply.gate.wait(60)
            self.wfile.write(body[half:])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()

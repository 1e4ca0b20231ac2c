"""Serve the page: on this computer alone, without a word to any other, and with a private folder for photos."""

import ipaddress
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from hairclip.common.errors import HairclipError
from hairclip.demo.page import build_page, read_styles
from hairclip.demo.session import Networks
from hairclip.demo.store import PrivateFolder, SessionStore
from hairclip.editing.bundle_choice import AUTO

__all__ = ["Server", "start"]

_MOST_BYTES = 2**30
"""Largest file that is received. The page tells of smaller ones that they are too large."""
_MOST_WAITING = 50
_SWEEP_EVERY = 60.0  # seconds

_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",  # the page's toolkit compiles its templates
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "form-action 'self'",
    ]
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
_FORBIDDEN = ("file=http", "file/http", "proxy=", "/deep_link", "/monitoring", "/vibe")
"""Parts of addresses of the toolkit by which the server would fetch other pages, or keep what people did."""

Message = dict[str, Any]
App = Callable[[Message, Callable[..., Any], Callable[..., Any]], Awaitable[None]]


class _Guard:
    """Tells the browser to ask no other server for anything, and refuses addresses that nobody needs."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = list(_HEADERS)
                if "/file=" in scope.get("path", ""):
                    added.append((b"cache-control", b"no-store"))
                names = {name for name, _ in added}
                kept = [(name, value) for name, value in message.get("headers", []) if name.lower() not in names]
                message = {**message, "headers": [*kept, *added]}
            await send(message)

        if scope["type"] == "http" and any(part in scope["path"] for part in _FORBIDDEN):
            await send_guarded({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"This address is not served."})
            return
        await self.app(scope, receive, send_guarded)


class Server:
    """A page that is being served. As a context manager it closes at the end.

    Attributes:
        url: the page's address.
    """

    def __init__(
        self, blocks: gr.Blocks, url: str, store: SessionStore, folder: PrivateFolder, warming: threading.Thread | None
    ) -> None:
        self.url = url
        self._blocks = blocks
        self._store = store
        self._folder = folder
        self._warming = warming
        self._closed = threading.Event()
        threading.Thread(target=self._sweep, daemon=True).start()

    def _sweep(self) -> None:
        while not self._closed.wait(_SWEEP_EVERY):
            self._store.sweep()
            self._folder.sweep()

    def wait(self) -> None:
        """Return when the server is closed."""
        self._closed.wait()

    def close(self) -> None:
        """Stop serving, and delete all photos."""
        if not self._closed.is_set():
            self._closed.set()
            self._blocks.close(verbose=False)
            self._folder.delete()
            if self._warming is not None:
                self._warming.join()  # Python aborts where a thread computes in PyTorch at its end

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start(
    port: int = 7860,
    host: str = "127.0.0.1",
    *,
    bundle: str = AUTO,
    device: str | None = None,
    warm_up: bool = True,
) -> Server:
    """Serve the page and return while it is served.

    Args:
        port: 0 takes a free one.
        host: the address to listen at; the default is reached from this computer alone.
        bundle: see `hairclip.demo.session.Networks`.
        device: see `hairclip.editing.HairEditor.from_bundle`.
        warm_up: load the networks at once, while the page is already there.

    Raises:
        HairclipError: if there is no such bundle or address, or another program uses the port.
    """
    port = _claim(host, port)
    networks = Networks(bundle, device=device)
    _ = networks.editor  # a wrong name of a bundle is told before the page is there
    folder = PrivateFolder()
    os.environ["GRADIO_TEMP_DIR"] = os.environ["GRADIO_EXAMPLES_CACHE"] = str(folder.path)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    store = SessionStore(networks)
    blocks = build_page(store, folder)
    blocks.queue(max_size=_MOST_WAITING, default_concurrency_limit=4)
    blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        show_error=False,
        inbrowser=False,
        allowed_paths=[],
        max_file_size=_MOST_BYTES,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        theme=_theme(),
        css=read_styles(),
        app_kwargs={"middleware": [Middleware(_Guard)], "docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    warming = threading.Thread(target=networks.warm_up, daemon=True) if warm_up else None
    if warming is not None:
        warming.start()
    return Server(blocks, f"http://{_shown_host(host)}:{port}/", store, folder, warming)


def _theme() -> gr.themes.Base:
    """Return the page's look, with fonts that are on every computer: others would be fetched from a server."""
    fonts = (
        "system-ui",
        "-apple-system",
        "Segoe UI",
        "Noto Sans TC",
        "PingFang TC",
        "Microsoft JhengHei",
        "sans-serif",
    )
    return gr.themes.Soft(font=fonts, font_mono=("ui-monospace", "monospace"))


def _claim(host: str, port: int) -> int:
    """Return the port, or a free one for 0.

    Raises:
        HairclipError: if nothing can listen there.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            return int(listener.getsockname()[1])
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise HairclipError(f"the page cannot listen at {host}, port {port} ({reason}): choose another port.") from None


def _shown_host(host: str) -> str:
    """Return a host as an address of a browser has it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1"
    return f"[{host}]" if address.version == 6 else host

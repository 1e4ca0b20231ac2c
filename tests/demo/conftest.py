"""The page in a real browser: chromium, driven by playwright, at a server process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.helpers.visitor import Visitor

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = "HAIRCLIP_SCREENSHOTS"
"""The environment variable that names the folder for screenshots."""


@dataclass(frozen=True)
class Served:
    """A running page.

    Attributes:
        address: its address, without a slash at the end.
        folder: everything that the server may write lies here.
        log: what it prints.
    """

    address: str
    folder: Path
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page with the portraits' networks, as `python -m hairclip demo` serves it."""
    pytest.importorskip("gradio", reason='the page needs gradio: pip install -e ".[demo]"')
    folder = tmp_path_factory.mktemp("served")
    (folder / "tmp").mkdir()
    port = find_free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}
    environment |= {"HAIRCLIP_HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    log = folder / "log.txt"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "hairclip", "demo", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(server, address, log)
            yield Served(address, folder, log)
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def find_free_port() -> int:
    """Return a port at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(server: "subprocess.Popen[bytes]", address: str, log: Path, seconds: float = 300.0) -> None:
    """Wait until the server says its address and answers there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        if address in log.read_text():
            urllib.request.urlopen(address, timeout=seconds).close()
            return
        time.sleep(0.2)
    raise AssertionError(f"the page did not start: {log.read_text()}")


@pytest.fixture
def visit(served: Served, chromium: Any) -> Iterator[Callable[..., "Visitor"]]:
    """Open the page as a person who has not been there; every call is another person, with their own cookies.

    The call takes options of a browser's context, such as `locale`. After the test no script of the page has failed,
    and no person's browser has asked another machine for anything.
    """
    from tests.helpers.visitor import Visitor

    visitors: list[Visitor] = []

    def come(**options: Any) -> Visitor:
        context = chromium.new_context(**{"locale": "en-US", "viewport": {"width": 1280, "height": 900}, **options})
        visitors.append(Visitor(context.new_page(), served.address))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.page.context.close()
    assert [error for visitor in visitors for error in visitor.errors] == []
    assert {host for visitor in visitors for host in visitor.hosts()} <= {"127.0.0.1"}


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """The folder for screenshots."""
    folder = Path(os.environ.get(SCREENSHOTS) or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Photos: two rendered people as a camera would write them, and files that cannot be edited."""
    folder = tmp_path_factory.mktemp("people")
    found = {}
    for name in ("anna", "ben"):
        with Image.open(ROOT / "data" / "portraits" / f"{name}.png") as picture:
            large = picture.convert("RGB").resize((640, 640), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x010F], exif[0x013B] = "Camera", "Somebody"  # maker, artist
        found[name] = folder / f"{name}.jpg"
        large.save(found[name], quality=93, exif=exif, dpi=(300, 300))
    found["nobody"] = folder / "nobody.png"
    Image.new("RGB", (400, 300), "gray").save(found["nobody"])
    found["corrupt"] = folder / "corrupt.jpg"
    found["corrupt"].write_bytes(found["anna"].read_bytes()[:700])
    found["text"] = folder / "text.png"
    found["text"].write_text("no picture")
    return found

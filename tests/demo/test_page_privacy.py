"""Nothing of a person leaves the machine, reaches another person, or stays; nothing of the machine is readable."""

import http.client
import os
import socket
import stat
import sys
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.demo.conftest import ROOT, Served
from tests.helpers.visitor import Visitor, apart

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]

WEIGHTS = ROOT / "data" / "portraits" / "mapper.safetensors"


def get(served: Served, path: str) -> tuple[int, bytes]:
    """Return status and content; the path is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        connection.putrequest("GET", path, skip_host=False)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is this machine on Linux alone")
def test_only_this_machine_reaches_the_page(served: Served):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", served.port), timeout=10)


@pytest.mark.parametrize("target", ["/etc/passwd", str(WEIGHTS), str(ROOT / "pyproject.toml"), "pyproject.toml"])
def test_no_file_of_the_server_is_readable(served: Served, target: str):
    quoted, content_of_file = urllib.parse.quote(target, safe=""), (ROOT / target).read_bytes()[:40]
    for path in (
        f"/file={target}",
        f"/file/{target}",
        f"/gradio_api/file={target}",
        f"/gradio_api/file={quoted}",
        f"/gradio_api/file=/../../../..{target}",
        f"/gradio_api/file={served.folder}/tmp/../../../../../../..{target}",
        f"/gradio_api/file=file://{target}",
        f"/gradio_api/file/{target}",
        f"/gradio_api/stream/{target}",
        f"/gradio_api/component_server?path={quoted}",
        f"/static/../../../../../../../../..{target}",
        f"/assets/..%2f..%2f..%2f..%2f..%2f..%2f..{quoted}",
        f"/custom_component/../../..{target}",
        f"/gradio_api/proxy=file://{target}",
    ):
        status, content = get(served, path)
        assert status >= 400 or content.lstrip().lower().startswith(b"<!doctype html"), (path, status, content[:80])
        assert content_of_file not in content


@pytest.mark.parametrize("path", ["/gradio_api/proxy=http://127.0.0.1:9/", "/gradio_api/file=http://127.0.0.1:9/"])
def test_the_server_fetches_nothing_for_others(served: Served, path: str):
    status, _ = get(served, path)
    assert status >= 400


def test_the_page_tells_no_path_of_the_server(served: Served):
    for path in ("/", "/config", "/gradio_api/info"):
        status, content = get(served, path)
        assert status == 200 or path != "/"
        for secret in {str(ROOT), str(served.folder), str(Path.home()), socket.gethostname()}:
            if len(secret) > 5:
                assert secret.encode() not in content, (path, secret)


def test_two_people_at_once_see_their_own_photos_and_edits(visit: Visit, people: dict[str, Path]):
    one, two = visit(), visit()
    one.open(people["anna"])
    two.open(people["ben"])
    for visitor, wish in ((one, "red"), (two, "blue")):
        visitor.write(wish)
    for visitor in (one, two):
        visitor.find("#go").click()
    for visitor in (one, two):
        visitor.wait_for_edit(1)
    assert apart(one.mean_color("before"), two.mean_color("before")) > 3
    one.hear("ok", "red")
    two.hear("ok", "blue")
    for visitor in (one, two):
        visitor.ask("green")
        visitor.ask("pink")
        assert visitor.find("#gallery button").count() == 3
    third = visit()
    assert third.count_edits() == 0
    third.write("red")
    third.find("#go").click()
    third.hear("error", "photo first")


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_a_photo_reaches_no_other_machine_user_or_log_and_starting_over_deletes_it(
    served: Served, visit: Visit, people: dict[str, Path]
):
    before = set(served.folder.rglob("*"))
    visitor = visit()
    visitor.open(people["anna"])
    visitor.ask("red")
    assert visitor.hosts() == {"127.0.0.1"}
    log = served.log.read_text()
    assert "Traceback" not in log
    assert "anna" not in log
    for path in _photos(served.folder) - before:
        places = [served.folder / place for place in [path, *path.relative_to(served.folder).parents][:-1]]
        rights = [stat.S_IMODE(place.stat().st_mode) for place in places]
        assert any(not mode & 0o007 for mode in rights), f"{path} can be read by others"
    visitor.find("#start-over").click()
    visitor.find("#before-after figure").first.wait_for(state="detached")
    left = time.monotonic() + 60
    while (photos := _photos(served.folder) - before) and time.monotonic() < left:
        time.sleep(0.2)
    assert photos == set()
    visitor.open(people["ben"])
    visitor.ask("blue")


def _photos(folder: Path) -> set[Path]:
    """Return the pictures below a folder."""
    return {path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")}

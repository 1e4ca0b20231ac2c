"""Fetch weights from a server on this machine: partial files, verification, mirrors, Drive's pages, disk, lock."""

import hashlib
import random
import socket
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pooch
import pytest
import requests

from hairclip.common.errors import HairclipError
from hairclip.pretrained import download as fetch
from hairclip.pretrained import transfer
from hairclip.pretrained.download import adopt, obtain, read_record, weight_path
from hairclip.pretrained.registry import Drive, HuggingFace, Url, Weight
from tests.helpers.local_server import Reply, Server, serving

BODY = bytes(range(256)) * 2000
DIGEST = hashlib.sha256(BODY).hexdigest()
LONG = BODY * 4  # gdown keeps whole chunks of 512 kB


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HAIRCLIP_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    with serving() as running:
        monkeypatch.setattr(transfer, "HUGGING_FACE", running.url)
        get = requests.Session.get  # gdown asks Google Drive through it

        def get_here(session: requests.Session, url: str, **options: object) -> requests.Response:
            return get(session, url.replace("https://drive.google.com", running.url), **options)

        monkeypatch.setattr(requests.Session, "get", get_here)
        monkeypatch.setattr(random, "uniform", lambda *_: 0.0)  # gdown's pauses
        resolve = socket.getaddrinfo
        here = {"drive.google.com": "127.0.0.1"}
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda name, *rest, **more: resolve(here.get(name, name), *rest, **more)
        )
        yield running


def weight(server: Server, *paths: str, pinned: bool = True) -> Weight:
    """A weight whose sources are these paths of the server."""
    sources = tuple(Url(server.url + path) for path in paths)
    known = {"size": len(BODY), "sha256": DIGEST} if pinned else {}
    return Weight("thing", "thing.pt", "a thing", ("load_generator",), "made for tests", sources, **known)


def partial(thing: Weight) -> Path:
    return weight_path(thing).with_name("thing.pt.partial")


def put_partial(thing: Weight, content: bytes) -> None:
    partial(thing).parent.mkdir(parents=True, exist_ok=True)
    partial(thing).write_bytes(content)


def refused(thing: Weight, *words: str) -> str:
    with pytest.raises(HairclipError) as caught:
        obtain(thing)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < 400
    for word in words:
        assert word in message, message
    return message


def files(thing: Weight) -> set[str]:
    return {path.name for path in weight_path(thing).parent.iterdir() if not path.name.endswith(".lock")}


def test_a_file_arrives_verified_with_its_license_told_first(server: Server, capsys: pytest.CaptureFixture[str]):
    server.replies["/thing"] = Reply(BODY)
    thing = weight(server, "/thing")
    path = obtain(thing)
    assert path == weight_path(thing)
    assert path.read_bytes() == BODY
    assert files(thing) == {"thing.pt", "thing.pt.json"}
    told = capsys.readouterr().err
    assert told.index("license of these weights: made for tests") < told.index("from http://")
    obtain(thing)
    assert len(server.gets("/thing")) == 1
    assert capsys.readouterr().err == ""


def test_a_partial_file_is_continued(server: Server):
    server.replies["/thing"] = Reply(BODY)
    thing = weight(server, "/thing")
    put_partial(thing, BODY[:1000])
    assert obtain(thing).read_bytes() == BODY
    assert [headers.get("Range") for headers in server.gets("/thing")] == ["bytes=1000-"]


def test_ranges_follow_redirects(server: Server):
    server.replies["/release"] = Reply(status=302, headers={"Location": "/assets/thing"})
    server.replies["/assets/thing"] = Reply(BODY)
    thing = weight(server, "/release")
    put_partial(thing, BODY[:1000])
    assert obtain(thing).read_bytes() == BODY
    assert server.gets("/assets/thing")[0]["Range"] == "bytes=1000-"


def test_a_connection_that_breaks_is_taken_up_again(server: Server):
    server.replies["/thing"] = Reply(BODY, cuts=[100_000, 200_000])
    for pinned in (True, False):
        thing = replace(weight(server, "/thing", pinned=pinned), file=f"{pinned}.pt")
        server.seen.clear()
        server.replies["/thing"].cuts[:] = [100_000, 200_000]
        assert obtain(thing).read_bytes() == BODY
        ranges = [headers.get("Range") for headers in server.gets("/thing")]
        assert ranges == [None, "bytes=65536-", "bytes=262144-"]  # whole chunks


def test_a_server_without_ranges_starts_over(server: Server):
    server.replies["/thing"] = Reply(BODY, cuts=[100_000], ranges=False)
    assert obtain(weight(server, "/thing")).read_bytes() == BODY


def test_a_truncated_body_is_an_error_and_its_part_is_kept(server: Server):
    server.replies["/thing"] = Reply(BODY, cuts=[70_000, 0, 0, 0])
    thing = weight(server, "/thing")
    refused(thing, "broke off, after 65,536 bytes", "--from-file")
    assert not weight_path(thing).exists()
    assert partial(thing).read_bytes() == BODY[:65536]
    assert obtain(thing).read_bytes() == BODY
    assert server.gets("/thing")[-1]["Range"] == "bytes=65536-"


def test_a_wrong_hash_never_gets_the_name(server: Server):
    wrong = BODY[:-1] + b"!"
    server.replies["/thing"] = Reply(wrong)
    thing = weight(server, "/thing")
    refused(thing, hashlib.sha256(wrong).hexdigest(), DIGEST)
    assert files(thing) == set()
    server.replies["/mirror"] = Reply(BODY)
    assert obtain(weight(server, "/thing", "/mirror")).read_bytes() == BODY


def test_a_file_longer_than_the_whole_is_thrown_away(server: Server):
    server.replies["/thing"] = Reply(BODY)
    thing = weight(server, "/thing")
    put_partial(thing, BODY + b"!")
    assert obtain(thing).read_bytes() == BODY


def test_a_web_page_in_place_of_the_file_is_told(server: Server):
    server.replies["/thing"] = Reply(b"<html>please log in</html>", kind="text/html; charset=utf-8")
    for pinned in (True, False):
        refused(weight(server, "/thing", pinned=pinned), "shows a web page in place of the file")
    assert files(weight(server, "/thing")) == set()


def test_a_wrong_part_is_thrown_away_once(server: Server):
    server.replies["/thing"] = Reply(BODY)
    thing = weight(server, "/thing")
    put_partial(thing, b"?" * 1000)
    assert obtain(thing).read_bytes() == BODY
    assert [headers.get("Range") for headers in server.gets("/thing")] == ["bytes=1000-", None]


def test_another_size_is_refused_before_its_bytes(server: Server):
    server.replies["/thing"] = Reply(BODY[:-1])
    refused(weight(server, "/thing"), "offers 511,999 bytes in place of 512,000")


def test_the_next_mirror_serves_after_404_and_goes_on_where_the_first_stopped(server: Server):
    server.replies["/broken"] = Reply(BODY, cuts=[70_000, 0, 0, 0])
    server.replies["/good"] = Reply(BODY)
    thing = weight(server, "/gone", "/broken", "/good")
    assert obtain(thing).read_bytes() == BODY
    assert server.gets("/good")[0]["Range"] == "bytes=65536-"
    assert read_record(weight_path(thing))["source"] == f"{server.url}/good"


def test_every_failure_is_told_in_one_sentence(server: Server):
    server.replies["/busy"] = Reply(b"", status=503)
    closed = Url("http://127.0.0.1:9/thing")
    thing = weight(server, "/gone", "/busy")
    refused(replace(thing, sources=(*thing.sources, closed)), "HTTP 404", "HTTP 503", "refused", f"{server.url}/gone")
    assert len(server.gets("/busy")) == fetch.RETRIES


def test_a_machine_without_a_network_is_told_at_once(server: Server, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    def hang(*_: object, **__: object) -> None:
        time.sleep(60)

    sources = (HuggingFace("someone/thing", "thing.pt"), Url("https://example.org/thing"), Drive("x1"))
    monkeypatch.setattr(transfer, "HUGGING_FACE", None)
    for resolve in (fail, hang):
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        started = time.monotonic()
        refused(replace(weight(server), sources=sources), "huggingface.co: its name cannot be resolved", "network")
        assert time.monotonic() - started < 3


def test_hugging_face_goes_first(server: Server):
    file = "/someone/thing/resolve/main/thing.pt"
    commit = {"X-Repo-Commit": "a" * 40, "ETag": f'"{DIGEST}"', "X-Linked-Size": str(len(BODY))}
    server.replies[file] = Reply(status=302, headers={**commit, "Location": f"{server.url}/cdn/thing?signed=1"})
    server.replies["/cdn/thing"] = Reply(BODY, cuts=[1000])
    thing = weight(server, "/never")
    thing = replace(thing, sources=(HuggingFace("someone/thing", "thing.pt"), *thing.sources))
    assert obtain(thing).read_bytes() == BODY
    assert len(server.gets("/cdn/thing")) == 2
    assert not server.gets("/never")


def test_hugging_face_without_the_file_gives_way(server: Server):
    server.replies["/thing"] = Reply(BODY)
    thing = weight(server, "/thing")
    thing = replace(thing, sources=(HuggingFace("someone/thing", "thing.pt"), *thing.sources))
    assert obtain(thing).read_bytes() == BODY


DRIVE_PAGE = """<html><head><title>Google Drive - Virus scan warning</title></head><body><form action="/search"><input
name="q" value="no"></form><form id="download-form" action="{action}" method="get"><input type="submit" value="Download
anyway"/><input type="hidden" name="id" value="x1"><input type="hidden" name="export" value="download"><input
type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="a&amp;b"></form></body></html>"""
QUOTA_PAGE = b"""<html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-caption">Sorry, you can't view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p></body></html>"""
ATTACHED = {"Content-Disposition": 'attachment; filename="thing.pt"'}


def drive(server: Server, *paths: str, body: bytes = BODY) -> Weight:
    thing = weight(server, *paths)
    sources = (Drive("x1"), *thing.sources)
    return replace(thing, sources=sources, size=len(body), sha256=hashlib.sha256(body).hexdigest())


def test_drives_confirmation_is_given_and_a_broken_transfer_continued(server: Server):
    asked: list[dict[str, list[str]]] = []

    def download(query: dict[str, list[str]], headers: dict[str, str]) -> Reply:
        asked.append(query)
        assert headers["Cookie"] == "warned=yes"
        return cut

    cut = Reply(LONG, cuts=[600_000], headers=ATTACHED)
    page = DRIVE_PAGE.format(action=f"{server.url}/download").replace("\n", " ").encode()
    server.replies["/uc"] = Reply(
        page, kind="text/html; charset=utf-8", ranges=False, headers={"Set-Cookie": "warned=yes"}
    )
    server.replies["/download"] = download
    thing = drive(server, body=LONG)
    assert obtain(thing).read_bytes() == LONG
    assert asked[0] == {"id": ["x1"], "export": ["download"], "confirm": ["t"], "uuid": ["a&b"]}
    assert [headers.get("Range") for headers in server.gets("/download")] == [None, "bytes=524288-"]
    assert files(thing) == {"thing.pt", "thing.pt.json"}


def test_an_unfinished_file_of_drive_is_continued_by_the_next_run(server: Server):
    server.replies["/uc"] = Reply(LONG, cuts=[600_000, 0, 0, 0, 0], headers=ATTACHED)
    thing = drive(server, body=LONG)
    refused(thing, "incomplete")
    assert not weight_path(thing).exists()
    server.replies["/uc"] = Reply(LONG, headers=ATTACHED)
    assert obtain(thing).read_bytes() == LONG
    assert server.gets("/uc")[-1]["Range"] == "bytes=524288-"


def test_drives_quota_page_is_no_weight_and_a_mirror_serves(server: Server):
    server.replies["/uc"] = Reply(QUOTA_PAGE, kind="text/html")
    refused(replace(drive(server), size=None, sha256=None), "drive.google.com: Too many users have viewed")
    server.replies["/thing"] = Reply(BODY)
    assert obtain(drive(server, "/thing")).read_bytes() == BODY


def test_drive_with_another_file_is_refused_before_its_bytes(server: Server):
    server.replies["/uc"] = Reply(BODY[:-1], headers=ATTACHED)
    refused(drive(server), "offers 511,999 bytes in place of 512,000")
    server.replies["/uc"] = Reply(BODY[:-1] + b"!", headers=ATTACHED)
    refused(drive(server), "its sha256 is")
    assert not weight_path(drive(server)).exists()


def test_an_unknown_hash_is_recorded_and_held(server: Server, capsys: pytest.CaptureFixture[str]):
    server.replies["/thing"] = Reply(BODY)
    thing = weight(server, "/thing", pinned=False)
    path = obtain(thing)
    assert f"no sha256 is known for this file; recorded on first use: {DIGEST}" in capsys.readouterr().err
    path.unlink()
    server.replies["/thing"] = Reply(BODY + b"changed")
    refused(thing, DIGEST, "thing.pt.json has from the first fetch")
    assert not path.exists()


def test_without_a_known_hash_mirrors_do_not_continue_each_other(server: Server):
    server.replies["/broken"] = Reply(BODY, cuts=[70_000, 0, 0, 0])
    server.replies["/good"] = Reply(BODY)
    thing = weight(server, "/broken", "/good", pinned=False)
    assert obtain(thing).read_bytes() == BODY
    assert [headers.get("Range") for headers in server.gets("/good")] == [None]
    assert files(thing) == {"thing.pt", "thing.pt.json"}


def test_without_a_known_hash_the_next_run_continues_the_same_source(server: Server):
    server.replies["/thing"] = Reply(BODY, cuts=[70_000, 0, 0, 0])
    thing = weight(server, "/thing", pinned=False)
    refused(thing, "after 65,536 bytes")
    assert obtain(thing).read_bytes() == BODY
    assert server.gets("/thing")[-1]["Range"] == "bytes=65536-"


def test_a_whole_file_that_was_not_yet_verified_is_taken(server: Server):
    server.replies["/thing"] = Reply(BODY, cuts=[70_000, 0, 0, 0])
    thing = weight(server, "/thing", pinned=False)
    refused(thing)
    (part,) = weight_path(thing).parent.glob("*.partial")
    part.write_bytes(BODY)
    assert obtain(thing).read_bytes() == BODY


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 10**5, b"\xff\xfe", b'{"sha256": 3}', b"null", b'"' * 9])
def test_a_damaged_record_is_written_anew(server: Server, content: bytes):
    server.replies["/thing"] = Reply(BODY)
    thing = weight(server, "/thing", pinned=False)
    path = obtain(thing)
    record = read_record(path)
    weight_path(thing).with_name("thing.pt.json").write_bytes(content)
    assert obtain(thing) == path
    assert read_record(path)["sha256"] == record["sha256"] == DIGEST
    assert len(server.gets("/thing")) == 1


def test_a_disk_without_room_is_told_before_fetching(server: Server, monkeypatch: pytest.MonkeyPatch):
    server.replies["/thing"] = Reply(BODY)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda folder: usage(10**6, 0, 400_000))
    thing = weight(server, "/thing", "/mirror")
    refused(thing, "room for 0.4 MB, but 0.5 MB are to be fetched", "HAIRCLIP_HOME")
    assert not partial(thing).exists()
    put_partial(thing, BODY[:200_000])  # what is there already needs no room
    assert obtain(thing).read_bytes() == BODY


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_stops_the_fetch(server: Server):
    server.replies["/thing"] = Reply(BODY)
    thing = weight(server, "/thing", "/mirror")
    partial(thing).parent.mkdir(parents=True)
    partial(thing).symlink_to("/dev/full")
    refused(thing, "No space left on device", "make room")
    assert not server.gets("/mirror")


def test_a_folder_that_cannot_be_written_is_one_sentence(server: Server, tmp_path: Path):
    (tmp_path / "home").write_text("in the way")
    refused(weight(server, "/thing"), "HAIRCLIP_HOME")


def test_files_put_there_by_hand_are_verified_once(server: Server, monkeypatch: pytest.MonkeyPatch):
    thing = weight(server, "/thing")
    path = weight_path(thing)
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY[:-1] + b"!")
    refused(thing, str(path), DIGEST, "remove it")
    path.write_bytes(BODY)
    assert obtain(thing) == path
    monkeypatch.setattr(pooch, "file_hash", lambda *_, **__: pytest.fail("hashed again"))
    assert obtain(thing) == path
    assert not server.seen


def test_a_file_changed_later_is_hashed_again(server: Server):
    server.replies["/thing"] = Reply(BODY)
    thing = weight(server, "/thing")
    path = obtain(thing)
    time.sleep(0.01)
    path.write_bytes(BODY[:-1] + b"!")
    refused(thing, DIGEST)


def test_a_file_fetched_by_hand_is_adopted(server: Server, tmp_path: Path):
    thing = weight(server, "/thing")
    given = tmp_path / "downloaded (1).pt"
    given.write_bytes(BODY)
    assert adopt(thing, given).read_bytes() == BODY
    assert obtain(thing).read_bytes() == BODY
    assert adopt(thing, weight_path(thing)) == weight_path(thing)
    assert files(thing) == {"thing.pt", "thing.pt.json"}
    given.write_bytes(b"else")
    for path, words in ((given, "4 bytes in place of 512,000"), (tmp_path / "none.pt", "no file")):
        with pytest.raises(HairclipError, match=words):
            adopt(thing, path)
    assert weight_path(thing).read_bytes() == BODY
    assert files(thing) == {"thing.pt", "thing.pt.json"}


@pytest.mark.parametrize("variable", ["HAIRCLIP_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_mode_asks_nobody(server: Server, monkeypatch: pytest.MonkeyPatch, variable: str):
    server.replies["/thing"] = Reply(BODY)
    thing = weight(server, "/thing")
    monkeypatch.setenv(variable, "1")
    refused(thing, str(weight_path(thing)), "offline")
    assert not server.seen
    monkeypatch.setenv(variable, "0")
    obtain(thing)
    monkeypatch.setenv(variable, "1")
    assert obtain(thing).read_bytes() == BODY


def test_two_processes_fetch_once(server: Server, tmp_path: Path):
    gate = threading.Event()
    server.replies["/thing"] = Reply(BODY, gate=gate)
    program = (
        "from hairclip.pretrained.download import obtain; from hairclip.pretrained.registry import Url, Weight; "
        f"print(obtain(Weight('thing', 'thing.pt', '', (), '', (Url('{server.url}/thing'),), {len(BODY)}, '{DIGEST}')))"
    )
    said = [tmp_path / f"{number}.txt" for number in range(2)]
    processes = []
    for path in said:
        with path.open("w") as errors:
            command = [sys.executable, "-c", program]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True))
    deadline = time.monotonic() + 60
    while not any("waiting" in path.read_text() for path in said) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not weight_path(weight(server)).exists()
    gate.set()
    for process, path in zip(processes, said):
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, path.read_text()
        assert Path(out.strip()).read_bytes() == BODY
    assert sum("waiting" in path.read_text() for path in said) == 1
    assert len(server.gets("/thing")) == 1

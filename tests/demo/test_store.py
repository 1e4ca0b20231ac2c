"""Sessions and files of the page: apart from each other, private, and gone after an hour."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

import pytest

from hairclip.demo.session import Networks, Refusal
from hairclip.demo.store import LIFETIME, PrivateFolder, SessionStore


def test_sessions_have_keys_of_their_own_and_go_after_an_hour_without_use():
    time = [0.0]
    store = SessionStore(Networks("portraits"), clock=lambda: time[0])
    (first, one), (second, other) = store.make(), store.make()
    assert first != second
    assert store.find(first) is one
    assert store.find(second) is other
    time[0] = LIFETIME - 1
    assert store.find(second) is other
    time[0] = LIFETIME + 1
    with pytest.raises(Refusal, match="expired"):
        store.find(first)
    assert store.find(second) is other
    store.forget(second)
    assert len(store) == 0


def test_an_empty_or_unknown_key_finds_nothing():
    store = SessionStore(Networks("portraits"))
    for key, told in (("", "no_photo"), ("guessed", "expired")):
        with pytest.raises(Refusal, match=told):
            store.find(key)


def test_the_folder_is_private_and_its_files_go_after_an_hour():
    folder = PrivateFolder()
    assert stat.S_IMODE(os.stat(folder.path).st_mode) == 0o700
    inner = folder.new()
    (inner / "photo.jpg").write_bytes(b"x")
    folder.sweep()
    assert (inner / "photo.jpg").exists()
    folder.sweep(now=os.stat(inner).st_mtime + LIFETIME + 1)
    assert not (inner / "photo.jpg").exists()
    folder.delete()
    assert not folder.path.exists()


def test_folders_of_killed_servers_are_deleted_by_the_next_one():
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = Path(gettempdir()) / f"hairclip_demo_{dead.pid}_left"
    left.mkdir()
    folder = PrivateFolder()
    assert not left.exists()
    folder.delete()

"""Shapes are enforced while tests run: jaxtyping annotations of every hairclip module are checked by beartype."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("NUMBA_CACHE_DIR", os.path.join(os.path.expanduser("~"), ".cache", "hairclip", "numba"))

import pytest
import torch
from jaxtyping import install_import_hook

from tests.helpers import shape_checks

install_import_hook("hairclip", f"{shape_checks.__name__}.check")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session")
def stand_in_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stand-in for the official files, at 64 px."""
    from tests.helpers.official_stand_in import write_stand_in

    folder = tmp_path_factory.mktemp("stand_in")
    write_stand_in(folder)
    return folder


@pytest.fixture
def stand_in(stand_in_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new HAIRCLIP_HOME that holds the bundle ffhq, as if `hairclip download ffhq` had fetched it: the stand-in."""
    from tests.helpers.official_stand_in import fetched_stand_in

    home = tmp_path / "home"
    for name, value in fetched_stand_in(stand_in_files, home).items():
        monkeypatch.setenv(name, value)
    return home


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason='the browser needs pip install -e ".[demo,browser]"')
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        # Root may not use the sandbox; nothing but the pages of these tests is opened.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()

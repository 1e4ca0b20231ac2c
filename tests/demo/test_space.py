"""The Space runs the page as it is here, and installs what the page needs."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.demo.conftest import ROOT, Served, find_free_port, wait_for

SPACE = ROOT / "scripts" / "space"
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
"""The colors that the Hub takes in a Space's header."""


def read_project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_space_installs_what_the_package_and_its_page_need():
    lines = (SPACE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    named = {str(Requirement(line)) for line in lines if not line.startswith(("#", "--"))}
    project = read_project()
    needed = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    assert named == {str(Requirement(line)) for line in needed}


def test_the_header_of_the_space_is_one_that_the_hub_takes():
    _, header, text = (SPACE / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    about = yaml.safe_load(header)
    assert about["sdk"] == "gradio"
    assert (SPACE / about["app_file"]).is_file()
    assert {about["colorFrom"], about["colorTo"]} <= set(COLORS)
    assert len(about["short_description"]) <= 60
    assert about["license"] == str(read_project()["license"]).lower()
    (gradio,) = read_project()["optional-dependencies"]["demo"]
    assert Requirement(gradio).specifier.contains(about["sdk_version"])
    assert SpecifierSet(str(read_project()["requires-python"])).contains(about["python_version"])
    uploaded = [line.split()[3] for line in text.splitlines() if line.startswith("hf upload")]
    assert uploaded == ["hairclip", "data", "configs", "scripts/space"]
    assert all((ROOT / folder).is_dir() for folder in uploaded)


def list_parts(address: str) -> list[tuple[str, str]]:
    """Return the kind and the id of every part of a page."""
    with urllib.request.urlopen(f"{address}/config", timeout=300) as answer:
        return [(one["type"], one["props"].get("elem_id") or "") for one in json.load(answer)["components"]]


@pytest.mark.browser
def test_the_space_serves_the_same_page(served: Served, tmp_path: Path):
    port, log = find_free_port(), tmp_path / "log.txt"
    address = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HAIRCLIP_HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), "TMPDIR": str(tmp_path)}
    with log.open("w") as output:
        space = subprocess.Popen(
            [sys.executable, str(SPACE / "app.py")], stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            wait_for(space, address, log)
            assert list_parts(address) == list_parts(served.address)
        finally:
            space.kill()
            space.wait()

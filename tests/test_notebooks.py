"""The notebooks run, and keep pictures that are small enough to read along."""

import base64
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "scripts" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
MOST_BYTES = 300_000


def pictures(notebook: Any) -> list[bytes]:
    """Return the PNG files in a notebook's outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [base64.b64decode(output.data["image/png"]) for output in outputs if "image/png" in output.get("data", {})]


def test_there_are_three():
    assert NOTEBOOKS == ["add_a_loss.ipynb", "edit.ipynb", "train.ipynb"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_shows_small_pictures(name: str):
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    assert pictures(notebook)
    assert all(len(picture) < MOST_BYTES for picture in pictures(notebook))


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "home"))
    notebook = nbformat.read(FOLDER / name, as_version=4)
    shown = len(pictures(notebook))
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert len(pictures(notebook)) == shown

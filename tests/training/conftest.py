"""Makes the helpers of these tests importable, and shares one tiny world among the tests that only read it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_run import write_tiny_world


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML of a tiny world that tests must not change."""
    return write_tiny_world(tmp_path_factory.mktemp("world"))

"""Shares one tiny world among the tests that only read it."""

from pathlib import Path

import pytest

from tests.helpers.tiny_run import write_tiny_world


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML of a tiny world that tests must not change."""
    return write_tiny_world(tmp_path_factory.mktemp("world"))

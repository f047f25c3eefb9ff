"""What the property tests share: a folder, and how often each was tried where somebody counts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.parsers.properties import COUNTS


@pytest.fixture(scope="session", autouse=True)
def report() -> Iterator[None]:
    """TRM_DEPLOY_EXAMPLE_COUNTS names a file for the counts; `python -m tools.hostile` reads it."""
    yield
    if place := os.environ.get("TRM_DEPLOY_EXAMPLE_COUNTS"):
        Path(place).write_text(json.dumps(COUNTS))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples: they overwrite each other's files."""
    return tmp_path_factory.mktemp("parsers")

"""The JSDoc types of the page's modules hold."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import ROOT

FLAGS = "--noEmit --allowJs --checkJs --strict --target es2022 --module esnext --moduleResolution bundler"
LIBRARIES = "es2023,dom,dom.iterable"


def test_types_hold(modules: Path) -> None:
    # The service worker lives in another world than the page, with other globals.
    scripts = sorted(path for path in (ROOT / "web").glob("*.js") if path.name != "sw.js")
    assert len(scripts) > 15
    tsc = str(modules / "typescript" / "bin" / "tsc")
    command = ["node", tsc, *FLAGS.split(), "--lib", LIBRARIES, *map(str, scripts)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout == ""
    assert result.returncode == 0

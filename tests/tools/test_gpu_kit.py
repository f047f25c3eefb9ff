"""The kit for a GPU without a network: packing, unpacking, and what the measuring does when something goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT, load_tool
from trm_deploy.errors import CannotRunHere

kit = load_tool("gpu_kit")

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
LIMIT = 400_000


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """A small kit: a wheel that is cut into pieces, and a small one."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, size in (("large-1.0-py3-none-any.whl", 500_000), ("small-1.0-py3-none-any.whl", 10)):
        with zipfile.ZipFile(folder / name, "w") as archive:
            content = np.random.default_rng(0).bytes(size)
            archive.writestr(f"{name.split('-')[0]}/data", content)
    made = kit.gather.pack(sorted(folder.iterdir()), tmp_path / "kit", HERE, limit=LIMIT)
    assert all(size <= LIMIT for _, size in made)
    return [part for part, _ in made]


def test_parts_come_one_after_the_other_and_give_the_wheels_back(parts: list[Path], tmp_path: Path) -> None:
    assert len(parts) > 2
    store = tmp_path / "store"
    assert kit.unpack.unpack(store, parts[:1])
    assert kit.unpack.unpack(store, parts[1:-1])
    assert not (store / "site").exists()
    assert kit.unpack.unpack(store, parts[-1:]) == []
    assert (store / "site" / "large" / "data").read_bytes() == np.random.default_rng(0).bytes(500_000)
    assert (store / "site" / "small" / "data").stat().st_size == 10
    assert kit.unpack.unpack(store, []) == [], "what is there stays there"


def test_a_newer_kit_takes_the_place_of_an_older_one(parts: list[Path], tmp_path: Path) -> None:
    kit.unpack.unpack(tmp_path / "store", parts)
    source = tmp_path / "other-1.0-py3-none-any.whl"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("other/data", "new")
    newer = kit.gather.pack([source], tmp_path / "newer", HERE)
    assert kit.unpack.unpack(tmp_path / "store", [part for part, _ in newer]) == []
    assert [path.name for path in (tmp_path / "store" / "site").iterdir()] == ["other"]


def test_what_cannot_be_used_is_refused_by_name(parts: list[Path], tmp_path: Path) -> None:
    (piece,) = parts[1].glob("large*")
    piece.write_bytes(piece.read_bytes()[:-1])
    with pytest.raises(kit.unpack.KitError, match=rf"{piece}: is cut or altered, .* copy {parts[1]} again"):
        kit.unpack.unpack(tmp_path / "store", parts)
    with pytest.raises(kit.unpack.KitError, match="is not a part of a kit"):
        kit.unpack.unpack(tmp_path / "store", [tmp_path])
    with pytest.raises(kit.unpack.KitError, match="no part has been unpacked"):
        kit.unpack.unpack(tmp_path / "empty", [])
    manifest = json.loads((parts[1] / "kit.json").read_text())
    (parts[1] / "kit.json").write_text(json.dumps({**manifest, "python": "2.7"}))
    with pytest.raises(kit.unpack.KitError, match=rf"made for Python 2\.7, this is {HERE}; .* GPU_KIT_PYTHON={HERE}"):
        kit.unpack.unpack(tmp_path / "store", [parts[1]])


def test_the_script_says_what_is_missing(parts: list[Path], tmp_path: Path) -> None:
    environment = {**os.environ, "TRM_DEPLOY_KIT": str(tmp_path / "store"), "PYTHON": sys.executable}

    def run(*arguments: str | Path, script: Path = ROOT / "tools" / "gpu_kit.sh") -> subprocess.CompletedProcess[str]:
        return subprocess.run(list(map(str, (script, *arguments))), env=environment, capture_output=True, text=True)

    done = run()
    assert (done.returncode, "usage:" in done.stderr) == (2, True)
    done = run(parts[0])
    assert done.returncode == 3
    assert "pieces have not come yet, such as" in done.stderr
    # Every part has the script and what it needs; a complete kit without its modules does not measure.
    shutil.move(str(parts[1]), tmp_path / "alone")
    done = run(tmp_path / "alone", *parts[2:], script=tmp_path / "alone" / "gpu_kit.sh")
    assert done.returncode == 1
    assert "No module named" in done.stderr
    assert "gpu_kit" in done.stderr


def bench(folder: Path, seconds: float = 60.0) -> Any:
    found = kit.measure.Measurements("none", "none", {}, 1)
    return kit.device.Bench(found, folder, np.zeros((1, 81), np.int32), 1, 1, time.monotonic() + seconds)


def test_a_runtime_that_fails_does_not_end_the_others(tmp_path: Path) -> None:
    def missing() -> None:
        raise CannotRunHere("no such package")

    def broken() -> None:
        raise RuntimeError("CUDA error:\n an illegal memory access")

    measured, done = bench(tmp_path), []
    for name, work in (("a", missing), ("b", broken), ("c", lambda: done.append("c"))):
        measured.guarded(name, work)
        assert (tmp_path / "gpu.json").is_file(), "what is known is written at once"
    assert done == ["c"]
    assert measured.failed
    assert json.loads((tmp_path / "gpu.json").read_text())["skipped"] == {
        "a": "no such package",
        "b": "FAILED: RuntimeError: CUDA error: an illegal memory access",
    }


def test_nothing_is_begun_when_the_time_is_up(tmp_path: Path) -> None:
    measured, done = bench(tmp_path, seconds=-1.0), []
    measured.guarded("a", lambda: done.append("a"))
    assert done == []
    assert measured.found.skipped == {"a": "not begun: the time was up"}
    assert not measured.failed

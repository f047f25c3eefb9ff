"""What the containers do, without them: their script in a clean environment, and their files by hadolint's rules."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "docker" / "container.sh"
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
TOKEN = "correct-horse-battery-staple"
PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


def environment(prefix: Path, **more: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "TRM_DEPLOY_TOKEN")}
    return {**clean, "PREFIX": str(prefix), "TOKEN_SECRET": str(prefix / "no-secret"), **more}


def run(prefix: Path, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment(prefix, **more))


@pytest.fixture(scope="module")
def prefix(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `install` makes, as in the image for CPUs."""
    (extras,) = re.findall(r"container\.sh install /src (\S+)", (ROOT / "docker" / "cpu.Dockerfile").read_text())
    folder = tmp_path_factory.mktemp("container") / "env"
    installed = run(folder, "install", wheel, extras)
    assert installed.returncode == 0, installed.stderr
    return folder


@pytest.mark.slow
def test_an_installation_solves_and_has_no_pytorch(prefix: Path, tmp_path: Path) -> None:
    checked = run(prefix, "check")
    assert checked.returncode == 0, checked.stderr
    assert not list(prefix.glob("lib/python*/site-packages/torch"))
    result = run(prefix, "run", "--json", PUZZLE)
    assert json.loads(result.stdout)["verified"] is True
    # What is no command of the script is one of trm-deploy, with its exit code.
    result = run(prefix, "run", tmp_path / "none.txt")
    assert result.returncode == 2
    assert "there is no such file" in result.stderr
    # An installation with PyTorch in it is not what the image is for.
    (site,) = prefix.glob("lib/python*/site-packages")
    (site / "torch.py").touch()
    try:
        assert run(prefix, "check").returncode == 1
    finally:
        (site / "torch.py").unlink()


def answer(port: int, token: str | None) -> tuple[int, object]:
    """Status and body of a puzzle that is sent to the server."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/solve", data=PUZZLE.encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.slow
@pytest.mark.parametrize("given", ["variable", "secret"])
def test_the_server_is_healthy_and_asks_for_the_token(given: str, prefix: Path, tmp_path: Path) -> None:
    refused = run(prefix, "serve")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "set TRM_DEPLOY_TOKEN, or mount" in refused.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A secret that is mounted is often readable for all, which `serve` itself refuses.
    secret = tmp_path / "secret"
    secret.write_text(f"{TOKEN}\n")
    secret.chmod(0o644)
    more = {"TRM_DEPLOY_TOKEN": TOKEN} if given == "variable" else {"TOKEN_SECRET": str(secret)}
    more |= {"PORT": str(port), "TMPDIR": str(tmp_path)}
    assert run(prefix, "health", **more).returncode == 1
    server = subprocess.Popen([SCRIPT, "serve"], env=environment(prefix, **more), stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while run(prefix, "health", **more).returncode:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        status, document = answer(port, TOKEN)
        assert status == 200
        assert isinstance(document, dict)
        assert document["answers"][0]["verified"] is True
        assert answer(port, None)[0] == 401
        if Path("/proc").is_dir():  # where other users of the machine could read it
            assert TOKEN.encode() not in Path("/proc", str(server.pid), "cmdline").read_bytes()
    finally:
        server.send_signal(signal.SIGTERM)
        _, messages = server.communicate(timeout=60)
    assert server.returncode == 0, messages


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_image_serves_as_nobody_in_particular_and_is_watched(path: Path) -> None:
    text = path.read_text()
    last = text[text.rindex("\nFROM") :]
    (user,) = re.findall(r"^USER (\d+)$", last, re.MULTILINE)
    assert int(user) >= 10000
    assert re.search(r'^HEALTHCHECK .*CMD \["container\.sh", "health"\]$', last, re.MULTILINE)
    assert last.rstrip().endswith('ENTRYPOINT ["container.sh"]\nCMD ["serve"]')
    assert re.search(r"container\.sh install /src onnx,serve", text)
    assert "container.sh check" in last


def test_the_files_keep_the_rules_of_their_linters() -> None:
    scripts = [SCRIPT, ROOT / ".ci" / "run", *(ROOT / "tools").glob("*.sh")]
    checks = (("hadolint", FILES), ("shellcheck", scripts))
    missing = [name for name, _ in checks if shutil.which(name, path=_path()) is None]
    for name, files in checks:
        if name not in missing:
            found = shutil.which(name, path=_path())
            result = subprocess.run([str(found), *map(str, files)], capture_output=True, text=True, check=False)
            assert result.stdout == ""
            assert result.returncode == 0
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def _path() -> str:
    """Where pip puts commands, and the usual places."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

"""A process that reads files, and answers each with an outcome."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import subprocess
import sys
import traceback
from pathlib import Path

from trm_deploy.errors import TrmDeployError

from .kinds import KINDS, ROOT, remember

TIMEOUT_S = 120.0
# Address space of a reader: PyTorch and ONNX Runtime with their threads take 3 GiB of it before they read anything.
MEMORY = 8 << 30


def work() -> None:
    """The reader: takes requests as lines of JSON, and answers each with an outcome on a line."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is not an outcome
    for line in sys.stdin:
        request = json.loads(line)
        path = Path(request["path"])
        try:
            if request["intact"]:
                remember(path, request["kind"])
            outcome = KINDS[request["kind"]].read(path)
        except TrmDeployError as error:
            outcome = f"refused: {type(error).__name__}: {error}"
        except BaseException as error:
            outcome = f"failed: raised {type(error).__name__}: {traceback.format_exc()}"
        print(json.dumps(outcome), file=answers, flush=True)


class Reader:
    """A process that reads files; started anew where it died or hung."""

    def __init__(self) -> None:
        self._kind = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None

    def begin(self, kind: str, intact: Path) -> None:
        """Read the intact file of a kind, which must be right."""
        self._kind = kind
        outcome = self._ask(intact, intact=True)
        if outcome != "right":
            raise RuntimeError(f"the intact {kind} gives {outcome}")

    def read(self, path: Path) -> str:
        """The outcome of a file of that kind."""
        return self._ask(path, intact=False)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None:
            return self._process
        command = [sys.executable, "-m", "tools.hostile", "work"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        return self._process

    def _ask(self, path: Path, *, intact: bool) -> str:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died before: there will be no answer
            process.stdin.write(json.dumps({"kind": self._kind, "path": str(path), "intact": intact}) + "\n")
            process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(TIMEOUT_S):
                self._end()
                return f"failed: hangs for {TIMEOUT_S:.0f} s"
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self._end()
            return f"failed: the process died ({code})"
        return str(json.loads(line))

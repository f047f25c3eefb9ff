"""What both processors are asked, each in one process of its own: `python side.py WORK.json RESULTS`.

WORK.json has `commands`, lists of arguments for the command line, and `artefacts`, files that are run on `tokens`.
RESULTS.json gets what each command wrote and its exit code, RESULTS.npz what each artefact computed. Needs numpy and
the package alone.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy.cli import main
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import StepRuntime, host_values, initial_numpy_state


def command(arguments: list[str]) -> dict[str, Any]:
    """A command of trm-deploy, without a process of its own: starting Python takes seconds in an emulator."""
    sys.argv = ["trm-deploy", *arguments]
    out, errors = io.StringIO(), io.StringIO()
    code: Any = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return {"code": code, "out": out.getvalue(), "errors": errors.getvalue()}


def computed(path: str, tokens: list[list[int]]) -> dict[str, Any]:
    """A whole run, with halting; the first supervision step, except of an unrolled file; and the state after it."""
    runtime, asked = load(Path(path)), np.array(tokens, np.int32)
    steps = runtime.fixed_steps or runtime.spec.halting.max_steps
    whole = runtime.solve(asked, max_steps=steps, halt_threshold=0.0)
    found = {"answer": whole.answer, "steps": whole.steps, "halt_logit": whole.halt_logit, "logits": whole.logits}
    if runtime.fixed_steps is None:
        first = runtime.solve(asked, max_steps=1, halt_threshold=math.inf)
        found |= {"first.halt_logit": first.halt_logit, "first.logits": first.logits}
    if isinstance(runtime, StepRuntime):
        y, z = initial_numpy_state(runtime.spec, len(asked))
        step = runtime.step(asked, np.ones(len(asked), bool), y, z)
        found |= {"first.y": host_values(step.y), "first.z": host_values(step.z)}
    return found


if __name__ == "__main__":
    work, results = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    arrays = {
        f"{path} {name}": value for path in work["artefacts"] for name, value in computed(path, work["tokens"]).items()
    }
    np.savez(results.with_suffix(".npz"), **arrays)
    said = {"machine": platform.machine(), "commands": [command(arguments) for arguments in work["commands"]]}
    results.with_suffix(".json").write_text(json.dumps(said))

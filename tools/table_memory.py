"""Memory that an export takes, and a run of what it made, with a large table of puzzle embeddings.

A small network of the published layout with a table of 500,000 rows of 512 numbers (1 GB) is exported by
`trm-deploy export` and then given one batch of puzzles; the same with a table of 1,000 rows shows what everything else
takes. What is counted, from /proc/PID/status every 10 ms:

    own     RssAnon + RssShmem: what the process cannot do without
    mapped  RssFile: pages of mapped files, clean, of which the kernel takes back what it needs elsewhere
    peak    VmHWM: the most of all together, what `ru_maxrss` says as well

    python tools/table_memory.py [--rows N] [--output FILE]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Optional

import torch
import typer

from trm_deploy.checkpoints import published
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.spec import Architecture, ModelSpec, Recursion, TaskSpec
from trm_deploy.support.files import write_atomic

SCHEMA = 1
WIDTH = 512
FEW = 1000
FIELDS = {"RssAnon": "own", "RssShmem": "own", "RssFile": "mapped", "VmHWM": "peak"}
ARCH = {
    "H_cycles": 1,
    "L_cycles": 1,
    "L_layers": 1,
    "hidden_size": 64,
    "num_heads": 4,
    "expansion": 4,
    "mlp_t": False,
    "pos_encodings": "rope",
    "puzzle_emb_ndim": WIDTH,
    "puzzle_emb_len": 16,
    "halt_max_steps": 4,
    "no_ACT_continue": True,
}
SOLVE = """
import sys
from pathlib import Path
import numpy as np
from trm_deploy.runtimes import load
runtime = load(Path(sys.argv[1]))
ids = np.linspace(0, runtime.spec.task.puzzle_identifiers - 1, 64).astype(np.int32)
tokens = np.ones((64, runtime.spec.task.sequence_length), np.int32)
runtime.solve(tokens, ids, max_steps=4, halt_threshold=0.0)
"""


def write_checkpoint(folder: Path, rows: int) -> Path:
    """A `step_1` of the published layout with random weights and a random table, its configuration beside it."""
    task = TaskSpec(name="", sequence_length=81, vocabulary=tuple(map(str, range(11))), puzzle_identifiers=rows)
    architecture = Architecture(
        hidden_size=64, layers=1, mixer="attention", positions="rotary", prefix_length=16, puzzle_embedding_size=WIDTH
    )
    spec = ModelSpec(task=task, architecture=architecture, recursion=Recursion(latent=1, deep=1))
    torch.manual_seed(0)
    weights: dict[str, Any] = dict(RecursiveReasoner(spec, table=torch.empty(0)).state_dict())
    weights["puzzles"] = torch.randn(rows, WIDTH)
    named = {f"_orig_mod.model.inner.{published.published_name(name)}": value for name, value in weights.items()}
    torch.save(named, folder / "step_1")
    lines = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in ARCH.items())
    (folder / "all_config.yaml").write_text(f"arch:\n{lines}")
    (folder / "dataset.json").write_text(json.dumps({"seq_len": 81, "vocab_size": 11, "num_puzzle_identifiers": rows}))
    return folder / "step_1"


def measure(command: list[str]) -> dict[str, int]:
    """The most MiB of each kind that a command's process holds."""
    most = dict.fromkeys(FIELDS.values(), 0)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        now = dict.fromkeys(FIELDS.values(), 0)
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        for line in status.splitlines():
            name, _, value = line.partition(":")
            if name in FIELDS:
                now[FIELDS[name]] += int(value.split()[0])
        most = {name: max(most[name], now[name]) for name in most}
        time.sleep(0.01)
    if process.wait():
        sys.exit(f"error: {command[2:4]}: {process.stderr.read() if process.stderr else ''}")
    return {name: kilobytes >> 10 for name, kilobytes in most.items()}


def main(
    rows: Annotated[int, typer.Option(help="Of the large table.")] = 500_000,
    output: Annotated[Optional[Path], typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Measure and print."""
    found: list[dict[str, Any]] = []
    print(f"{'rows':>10} {'table MiB':>10} {'what':8} {'own MiB':>9} {'mapped MiB':>11} {'peak MiB':>9}")
    for count in (FEW, rows):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_checkpoint(folder, count)
            artefact = folder / "table.onnx"
            commands = {
                "export": [sys.executable, "-m", "trm_deploy", "export", str(folder / "step_1"), "-o", str(artefact)],
                "run": [sys.executable, "-c", SOLVE, str(artefact)],
            }
            for what, command in commands.items():
                entry = {"rows": count, "table": count * WIDTH * 4 >> 20, "what": what, **measure(command)}
                found.append(entry)
                print("{rows:10,} {table:10,} {what:8} {own:9,} {mapped:11,} {peak:9,}".format(**entry), flush=True)
    if output:
        write_atomic(output, json.dumps({"schema": SCHEMA, "unit": "MiB", "measured": found}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)

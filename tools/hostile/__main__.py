"""The command, see the package's docstring; with `work` it is the process that reads."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer

from trm_deploy.support.files import write_atomic

from .damage import try_kind
from .interruptions import COMMANDS, try_command
from .kinds import KINDS
from .properties import try_parsers
from .reader import Reader, work
from .tables import tables

SCHEMA = 1
PARTS = ("damaged", "interrupted", "parsers")


def main(
    cuts: Annotated[int, typer.Option(min=0)] = 50,
    flips: Annotated[int, typer.Option(min=0)] = 200,
    examples: Annotated[int, typer.Option(min=0, help="Examples of each property.")] = 1000,
    interrupts: Annotated[int, typer.Option(min=0, help="Interruptions of each command.")] = 8,
    only: Annotated[str, typer.Option(help="Damage only the kinds of files with this in their name.")] = "",
    part: Annotated[
        Optional[list[str]], typer.Option(help=f"Only this part: {', '.join(PARTS)}; the output keeps the others.")
    ] = None,
    output: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("build/hostile.json"),
) -> None:
    """Try everything; exit code 1 where anything failed."""
    parts = part or list(PARTS)
    document: dict[str, Any] = {"schema": SCHEMA, **{name: [] for name in PARTS}}
    if part and output.is_file():
        document |= json.loads(output.read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "damaged" in parts:
            document |= {"cuts": cuts, "flips": flips, "damaged": []}
            for number, kind in enumerate(kind for kind in KINDS if only in kind):
                with Reader() as reader:
                    row = try_kind(kind, folder / str(number), reader, cuts=cuts, flips=flips)
                document["damaged"].append(row)
                print(json.dumps(row, indent=2 if row["failures"] else None), flush=True)
                shutil.rmtree(folder / str(number))
        if "interrupted" in parts:
            rng, document["interrupted"] = np.random.default_rng(1), []
            for command in COMMANDS:
                document["interrupted"].append(try_command(command, folder / command, times=interrupts, rng=rng))
                print(json.dumps(document["interrupted"][-1]), flush=True)
        if "parsers" in parts:
            document["parsers"] = try_parsers(examples, folder)
    write_atomic(output, json.dumps(document, indent=2) + "\n")
    print("\n\n".join(tables(document)))
    print(f"wrote {output}", file=sys.stderr)
    failures = sum(row["failed"] for name in PARTS for row in document[name])
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1:] == ["work"]:
        work()
    else:
        typer.run(main)

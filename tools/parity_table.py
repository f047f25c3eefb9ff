"""Solved and verified shares of several parity reports side by side, as docs/precision.md shows them.

    python tools/parity_table.py REPORT.json...

Each report is a column, named by its puzzles; all compare the same engines. Prints Markdown.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from trm_deploy.errors import InputError, TrmDeployError

Report = dict[str, Any]


def share(value: float) -> str:
    """As in 81.2."""
    return f"{100 * value:.1f}"


def cell(runs: Sequence[dict[str, Any]]) -> str:
    """Solved and verified share of a run, or the spread of several."""
    spreads = []
    for key in ("solved", "verified"):
        low, high = share(min(run[key] for run in runs)), share(max(run[key] for run in runs))
        spreads.append(low if low == high else f"{low}-{high}")
    return " / ".join(spreads)


def rows(reports: Sequence[Report]) -> Iterator[list[str]]:
    """The table's rows, the head first."""
    yield ["", *(Path(report["sources"]["puzzles"]).stem.replace("qqwing_", "") for report in reports)]
    yield ["PyTorch fp32", *(cell([report["reference"]]) for report in reports)]
    name = "controls in turn" if all(len(report["controls"]) == 1 for report in reports) else "the control's spread"
    yield [name, *(cell(report["controls"]) for report in reports)]
    for place, engine in enumerate(reports[0]["engines"]):
        yield [engine["description"], *(cell([report["engines"][place]["free"]]) for report in reports)]


def table(reports: Sequence[Report]) -> str:
    """As Markdown.

    Raises:
        InputError: they compare different engines.
    """
    engines = [[engine["description"] for engine in report["engines"]] for report in reports]
    if any(names != engines[0] for names in engines):
        raise InputError(f"the reports compare different engines: {engines}", hint="name reports of the same engines")
    head, *body = rows(reports)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *body)) + "\n"


def main(files: list[Path]) -> None:
    """Print the table."""
    print(table([json.loads(file.read_text("utf-8")) for file in files]), end="")


if __name__ == "__main__":
    try:
        typer.run(main)
    except TrmDeployError as error:
        sys.exit(f"error: {error}")

"""The counts as Markdown."""

from __future__ import annotations

from typing import Any

from .damage import OUTCOMES


def tables(document: dict[str, Any]) -> list[str]:
    """The counts as Markdown tables: damaged files, interrupted commands, parsers."""
    columns = (
        ("damaged", {"file": "kind", **{name: name for name in ("tried", *OUTCOMES)}}),
        (
            "interrupted",
            {"command": "command", "tried": "tried", "ended": "ended", "done before": "done", "failed": "failed"},
        ),
        ("parsers", {"property": "parser", "examples": "examples", "failed": "failed"}),
    )
    made = []
    for part, names in columns:
        lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
        for row in document[part]:
            cells = (row[key] if isinstance(row[key], str) else f"{row[key]:,}" for key in names.values())
            lines.append("| " + " | ".join(cells) + " |")
        made.append("\n".join(lines))
    return made

"""One HTML file that plays recorded steps: the playground's drawing code, its style, and the steps as JSON."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from trm_deploy.support.files import write_atomic
from trm_deploy.support.jsontext import dumps
from trm_deploy.tracing.recording import Recording
from trm_deploy.web import files

STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 42rem; background: var(--ground); color: var(--ink);
    font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; }
#by, label { color: var(--soft); }
#by { overflow-wrap: anywhere; }
label { display: block; margin: 0 0 1rem; }
label[hidden] { display: none; }
select { max-width: 100%; min-height: 2.75rem; padding: 0.3rem; font: inherit; color: var(--ink);
    background: var(--surface); border: 1px solid var(--control); border-radius: 8px; }
"""
# `Player` is the drawing code's. One puzzle needs no choice.
SCRIPT = """
const traces = JSON.parse(document.getElementById("traces").textContent);
const here = document.getElementById("here");
const choice = document.getElementById("puzzle");
let player;
function show(number) {
    player?.pause();
    here.replaceChildren();
    player = new Player(here, traces[number]);
}
traces.forEach((trace, number) => choice.append(new Option(`${number + 1}: ${trace.place}`, String(number))));
choice.addEventListener("change", () => show(Number(choice.value)));
choice.parentElement.hidden = traces.length === 1;
show(0);
"""
# Nothing is loaded: what the file does not hold, it does not show.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


def write(path: Path, recordings: Sequence[Recording]) -> None:
    """Write the page of at least one recording; raises `TrmDeployError` where it cannot be written."""
    write_atomic(path, page(recordings))


def page(recordings: Sequence[Recording]) -> str:
    """The whole page."""
    script, style = files.drawing()
    first = recordings[0]
    title = f"{first.puzzle.name}, step by step"
    # Nothing in the data may look like the end of its element.
    data = dumps([recording.to_plain() for recording in recordings]).replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{html.escape(title)}</title>
<style>{style}{STYLE}</style>
</head>
<body>
<main>
<h1>{html.escape(title)}</h1>
<p id="by">Recorded by trm-deploy, computed by {html.escape(first.computed_by)}.</p>
<label>Puzzle <select id="puzzle"></select></label>
<div id="here"><noscript>This page needs JavaScript to play the steps that it holds.</noscript></div>
</main>
<script type="application/json" id="traces">{data}</script>
<script type="module">{script}
{SCRIPT}</script>
</body>
</html>
"""

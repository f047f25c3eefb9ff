"""A report as one HTML file: its Markdown, its pictures inside, tables that sort by a click; nothing is loaded."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from trm_deploy.errors import require
from trm_deploy.support.files import write_atomic
from trm_deploy.support.jsontext import dumps

STYLE = """
:root { color-scheme: light dark; --ground: #fffefb; --ink: #1e1c19; --soft: #5c564c; --line: #cdc6b8;
    --raised: #f3f0e8; --link: #0b57a4; }
@media (prefers-color-scheme: dark) {
    :root { --ground: #15171b; --ink: #eeebe4; --soft: #b3aea4; --line: #3c424c; --raised: #22262c; --link: #8cc2ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem clamp(0.75rem, 3vw, 2rem) 3rem; max-width: 70rem; background: var(--ground);
    color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
    overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
code { font-size: 0.9em; }
pre { overflow-x: auto; padding: 0.75rem; background: var(--raised); border-radius: 8px; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
.scroll:focus-visible, button:focus-visible { outline: 3px solid var(--link); outline-offset: 1px; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums;
    overflow-wrap: normal; }
th, td { padding: 0.4rem 0.7rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
tbody tr:last-child td { border-bottom: 0; }
thead th { background: var(--raised); white-space: normal; vertical-align: bottom; }
th button { all: unset; cursor: pointer; min-height: 1.5rem; min-width: 1.5rem; }
th button::after { content: " \\2195"; color: var(--soft); }
th[aria-sort="ascending"] button::after { content: " \\2191"; color: var(--ink); }
th[aria-sort="descending"] button::after { content: " \\2193"; color: var(--ink); }
img { max-width: 100%; height: auto; background: #fff; border-radius: 8px; }
"""
# Numbers first, either way, by value: 12.3 %, 1e-05 to 2e-05 by its beginning, 1 - 2e-08 as what it is; then text.
SCRIPT = """
function value(cell) {
    const text = cell.textContent.trim().replaceAll(",", "");
    const less = /^1 - ([0-9.e+-]+)/.exec(text);
    if (less) return 1 - Number(less[1]);
    const found = /^[+-]?(?:\\d+\\.?\\d*(?:e[+-]?\\d+)?|inf)/i.exec(text);
    return found ? Number(found[0].replace(/inf/i, "Infinity")) : NaN;
}
function compare(one, other, sign) {
    const [a, b] = [value(one), value(other)];
    if (Number.isNaN(a) && Number.isNaN(b)) return sign * one.textContent.localeCompare(other.textContent);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) ? 1 : -1;
    return sign * (a - b) || 0;
}
for (const table of document.querySelectorAll("table")) {
    const heads = [...table.querySelectorAll("thead th")];
    heads.forEach((head, column) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = head.textContent;
        if (!head.textContent) button.setAttribute("aria-label", `sort by column ${column + 1}`);
        head.replaceChildren(button);
        button.addEventListener("click", () => {
            const down = head.getAttribute("aria-sort") === "ascending";
            for (const other of heads) other.removeAttribute("aria-sort");
            head.setAttribute("aria-sort", down ? "descending" : "ascending");
            const rows = [...table.tBodies[0].rows];
            rows.sort((a, b) => compare(a.cells[column], b.cells[column], down ? -1 : 1));
            table.tBodies[0].append(...rows);
        });
    });
}
"""
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def require_markdown() -> None:
    """Say at once what would be missing at the end.

    Raises:
        MissingPackage: markdown-it-py is not installed.
    """
    require("markdown_it", extra="draw", purpose="to write report.html")


def write_page(path: Path, markdown: str) -> None:
    """Write a report as a page.

    Args:
        path: the file.
        markdown: the report; its pictures are files beside the page.

    Raises:
        MissingPackage: markdown-it-py is not installed.
        TrmDeployError: the file cannot be written, or a picture cannot be read.
    """
    write_atomic(path, page(markdown, path.parent))


def write_report(folder: Path, name: str, markdown: str, plain: object) -> None:
    """Write a report whose pictures are in a folder: NAME.md, NAME.json, and report.html with all of it.

    Args:
        folder: for the files.
        name: of the Markdown and the JSON file.
        markdown: the report.
        plain: what the JSON file holds.

    Raises:
        MissingPackage: markdown-it-py is not installed.
        TrmDeployError: a file cannot be written, or a picture cannot be read.
    """
    write_atomic(folder / f"{name}.md", markdown)
    write_page(folder / "report.html", markdown)
    write_atomic(folder / f"{name}.json", dumps(plain, indent=2) + "\n")


def page(markdown: str, folder: Path) -> str:
    """The page of a report, with the pictures of a folder inside; errors as of `write_page`."""
    require_markdown()
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.add_render_rule(
        "table_open", lambda *_: '<div class="scroll" role="region" aria-label="table" tabindex="0"><table>'
    )
    reader.add_render_rule("table_close", lambda *_: "</table></div>\n")

    def picture(_: object, tokens: Any, index: int, *__: object) -> str:
        token = tokens[index]
        data = base64.b64encode((folder / unquote(str(token.attrs["src"]))).read_bytes()).decode()
        return f'<img src="data:image/png;base64,{data}" alt="{html.escape(token.content)}">'

    reader.add_render_rule("image", picture)
    title = TITLE.search(markdown)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{html.escape(title[1] if title else "Report")}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{reader.render(markdown)}</main>
<script>{SCRIPT}</script>
</body>
</html>
"""

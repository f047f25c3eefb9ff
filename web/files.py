"""The page's own files."""

from __future__ import annotations

import re
from importlib import resources

SUFFIXES = (".html", ".css", ".js", ".svg", ".webmanifest")
# What draws recorded steps, in the order in which one module needs another.
DRAWING = ("board.js", "trace.js")
_IMPORT = re.compile(r"^import\b[^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


def read(name: str) -> bytes:
    """A file of the page; raises `FileNotFoundError` where it has none of that name."""
    if name not in names():
        raise FileNotFoundError(name)
    return (resources.files("trm_deploy.web") / name).read_bytes()


def names() -> list[str]:
    """The page's own files, in order: what a web server offers beside models and ONNX Runtime Web."""
    found = (entry.name for entry in resources.files("trm_deploy.web").iterdir())
    return sorted(name for name in found if name.endswith(SUFFIXES))


def drawing() -> tuple[str, str]:
    """The script and the style that draw recorded steps, for a page that is one file.

    Returns:
        The text of a module script that defines `Player`, `Board` and `Plot` and imports nothing, and a style sheet.
    """
    modules = [read(name).decode() for name in DRAWING]
    script = "\n".join(_EXPORT.sub("", _IMPORT.sub("", module)) for module in modules)
    # Nothing in a script element may look like its end.
    return script.replace("</", "<\\/"), read("trace.css").decode()

"""Puts the parts of a kit together again: `python unpack.py STORE PART...`. Needs Python's standard library alone.

Each part has `kit.json`, which is the same in all of them: the pieces of every file, in order, with size and SHA-256.
Parts may come one after the other, as where each copy is limited; STORE keeps what came.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

MANIFEST = "kit.json"
SITE = "site"
COMPLETE = "complete"


class KitError(Exception):
    """The kit cannot be used; the message says why and what to do."""


def unpack(store: Path, parts: list[Path]) -> list[str]:
    """Take parts into a store, and where all have come, put the files together and extract the wheels.

    Returns:
        Names of pieces that have not come yet; empty where the kit is complete.

    Raises:
        KitError: a part is cut, altered, or of another kit, or is made for another Python.
    """
    store.mkdir(parents=True, exist_ok=True)
    for part in parts:
        _take(store, part)
    if not (store / MANIFEST).is_file():
        raise KitError(f"{store}: no part has been unpacked; name the folders part-1, part-2 ...")
    manifest = json.loads((store / MANIFEST).read_text())
    pieces = [piece for pieces in manifest["files"].values() for piece in pieces]
    if missing := [piece["name"] for piece in pieces if not (store / piece["name"]).is_file()]:
        return missing
    if not (store / COMPLETE).is_file():
        _extract(store, manifest)
    return []


def _take(store: Path, part: Path) -> None:
    try:
        text = (part / MANIFEST).read_text()
        manifest = json.loads(text)
        files: dict[str, list[dict[str, Any]]] = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KitError(f"{part}: is not a part of a kit (no readable {MANIFEST}); type: make gpu-kit") from error
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if manifest["python"] != here:
        raise KitError(
            f"{part}: is made for Python {manifest['python']}, this is {here};"
            f" type where the network is: make gpu-kit GPU_KIT_PYTHON={here}"
        )
    known = store / MANIFEST
    if known.is_file() and known.read_text() != text:
        shutil.rmtree(store)  # of an earlier kit
        store.mkdir()
    for piece in (piece for pieces in files.values() for piece in pieces):
        source = part / piece["name"]
        if not source.is_file():
            continue
        data = source.read_bytes()
        if hashlib.sha256(data).hexdigest() != piece["sha256"]:
            raise KitError(f"{source}: is cut or altered, expected {piece['bytes']:,} bytes; copy {part} again")
        (store / piece["name"]).write_bytes(data)
    known.write_text(text)


def _extract(store: Path, manifest: dict[str, Any]) -> None:
    site = store / SITE
    shutil.rmtree(site, ignore_errors=True)
    for name, pieces in manifest["files"].items():
        whole = store / name
        if [piece["name"] for piece in pieces] != [name]:
            with whole.open("wb") as file:
                for piece in pieces:
                    file.write((store / piece["name"]).read_bytes())
        # A wheel is a ZIP file whose folders belong on the module path: no pip is needed.
        if name.endswith((".whl", ".zip")):
            with zipfile.ZipFile(whole) as archive:
                archive.extractall(site)
    (store / COMPLETE).touch()


if __name__ == "__main__":
    try:
        lacking = unpack(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
    except KitError as error:
        sys.exit(f"error: {error}")
    if lacking:
        print(f"{len(lacking)} pieces have not come yet, such as {lacking[0]}: unpack the other parts", file=sys.stderr)
        sys.exit(3)

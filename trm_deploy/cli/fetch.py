"""`trm-deploy fetch`."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Optional

import typer

from trm_deploy.cli.options import Json
from trm_deploy.errors import InputError
from trm_deploy.support.jsontext import dumps

log = logging.getLogger(__name__)


def fetch(
    name: Annotated[
        Optional[str],
        typer.Argument(
            metavar="NAME",
            help="A checkpoint or exported file on the Hugging Face hub: hf://OWNER/NAME[/FILE][@REVISION].",
        ),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List public checkpoints, what is known of them and where it is stated.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch a file from the Hugging Face hub, compare it with the hub's SHA-256, and print where it is.

    Every command takes such a name where it takes a checkpoint or an exported file.
    """
    from trm_deploy import hub
    from trm_deploy.hub import catalogue

    if listed:
        if name is not None:
            raise InputError("--list takes no NAME", hint="leave out one of them")
        entries = catalogue.entries()
        print(dumps([_plain(entry) for entry in entries], indent=2) if as_json else "\n\n".join(map(_text, entries)))
        return
    if name is None:
        raise InputError("no name is given", hint="name one, hf://OWNER/NAME/FILE, or add --list")
    if not hub.is_name(name):
        raise InputError(f"{name}: is not a name on the hub, expected hf://OWNER/NAME[/FILE][@REVISION]")
    path, found = hub.fetch(name)
    if as_json:
        print(dumps({"schema": 1, "file": str(path), **found.to_plain(), "bytes": found.bytes}, indent=2))
        return
    log.info("%s%s", found, f", SHA-256 {found.sha256}" if found.sha256 else "")
    print(path)


def _plain(entry: Any) -> dict[str, Any]:
    return {"name": entry.name, **vars(entry), "run_here": False}


def _text(entry: Any) -> str:
    settings = " ".join(f"{key}={str(value).lower()}" for key, value in entry.settings.items())
    lines = [entry.name, f"  {entry.model}; not run here"]
    if entry.reported:
        lines.append(f"  reported: {entry.reported}")
    lines.append(f"  settings, where its own files do not say them: {settings}")
    if entry.missing:
        lines.append(f"  not in it: {entry.missing}")
    if entry.license:
        lines.append(f"  license: {entry.license}")
    return "\n".join([*lines, *(f"  {page}" for page in entry.pages)])

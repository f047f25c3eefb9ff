"""From a name on the hub to a file on this machine. huggingface_hub downloads; what came is compared with the hub's
own digests before anything reads it.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import importlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from trm_deploy.errors import InputError, TrmDeployError, reason, require
from trm_deploy.hub import catalogue, fetched, names
from trm_deploy.hub.fetched import Fetched
from trm_deploy.hub.names import HubName
from trm_deploy.support.files import sha256, write_atomic
from trm_deploy.support.terminal import can_move

log = logging.getLogger(__name__)

# What is read beside a checkpoint, where its repository has it.
BESIDE = (
    "all_config.yaml",
    "config.yaml",
    "config.json",
    ".hydra/config.yaml",
    "dataset.json",
    "identifiers.json",
)
STEP = re.compile(r"(?:.*[_-])?step_([0-9]{1,18})(?:\.\w+)?")
# The index of a checkpoint in several files, and one of these.
INDEX = ".index.json"
PIECE = re.compile(r".+-[0-9]{5}-of-[0-9]{5}\.\w+")
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors", ".onnx")
# How often a download is taken up; newer versions of huggingface_hub do so by themselves too.
TRIES = 3
# Of the file that a name meant, by what was asked.
KNOWN = "known.json"


def cache_folder() -> Path:
    """Where fetched files are: hub/ in $TRM_DEPLOY_CACHE, else in the user's cache folder."""
    if os.environ.get("TRM_DEPLOY_CACHE"):
        return Path(os.environ["TRM_DEPLOY_CACHE"]) / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trm-deploy" / "hub"


def local(path: Path) -> Path:
    """A path as it is; or, of a name on the hub, the file on this machine, fetched where it is not there yet.

    Raises:
        TrmDeployError: see `fetch`.
    """
    return fetch(path)[0] if names.is_name(path) else path


def fetch(name: str | Path) -> tuple[Path, Fetched]:
    """The file of a name, with what is read beside it.

    Args:
        name: hf://OWNER/NAME[/FILE][@REVISION]. Without FILE: the one that the catalogue names, else the only
            checkpoint, or the step_N with the highest N; without REVISION: main.

    Returns:
        The file on this machine, and where it came from.

    Raises:
        InputError: there is no such repository, revision or file, or several checkpoints to choose from.
        TrmDeployError: the hub cannot be reached and the file is not here; or what came is not what the hub has.
        MissingPackage: huggingface_hub is not installed, and the file is not here.
    """
    wanted = names.parse(name)
    if wanted.is_pinned and (here := _here(wanted)) is not None:
        return here
    hub = require("huggingface_hub", extra="hub", purpose=f"to fetch {wanted}")
    if not (log.isEnabledFor(logging.INFO) and can_move(sys.stderr)):
        importlib.import_module("huggingface_hub.utils").disable_progress_bars()
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        listing = _listing(hub, wanted, endpoint)
    except _Unreachable as error:
        here = _here(wanted)
        if here is None:
            raise TrmDeployError(
                f"{wanted}: the hub cannot be reached ({error}), and the file was not fetched before",
                hint="try again with a connection, or name a mirror: HF_ENDPOINT=https://...",
            ) from error
        log.warning("the hub cannot be reached (%s): taking %s, which was fetched before", error, here[1])
        return here
    file = _chosen(wanted, listing)
    folder = cache_folder() / wanted.repository / listing.commit
    _check_room(folder)
    # Written last: what is there beside it was compared when it came.
    came = fetched.path_of(folder / file).is_file()
    for path in [*_beside(file, listing.files), file]:
        _bring(hub, wanted, listing, path, folder, endpoint, came=came)
    pieces = _pieces(file, folder)
    for path in pieces:
        if path not in listing.files:
            raise InputError(f"{wanted}: the index names {path}, which the repository does not have")
        _bring(hub, wanted, listing, path, folder, endpoint, came=came)
    entry = listing.files[file]
    found = Fetched(
        repository=wanted.repository,
        file=file,
        revision=listing.commit,
        sha256="" if pieces else entry.sha256,  # of several files there is none of them together
        bytes=entry.size,
    )
    place = folder / file
    if fetched.read(place) != found:
        fetched.write(place, found)
    _remember(wanted, f"{listing.commit}/{file}")
    return place, found


class _Unreachable(Exception):
    """The hub gives no answer."""


@dataclass(frozen=True)
class _Entry:
    """A file of a repository as the hub lists it."""

    size: int
    sha256: str  # of files in large file storage
    git_digest: str  # of the others: SHA-1 of their git object


@dataclass(frozen=True)
class _Listing:
    commit: str
    files: Mapping[str, _Entry]


def _listing(hub: Any, wanted: HubName, endpoint: str | None) -> _Listing:
    """The commit of a revision, and the files that it has."""
    errors: Any = importlib.import_module("huggingface_hub.errors")
    try:
        info = hub.HfApi(endpoint=endpoint).model_info(
            wanted.repository, revision=wanted.revision, files_metadata=True, timeout=30
        )
    except errors.GatedRepoError as error:
        raise InputError(
            f"{wanted}: its makers ask who fetches it", hint="ask for access on its page, then type: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"{wanted}: the repository has no revision {wanted.revision!r}", hint="name a branch, a tag or a commit"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{wanted}: the hub has no such repository, or it is not public",
            hint="trm-deploy fetch --list shows public ones; for one of your own type: hf auth login",
        ) from error
    except Exception as error:  # what a connection fails with differs with the version
        raise _Unreachable(reason(error)) from error
    files = {}
    for sibling in info.siblings or ():
        if {"", ".", ".."} & set(re.split(r"[/\\]", sibling.rfilename)):
            continue  # no place below the cache folder
        stored = sibling.lfs
        digest = (stored.get("sha256") if isinstance(stored, dict) else getattr(stored, "sha256", "")) or ""
        files[sibling.rfilename] = _Entry(int(sibling.size or 0), digest, sibling.blob_id or "")
    if not info.sha or not names.COMMIT.fullmatch(info.sha):
        raise TrmDeployError(f"{wanted}: the hub names no commit for this revision", hint="name a commit: @COMMIT")
    return _Listing(info.sha, files)


def _chosen(wanted: HubName, listing: _Listing) -> str:
    """The file that is meant."""
    paths = list(listing.files)
    if wanted.file:
        if wanted.file in listing.files:
            return wanted.file
        inside = [path for path in paths if path.startswith(f"{wanted.file}/")]
        if inside:
            return _checkpoint_of(f"{wanted}", [path for path in inside if "/" not in path[len(wanted.file) + 1 :]])
        near = difflib.get_close_matches(wanted.file, paths, n=1, cutoff=0.6)
        hint = f"did you mean hf://{wanted.repository}/{near[0]}?" if near else _listed(paths)
        raise InputError(f"{wanted}: the repository has no such file", hint=hint)
    entry = catalogue.find(wanted.repository)
    if entry is not None and entry.file in listing.files:
        return entry.file
    return _checkpoint_of(f"{wanted}", paths)


def _checkpoint_of(name: str, paths: list[str]) -> str:
    """The only checkpoint of some files, or of one folder the step with the highest number."""
    steps = {path: match for path in paths if (match := STEP.fullmatch(PurePosixPath(path).name)) is not None}
    folders = {str(PurePosixPath(path).parent) for path in steps}
    others = [
        path
        for path in paths
        if path not in steps and (PurePosixPath(path).suffix in CHECKPOINTS or PurePosixPath(path).name == "checkpoint")
    ]
    indices = [path for path in paths if path.endswith(INDEX)]
    if indices:  # of the files that it names none is meant by itself
        others = [path for path in others if not PIECE.fullmatch(path)] + indices
    candidates = list(steps) or others
    if len(folders) == 1 and len({path.rpartition("step_")[0] for path in steps}) == 1:
        highest = max(int(match[1]) for match in steps.values())
        candidates = [path for path, match in steps.items() if int(match[1]) == highest]
    if len(candidates) != 1:
        what = f"has {len(candidates)} checkpoints" if candidates else "has no checkpoint by its name"
        raise InputError(f"{name}: {what}, name a file of it", hint=_listed(candidates or paths))
    return candidates[0]


def _pieces(index: str, folder: Path) -> list[str]:
    """The files that an index of a checkpoint in several files names; none where a file is not one."""
    if not index.endswith(INDEX):
        return []
    try:
        document = json.loads((folder / index).read_bytes())
    except (ValueError, RecursionError):
        return []
    where = document.get("weight_map") if isinstance(document, dict) else None
    found = {name for name in where.values() if isinstance(name, str)} if isinstance(where, dict) else set()
    return [str(PurePosixPath(index).parent / name) for name in sorted(found)]


def _listed(paths: Iterable[str]) -> str:
    found = sorted(paths)
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return f"it has {', '.join(found[:8]) or 'no files'}{more}"


def _beside(file: str, paths: Iterable[str]) -> list[str]:
    """What is read beside a file: the configuration of its run, the side files of an artefact."""
    folder = PurePosixPath(file).parent
    wanted = {str(folder / name) for name in BESIDE}
    return [path for path in paths if path in wanted or path.startswith(f"{file}.")]


def _bring(
    hub: Any, wanted: HubName, listing: _Listing, path: str, folder: Path, endpoint: str | None, *, came: bool
) -> None:
    """Fetch one file into a folder, and compare it with the hub's digest; not where all came before and it is there."""
    entry = listing.files[path]
    place = folder / path
    if came and place.is_file() and place.stat().st_size == entry.size:
        return  # compared when it came; whoever reads it computes its digest again
    log.info("fetching hf://%s/%s, %s", wanted.repository, path, _size(entry.size))
    for tries_left in reversed(range(TRIES)):
        try:
            hub.hf_hub_download(wanted.repository, path, revision=listing.commit, local_dir=folder, endpoint=endpoint)
            break
        except Exception as error:  # what a connection fails with differs with the version
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise TrmDeployError(
                    f"{error.filename or folder}: {error.strerror}",
                    hint="free some space, or name another cache folder: TRM_DEPLOY_CACHE=FOLDER",
                ) from error
            if not tries_left:
                raise TrmDeployError(
                    f"hf://{wanted.repository}/{path}: the download ended before the file was whole ({reason(error)})",
                    hint="type the command again",
                ) from error
            log.warning("the download of %s ended early (%s): trying again", path, reason(error))
    _compare(wanted, path, place, entry)


def _compare(wanted: HubName, path: str, place: Path, entry: _Entry) -> None:
    """Refuse, and take away, a file that is not the one of the hub."""
    if entry.sha256:
        expected, came, kind = entry.sha256, sha256(place), "SHA-256"
    elif entry.git_digest:
        data = place.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
        expected, came, kind = entry.git_digest, git.hexdigest(), "git digest"
    else:
        expected, came, kind = str(entry.size), str(place.stat().st_size), "number of bytes"
    if came != expected:
        place.unlink()
        raise TrmDeployError(
            f"hf://{wanted.repository}/{path}: what came is not what the hub has: its {kind} is {came}, expected"
            f" {expected}",
            hint="type the command again; where it stays so, something between the hub and this machine alters files",
        )


def _check_room(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrmDeployError(
            f"{error.filename}: {error.strerror}", hint="name another cache folder: TRM_DEPLOY_CACHE=FOLDER"
        ) from error


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count} bytes"


def _known(wanted: HubName) -> dict[str, str]:
    """The paths, below a repository's folder, of what was fetched, by what was asked."""
    try:
        document = json.loads((cache_folder() / wanted.repository / KNOWN).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _remember(wanted: HubName, path: str) -> None:
    known = _known(wanted)
    keys = {f"{wanted.file}@{wanted.revision}", f"{wanted.file}@{path.partition('/')[0]}"}
    if any(known.get(key) != path for key in keys):
        write_atomic(
            cache_folder() / wanted.repository / KNOWN, json.dumps({**known, **dict.fromkeys(keys, path)}, indent=2)
        )


def _here(wanted: HubName) -> tuple[Path, Fetched] | None:
    """The file of a name as it was fetched before; None where it was not."""
    path = _known(wanted).get(f"{wanted.file}@{wanted.revision}")
    if path is None and wanted.is_pinned and wanted.file:
        path = f"{wanted.revision}/{wanted.file}"
    if not isinstance(path, str):
        return None
    place = cache_folder() / wanted.repository / path
    found = fetched.read(place)
    return (place, found) if found is not None and place.is_file() else None

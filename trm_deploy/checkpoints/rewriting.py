"""A checkpoint of ours with another spec, in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trm_deploy.artefacts.kind import is_safetensors
from trm_deploy.checkpoints import native, safetensors_file
from trm_deploy.checkpoints.archive import read_pickle
from trm_deploy.checkpoints.documents import locate, read_document
from trm_deploy.errors import CheckpointError
from trm_deploy.spec import ModelSpec


def require_native_format(path: Path) -> None:
    """Raises `CheckpointError` where it is not a checkpoint of ours: a published one has no spec to change."""
    if not native.is_native(read_document(locate(path))):
        raise CheckpointError(
            f"{path}: is a checkpoint of the published code, which holds no spec to change",
            hint="export it, and change the build record beside the engine",
        )


def rewrite_spec(path: Path, change: Callable[[ModelSpec], ModelSpec]) -> None:
    """Change the spec of a checkpoint of ours in place, atomically; all else stays as it is.

    Raises:
        CheckpointError: see `native.from_document` and `require_native_format`.
    """
    path = locate(path)
    require_native_format(path)
    spec = native.from_document(path, read_document(path)).spec
    as_safetensors = is_safetensors(path)
    document = safetensors_file.read(path) if as_safetensors else read_pickle(path)
    document["spec"] = change(spec).to_json()
    native.write_document(path, document, as_safetensors=as_safetensors)

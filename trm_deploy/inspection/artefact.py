"""What an artefact is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from trm_deploy import hub
from trm_deploy.artefacts import embeddings, onnx_file, record, shipped
from trm_deploy.artefacts.kind import digest as digest_of
from trm_deploy.artefacts.kind import is_checkpoint
from trm_deploy.artefacts.kind import of as kind_of
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError, require
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import graph_in_words
from trm_deploy.runtimes.graph_runtime import GraphRuntime
from trm_deploy.spec import ModelSpec
from trm_deploy.support.files import sha256
from trm_deploy.trt import plan_file as plans
from trm_deploy.trt.plan_file import Plan

SCHEMA = 1


def _fetched_line(path: Path, digest: str) -> dict[str, str]:
    """Where a file was fetched from."""
    origin = hub.origin(path, digest) if digest else None
    return {} if origin is None else {"fetched_from": str(origin)}


def inspect(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What a checkpoint, an ONNX file or a plan is, as plain values. A plan is read without TensorRT or a GPU.

    Args:
        path: the file, the folder of a published checkpoint, the name of a shipped model or one on the hub.
        overrides: KEY=VALUE, what a published checkpoint does not say of itself.

    Raises:
        ArtefactError, CheckpointError: it cannot be read, or is not ours.
    """
    path = shipped.local(path)
    if path.is_dir():
        path = _checkpoints(path).locate(path)
    digest = digest_of(path) if path.is_file() else ""
    built = record.read(path)
    own = built if built is not None and built.artefact_sha256 == digest else None
    if path.is_file() and is_checkpoint(path):
        kind, details, spec = "checkpoint", *_checkpoint_lines(path, overrides)
    elif (found := kind_of(path)).is_plan:
        plan = plans.read(path)
        kind, details, spec = found.value, _plan_lines(plan, own), plan.spec
    else:
        kind, details, spec = "ONNX", *_onnx_lines(path)
    if overrides and kind != "checkpoint":
        raise InputError(f"--set {overrides[0]} applies to checkpoints: {path} is not one", hint="leave out --set")
    return {
        "schema": SCHEMA,
        "file": str(path),
        "kind": kind,
        "bytes": path.stat().st_size,
        "sha256": digest,
        **_fetched_line(path, digest),
        **details,
        **_spec_lines(spec),
        **_table_line(path, spec, own),
        "build_record": _record_line(path, built, own),
    }


def _checkpoints(path: Path) -> ModuleType:
    """`trm_deploy.checkpoints`, which needs torch."""
    require("torch", extra="export", purpose=f"to read the checkpoint {path}")
    from trm_deploy import checkpoints

    return checkpoints


def _checkpoint_lines(path: Path, overrides: Sequence[str]) -> tuple[dict[str, Any], ModelSpec]:
    loaded = _checkpoints(path).load(path, overrides)
    details: dict[str, Any] = {"parameters": sum(tensor.numel() for tensor in loaded.ema.values())}
    if loaded.settings:
        details |= {"made_by": "the published code", "settings": list(loaded.settings)}
    else:
        details |= {name: loaded.training.get(key) for name, key in (("training_steps", "steps"), ("seed", "seed"))}
        if "checkpoint_sha256" in loaded.training:
            details["made_from"] = loaded.training["checkpoint_sha256"]
    if loaded.contradictions:
        details["contradictions"] = list(loaded.contradictions)
    return details, loaded.spec


def _onnx_lines(path: Path) -> tuple[dict[str, Any], ModelSpec]:
    try:
        runtime = load(path)
    except CannotRunHere as error:  # such as bfloat16 on a CPU: the file can be read all the same
        read = onnx_file.read(path)
        spec, graph = read.spec, graph_in_words(read.graph, read.steps, read.baked)
        details = {"graph": graph, "precision": read.precision, "opset": read.opset, "runs_here": f"no: {error}"}
    else:
        if not isinstance(runtime, GraphRuntime):
            raise ArtefactError(f"{path}: is neither a checkpoint nor an ONNX file nor a plan")
        spec, details = runtime.spec, runtime.details()
    return {**details, "seal": onnx_file.check_seal(path).value}, spec


def _plan_lines(plan: Plan, built: record.BuildRecord | None) -> dict[str, Any]:
    version = built.versions.get(plan.flavour.module) if built else None
    details: dict[str, Any] = {
        "graph": plan.graph,
        "precision": "unknown without its build record",
        "built_by": f"{plan.flavour.title} {version or plan.version or 'of unknown version'}",
    }
    if built is not None:
        details["graph"] = graph_in_words(built.graph, built.steps)
        details["precision"] = f"{built.precision} (by the {built.precision_source})"
        details["batch"] = built.batch
        details["compute_capability"] = ", ".join(built.compute_capabilities)
        details["platform"] = " ".join(filter(None, (built.platform, built.device)))
        also = [name for name in ("version_compatible", "hardware_compatible") if getattr(built, name)]
        if also:
            details["compatible"] = ", ".join(name.replace("_", "-") for name in also)
    return details


def _spec_lines(spec: ModelSpec) -> dict[str, Any]:
    architecture, recursion, halting = spec.architecture, spec.recursion, spec.halting
    return {
        "task": spec.task.name or "not named",
        "tokens": f"L = {spec.task.sequence_length}, V = {len(spec.task.vocabulary)}",
        "network": (
            f"{architecture.networks}, {architecture.layers} layers, {architecture.mixer} mixer,"
            f" D = {architecture.hidden_size}, P = {architecture.prefix_length}, positions {architecture.positions},"
            f" latents {architecture.latents}"
        ),
        "recursion": f"n = {recursion.latent}, T = {recursion.deep}: {recursion.network_calls} network calls a step",
        "halting": f"rule {halting.rule}, threshold {halting.threshold:g}, at most {halting.max_steps} steps",
    }


def _table_line(path: Path, spec: ModelSpec, own: record.BuildRecord | None) -> dict[str, Any]:
    """The table of puzzle embeddings, in an artefact or beside it; empty for a model without one."""
    puzzles, size = embeddings.shape_of(spec)
    if not size:
        return {}
    shape = f"{puzzles} x {size}"
    if not spec.puzzle_table_outside or is_checkpoint(path):
        return {"puzzle_embeddings": shape}
    table = embeddings.path_of(path)
    if not table.is_file():
        return {"puzzle_embeddings": f"{shape}, in {table.name}, which is missing"}
    matches = own is not None and own.puzzle_embeddings.get("sha256") == sha256(table)
    state = (
        "its SHA-256 matches" if matches else "unknown" if own is None else "is of another export (its SHA-256 differs)"
    )
    return {"puzzle_embeddings": f"{shape}, in {table.name}: {state}"}


def _record_line(path: Path, built: record.BuildRecord | None, own: record.BuildRecord | None) -> str:
    if built is None:
        return "none beside it"
    if own is None:
        return f"{record.path_of(path).name} is of another file (its SHA-256 differs)"
    parity = "parity held" if built.parity.get("passed") else "parity unknown"
    return f"{record.path_of(path).name}: {parity}, halting threshold {built.halting_threshold:g}"

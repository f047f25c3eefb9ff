"""Runs an exported ONNX file with ONNX Runtime, in each of its three graph forms. Needs neither torch nor onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy import embeddings, onnx_file
from trm_deploy.errors import ArtefactError, CannotRunHere, require
from trm_deploy.runtimes.base import Device, Float32, Int32, Solution, StepResult, check_inputs, check_step_limit
from trm_deploy.runtimes.batching import solve_by_steps
from trm_deploy.spec import ModelSpec

STATE_DTYPES = {"fp32": np.float32, "fp16": np.float16}
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OrtRuntime:
    """An exported graph in ONNX Runtime; `from_file` gives an `OrtStepRuntime` where the file holds the step form."""

    largest_batch = None

    def __init__(
        self,
        session: Any,
        spec: ModelSpec,
        graph: str,
        fixed_steps: int | None,
        precision: str,
        table: Float32 | None = None,
    ) -> None:
        self._session = session
        self._inputs = {node.name for node in session.get_inputs()}
        self._graph = graph
        self._place = getattr(session, "_model_path", None) or "the ONNX model"
        self._table = table  # of puzzle embeddings, where it is not in the graph
        self.spec = spec
        self.fixed_steps = fixed_steps
        self.precision = precision
        self.description = f"ONNX Runtime {graph} {precision}"

    @staticmethod
    def from_file(path: Path, *, device: Device = "cpu") -> OrtRuntime:
        """Load an ONNX file.

        Raises:
            ArtefactError: truncated, no ONNX file, or not one that `trm-deploy export` made; or the file with its
                puzzle embeddings is missing.
            CannotRunHere: ONNX Runtime or its CUDA provider is missing.
        """
        onnx_file.check_seal(path)
        session = open_session(path, device)
        spec, graph, steps, precision = onnx_file.described(_metadata(session, path), path)
        if precision not in STATE_DTYPES:
            raise ArtefactError(f"{path}: has the precision {precision!r}, expected one of {', '.join(STATE_DTYPES)}")
        _check_signature(session, spec, graph, path)
        kind = OrtStepRuntime if graph == "step" else OrtRuntime
        return kind(session, spec, graph, steps, precision, embeddings.open_table(path, spec))

    def details(self) -> dict[str, Any]:
        """What the file says of its graph, as plain values."""

        def signature(nodes: list[Any]) -> list[str]:
            return [f"{node.name} {node.type} {list(node.shape)}" for node in nodes]

        return {
            "graph": self._graph if self.fixed_steps is None else f"{self._graph}, {self.fixed_steps} steps",
            "precision": self.precision,
            "inputs": signature(self._session.get_inputs()),
            "outputs": signature(self._session.get_outputs()),
        }

    def solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """See `Runtime.solve`."""
        check_inputs(self.spec, tokens, puzzle_ids, max_steps)
        check_step_limit(self.fixed_steps, max_steps)
        feeds: dict[str, NDArray[Any]] = {
            "tokens": tokens,
            "halt_threshold": np.array(halt_threshold, np.float32),
        }
        if "max_steps" in self._inputs:
            feeds["max_steps"] = np.array(max_steps, np.int32)
        feeds |= self._puzzle_feed(tokens, puzzle_ids)
        return Solution(*self._run(["answer", "steps", "halt_logit", "logits"], feeds))

    def _run(self, outputs: list[str], feeds: dict[str, NDArray[Any]]) -> list[Any]:
        try:
            return list(self._session.run(outputs, feeds))
        except Exception as error:  # ONNX Runtime's exceptions share no base class below Exception
            reason = " ".join(str(error).split())
            raise ArtefactError(
                f"{self._place}: ONNX Runtime cannot run it ({reason[:160]})",
                hint="copy the file again, or export again from the checkpoint",
            ) from error

    def _puzzle_feed(self, tokens: Int32, puzzle_ids: Int32 | None) -> dict[str, NDArray[Any]]:
        if self._table is not None:
            return {"puzzle_embedding": embeddings.rows(self._table, puzzle_ids, len(tokens))}
        if "puzzle_ids" not in self._inputs:
            return {}
        return {"puzzle_ids": np.zeros(len(tokens), np.int32) if puzzle_ids is None else puzzle_ids}


class OrtStepRuntime(OrtRuntime):
    """The step form: also single steps, and `solve` by a loop on the host."""

    def solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """See `Runtime.solve`."""
        check_inputs(self.spec, tokens, puzzle_ids, max_steps)
        return solve_by_steps(self, tokens, puzzle_ids, max_steps=max_steps, halt_threshold=halt_threshold)

    def step(
        self, tokens: Int32, reset: NDArray[np.bool_], y: Any, z: Any, puzzle_ids: Int32 | None = None
    ) -> StepResult:
        """See `StepRuntime.step`."""
        check_inputs(self.spec, tokens, puzzle_ids, 1)
        state = STATE_DTYPES[self.precision]
        feeds = {
            "tokens": tokens,
            "reset": reset,
            "y": np.asarray(y, state),
            "z": np.asarray(z, state),
            **self._puzzle_feed(tokens, puzzle_ids),
        }
        return StepResult(*self._run(["y_next", "z_next", "answer", "halt_logit", "logits"], feeds))


def _metadata(session: Any, path: Path) -> dict[str, str]:
    try:
        return dict(session.get_modelmeta().custom_metadata_map)
    except UnicodeDecodeError as error:
        raise ArtefactError(f"{path}: its metadata are no text ({error})", hint="copy it again") from error


def _check_signature(session: Any, spec: ModelSpec, graph: str, path: Path) -> None:
    """Refuse a graph whose inputs and outputs are not those of the model that the file's spec tells of."""
    length, positions = spec.task.sequence_length, spec.positions
    state = [positions, spec.architecture.hidden_size]
    expected: dict[str, list[int]] = {
        "tokens": [length],
        "answer": [length],
        "logits": [length, len(spec.task.vocabulary)],
        "halt_logit": [],
    }
    if graph == "step":
        expected |= {"reset": [], "y": state, "z": state, "y_next": state, "z_next": state}
    else:
        expected |= {"halt_threshold": [], "steps": []} | ({"max_steps": []} if graph == "loop" else {})
    found = {node.name: list(node.shape)[1:] for node in (*session.get_inputs(), *session.get_outputs())}
    for name, sizes in expected.items():
        if found.get(name) != sizes:
            came = f"has [batch, {', '.join(map(str, found[name]))}]" if name in found else "is missing"
            raise ArtefactError(
                f"{path}: the graph's {name} {came}, its spec expects {['batch', *sizes]}",
                hint="type: trm-deploy export CHECKPOINT --format onnx",
            )


def open_session(path: Path, device: Device) -> Any:
    """An ONNX Runtime session for a file.

    Raises:
        ArtefactError: the file is no ONNX model that ONNX Runtime can load.
        CannotRunHere: ONNX Runtime or its CUDA provider is missing.
    """
    ort = require("onnxruntime", extra="onnx", purpose=f"to run {path}")
    provider = PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise CannotRunHere(
            f"ONNX Runtime has no {provider} here (it has {', '.join(ort.get_available_providers())})",
            hint="type: pip install 'trm-deploy[gpu]'",
        )
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong comes back as an exception
    try:
        # TF32, ONNX Runtime's default on a GPU, keeps ten bits of a float32's mantissa: that would not be float32.
        settings = {"use_tf32": "0"} if device == "cuda" else {}
        session = ort.InferenceSession(str(path), options, providers=[(provider, settings)])
    except Exception as error:  # ONNX Runtime's exceptions share no base class below Exception
        reason = " ".join(str(error).split())
        raise ArtefactError(
            f"{path}: is no ONNX model that ONNX Runtime can load, or a truncated one ({reason[:160]})",
            hint="type: trm-deploy export CHECKPOINT --format onnx",
        ) from error
    if provider not in session.get_providers():
        # ONNX Runtime falls back to the CPU by itself; whoever asked for CUDA must not get that.
        raise CannotRunHere(f"ONNX Runtime could not start {provider} for {path}", hint="type: trm-deploy doctor")
    return session

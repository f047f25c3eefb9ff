"""Runs an exported ONNX file with ONNX Runtime, in each of its three graph forms. Needs neither torch nor onnx."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.artefacts import embeddings, onnx_file
from trm_deploy.errors import ArtefactError, CannotRunHere, require
from trm_deploy.runtimes.base import (
    Device,
    Float32,
    Int32,
    Solution,
    StepResult,
    check_inputs,
    check_step_limit,
    graph_in_words,
)
from trm_deploy.runtimes.host_loop import solve_by_steps
from trm_deploy.spec import ModelSpec
from trm_deploy.support import machine

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
STATE_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
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
        self._device = "cuda" if session.get_providers()[0] == PROVIDERS["cuda"] else "cpu"
        self._inputs = {node.name: node.type for node in session.get_inputs()}
        self._graph = graph
        self._place = getattr(session, "_model_path", None) or "the ONNX model"
        self._table = table  # of puzzle embeddings, where it is not in the graph
        self.spec = spec
        self.fixed_steps = fixed_steps
        self.precision = precision
        self.arithmetic = arithmetic_of(precision, session.get_providers()[0])
        self.description = f"ONNX Runtime {graph} {precision}"

    @staticmethod
    def from_file(path: Path, *, device: Device = "cpu") -> OrtRuntime:
        """Load an ONNX file.

        Raises:
            ArtefactError: truncated, no ONNX file, or not one that `trm-deploy export` made; or the file with its
                puzzle embeddings is missing.
            CannotRunHere: ONNX Runtime or its CUDA provider is missing, or it lacks the file's precision.
        """
        onnx_file.check_seal(path)
        try:
            session = open_session(path, device)
        except ArtefactError:
            refuse_bfloat16(path, device)
            raise
        spec, graph, steps, precision = onnx_file.described(_metadata(session, path), path)
        if precision not in PRECISIONS:
            raise ArtefactError(f"{path}: has the precision {precision!r}, expected one of {', '.join(PRECISIONS)}")
        _check_signature(session, spec, graph, path)
        kind = OrtStepRuntime if graph == "step" else OrtRuntime
        return kind(session, spec, graph, steps, precision, embeddings.open_table(path, spec))

    def details(self) -> dict[str, Any]:
        """What the file says of its graph, as plain values."""

        def signature(nodes: list[Any]) -> list[str]:
            return [f"{node.name} {node.type} {list(node.shape)}" for node in nodes]

        return {
            "graph": graph_in_words(self._graph, self.fixed_steps),
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
        with self._explained():
            return Solution(*self._session.run(["answer", "steps", "halt_logit", "logits"], feeds))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what ONNX Runtime raises into an error that names the file."""
        try:
            yield
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
        binding = self._session.io_binding()
        feeds = {"tokens": tokens, "reset": reset, **self._puzzle_feed(tokens, puzzle_ids)}
        for name, array in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name, value in (("y", y), ("z", z)):
            if isinstance(value, OnDevice):
                binding.bind_ortvalue_input(name, value.value)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(value, STATE_DTYPES[self._inputs[name]]))
        for name in STEP_OUTPUTS:
            binding.bind_output(name, self._device)
        with self._explained():
            self._session.run_with_iobinding(binding)
        new_y, new_z, answer, halt_logit, logits = (OnDevice(value) for value in binding.get_outputs())
        return StepResult(new_y, new_z, answer, np.asarray(halt_logit), logits)


STEP_OUTPUTS = ("y_next", "z_next", "answer", "halt_logit", "logits")


@dataclass(frozen=True)
class OnDevice:
    """A result that stays where ONNX Runtime put it; numpy.asarray brings it to the host."""

    value: Any

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array: NDArray[Any] = self.value.numpy()
        return array if dtype is None else array.astype(dtype)


def arithmetic_of(precision: str, provider: str) -> str:
    """What the products of a graph are computed in: ONNX Runtime's CPU kernels are float32 and int8."""
    if provider != PROVIDERS["cpu"] or precision == "fp32":
        return precision
    if precision == "int8":
        # Without these instructions, pairs of products are added in 16 bits, and large ones saturate.
        exact = machine.has_int8_dot_products()
        return "int8" if exact else "int8 with saturating sums (this processor lacks VNNI)"
    return "fp32 between casts" if precision == "fp16" else f"fp32 with weights in {precision}"


def refuse_bfloat16(path: Path, device: Device) -> None:
    """Raises `CannotRunHere` where a file that ONNX Runtime does not load is one of ours in bfloat16."""
    try:
        described = onnx_file.read(path)
    except ArtefactError:
        return
    if described.precision == "bf16" and device == "cpu":
        raise CannotRunHere(
            f"{path}: is in bf16, which ONNX Runtime does not compute on CPUs",
            hint="on this machine run its checkpoint: trm-deploy run --engine CHECKPOINT --precision bf16;"
            " TensorRT takes the file: trm-deploy export FILE.onnx --format trt",
        )


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
    # By itself it starts a thread for each core of the machine, others' cores included, and they wait by spinning.
    options.intra_op_num_threads = machine.threads()
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

"""Static scales for int8 activations: what the products of a model see on puzzles, over all steps and recursions.

A scale holds the largest magnitude that was seen. To let the outermost 0.01 % saturate, as is usual, makes its steps
finer and the answers worse: in the shipped model those few values carry a product (docs/precision.md).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from trm_deploy.errors import require
from trm_deploy.puzzles.sampling import sample_questions
from trm_deploy.signature import PUZZLE_EMBEDDING, PUZZLE_IDS, RESET, TOKENS, Y_NEXT, Z_NEXT, Y, Z
from trm_deploy.spec import ModelSpec

# Maximum number of puzzles that scales are calibrated on; each runs all supervision steps.
PUZZLES = 16
# Puzzles whose activations are in memory at a time.
BATCH = 4


def questions(spec: ModelSpec, file: Path | None = None) -> NDArray[np.int32]:
    """int32 [N, L], at most `PUZZLES`, see `sample_questions`."""
    task = spec.task
    return sample_questions(task.name, task.sequence_length, len(task.vocabulary), file, PUZZLES)


def largest_inputs(
    step: onnx.ModelProto,
    weights: Collection[str],
    spec: ModelSpec,
    tokens: NDArray[np.int32],
) -> dict[str, float]:
    """The magnitude that an int8 activation is to hold, for each weight that it is multiplied with.

    Args:
        step: the step graph, inner recursions written out, not quantised.
        weights: initialisers of it.
        spec: of the model.
        tokens: int32 [N, L] questions; each runs all its supervision steps, halted or not.
    """
    graph = onnx.ModelProto()
    graph.CopyFrom(step)
    uses: dict[str, list[str]] = {weight: [] for weight in weights}
    for node in graph.graph.node:
        if node.op_type == "MatMul" and node.input[1] in uses:
            uses[node.input[1]].append(node.input[0])
    seen = sorted({name for names in uses.values() for name in names})
    state = next(value.type.tensor_type.elem_type for value in step.graph.input if value.name == Y)
    graph.graph.output.extend(helper.make_tensor_value_info(name, state, None) for name in seen)
    session = _session(graph)
    found = dict.fromkeys(weights, 0.0)
    for start in range(0, len(tokens), BATCH):
        for values in _steps(
            session, spec, tokens[start : start + BATCH], seen, helper.tensor_dtype_to_np_dtype(state)
        ):
            largest = {name: float(np.abs(value).max()) for name, value in values.items()}
            found = {weight: max(found[weight], *(largest[name] for name in uses[weight])) for weight in weights}
    return found


def _session(graph: onnx.ModelProto) -> Any:
    ort = require("onnxruntime", extra="export", purpose="to calibrate int8 scales")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _steps(session: Any, spec: ModelSpec, tokens: NDArray[np.int32], names: list[str], dtype: Any) -> Any:
    """The named values of each supervision step of a free run."""
    y = z = np.zeros((len(tokens), *spec.state_shapes[0]), dtype)
    inputs = {node.name for node in session.get_inputs()}
    fixed: dict[str, NDArray[Any]] = {TOKENS: tokens}
    if PUZZLE_IDS in inputs:
        fixed[PUZZLE_IDS] = np.arange(len(tokens), dtype=np.int32) % spec.task.puzzle_identifiers
    if PUZZLE_EMBEDDING in inputs:
        fixed[PUZZLE_EMBEDDING] = np.zeros((len(tokens), spec.architecture.puzzle_embedding_size), np.float32)
    for step in range(spec.halting.max_steps):
        reset = np.full(len(tokens), step == 0)
        y, z, *values = session.run([Y_NEXT, Z_NEXT, *names], {**fixed, RESET: reset, Y: y, Z: z})
        yield dict(zip(names, values))

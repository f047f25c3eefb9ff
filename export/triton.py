"""From a checkpoint to a model in a Triton model repository: `--format triton`.

    REPOSITORY/NAME/config.pbtxt     what Triton reads: tensors, batching, the state of a sequence; written last
    REPOSITORY/NAME/labels.txt       a line for each logit of a puzzle: its cell and its token
    REPOSITORY/NAME/1/model.onnx     or model.plan, with its side files: `verify`, `parity` and `run` take it there

The loop form has its limits baked in, because every tensor of a batched model has a row a sample in Triton, and is
batched dynamically. The step form is batched by sequence: Triton keeps y and z, and says START where a row begins.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from pathlib import Path

from trm_deploy import puzzles
from trm_deploy.artefacts import onnx_file, record
from trm_deploy.artefacts.onnx_file import INT8_BY_ROW, OnnxFile
from trm_deploy.errors import InputError
from trm_deploy.export.check import Check
from trm_deploy.export.engine.options import BatchProfile
from trm_deploy.export.formats import TRITON_BACKENDS
from trm_deploy.export.options import ExportOptions
from trm_deploy.puzzles.arc import Arc
from trm_deploy.puzzles.base import TextPuzzle
from trm_deploy.signature import (
    BATCH,
    LOGITS,
    PRECISIONS,
    RESET,
    Y_NEXT,
    Z_NEXT,
    DType,
    Precision,
    Signature,
    TensorSpec,
    Y,
    Z,
    signature,
)
from trm_deploy.spec import ModelSpec
from trm_deploy.support.files import write_atomic

log = logging.getLogger(__name__)

# As Triton calls the types.
TYPES: dict[DType, str] = {
    "bool": "TYPE_BOOL",
    "int32": "TYPE_INT32",
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "bfloat16": "TYPE_BF16",
}
CONFIG, LABELS, VERSION = "config.pbtxt", "labels.txt", "1"
# Puzzles that a server may batch, where nothing says how many: more gain little.
LARGEST_BATCH = 64
# Microseconds that the first request of a batch waits for others.
QUEUE_DELAY = 2000
# Microseconds after which a sequence that gets no request loses its state.
SEQUENCE_IDLE = 60_000_000


def build(options: ExportOptions, output: Path, check: Check) -> None:
    """Write a model with its configuration into a repository; the configuration comes last.

    Raises:
        InputError: the source is an ONNX file that Triton cannot batch.
        TrmDeployError: see `export_checkpoint` and `build_engine`.
    """
    backend = options.backend or next(iter(TRITON_BACKENDS))
    folder = output.parent.parent
    inner = options.of_model()
    if options.from_onnx:
        _check_batchable(onnx_file.read(options.source), options.source)
    with contextlib.suppress(FileNotFoundError):
        (folder / CONFIG).unlink()  # it would vouch for another model
    try:
        if options.model_format == "onnx":
            from trm_deploy.export import onnx_artefact

            onnx_artefact.build(inner, output, check)
        else:
            from trm_deploy.export import engine_artefact

            engine_artefact.build(inner, output, check)
    except BaseException:
        for place in (output.parent, folder, folder.parent):
            with contextlib.suppress(OSError):  # it holds something
                place.rmdir()
        raise
    onnx = inner.onnx()
    described = onnx_file.read(onnx)
    batch = BatchProfile.parse(options.batch or _batch_of(output)).largest
    write_atomic(folder / LABELS, labels(described.spec))
    write_atomic(folder / CONFIG, config(folder.name, backend, described, largest_batch=batch))
    log.info("wrote %s: type tritonserver --model-repository=%s", folder, folder.parent.absolute())


def _batch_of(artefact: Path) -> str:
    """The batch sizes of an engine; of an ONNX file, which takes any, the default."""
    built = record.read(artefact)
    return built.batch if built is not None and built.batch else str(LARGEST_BATCH)


def _check_batchable(described: OnnxFile, source: Path) -> None:
    """Refuse an ONNX file whose inputs have no row a sample.

    Raises:
        InputError: its limits are inputs, or it takes `reset` as the other runtimes do.
    """
    if described.reset_column or described.baked is not None:
        return
    what = "`reset` as a row" if described.graph == "step" else "its step limit and halting threshold as scalars"
    raise InputError(
        f"{source}: takes {what}, which Triton cannot batch",
        hint="name the checkpoint, or the model.onnx that export --format triton wrote",
    )


def config(name: str, backend: str, described: OnnxFile, *, largest_batch: int) -> str:
    """The text of `config.pbtxt`, Triton's `ModelConfig`.

    Args:
        name: of the model.
        backend: that runs it, see `TRITON_BACKENDS`.
        described: the ONNX file, or the one that the plan was built from.
        largest_batch: maximum number of puzzles in a batch.
    """
    contract = contract_of(described)
    states = ((Y, Y_NEXT), (Z, Z_NEXT)) if described.graph == "step" else ()
    kept = {RESET, *(name for pair in states for name in pair)}
    lines = [f"name: {_text(name)}", f"backend: {_text(backend)}", f"max_batch_size: {largest_batch}"]
    lines += [_tensor("input", tensor) for tensor in contract.inputs if tensor.name not in kept]
    lines += [_tensor("output", tensor) for tensor in contract.outputs if tensor.name not in kept]
    if states:
        lines += [_sequences(contract, states, largest_batch)]
    else:
        lines += [f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY} }}"]
    if INT8_BY_ROW in described.operators:
        lines += ["instance_group [ { kind: KIND_CPU } ]"]
    told = {
        "task": described.spec.task.name,
        "vocabulary": json.dumps(described.spec.task.vocabulary, ensure_ascii=False),
        "graph": described.graph,
        "max_steps": str(described.baked.max_steps if described.baked else described.spec.halting.max_steps),
        "halt_threshold": str(described.baked.halt_threshold if described.baked else described.spec.halting.threshold),
    }
    for key, value in told.items():
        lines += [f"parameters {{ key: {_text(f'trm_deploy.{key}')} value {{ string_value: {_text(value)} }} }}"]
    return "\n".join(lines) + "\n"


def contract_of(described: OnnxFile) -> Signature:
    """What goes into an ONNX file for Triton, and what comes out of it."""
    precision: Precision = next((known for known in PRECISIONS if known == described.precision), "fp32")
    static = precision == "int8" and INT8_BY_ROW not in described.operators
    return signature(
        described.spec,
        described.graph,
        precision,
        state="float16" if static else None,
        baked=described.baked,
        reset_column=described.reset_column,
    )


def _tensor(kind: str, tensor: TensorSpec) -> str:
    """An input or output. Triton knows no tensor without a size beside the batch: such a one is reshaped."""
    sizes = tensor.shape[1:]
    words = [f"name: {_text(tensor.name)}", f"data_type: {TYPES[tensor.dtype]}"]
    words += [f"dims: {_dims(sizes or (1,))}", *([] if sizes else ["reshape { shape: [ ] }"])]
    if tensor.name == LOGITS:
        words += [f"label_filename: {_text(LABELS)}"]
    return f"{kind} [ {{ {' '.join(words)} }} ]"


def _sequences(contract: Signature, states: tuple[tuple[str, str], ...], largest_batch: int) -> str:
    """How the steps of many sequences are batched: those that wait, up to a batch; and what is kept in between."""
    kept = []
    for before, after in states:
        tensor = contract[before]
        kept += [
            f"state [ {{ input_name: {_text(before)} output_name: {_text(after)} data_type: {TYPES[tensor.dtype]}"
            f" dims: {_dims(tensor.shape[1:])} }} ]"
        ]
    start = f"control [ {{ kind: CONTROL_SEQUENCE_START {TYPES['bool'][5:].lower()}_false_true: [ false, true ] }} ]"
    lines = [
        f"max_sequence_idle_microseconds: {SEQUENCE_IDLE}",
        f"oldest {{ max_candidate_sequences: {largest_batch} max_queue_delay_microseconds: {QUEUE_DELAY} }}",
        f"control_input [ {{ name: {_text(RESET)} {start} }} ]",
        *kept,
    ]
    return "sequence_batching {\n  " + "\n  ".join(lines) + "\n}"


def _dims(sizes: tuple[int | str, ...]) -> str:
    assert BATCH not in sizes
    return f"[ {', '.join(map(str, sizes))} ]"


def _text(value: str) -> str:
    """A string as protobuf's text format quotes it."""
    return json.dumps(value, ensure_ascii=False)


def labels(spec: ModelSpec) -> str:
    """A line for each logit of a puzzle, in their order [L, V]: where it is, and for which token."""
    width = _width(spec)
    lines = []
    for cell in range(spec.task.sequence_length):
        place = f"row {cell // width + 1} column {cell % width + 1}" if width else f"cell {cell + 1}"
        lines += [f"{place}: {re.sub(r'[^ -~]', '?', token)}" for token in spec.task.vocabulary]
    return "\n".join(lines) + "\n"


def _width(spec: ModelSpec) -> int:
    """Cells in a row of the task's grid; 0 where nothing names the task."""
    if not spec.task.name:
        return 0
    task = puzzles.get(spec.task.name)
    if isinstance(task, Arc):
        return task.side
    return task.form.columns if isinstance(task, TextPuzzle) else 0

"""Golden vectors, `<artefact>.golden.npz`: what PyTorch computed when an artefact was exported, to be replayed.

A NumPy archive that `numpy.load` reads. `meta` is JSON text as uint8, `sha256` the seal of all the rest.

N questions, of which the first G were recorded step by step; K recorded steps; M recorded states; C ulp-perturbed
controls; L tokens, V vocabulary, S positions, D hidden size, E puzzle embedding.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.artefacts import kind, onnx_file, record
from trm_deploy.artefacts.side_file import SideFile
from trm_deploy.errors import ArtefactError, SpecError, shown
from trm_deploy.signature import GRAPHS, PRECISIONS, Graph
from trm_deploy.spec import MAX_STEPS, ModelSpec
from trm_deploy.support import npy
from trm_deploy.support.plain import from_plain

SCHEMA = 1
META, SEAL = "meta", "sha256"
# What all arrays of a file may come to: of the largest models they are tens of megabytes.
LARGEST = 1 << 30
MOMENT = (1980, 1, 1, 0, 0, 0)  # the oldest that an archive knows: the same vectors give the same bytes

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class GoldenMeta:
    """Which artefact golden vectors are of.

    Attributes:
        model: SHA-256 of the spec as `ModelSpec.model_json` gives it.
        checkpoint: SHA-256 of the checkpoint's file; empty where it was not read from one.
        graph, precision: the artefact's.
        max_steps: maximum number of supervision steps of the free run.
        halt_threshold: of the free run.
        sensitivity: largest difference of a logit or the state that a control showed in one teacher-forced step, over
            the G puzzles.
        bounds: those of the precision, by the names of `trm_deploy.evaluation.parity.bounds.Bounds`.
    """

    model: str
    checkpoint: str
    graph: Graph
    precision: str
    max_steps: int
    halt_threshold: float
    sensitivity: float
    bounds: dict[str, Any]

    def __post_init__(self) -> None:
        if self.graph not in GRAPHS or self.precision not in PRECISIONS:
            raise SpecError(f"meta tells of the graph {shown(self.graph)} in {shown(self.precision)}")
        if not 1 <= self.max_steps <= MAX_STEPS:
            raise SpecError(f"meta.max_steps is {shown(self.max_steps)}, expected 1 to {MAX_STEPS}")


@dataclass(frozen=True, kw_only=True)
class GoldenVectors:
    """What PyTorch in float32 and its controls computed.

    Attributes:
        meta: which artefact they are of.
        tokens: int32 [N, L], the questions.
        puzzle_ids: int32 [N]; None for a model of one puzzle id.
        puzzle_embedding: float32 [N, E], their rows; None where the table is part of the graph.
        steps: int32 [K], the recorded supervision steps, from 1, halting off.
        logits: float32 [K, G, L, V], after each of them.
        halt_logits: float32 [K, G].
        state_steps: int32 [M], the steps after which the state is recorded; empty but for the step form.
        y, z: float32 [M, G, S, D]: y [0] is the state after the step `state_steps[0]`.
        answers: int32 [1 + C, N, L], the free run of PyTorch, then those of the controls.
        answer_steps: int32 [1 + C, N].
        halted: bool [1 + C, N].
        control_logits: float32 [C, F, G], what each control's teacher-forced step 1, 2 ... F differed by from
            PyTorch's: the largest difference of a logit.
        control_excess: float32 [C, F, G], the same with the state.
        control_cosine_y, control_cosine_z: float32 [C, F, G], cosines of the states.
        control_drift: float32 [C, max_steps, G], as `control_logits`, in a free run with halting off.
    """

    meta: GoldenMeta
    tokens: Int32
    puzzle_ids: Int32 | None = None
    puzzle_embedding: Float32 | None = None
    steps: Int32
    logits: Float32
    halt_logits: Float32
    state_steps: Int32
    y: Float32
    z: Float32
    answers: Int32
    answer_steps: Int32
    halted: NDArray[np.bool_]
    control_logits: Float32
    control_excess: Float32
    control_cosine_y: Float32
    control_cosine_z: Float32
    control_drift: Float32

    @property
    def recorded(self) -> int:
        """G."""
        return int(self.logits.shape[1])

    def shapes(self, spec: ModelSpec) -> dict[str, tuple[int, ...]]:
        """The shape that every array has for a model; raises SpecError where a size that the others follow is odd."""
        for name, rank in (("tokens", 2), ("steps", 1), ("state_steps", 1), ("answers", 3), ("logits", 4),
                           ("control_logits", 3)):  # fmt: skip
            found = getattr(self, name).shape
            if len(found) != rank or (0 in found and name != "state_steps"):
                raise SpecError(f"{name} is {list(found)}, expected {rank} sizes")
        questions, recorded = len(self.tokens), self.recorded
        runs, forced = len(self.answers), self.control_logits.shape[1]
        length, vocabulary = spec.task.sequence_length, len(spec.task.vocabulary)
        y, z = spec.state_shapes
        control = (runs - 1, forced, recorded)
        found = {
            "tokens": (questions, length),
            "steps": (len(self.steps),),
            "logits": (len(self.steps), recorded, length, vocabulary),
            "halt_logits": (len(self.steps), recorded),
            "state_steps": (len(self.state_steps),),
            "y": (len(self.state_steps), recorded, *y),
            "z": (len(self.state_steps), recorded, *z),
            "answers": (runs, questions, length),
            "answer_steps": (runs, questions),
            "halted": (runs, questions),
            "control_logits": control,
            "control_excess": control,
            "control_cosine_y": control,
            "control_cosine_z": control,
            "control_drift": (runs - 1, self.meta.max_steps, recorded),
        }
        if spec.task.puzzle_identifiers > 1:
            found["puzzle_ids"] = (questions,)
        if spec.puzzle_table_outside:
            found["puzzle_embedding"] = (questions, spec.architecture.puzzle_embedding_size)
        return found


ARRAYS = tuple(field.name for field in dataclasses.fields(GoldenVectors) if field.name != "meta")
OPTIONAL = ("puzzle_ids", "puzzle_embedding")
DTYPES: dict[str, type[np.generic]] = {
    **dict.fromkeys(ARRAYS, np.float32),
    **dict.fromkeys(("tokens", "puzzle_ids", "steps", "state_steps", "answers", "answer_steps"), np.int32),
    "halted": np.bool_,
}
AGAIN = "copy it again, or export again"


def model_digest(spec: ModelSpec) -> str:
    """What `GoldenMeta.model` is for a model."""
    return hashlib.sha256(spec.model_json().encode()).hexdigest()


def _digest(arrays: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """The seal: SHA-256 over every other array, uint8 [32]."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        if name != SEAL:
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _write_file(path: Path, vectors: GoldenVectors) -> None:
    meta = json.dumps({"schema": SCHEMA, **dataclasses.asdict(vectors.meta)}, sort_keys=True)
    arrays: dict[str, NDArray[Any]] = {META: np.frombuffer(meta.encode(), np.uint8)}
    for name in ARRAYS:
        value = getattr(vectors, name)
        if value is not None:
            arrays[name] = np.ascontiguousarray(value, np.dtype(DTYPES[name]).newbyteorder("<"))
    arrays[SEAL] = _digest(arrays)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, array, version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", MOMENT)
            archive.writestr(entry, data.getvalue(), zipfile.ZIP_DEFLATED, 9)


def _read_file(path: Path) -> GoldenVectors:
    """The golden vectors in a file.

    Raises:
        ArtefactError: it is cut, altered, of a newer schema, or not a file of golden vectors.
    """
    arrays = _arrays(path)
    try:
        document = json.loads(arrays[META].tobytes())
        schema = document.pop("schema")
    except (KeyError, ValueError, AttributeError, RecursionError) as error:
        raise ArtefactError(f"{path}: is not a file of golden vectors (it has no readable meta)", hint=AGAIN) from error
    if schema != SCHEMA:
        newer = isinstance(schema, int) and schema > SCHEMA
        raise ArtefactError(
            f"{path}: golden vectors of schema {shown(schema)}, expected {SCHEMA}",
            hint="a newer trm-deploy reads them" if newer else AGAIN,
        )
    if SEAL not in arrays or arrays[SEAL].tobytes() != _digest(arrays).tobytes():
        raise ArtefactError(
            f"{path}: is altered: the SHA-256 of its arrays is not the one that it was sealed with", hint=AGAIN
        )
    try:
        meta = from_plain(GoldenMeta, document, "meta")
    except SpecError as error:
        raise ArtefactError(f"{path}: {error}", hint=AGAIN) from error
    if missing := [name for name in ARRAYS if name not in arrays and name not in OPTIONAL]:
        raise ArtefactError(f"{path}: has no array {missing[0]!r}", hint=AGAIN)
    for name in ARRAYS:
        if name in arrays and arrays[name].dtype != np.dtype(DTYPES[name]):
            raise ArtefactError(
                f"{path}: {name} is {arrays[name].dtype}, expected {np.dtype(DTYPES[name])}", hint=AGAIN
            )
    return GoldenVectors(meta=meta, **{name: arrays[name] for name in ARRAYS if name in arrays})


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an archive; what it claims of its size is looked at before memory is taken."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            if sum(entry.file_size for entry in entries) > LARGEST:
                raise ArtefactError(f"{path}: unpacks to more than {LARGEST:,} bytes, expected golden vectors")
            return {entry.filename.removesuffix(".npy"): npy.from_bytes(archive.read(entry)) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise ArtefactError(
            f"{path}: is cut or altered, expected golden vectors, a NumPy archive ({error})", hint=AGAIN
        ) from error


FILE = SideFile(".golden.npz", _read_file, _write_file)
path_of, read, write = FILE.path_of, FILE.read, FILE.write


def require(artefact: Path) -> GoldenVectors:
    """The golden vectors beside an artefact.

    Raises:
        ArtefactError: there are none, or they cannot be read.
    """
    vectors = read(artefact)
    if vectors is None:
        raise ArtefactError(
            f"{path_of(artefact)}: there is no such file, expected golden vectors", hint=_made_by(artefact)
        )
    return vectors


def read_for(artefact: Path, spec: ModelSpec, graph: Graph, precision: str) -> GoldenVectors:
    """The golden vectors beside an artefact.

    Args:
        artefact: the file.
        spec, graph, precision: its own; "unknown" is a precision that the file does not tell.

    Raises:
        ArtefactError: there are none, they cannot be read, or they are of another model, checkpoint, graph form or
            precision.
    """
    path, built = path_of(artefact), record.read(artefact)
    vectors = require(artefact)
    meta, hint = vectors.meta, "copy the files of one export together"
    if meta.model != model_digest(spec):
        raise ArtefactError(f"{path}: is of another model than {artefact.name} (their specs differ)", hint=hint)
    if built is not None and "" not in (built.checkpoint_sha256, meta.checkpoint) and (
        built.checkpoint_sha256 != meta.checkpoint
    ):  # fmt: skip
        raise ArtefactError(
            f"{path}: is of another model than {artefact.name}: of the checkpoint {meta.checkpoint[:12]}, the build"
            f" record says {built.checkpoint_sha256[:12]}",
            hint=hint,
        )
    if meta.graph != graph or precision not in (meta.precision, "unknown"):
        raise ArtefactError(
            f"{path}: is of a {meta.graph} graph in {meta.precision}, {artefact.name} is {graph} in {precision}",
            hint=hint,
        )
    _check_arrays(vectors, spec, path)
    return vectors


def _made_by(artefact: Path) -> str:
    """Which export writes the golden vectors that an artefact lacks."""
    if kind.of(artefact) is kind.Kind.onnx and onnx_file.is_changed(artefact):
        return (
            f"{onnx_file.CHANGED}: copy the .golden.npz of the file that it was made from to {path_of(artefact).name}"
        )
    built = record.read(artefact)
    how = ""
    if built is not None:
        steps = f" --steps {built.steps}" if built.steps else ""
        how = f" --graph {built.graph}{steps} --precision {built.precision}"
    export = f"type where the checkpoint is: trm-deploy export CHECKPOINT --format onnx{how}"
    if kind.of(artefact).is_plan:
        return f"{export} -o MODEL.onnx, and copy MODEL.onnx.golden.npz to {path_of(artefact).name}"
    return f"{export} -o {artefact.name}"


def _check_arrays(vectors: GoldenVectors, spec: ModelSpec, path: Path) -> None:
    """Refuse arrays that a model could not have given, as a file has that was sealed anew."""
    try:
        expected = vectors.shapes(spec)
    except SpecError as error:
        raise ArtefactError(f"{path}: {error}", hint=AGAIN) from error
    for name in ARRAYS:
        value = getattr(vectors, name)
        came, wanted = None if value is None else value.shape, expected.get(name)
        if came != wanted:
            raise ArtefactError(
                f"{path}: {name} is {came and list(came)}, expected {wanted and list(wanted)}", hint=AGAIN
            )
    meta, steps = vectors.meta, vectors.steps
    needed = {int(step) - 1 for step in steps if step > 1} if meta.graph == "step" else set()
    faults = {
        "tokens": not 0 <= vectors.tokens.min() <= vectors.tokens.max() < len(spec.task.vocabulary),
        "steps": not (np.diff(steps) > 0).all() or steps[0] < 1 or steps[-1] > meta.max_steps,
        "state_steps": not needed <= set(map(int, vectors.state_steps)),
        "answer_steps": not 1 <= vectors.answer_steps.min() <= vectors.answer_steps.max() <= meta.max_steps,
        "logits": vectors.recorded > len(vectors.tokens) or not np.isfinite(vectors.logits).all(),
        "answers": len(vectors.answers) < 2,
        "control_logits": vectors.control_logits.shape[1] < (int(steps[-1]) if meta.graph == "step" else 1),
        "puzzle_ids": vectors.puzzle_ids is not None
        and not 0 <= vectors.puzzle_ids.min() <= vectors.puzzle_ids.max() < spec.task.puzzle_identifiers,
        "sensitivity": not math.isfinite(meta.sensitivity),
    }
    for name, wrong in faults.items():
        if wrong:
            raise ArtefactError(f"{path}: {name} makes no sense for {path.name.removesuffix(FILE.suffix)}", hint=AGAIN)

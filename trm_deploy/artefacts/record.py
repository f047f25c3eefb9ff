"""The build record: `<file>.json` beside every artefact. What it was made from, with what, and how parity came out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from trm_deploy.artefacts import onnx_file
from trm_deploy.artefacts.side_file import SideFile
from trm_deploy.errors import ArtefactError, SpecError, shown
from trm_deploy.spec import MAX_STEPS, ModelSpec
from trm_deploy.support.files import sha256
from trm_deploy.support.plain import from_plain

SCHEMA = 2
# Schema 1 lacks `schedule` and `arithmetic`.
READABLE = (1, 2)
MAX_ATTEMPTS = 1 << 20
# Of a task with rules, where nothing says how many.
DEFAULT_ATTEMPTS = 8


@dataclass(frozen=True, kw_only=True)
class RecordedSchedule:
    """How often and how long a puzzle is tried unless the user says otherwise.

    Attributes:
        attempts: maximum number of attempts a puzzle.
        attempt_steps: maximum number of supervision steps of each attempt; the last entry repeats.
        budget: maximum number of supervision steps of all attempts at a puzzle; None: no limit beside theirs.
    """

    attempts: int
    attempt_steps: tuple[int, ...]
    budget: int | None = None

    def __post_init__(self) -> None:
        numbers = (self.attempts, *self.attempt_steps, *(() if self.budget is None else (self.budget,)))
        if not self.attempt_steps or min(numbers) < 1 or self.attempts > MAX_ATTEMPTS:
            raise SpecError(f"schedule is {shown(self)}, expected numbers of at least 1")
        if max(self.attempt_steps) > MAX_STEPS:
            raise SpecError(f"schedule.attempt_steps is {shown(self.attempt_steps)}, expected at most {MAX_STEPS} each")


@dataclass(frozen=True, kw_only=True)
class BuildRecord:
    """What is known of an artefact beyond its own bytes.

    Attributes:
        format: ``onnx``, ``trt`` or ``rtx``.
        graph: ``loop``, ``step`` or ``unrolled``.
        steps: supervision steps of the unrolled form, else None.
        precision: as the flag names it.
        precision_source: ``engine`` as inspected on a GPU, else ``network``: as the graph says.
        checkpoint_source: of a checkpoint that was fetched from the hub: its name, the revision (a commit) and the
            hub's own SHA-256; empty for others.
        checkpoint_sha256: digest in hexadecimal; empty where an engine was built from an ONNX file without record.
        onnx_sha256: of the ONNX file that an engine was built from.
        artefact_sha256: of the artefact itself.
        opset, ir_version: of the ONNX file.
        versions: package -> version at the export.
        halting_threshold: a sample halts when its halting logit exceeds it.
        overrides: KEY=VALUE that the checkpoint was read with.
        contradictions: what of these says otherwise than the files beside the checkpoint, in words.
        command: builds an engine again from its ONNX file; both are named without their folders.
        batch: an engine's profile, MIN:OPT:MAX.
        platform: that an engine was built on, such as ``linux-aarch64``.
        device: GPU that an engine was built on; empty where there was none.
        compute_capabilities: GPUs that an engine runs on.
        version_compatible, hardware_compatible: whether an engine was built to run under other versions, on other GPUs.
        puzzle_embeddings: shape, dtype and SHA-256 of the table beside the artefact; empty where it is in the graph.
        parity: the result of the check after the export; empty where it was left out.
        schedule: how puzzles are tried by default; None: one attempt of the model's own steps.
        arithmetic: the narrowest precision of a runtime's arithmetic that is accepted for the artefact, because parity
            stands behind it; empty: the file's own precision.
    """

    format: str = "onnx"
    graph: str
    steps: int | None = None
    precision: str
    precision_source: str
    checkpoint_sha256: str
    checkpoint_source: dict[str, Any] = field(default_factory=dict)
    onnx_sha256: str = ""
    artefact_sha256: str
    opset: int
    ir_version: int
    versions: dict[str, Any]
    halting_threshold: float
    overrides: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    command: str = ""
    batch: str = ""
    platform: str = ""
    device: str = ""
    compute_capabilities: tuple[str, ...] = ()
    version_compatible: bool = False
    hardware_compatible: bool = False
    puzzle_embeddings: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    schedule: RecordedSchedule | None = None
    arithmetic: Literal["", "fp32", "fp16", "bf16", "int8"] = ""


def _read_file(path: Path) -> BuildRecord:
    """The record in a file.

    Raises:
        ArtefactError: it cannot be read.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: is not a build record ({error})", hint="remove it, or export again") from error
    if not isinstance(document, dict) or document.pop("schema", None) not in READABLE:
        raise ArtefactError(
            f"{path}: is not a build record of schema {' or '.join(map(str, READABLE))}",
            hint="remove it, or export again; a newer one needs a newer trm-deploy",
        )
    try:
        return from_plain(BuildRecord, document, "record")
    except SpecError as error:
        raise ArtefactError(f"{path}: {error}", hint="remove it, or export again") from error


def _write_file(path: Path, record: BuildRecord) -> None:
    path.write_bytes((json.dumps({"schema": SCHEMA, **asdict(record)}, indent=2) + "\n").encode())


FILE = SideFile(".json", _read_file, _write_file)
path_of, read, write = FILE.path_of, FILE.read, FILE.write


def read_matching(artefact: Path) -> BuildRecord | None:
    """The record beside an artefact; None where there is none.

    Of a file that another tool changed after its export it is what still holds: nothing vouches for its arithmetic.

    Raises:
        ArtefactError: it cannot be read, or is of other bytes than the artefact's.
    """
    record = read(artefact)
    if record is not None and record.artefact_sha256 != sha256(artefact):
        if record.format == "onnx" and onnx_file.is_changed(artefact):
            return replace(record, parity={}, arithmetic="")
        raise ArtefactError(
            f"{artefact}: is altered or truncated: its SHA-256 is not the one in {path_of(artefact).name}",
            hint="copy both files again",
        )
    return record


def halting_threshold(flag: float | None, artefact: Path, spec: ModelSpec) -> float:
    """The threshold in force: the flag's, else the one in the record beside the artefact, else the spec's.

    Raises:
        ArtefactError: see `read_matching`.
    """
    if flag is not None:
        return flag
    record = read_matching(artefact)
    return spec.halting.threshold if record is None else record.halting_threshold


def default_schedule(record: BuildRecord | None, own_steps: int) -> RecordedSchedule:
    """How puzzles of a task with rules are tried where the user says nothing: as the record says, else 8 attempts.

    Args:
        record: of the artefact; None where there is none.
        own_steps: the model's own number of supervision steps an attempt.
    """
    if record is not None and record.schedule is not None:
        return record.schedule
    return RecordedSchedule(attempts=DEFAULT_ATTEMPTS, attempt_steps=(own_steps,))

"""The check after every export: a few puzzles, as many supervision steps as are affordable, and a few controls."""

from __future__ import annotations

import logging
from pathlib import Path

from trm_deploy import puzzles
from trm_deploy.artefacts import embeddings
from trm_deploy.artefacts.golden import GoldenVectors
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.evaluation.accuracy import by_rules
from trm_deploy.evaluation.defaults import CONTROLS
from trm_deploy.evaluation.parity import rendering
from trm_deploy.evaluation.parity.compare import STEP_PUZZLES, compare
from trm_deploy.evaluation.parity.files import load_engine
from trm_deploy.evaluation.parity.pytorch import reference_and_controls
from trm_deploy.evaluation.parity.recording import Recording
from trm_deploy.evaluation.parity.report import ParityReport
from trm_deploy.export.check import Checked
from trm_deploy.flops import step_flops
from trm_deploy.puzzles.sampling import sample_questions
from trm_deploy.runtimes.base import StepRuntime
from trm_deploy.spec import ModelSpec

log = logging.getLogger(__name__)

# What the check after an export may cost, in GFLOP: some seven seconds on two cores.
EXPORT_BUDGET = 1200.0
# Puzzles below which steps are given up instead.
FEW_PUZZLES = 4


def affordable(spec: ModelSpec, puzzles: int, max_steps: int, budget: float = EXPORT_BUDGET) -> tuple[int, int]:
    """The number of puzzles and of steps with which `compare`, of one engine and `CONTROLS` controls, keeps a budget.

    All of them for a small model; a large one gives up puzzles first, then steps. One puzzle and two steps or more.
    """
    step = step_flops(spec) / 1e9
    steps = max_steps
    while True:
        # Free runs and trajectories of reference, controls and engine, and the engine's first 1, 2, 4 ... steps.
        count = int(min(budget / (step * (2 * (2 + CONTROLS) + 2) * steps), puzzles))
        if count >= min(FEW_PUZZLES, puzzles) or steps <= 2:
            return min(puzzles, max(count, 1)), steps
        steps //= 2


def verify_export(
    loaded: Checkpoint, engine: Path, name: str, budget: float = EXPORT_BUDGET
) -> tuple[ParityReport, GoldenVectors]:
    """Compare an artefact with the checkpoint that it was made from.

    A large model gets fewer puzzles and steps, see `affordable`; the report has their numbers.

    Args:
        loaded: the checkpoint.
        engine: the artefact's file, which may be a temporary one.
        name: what to call it.
        budget: what it may cost, in GFLOP; inf: all the examples, all the steps.

    Returns:
        The report, and what PyTorch and its controls computed for it.
    """
    spec = loaded.spec
    tokens = sample_questions(spec.task.name, spec.task.sequence_length, len(spec.task.vocabulary))
    count, steps = affordable(spec, len(tokens), spec.halting.max_steps, budget)
    tokens = tokens[:count]
    runtime = load_engine(engine, loaded, "cpu", allow_host_code=True)  # it was built a moment ago
    limit = runtime.fixed_steps or steps
    rows = min(count, STEP_PUZZLES)
    if isinstance(runtime, StepRuntime):  # a larger batch than it takes is split, but not in single steps
        rows = min(rows, runtime.largest_batch or rows)
    recording = Recording.of(spec, runtime.graph, limit, rows, every=runtime.baked is not None)
    report = compare(
        *reference_and_controls(loaded.model(), CONTROLS),
        [(name, runtime)],
        tokens,
        solved=by_rules(puzzles.get(spec.task.name) if spec.task.name else None, tokens),
        max_steps=steps,
        halt_threshold=spec.halting.threshold,
        recording=recording,
    )
    return report, recording.vectors(
        spec,
        checkpoint=loaded.sha256,
        graph=runtime.graph,
        precision=runtime.precision,
        max_steps=limit,
        halt_threshold=spec.halting.threshold,
        table=embeddings.open_table(engine, spec),
    )


def check_export(loaded: Checkpoint, engine: Path, name: str, /) -> Checked:
    """`verify_export` as an export wants it: the whole table is logged where it fails, and else for debugging only.

    Returns:
        `ParityReport.summary`, for the build record, and the golden vectors.

    Raises:
        ParityFailure: the artefact does not compute what PyTorch computes.
    """
    report, vectors = verify_export(loaded, engine, name)
    table = rendering.table(report)
    if report.passed:
        log.debug("%s", table)
    else:
        log.warning("%s does not compute what PyTorch computes\n%s", name, table)
    report.raise_if_failed()
    return Checked(report.summary(), vectors)

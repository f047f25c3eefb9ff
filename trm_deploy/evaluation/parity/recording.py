"""From a comparison to golden vectors: what of the reference and its controls is kept, and how it is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.artefacts.golden import GoldenMeta, GoldenVectors, model_digest
from trm_deploy.evaluation.accuracy import Accuracy
from trm_deploy.evaluation.parity.bounds import BOUNDS
from trm_deploy.evaluation.parity.judged_steps import doubling
from trm_deploy.evaluation.parity.steps import Difference, Floats, Trajectory
from trm_deploy.runtimes.base import Float32, Int32, StepResult, host_values
from trm_deploy.signature import Graph
from trm_deploy.spec import ModelSpec

# Bytes of logits and states, before they are compressed: the shipped model's file stays under 2 MB.
BUDGET = 1_800_000
# The steps that are given up last: from the stored initial state, and from a state that went in.
FEWEST_STEPS = 2
# Times the median over puzzles of what controls differ by, beyond which a puzzle is not recorded step by step: it
# amplifies the last bit so much that a sound engine on another processor differs by any multiple of what a few controls
# happened to. Of the shipped model's examples one is beyond, by 60 times; the others are within 3 (48 controls).
STEADY = 4.0


@dataclass
class Recording:
    """What `compare` keeps for golden vectors; `of` says which steps of how many puzzles.

    Attributes:
        rows: maximum number of puzzles, G.
        steps: whose logits are kept.
        state_steps: after which y and z are kept.
    """

    rows: int
    steps: tuple[int, ...]
    state_steps: tuple[int, ...]
    logits: dict[int, Float32] = field(default_factory=dict)
    halt_logits: dict[int, Float32] = field(default_factory=dict)
    states: dict[int, tuple[Float32, Float32]] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    chosen: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    sensitivity: float = 0.0

    @classmethod
    def of(cls, spec: ModelSpec, graph: Graph, limit: int, puzzles: int, *, every: bool = False) -> Recording:
        """The most that fits into `BUDGET`: puzzles are given up first, then steps from the last on.

        Args:
            spec: of the model.
            graph: only an engine of the step form can start from a recorded state.
            limit: supervision steps of the comparison.
            puzzles: in the comparison of single steps.
            every: of every step, as an engine needs that halts where its own constants say.
        """
        logits = 4 * spec.task.sequence_length * len(spec.task.vocabulary)
        state = 4 * sum(positions * width for positions, width in spec.state_shapes) if graph == "step" else 0
        steps = list(range(1, limit + 1)) if every else [limit] if graph == "unrolled" else doubling(limit)
        while True:
            kept = sorted({step - 1 for step in steps if step > 1} | {steps[-1]}) if graph == "step" else []
            rows = BUDGET // (logits * len(steps) + state * len(kept))
            if rows > 0 or len(steps) <= FEWEST_STEPS:
                return cls(min(puzzles, max(rows, 1)), tuple(steps), tuple(kept))
            steps.pop()

    def keep(self, step: int, expected: StepResult) -> None:
        """Take what is wanted of the reference's step, of every puzzle: `finish` chooses among them."""
        if step in self.steps:
            self.logits[step] = host_values(expected.logits).copy()
            self.halt_logits[step] = host_values(expected.halt_logit).copy()
        if step in self.state_steps:
            self.states[step] = host_values(expected.y).copy(), host_values(expected.z).copy()

    def finish(
        self, tokens: Int32, puzzle_ids: Int32, runs: Sequence[Accuracy], controls: Sequence[Trajectory]
    ) -> None:
        """Take the questions, the free runs of reference and controls, and what the controls' steps differed by.

        The puzzles that are recorded step by step come first: those that the controls found steady, see `STEADY`.
        """
        forced, free = ([getattr(control, name) for control in controls] for name in ("teacher_forced", "free"))
        excess = _stacked(forced, "excess")
        worst = excess.max((0, 1))
        steady = np.flatnonzero(~(worst > STEADY * np.median(worst)))
        self.chosen = steady[: self.rows]
        self.sensitivity = float(worst[self.chosen].max())
        order = np.concatenate([self.chosen, np.setdiff1d(np.arange(len(tokens)), self.chosen)])
        self.found = {
            "tokens": tokens[order],
            "puzzle_ids": puzzle_ids[order],
            "answers": np.stack([run.answer for run in runs])[:, order],
            "answer_steps": np.stack([run.steps for run in runs])[:, order],
            "halted": np.stack([run.halted for run in runs])[:, order],
            "control_logits": _stacked(forced, "logits")[..., self.chosen],
            "control_excess": excess[..., self.chosen],
            "control_cosine_y": _stacked(forced, "cosine_y")[..., self.chosen],
            "control_cosine_z": _stacked(forced, "cosine_z")[..., self.chosen],
            "control_drift": _stacked(free, "logits")[..., self.chosen],
        }

    def vectors(
        self,
        spec: ModelSpec,
        *,
        checkpoint: str,
        graph: Graph,
        precision: str,
        max_steps: int,
        halt_threshold: float,
        table: NDArray[Any] | None = None,
    ) -> GoldenVectors:
        """The golden vectors of an artefact.

        Args:
            spec: of the model.
            checkpoint: SHA-256 of its file.
            graph, precision: of the artefact.
            max_steps, halt_threshold: of the free runs.
            table: the puzzle embeddings, float32 [puzzles, E], where they are outside the graph.
        """
        found = dict(self.found)
        if spec.task.puzzle_identifiers <= 1:
            found["puzzle_ids"] = None
        elif table is not None:
            found["puzzle_embedding"] = np.asarray(table[found["puzzle_ids"]], np.float32)
        found["control_drift"] = found["control_drift"][:, :max_steps]
        shapes = [(0, len(self.chosen), *shape) for shape in spec.state_shapes]
        y, z = (
            np.array([self.states[step][place][self.chosen] for step in self.state_steps], np.float32)
            if self.state_steps
            else np.zeros(shape, np.float32)
            for place, shape in enumerate(shapes)
        )
        return GoldenVectors(
            meta=GoldenMeta(
                model=model_digest(spec),
                checkpoint=checkpoint,
                graph=graph,
                precision=precision,
                max_steps=max_steps,
                halt_threshold=halt_threshold,
                sensitivity=self.sensitivity,
                bounds=asdict(BOUNDS[precision]),
            ),
            steps=np.array(self.steps, np.int32),
            logits=np.array([self.logits[step][self.chosen] for step in self.steps], np.float32),
            halt_logits=np.array([self.halt_logits[step][self.chosen] for step in self.steps], np.float32),
            state_steps=np.array(self.state_steps, np.int32),
            y=y,
            z=z,
            **found,
        )


def _stacked(controls: Sequence[Sequence[Difference]], name: str) -> Float32:
    """One value of every difference, float32 [C, steps, puzzles]."""
    return np.array([[getattr(step, name) for step in steps] for steps in controls], np.float32)


def recorded_controls(vectors: GoldenVectors, rows: int) -> list[Trajectory]:
    """The controls of golden vectors, of their first puzzles, as `compare` would have found them."""

    def steps(control: int) -> list[Difference]:
        names = ("control_logits", "control_excess", "control_cosine_y", "control_cosine_z")
        found = (getattr(vectors, name)[control, :, :rows] for name in names)
        return [Difference(logits, excess, "", y, z) for logits, excess, y, z in zip(*found)]

    def free(control: int) -> list[Difference]:
        drift: list[Floats] = list(vectors.control_drift[control, :, :rows])
        return [Difference(logits, logits, "") for logits in drift]

    return [Trajectory(steps(control), free(control)) for control in range(len(vectors.control_logits))]

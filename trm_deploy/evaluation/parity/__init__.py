"""Does an engine compute what PyTorch computes? Compares runtimes step by step and in solved puzzles.

A recursive network feeds its own rounding back hundreds of times. On puzzles that the model cannot solve, two sound
float32 runtimes drift apart to whole logits within 16 steps, so raw logits after a free run say nothing. Parity has
two parts instead:

teacher-forced  every step of the engine starts from PyTorch's y and z, so that rounding cannot add up: bounds on the
                logits and the state. Needs the step form. Of a loop or unrolled engine only the first step starts from
                a known state, and no state comes out; its later steps are measured against the control's drift.
free-running    solved and verified share, steps and agreement with PyTorch, against a control: PyTorch float32 with
                every weight moved by one unit in the last place (ulp), several times over. What that much noise does
                to the model is not the engine's fault.

    bounds        what an engine may differ by, for each precision, with the reasons
    steps         runtimes side by side, step by step
    judged_steps  what they differ by, held to bounds
    compare       the comparison of runtimes
    puzzle_ids    which puzzle id each question gets
    report        what came of it, as data
    rendering     the same as text, Markdown and pictures
    baseline      against the last accepted report

All of these do without PyTorch. The rest needs it:

    pytorch       the reference and its controls
    files         the comparison of files
    export_check  the check after every export
"""

from __future__ import annotations

from trm_deploy.evaluation.parity.bounds import BOUNDS, Bounds
from trm_deploy.evaluation.parity.compare import Known, compare
from trm_deploy.evaluation.parity.judged_steps import Tolerance
from trm_deploy.evaluation.parity.report import ParityReport

__all__ = ["compare", "Tolerance", "Known", "ParityReport", "Bounds", "BOUNDS"]

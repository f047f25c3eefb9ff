"""A model on a dataset whose answers are known: which share it gets right.

examples  the puzzles of a file or folder, with their answers
tally     what is counted, and the groups of a difficulty
report    what was found, as data and text
measure   from an opened model and a dataset to a report
"""

from __future__ import annotations

from trm_deploy.evaluation.datasets.measure import EvaluateSettings, evaluate
from trm_deploy.evaluation.datasets.report import Evaluation

__all__ = ["evaluate", "EvaluateSettings", "Evaluation"]

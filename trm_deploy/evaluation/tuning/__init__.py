"""The halting threshold, tuned: what every threshold would give follows from one pass with halting off.

A sample halts at the first step whose logit exceeds the threshold, else at the last; so a threshold's solved share and
mean steps can be counted without another run.

    passes     the pass, and what a threshold would give by it
    recommend  which threshold to recommend
    report     what was found, as data, text, page and picture
    write      a threshold, made an artefact's default
    files      from a file's puzzles to a threshold
"""

from __future__ import annotations

from trm_deploy.evaluation.tuning.files import DEFAULT_MAX_LOSS, TuneSettings, tune
from trm_deploy.evaluation.tuning.passes import Pass, Point, costs_more, record_pass
from trm_deploy.evaluation.tuning.recommend import recommend
from trm_deploy.evaluation.tuning.report import Tuned
from trm_deploy.evaluation.tuning.write import check_writable, write_threshold

__all__ = [
    "tune",
    "DEFAULT_MAX_LOSS",
    "TuneSettings",
    "Tuned",
    "Pass",
    "Point",
    "record_pass",
    "costs_more",
    "recommend",
    "check_writable",
    "write_threshold",
]

"""The halting threshold, tuned: what every threshold would give follows from one pass with halting off.

A sample halts at the first step whose logit exceeds the threshold, else at the last; so a threshold's solved share and
mean steps can be counted without another run.

    passes     the pass, and what a threshold would give by it
    recommend  which threshold to recommend
    report     what was found, as data, text, page and picture
    write      a threshold, made an artefact's default
    files      from a file's puzzles to a threshold

The schedule of attempts is tuned in the same way, from one pass over several forms of each puzzle:

    schedules        what is compared, the pass, and what to recommend
    schedule_report  what was found
    schedule_files   from a file's puzzles to a schedule
"""

from __future__ import annotations

from trm_deploy.evaluation.tuning.files import TuneSettings, tune
from trm_deploy.evaluation.tuning.passes import Pass, Point, costs_more, record_pass
from trm_deploy.evaluation.tuning.recommend import recommend
from trm_deploy.evaluation.tuning.report import Tuned
from trm_deploy.evaluation.tuning.schedule_files import tune_schedule
from trm_deploy.evaluation.tuning.schedule_report import TunedSchedule
from trm_deploy.evaluation.tuning.write import (
    check_schedule_writable,
    check_writable,
    write_schedule,
    write_threshold,
)

__all__ = [
    "tune",
    "TuneSettings",
    "Tuned",
    "Pass",
    "Point",
    "record_pass",
    "costs_more",
    "recommend",
    "check_writable",
    "write_threshold",
    "tune_schedule",
    "TunedSchedule",
    "check_schedule_writable",
    "write_schedule",
]

"""Questions to try a model on: the puzzles of a file, else the task's examples, else random tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trm_deploy import puzzles
from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Tokens

# Random questions stand in for puzzles where nothing names the task.
RANDOM_QUESTIONS = 16


def sample_questions(
    task: str,
    length: int,
    vocabulary: int,
    file: str | Path | None = None,
    limit: int | None = None,
    *,
    input_format: str | None = None,
    column: str | None = None,
) -> Tokens:
    """Questions int32 [N, length]: of a file, else the task's examples, else random ones where nothing names the task.

    Args:
        task: key of `puzzles.get`, as in `TaskSpec.name`; empty where nothing names it.
        length: L, tokens in a question.
        vocabulary: V, number of token ids.
        file: with puzzles of the task; "-" is standard input.
        input_format, column: of the file, see `puzzles.questions`.
        limit: use the first N; all where None. There are at most `RANDOM_QUESTIONS` random ones.

    Raises:
        InputError: a puzzle that cannot be read, a task that is unknown, or a file although nothing names the task; or
            `input_format` or `column` without a file.
    """
    for flag, given in (("--input-format", input_format), ("--column", column)):
        if given is not None and file is None:
            raise InputError(f"{flag} is for a file with puzzles", hint="name one with --puzzles, or leave it out")
    if not task:
        if file is not None:
            raise InputError(f"{file}: the model names no task, so puzzles cannot be read", hint="leave this file out")
        count = min(limit or RANDOM_QUESTIONS, RANDOM_QUESTIONS)
        return np.random.default_rng(0).integers(vocabulary, size=(count, length)).astype(np.int32)
    puzzle = puzzles.get(task)
    if file is None:
        return puzzle.examples()[:limit]
    return puzzles.read_tokens(str(file), puzzle, limit, input_format=input_format, column=column)

"""Where questions come from: a file before the task's examples, and random tokens where nothing names the task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trm_deploy import puzzles
from trm_deploy.errors import InputError
from trm_deploy.puzzles.sampling import RANDOM_QUESTIONS, sample_questions


def test_a_file_goes_before_the_examples(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("1...............\n.2..............\n..3.............\n")
    found = sample_questions("sudoku-4x4", 16, 6, tmp_path / "p.txt", 2)
    puzzle = puzzles.get("sudoku-4x4")
    assert [puzzle.text(row) for row in found] == ["1000000000000000", "0200000000000000"]
    assert found.dtype == np.int32


def test_examples_where_no_file_is_named() -> None:
    examples = puzzles.get("sudoku-9x9").examples()
    np.testing.assert_array_equal(sample_questions("sudoku-9x9", 81, 11), examples)
    np.testing.assert_array_equal(sample_questions("sudoku-9x9", 81, 11, limit=3), examples[:3])


def test_random_tokens_where_nothing_names_the_task() -> None:
    found = sample_questions("", 9, 5)
    assert found.shape == (RANDOM_QUESTIONS, 9)
    assert set(found.ravel()) == set(range(5))
    np.testing.assert_array_equal(sample_questions("", 9, 5, limit=1000), found)
    np.testing.assert_array_equal(sample_questions("", 9, 5, limit=16), found)
    assert sample_questions("", 9, 5, limit=2).shape == (2, 9)


def test_a_file_for_a_model_without_a_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"p\.txt: the model names no task, so puzzles cannot be read"):
        sample_questions("", 9, 5, tmp_path / "p.txt")


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(InputError, match="the task 'chess' is unknown"):
        sample_questions("chess", 64, 13)

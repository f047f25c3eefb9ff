"""ARC through the whole run: identifiers, augmentations, cropping, inversion, votes, submission."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_commands import assert_one_line_error, trm
from tests.conftest import random_model, tiny_spec
from tests.fakes import Call, FakeRuntime, solution
from trm_deploy import checkpoints
from trm_deploy.artefacts import identifiers
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.errors import InputError
from trm_deploy.puzzles import arc
from trm_deploy.puzzles.arc import Augmentation, Grid
from trm_deploy.puzzles.arc_tasks import Pair, Task, read_solutions, read_tasks, with_solutions
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import Int32, Solution
from trm_deploy.runtimes.solving import voting
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession


def grid(*rows: str) -> Grid:
    return arc.grid_from([list(map(int, row)) for row in rows])


def names_of(tasks: Sequence[str], augmentations: int) -> list[str]:
    rng = np.random.default_rng(0)
    names = ["<blank>"]
    for task in tasks:
        others = [Augmentation.random(rng) for _ in range(augmentations)]
        names += [arc.identifier_name(task, augmentation) for augmentation in (arc.IDENTITY, *others)]
    return names


class Known:
    """What a runtime answers to each puzzle id and question; what it was not told is an error."""

    def __init__(self) -> None:
        self.answers: dict[tuple[int, bytes], tuple[Int32, float]] = {}

    def learn(self, puzzle_id: int, question: Grid, answer: Int32, halt_logit: float = 1.0) -> None:
        self.answers[puzzle_id, arc.to_tokens(question).tobytes()] = answer, halt_logit

    def answer(self, call: Call) -> Solution:
        assert call.puzzle_ids is not None
        found = [self.answers[int(number), row.tobytes()] for number, row in zip(call.puzzle_ids, call.tokens)]
        logits = np.array([logit for _, logit in found], np.float32)
        return solution(np.stack([answer for answer, _ in found]), steps=3, halt_logit=logits, vocabulary=12)


def knowing(path: Path, names: list[str]) -> tuple[SolvingSession, FakeRuntime, Known]:
    identifiers.write(path, names)
    known = Known()
    runtime = FakeRuntime(tiny_spec("trm-att", task="arc", identifiers=len(names)), known.answer)
    return SolvingSession(path, runtime, arc.Arc()), runtime, known


def test_who_knows_the_answers_scores_all_of_the_published_tasks(published_data: Path, tmp_path: Path) -> None:
    stems = [str(published_data / "data" / "arc" / f"arc-agi_{part}_") for part in ("training", "evaluation")]
    solutions = read_solutions(f"{stem}solutions.json" for stem in stems)
    tasks = [with_solutions(task, solutions) for task in read_tasks(f"{stem}challenges.json" for stem in stems)]
    names = names_of([task.name for task in tasks], augmentations=2)
    engine, runtime, known = knowing(tmp_path / "arc.onnx", names)
    by_name = {task.name: task for task in tasks}
    for number, name in enumerate(names[1:], start=1):
        task, augmentation = arc.parse_identifier(name)
        for pair in by_name[task].test:
            assert pair.output is not None
            answer = arc.to_tokens(augmentation.apply(pair.output))
            known.learn(number, augmentation.apply(pair.input), answer)

    answers = list(voting.run(engine, tasks, SolveOptions(batch_size=2)))
    assert len(answers) == 416 + 419
    assert [answer.right_within(1) for answer in answers] == [True] * len(answers)
    assert {(answer.attempts, answer.predictions[0].votes) for answer in answers} == {(3, 3)}
    assert {len(call.tokens) for call in runtime.calls} == {1, 2}
    document = json.loads(json.dumps(voting.submission(answers)))
    for stem in stems:
        for name, outputs in json.loads(Path(f"{stem}solutions.json").read_text()).items():
            assert document[name] == [{"attempt_1": output, "attempt_2": output} for output in outputs]
    (line,) = voting.summary(answers)
    assert line == (
        "right of 835 test inputs: 835 by the first prediction, 835 by one of two;"
        " averaged over the tasks 100.0% and 100.0%"
    )


QUESTION = grid("0123", "4567")
TASK = Task("t", "t.json", (), (Pair(QUESTION, grid("12")), Pair(grid("5"), grid("6"))))


def test_votes_count_first_and_confidence_second(tmp_path: Path) -> None:
    names = names_of(["t"], augmentations=4)
    engine, _, known = knowing(tmp_path / "arc.onnx", names)
    # In the task's own form: two attempts say 12; two 34, surer; one has no grid.
    said = [(grid("12"), 0.0), (grid("34"), 2.0), (grid("12"), 1.0), (grid("34"), 1.0), (None, 9.0)]
    for number, (answer, logit) in enumerate(said, start=1):
        _, augmentation = arc.parse_identifier(names[number])
        tokens = np.zeros(900, np.int32) if answer is None else arc.to_tokens(augmentation.apply(answer))
        for pair in TASK.test:
            known.learn(number, augmentation.apply(pair.input), tokens, logit)
    first, _ = voting.run(engine, [TASK], SolveOptions(batch_size=2))
    assert [(p.grid.tolist(), p.votes) for p in first.predictions] == [([[3, 4]], 2), ([[1, 2]], 2)]
    assert first.predictions[0].confidence == pytest.approx((1 / (1 + np.exp(-2)) + 1 / (1 + np.exp(-1))) / 2)
    assert (first.right_within(1), first.right_within(2)) == (False, True)
    text = first.to_text(colour=False)
    assert text.splitlines()[0] == "t.json test input 1"
    assert "1: 2 of 5 votes, confidence 0.81" in text
    assert "the second prediction is right" in text
    assert "3.0 steps an attempt" in text
    # One more vote outweighs any confidence.
    three, _ = voting.run(engine, [TASK], SolveOptions(attempts=3))
    assert [(p.grid.tolist(), p.votes) for p in three.predictions] == [([[1, 2]], 2), ([[3, 4]], 1)]
    lines = voting.summary([three, first])
    assert "1 by the first prediction, 2 by one of two; averaged over the tasks 50.0% and 100.0%" in lines[0]


def test_a_lone_prediction_stands_twice_and_none_is_said(tmp_path: Path) -> None:
    names = names_of(["t"], augmentations=0)
    engine, _, known = knowing(tmp_path / "arc.onnx", names)
    known.learn(1, QUESTION, arc.to_tokens(grid("8")))
    known.learn(1, grid("5"), np.ones(900, np.int32))
    answers = list(voting.run(engine, [TASK], SolveOptions()))
    assert voting.submission(answers) == {
        "t": [{"attempt_1": [[8]], "attempt_2": [[8]]}, {"attempt_1": [[0]], "attempt_2": [[0]]}]
    }
    assert "NO GRID" in answers[1].to_text(colour=False)
    assert "no attempt gave a grid for 1 test inputs" in voting.summary(answers)[1]


def test_a_task_that_was_not_trained_is_refused_before_any_is_solved(tmp_path: Path) -> None:
    engine, runtime, _ = knowing(tmp_path / "arc.onnx", names_of(["t"], augmentations=1))
    unknown = Task("t2", "many.json task t2", (), TASK.test)
    with pytest.raises(
        InputError, match=r"many.json task t2: the task 't2' is not in arc.onnx.identifiers.json: a model"
    ):
        list(voting.run(engine, [TASK, unknown], SolveOptions()))
    assert runtime.calls == []
    identifiers.write(engine.path, ["<blank>", "t", "t|||t9|||0123456789"])
    runtime.spec = tiny_spec("trm-att", task="arc", identifiers=3)
    with pytest.raises(InputError, match=r"arc.onnx.identifiers.json entry 2: the identifier .* is malformed"):
        list(voting.run(engine, [TASK], SolveOptions()))
    identifiers.path_of(engine.path).unlink()
    with pytest.raises(InputError, match=r"identifiers.json: there is no such file"):
        list(voting.run(engine, [TASK], SolveOptions()))


def test_both_spellings_vote_and_what_only_resembles_them_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["<blank>", "<blank>", "t", "t_t1_0213456789", "t|||t2|||0321456789", "t_t9_0213456789", "t-flipped", "tt"]
    identifiers.write(tmp_path / "arc.onnx", names)
    with caplog.at_level("INFO", logger="trm_deploy"):
        known = voting.known_augmentations(tmp_path / "arc.onnx", len(names), [TASK])
    assert [number for number, _ in known["t"]] == [2, 3, 4]
    assert [augmentation.transform for _, augmentation in known["t"]] == [0, 1, 2]
    (line,) = caplog.messages
    assert "2 names look like augmentations of these tasks" in line
    assert "'t_t9_0213456789'" in line


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model of two tasks, exported by the command line."""
    folder = tmp_path_factory.mktemp("arc")
    names = names_of(["t", "u"], augmentations=2)
    spec = tiny_spec(
        "trm-att",
        task="arc",
        identifiers=len(names),
        architecture={"hidden_size": 16, "heads": 1, "layers": 1, "puzzle_embedding_size": 16},
        recursion={"latent": 1, "deep": 1},
        halting={"max_steps": 2},
    )
    model = random_model(spec)
    checkpoints.save(folder / "arc.pt", Checkpoint(spec, model.state_dict(), {"steps": 0, "recipe": "", "seed": 0}))
    # The form without control flow, which takes seconds to trace.
    flags = ("--graph", "unrolled", "--steps", 1, "--unroll-inner")
    result = trm("export", folder / "arc.pt", *flags, "-o", folder / "arc.onnx")
    assert result.returncode == 0, result.stderr
    assert "parity holds" in result.stderr
    identifiers.write(folder / "arc.onnx", names)
    return folder / "arc.onnx"


def test_an_engine_tells_puzzles_apart_as_its_checkpoint_does(engine: Path) -> None:
    runtimes = [load(path) for path in (engine, engine.with_suffix(".pt"))]
    numbers = np.arange(1, runtimes[0].spec.task.puzzle_identifiers, dtype=np.int32)
    question = np.tile(arc.to_tokens(QUESTION), (len(numbers), 1))
    ours, theirs = (runtime.solve(question, numbers, max_steps=1, halt_threshold=0.0).logits for runtime in runtimes)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert len(np.unique(ours.round(3), axis=0)) == len(numbers)


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_an_engine_writes_a_submission(engine: Path, tmp_path: Path) -> None:
    pair = {"input": [[1, 2], [3, 4]], "output": [[5]]}
    one = {"train": [pair], "test": [{"input": [[0, 7, 0]]}, {"input": [[1]]}]}
    alone = write(tmp_path / "t.json", one)
    many = write(tmp_path / "challenges.json", {"t": one, "u": one})
    solutions = write(tmp_path / "solutions.json", {"t": [[[1]], [[2]]]})

    flags = ("-o", tmp_path / "submission.json", "--solutions", solutions, "--png", tmp_path / "pictures")
    result = trm("run", "-e", engine, alone, *flags)
    assert result.returncode == 0, result.stderr
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [picture.name for picture in pictures] == ["0001.png", "0002.png"]
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert "t.json test input 2" in result.stdout
    assert "of 3 votes" in result.stdout
    assert "right of 2 test inputs: " in result.stderr
    written = json.loads((tmp_path / "submission.json").read_text())
    as_json = trm("run", "-e", engine, many, "--json", "--attempts", 2)
    assert as_json.returncode == 0, as_json.stderr
    printed = json.loads(as_json.stdout)
    assert list(written) == ["t"]
    assert list(printed) == ["t", "u"]
    for document in (written, printed):
        for attempts in document.values():
            assert [set(attempt) for attempt in attempts] == [{"attempt_1", "attempt_2"}] * 2
            for rows in (rows for attempt in attempts for rows in attempt.values()):
                arc.grid_from(rows)


def test_bad_input_takes_one_line_and_exit_code_2(engine: Path, tmp_path: Path) -> None:
    wide = write(tmp_path / "t.json", {"train": [], "test": [{"input": [[0] * 31]}]})
    assert_one_line_error(
        trm("run", "-e", engine, wide), 2, wide, "test example 1 input: row 1 has 31 cells, expected 1 to 30"
    )
    unknown = write(tmp_path / "v.json", {"train": [], "test": [{"input": [[0]]}]})
    assert_one_line_error(
        trm("run", "-e", engine, unknown), 2, unknown, "not in arc.onnx.identifiers.json", "trained", "data build arc"
    )
    assert_one_line_error(trm("run", "--solutions", "s.json", "-", stdin=""), 2, "--solutions is for ARC", "sudoku-9x9")

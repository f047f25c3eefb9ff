"""`evaluate`: shares of datasets whose answers are known, against a runtime whose answers are known too."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.cli.test_commands import assert_one_line_error, trm
from tests.conftest import ASSETS, ROOT, load_tool, random_model, tiny_spec
from tests.fakes import Call, FakeRuntime, solution
from tests.runtimes.solving.test_voting import grid, knowing, names_of
from tests.train.data.test_layout import split as split
from trm_deploy import api, checkpoints, puzzles
from trm_deploy.artefacts import identifiers
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.errors import InputError
from trm_deploy.evaluation.datasets import EvaluateSettings, evaluate
from trm_deploy.evaluation.datasets.tally import Outcome, Tally, grouped
from trm_deploy.puzzles import arc
from trm_deploy.runtimes.base import Int32
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession
from trm_deploy.train.data import layout
from trm_deploy.train.data.layout import Metadata, Split

FOUR = puzzles.get("sudoku-4x4")
ANSWER = "1234341221434321"
# Each with an answer of its own.
PUZZLES = {
    "1..4341221434321": ANSWER,
    ".23434122143432.": ANSWER,
    "..34341221434321": ANSWER,
    "1234....21434321": ANSWER,
}
# What a model gives that gets the third one wrong in two cells.
GIVEN = {**PUZZLES, "..34341221434321": "2134341221434321"}


def knowing_4x4(given: dict[str, str], *, steps: int = 3) -> SolvingSession:
    """A session whose model gives these answers, and halts on all of them."""
    known = {FOUR.parse_line(question).tobytes(): FOUR.parse_line(answer) for question, answer in given.items()}

    def answer(call: Call) -> Any:
        return solution(
            np.stack([known[row.tobytes()] for row in call.tokens]), steps=steps, halt_logit=1.0, vocabulary=6
        )

    return SolvingSession(Path("four.onnx"), FakeRuntime(tiny_spec("trm-mlp"), answer), FOUR)


def csv(folder: Path, text: str, name: str = "four.csv") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def rows(separator: str = ",") -> str:
    return "".join(f"{question}{separator}{answer}\n" for question, answer in PUZZLES.items())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("named.csv", "question,answer\n" + rows()),
        ("bare.csv", rows()),
        ("odd.csv", "q;a\n" + rows(";")),
        ("lines.jsonl", "".join(json.dumps({"puzzle": q, "solution": a}) + "\n" for q, a in PUZZLES.items())),
        ("odd.jsonl", "".join(json.dumps({"p": q, "x": a}) + "\n" for q, a in PUZZLES.items())),
    ],
)
def test_shares_of_a_file_with_answers(name: str, text: str, tmp_path: Path) -> None:
    found = evaluate(knowing_4x4(GIVEN), csv(tmp_path, text, name), SolveOptions(), EvaluateSettings())
    assert (found.puzzles, found.exact, found.verified, found.mean_steps) == (4, 0.75, 0.75, 3)
    assert found.cells == pytest.approx((3 + 14 / 16) / 4)
    plain = found.to_plain()
    assert (plain["attempts"], plain["attempt_steps"], plain["halted_wrong"]) == (1, [6], 0.25)
    assert plain["schema"] == 1
    assert plain["by"] is None


def test_the_known_answer_decides_exactness_and_the_rules_verification(tmp_path: Path) -> None:
    """A puzzle with two solutions, of which the file has the other one."""
    open_puzzle = "................"
    other = FOUR.text(FOUR.parse_line("3412123443212143"))
    text = f"puzzle,solution\n{open_puzzle},{other}\n"
    found = evaluate(knowing_4x4({open_puzzle: ANSWER}), csv(tmp_path, text), SolveOptions(), EvaluateSettings())
    assert (found.exact, found.cells, found.verified) == (0.0, 0.0, 1.0)


def test_shares_by_difficulty(tmp_path: Path) -> None:
    lines = [f"{question},{answer}," for question, answer in PUZZLES.items()]
    text = "puzzle,solution,difficulty\n" + "\n".join(f"{line}{d}" for line, d in zip(lines, ("b", "a", "a", "b")))
    found = evaluate(knowing_4x4(GIVEN), csv(tmp_path, text), SolveOptions(), EvaluateSettings())
    assert found.by == "difficulty"
    by = found.to_plain()["by"]
    assert [(group["value"], group["puzzles"], group["exact"]) for group in by["groups"]] == [
        ("b", 2, 1.0), ("a", 2, 0.5),
    ]  # fmt: skip
    assert "by difficulty" in found.table()
    other = evaluate(knowing_4x4(GIVEN), csv(tmp_path, text), SolveOptions(), EvaluateSettings(limit=1, by="SOLUTION"))
    assert (other.by, list(other.groups), other.puzzles) == ("solution", [ANSWER], 1)
    with pytest.raises(InputError, match=r"no column is named 'stars' \(found solution, difficulty\)"):
        evaluate(knowing_4x4(GIVEN), csv(tmp_path, text), SolveOptions(), EvaluateSettings(by="stars"))


def test_ratings_are_grouped_by_number_and_by_word() -> None:
    def tallies(**counts: int) -> dict[str, Tally]:
        return {rating.strip("_"): Tally(puzzles=count) for rating, count in counts.items()}

    assert list(grouped(tallies(_10=1, _9=1, _0=5))) == ["0", "9", "10"]
    assert list(grouped(tallies(hard=1, easy=2))) == ["hard", "easy"]
    many = {str(number): Tally(puzzles=50 if number == 0 else 1) for number in range(50)}
    ranges = grouped(many)
    assert next(iter(ranges)) == "0"
    assert 3 <= len(ranges) <= 8
    assert sum(tally.puzzles for tally in ranges.values()) == 99
    assert [name.split(" to ")[0] for name in ranges] == sorted((n.split(" to ")[0] for n in ranges), key=int)
    words = {f"w{number}": Tally(puzzles=1) for number in range(40)}
    assert len(grouped(words)) == 31
    assert grouped(words)["(10 others)"].puzzles == 10
    tally = Tally()
    tally.add(Outcome(None, None, None, True, 2, 4))
    assert tally.to_plain()["exact"] is None
    assert tally.to_plain()["halted_wrong"] == 0


def test_puzzles_without_an_answer_and_unreadable_ones_are_told(tmp_path: Path) -> None:
    first, second = list(PUZZLES)[:2]
    text = f"puzzle,solution\n{first},{ANSWER}\n{second},\n11..............,{ANSWER}\n{first},{'4' * 16}\n"
    found = evaluate(knowing_4x4(GIVEN), csv(tmp_path, text), SolveOptions(), EvaluateSettings())
    assert (found.puzzles, found.unreadable, found.overall.known) == (3, 1, 2)
    assert (found.exact, found.verified) == (0.5, 1.0)
    assert found.notes == (
        "1 of 3 puzzles have no whole answer beside them",
        f"1 of the known answers break the rules, the first at {tmp_path / 'four.csv'} line 5",
        "1 puzzles cannot be read and are not counted",
    )
    alone = evaluate(knowing_4x4(GIVEN), csv(tmp_path, f"{first}\n", "p.txt"), SolveOptions(), EvaluateSettings())
    assert (alone.exact, alone.verified) == (None, 1.0)
    assert alone.notes == ("no answer is known: the rules alone tell which answers are right",)


def published(folder: Path, *, labels: Int32 | None = None, identifiers_: int = 1) -> Path:
    """The 4 x 4 puzzles as a test split in the published layout."""
    questions = np.stack([FOUR.parse_line(question) for question in PUZZLES])
    answers = np.stack([FOUR.parse_line(answer) for answer in PUZZLES.values()]) if labels is None else labels
    made = layout.of_single_examples(questions, answers, vocabulary=6)
    layout.write_dataset(folder, {"train": made, "test": made})
    return folder


@pytest.mark.parametrize("inside", ["", "test"])
def test_shares_of_a_folder_in_the_published_layout(inside: str, tmp_path: Path) -> None:
    folder = published(tmp_path / "data") / inside
    found = evaluate(knowing_4x4(GIVEN), str(folder), SolveOptions(), EvaluateSettings())
    assert (found.puzzles, found.exact, found.verified) == (4, 0.75, 0.75)
    assert found.split == ("" if inside else "test")
    limited = evaluate(knowing_4x4(GIVEN), str(folder), SolveOptions(), EvaluateSettings(limit=2))
    assert (limited.puzzles, limited.exact) == (2, 1.0)


def test_labels_that_are_ignored_count_for_nothing(tmp_path: Path) -> None:
    labels = np.stack([FOUR.parse_line(answer) for answer in PUZZLES.values()])
    labels[2, :2] = 0  # the two cells that the model gets wrong
    labels[3] = 0
    found = evaluate(knowing_4x4(GIVEN), str(published(tmp_path, labels=labels)), SolveOptions(), EvaluateSettings())
    assert (found.exact, found.cells, found.overall.known, found.puzzles) == (1.0, 1.0, 3, 4)


def test_other_lengths_and_unknown_puzzle_ids_are_refused(tmp_path: Path, split: Split) -> None:
    layout.write_dataset(tmp_path / "other", {"test": split}, ["<blank>", "a", "b", "c"])
    with pytest.raises(InputError, match=r"seq_len is 4, the model four.onnx has 16"):
        evaluate(knowing_4x4(GIVEN), str(tmp_path / "other"), SolveOptions(), EvaluateSettings())
    with pytest.raises(InputError, match="not one in the published layout"):
        evaluate(knowing_4x4(GIVEN), str(tmp_path), SolveOptions(), EvaluateSettings())
    (tmp_path / "half" / "test").mkdir(parents=True)
    np.save(tmp_path / "half" / "test" / "all__inputs.npy", np.zeros((2, 16), np.int32))
    with pytest.raises(InputError, match=r"dataset.json: cannot be read"):
        evaluate(knowing_4x4(GIVEN), str(tmp_path / "half"), SolveOptions(), EvaluateSettings())


def arc_split(questions: Int32, labels: Int32, ids: list[int], identifiers_: int) -> Split:
    count = len(questions)
    return Split(
        Metadata(seq_len=900, vocab_size=12, num_puzzle_identifiers=identifiers_),
        questions,
        labels,
        np.array(ids, np.int32),
        np.arange(count + 1, dtype=np.int32),
        np.arange(count + 1, dtype=np.int32),
    )


def test_arc_examples_of_a_folder_get_their_puzzle_ids(tmp_path: Path) -> None:
    names = names_of(["aa", "bb"], augmentations=1)
    session, runtime, known = knowing(tmp_path / "arc.onnx", names)
    question, answer, wrong = grid("12", "34"), grid("21", "43"), grid("11", "43")
    for puzzle_id, given in ((1, answer), (3, wrong)):
        known.learn(puzzle_id, question, arc.to_tokens(given))
    tokens = np.stack([arc.to_tokens(question)] * 2)
    labels = np.stack([arc.to_tokens(answer)] * 2)
    layout.write_dataset(tmp_path / "arc", {"test": arc_split(tokens, labels, [1, 3], 5)}, names)
    found = evaluate(session, str(tmp_path / "arc"), SolveOptions(), EvaluateSettings())
    # Padding counts for nothing: the grid's four cells and the ends of grid around it do.
    assert (found.exact, found.verified) == (0.5, None)
    assert found.cells == pytest.approx((1 + 7 / 8) / 2)
    assert sorted(int(number) for call in runtime.calls for number in call.puzzle_ids or ()) == [1, 3]
    with pytest.raises(InputError, match="--attempts is 2: no rule tells"):
        evaluate(session, str(tmp_path / "arc"), SolveOptions(attempts=2), EvaluateSettings())
    identifiers.write(session.path, [names[0], *names[2:], names[1]])
    with pytest.raises(InputError, match=r"puzzle id 1 is aa, in .* it is aa\|\|\|.*: the model was trained on other"):
        evaluate(session, str(tmp_path / "arc"), SolveOptions(), EvaluateSettings())


def tasks_of(folder: Path, *, answered: bool) -> Path:
    question, answer = grid("12").tolist(), grid("21").tolist()
    pair = {"input": question, "output": answer}
    test = [pair if answered else {"input": question}]
    path = folder / "arc_challenges.json"
    path.write_text(json.dumps({name: {"train": [pair], "test": test} for name in ("aa", "bb")}))
    return path


@pytest.mark.parametrize("where", ["inside", "beside", "named", "folder"])
def test_arc_tasks_vote_and_are_compared_with_their_solutions(where: str, tmp_path: Path) -> None:
    names = names_of(["aa", "bb"], augmentations=2)
    session, _, known = knowing(tmp_path / "arc.onnx", names)
    for number, name in enumerate(names[1:], start=1):
        task, augmentation = arc.parse_identifier(name)
        given = grid("21") if task == "aa" else grid("22")
        known.learn(number, augmentation.apply(grid("12")), arc.to_tokens(augmentation.apply(given)))
    folder = tmp_path / "tasks"
    folder.mkdir()
    path = tasks_of(folder, answered=where == "inside")
    solutions: tuple[str, ...] = ()
    if where != "inside":
        beside = folder / ("other.json" if where == "named" else "arc_solutions.json")
        beside.write_text(json.dumps({name: [grid("21").tolist()] for name in ("aa", "bb")}))
        solutions = (str(beside),) if where == "named" else ()
    dataset = str(folder if where == "folder" else path)
    found = evaluate(session, dataset, SolveOptions(), EvaluateSettings(solutions=solutions))
    assert (found.puzzles, found.exact, found.cells, found.verified) == (2, 0.5, 0.75, None)
    assert found.votes is not None
    assert (found.votes.within_two, found.votes.task_score, found.votes.augmentations) == (0.5, 0.5, 3)
    assert found.mean_steps == 3
    assert "3.0 augmentations voted" in found.table()


def test_arc_tasks_without_any_solution_are_refused(tmp_path: Path) -> None:
    session, _, _ = knowing(tmp_path / "arc.onnx", names_of(["aa", "bb"], augmentations=0))
    with pytest.raises(InputError, match=r"holds no answer to its test inputs; add .* --solutions FILE"):
        evaluate(session, str(tasks_of(tmp_path, answered=False)), SolveOptions(), EvaluateSettings())


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"split": "train"}, "--split"),
        ({"solutions": ("s.json",)}, "--solutions"),
    ],
)
def test_options_that_would_do_nothing_are_refused(settings: dict[str, Any], flag: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{flag} is for"):
        evaluate(knowing_4x4(GIVEN), csv(tmp_path, rows()), SolveOptions(), EvaluateSettings(**settings))


Publish = Callable[..., Path]


def test_the_command_agrees_with_run(published_bundle: Publish, tmp_path: Path) -> None:
    """In flight, with further attempts; what is verified is what `run` verifies."""
    engine = published_bundle("step", tmp_path)
    text = "puzzle,solution,level\n" + "".join(f"{q},{a},{len(q.strip('.'))}\n" for q, a in PUZZLES.items())
    file = csv(tmp_path, text + f"11..............,{ANSWER},1\n")
    flags = ("--attempts", 3, "--attempt-steps", "2,3", "--seed", 5, "--runtime", "onnxruntime")
    result = trm("evaluate", engine, file, "--json", *flags)
    assert_one_line_error(result, 2, "four.csv line 6", "the givens break the rules")
    found = json.loads(result.stdout)
    answers = [json.loads(line) for line in trm("run", "-e", engine, file, "--json", *flags).stdout.splitlines()[:-1]]
    for key, wanted in (
        ("exact", [answer["correct"] for answer in answers]),
        ("verified", [answer["verified"] for answer in answers]),
        ("mean_steps", [answer["steps"] for answer in answers]),
        ("mean_total_steps", [answer["total_steps"] for answer in answers]),
    ):
        assert found[key] == pytest.approx(np.mean(wanted)), key
    assert (found["attempts"], found["attempt_steps"], found["by"]["column"]) == (3, [2, 3], "level")
    # Whole batches of the same engine give the same answers.
    batches = api.evaluate(
        engine, file, attempts=3, attempt_steps=(2, 3), seed=5, runtime="onnxruntime", in_flight=False, batch=2
    )
    plain = batches.to_plain()
    assert {key: plain[key] for key in ("exact", "verified", "mean_steps")} == {
        key: found[key] for key in ("exact", "verified", "mean_steps")
    }


def test_the_tool_is_a_call_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = load_tool("evaluate")
    sets = tmp_path / "data" / "sudoku"
    sets.mkdir(parents=True)
    lines = (ROOT / "examples" / "puzzles.csv").read_text().splitlines()[1:3]
    for name in tool.SETS:
        (sets / f"{name}.csv").write_text("\n".join(lines))
    monkeypatch.setenv("TRM_DEPLOY_TEST_DATA", str(tmp_path))
    import typer

    app = typer.Typer()
    app.command()(tool.main)
    result = CliRunner().invoke(app, ["--limit", "1", "--output", str(tmp_path / "out.json")])
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["max_steps"] == 16
    expected = api.evaluate(ASSETS / "sudoku-step.onnx", sets / "qqwing_easy.csv", limit=1, runtime="onnxruntime")
    assert document["sets"][1]["mean_steps"] == expected.mean_steps
    assert [row["solved"] for row in document["sets"]] == [1.0] * 5


def test_a_checkpoint_without_a_task_asks_for_it_by_the_flag(tmp_path: Path) -> None:
    spec = tiny_spec("trm-mlp")
    nameless = replace(spec, task=replace(spec.task, name=""))
    checkpoints.save(tmp_path / "m.pt", Checkpoint(nameless, random_model(nameless).state_dict(), {}))
    with pytest.raises(InputError, match=r"its spec names no task.*; add --set task=sudoku-9x9"):
        api.evaluate(tmp_path / "m.pt", csv(tmp_path, rows()))

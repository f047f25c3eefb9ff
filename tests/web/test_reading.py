"""What the page's own parser reads is what the product's readers read, of the same texts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.puzzles.text import test_forms, test_spreadsheets
from tests.puzzles.text.writers import FILES, GRIDS, LINE
from tests.web.conftest import Served, shown, type_in
from trm_deploy import puzzles
from trm_deploy.errors import InputError
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.base import TextPuzzle
from trm_deploy.puzzles.maze import Maze
from trm_deploy.puzzles.sudoku import Sudoku

READ = """async ([task, texts]) => {
    const [{ readPuzzles }, { taskOf }] = await Promise.all([import('./read.js'), import('./board.js')]);
    return texts.map((text) => readPuzzles(taskOf(task), text).map(({ puzzle, fault }) => [puzzle ?? '', fault ?? '']));
}"""
SUDOKUS = (Sudoku(2, 2), Sudoku(2, 3), Sudoku(3, 3))
PROSE = ["", "\n", "no puzzle here", "Dear all,\nthis is a letter.\n", "1,2,3\n4,5,6\n", "[]", "{}", '{"a": 1}', "<a/>"]


def of_product(text: str, task: TextPuzzle) -> tuple[list[str], bool]:
    """The puzzles that the product reads, and whether it complains about any."""
    try:
        found = list(reading.read_text(text, "p", task))
    except InputError:
        return [], True
    return [task.text(q.tokens) for q in found if q.tokens is not None], any(q.error for q in found)


@pytest.fixture(scope="module")
def compare(browser: Any, site: Served) -> Iterator[Any]:
    """A function that reads texts both ways."""
    page = browser.new_page()
    page.goto(site.address)

    def run(task: TextPuzzle, texts: list[str]) -> list[str]:
        """The texts that come out differently, with what came."""
        differ = []
        for text, found in zip(texts, page.evaluate(READ, [task.name, texts]), strict=True):
            expected, complains = of_product(text, task)
            # A puzzle whose givens break the rules is shown with what is wrong; it is none that is read.
            read = [puzzle for puzzle, fault in found if puzzle and not fault]
            faulty = any(fault for _, fault in found)
            same = read == expected and faulty == complains
            refused = complains and faulty and set(read) <= set(expected)
            if not same and not refused:
                differ.append(f"{text[:300]}\n  product: {expected} {complains}\n  page: {found}")
        return differ

    yield run
    page.close()


def lines_of(task: Sudoku, seed: int, count: int) -> list[str]:
    """Puzzles with few or many givens, never without one."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        side = task.side
        first = np.arange(task.cells).reshape(side, side)
        solved = (first % side + (first // side) * task.box_columns + (first // side) // task.box_rows) % side + 1
        tokens = task.symmetries(1, rng).apply(task.from_digits(solved.reshape(1, -1)))[0]
        kept = rng.random(task.cells) < rng.choice([0.3, 0.45, 0.6, 1.0])
        kept[rng.integers(task.cells)] = True
        made.append("".join(str(token - 1) if keep else "." for token, keep in zip(tokens, kept)))
    return made


def test_every_format_is_pasted(page: Any, site: Served) -> None:
    """Through the clipboard, onto the board."""
    page.goto(site.address)
    page.locator("#solve:enabled").wait_for()
    blank = "0" * 81
    texts = {name: write([LINE]) for name, write in FILES.items()}
    texts |= {name: write(LINE) for name, (write, _) in GRIDS.items()}
    for name, text in texts.items():
        type_in(page, text)
        assert shown(page) == LINE.replace(".", "0"), name
        page.get_by_role("button", name="Clear").click()
        assert shown(page) == blank
    type_in(page, "\n".join([LINE, LINE[::-1]]))
    page.locator("#import-number").select_option("1")
    page.get_by_role("button", name="Take it").click()
    assert shown(page) == LINE[::-1].replace(".", "0")
    type_in(page, "1...2...3...4...")
    assert "looks like 4 x 4; the model is for 9 x 9" in page.text_content("#import-problem")


@pytest.mark.parametrize("task", SUDOKUS, ids=lambda task: task.name)
def test_files_of_every_format(compare: Any, task: Sudoku) -> None:
    texts = [
        write(lines_of(task, seed, count)).replace("\n", end)
        for seed, (write, count, end) in enumerate(itertools.product(FILES.values(), (1, 2, 3), ("\n", "\r\n")))
    ]
    assert compare(task, texts) == []


@pytest.mark.parametrize("task", SUDOKUS, ids=lambda task: task.name)
def test_grids_in_every_frame_and_blank(compare: Any, task: Sudoku) -> None:
    texts = []
    for seed, (write, blanks) in enumerate(GRIDS.values()):
        for number, blank in enumerate(blanks):
            lines = [line.replace(".", blank) for line in lines_of(task, 100 * seed + number, 2)]
            titles = ("", "A title\n", "Puzzle 7, hard:\n\n", "42\n", "# a comment\n", "=== Easy ===\n")
            remarks = ("", "\n\nby someone, 2024", "\nSome Program\nVersion 1.2")
            texts.append(write(lines[0]))
            texts.append(
                "\n\n".join(
                    titles[(seed + k) % 6] + write(line) + remarks[(number + k) % 3] for k, line in enumerate(lines)
                )
            )
    assert compare(task, texts) == []


def given_to(test: Any) -> list[Any]:
    """The contents that a test of the product's readers is tried with."""
    return [entry[0] if isinstance(entry, tuple) else entry for entry in test.pytestmark[0].args[1]]


def test_what_the_readers_are_tried_with(compare: Any) -> None:
    texts = [
        *given_to(test_forms.test_one_puzzle_and_nothing_else),
        *given_to(test_forms.test_what_is_damaged_or_could_be_two_things_is_named),
        *given_to(test_forms.test_a_file_that_could_be_two_things_or_holds_none_is_refused),
        *given_to(test_spreadsheets.test_one_puzzle),
        *PROSE,
    ]
    assert compare(Sudoku(), texts) == []
    assert compare(Sudoku(2, 2), ["\n".join(test_forms.FOUR), "----\n" * 4, LINE]) == []


def test_damaged_files_never_give_a_puzzle_that_nobody_wrote(compare: Any) -> None:
    """Where the product complains the page complains, and reads no more; where one reads, the other does."""
    draw = random.Random(0)
    texts = []
    for write in [
        *FILES.values(),
        *(lambda lines, write=write: "\n\n".join(map(write, lines)) for write, _ in GRIDS.values()),
    ]:
        for _ in range(6):
            text = write(lines_of(Sudoku(), draw.randrange(1000), 2))
            place = draw.randrange(len(text))
            kind = draw.randrange(3)
            texts.append(
                [
                    text[:place] + text[place + 1 :],
                    text[:place],
                    text[:place] + draw.choice("0123456789. -|[],#x") + text[place + 1 :],
                ][kind]
            )
    assert compare(Sudoku(), texts) == []


def test_files_as_people_have_them(compare: Any, published_data: Path) -> None:
    folder = published_data / "trials"
    if not folder.is_dir():
        pytest.skip("TRM_DEPLOY_TEST_DATA holds no trials/")
    names = sorted(path for path in folder.iterdir() if path.suffix not in (".py", ".md"))
    assert len(names) > 10
    for path in names:
        task = Sudoku(2, 2) if path.name.startswith("four") else Sudoku()
        assert compare(task, [path.read_text()]) == []


def test_mazes(compare: Any) -> None:
    task = Maze(4, 5)
    lines = [task.text(tokens) for tokens in task.examples()[:3]]
    grids = ["\n".join(line[start : start + 5] for start in range(0, 20, 5)) for line in lines]
    texts = [
        *lines,
        *grids,
        "\n\n".join(grids),
        "\n".join(lines),
        lines[0].replace(" ", "."),
        "puzzle,answer\n" + "\n".join(f"{line},x" for line in lines),
        "\n".join(f'{{"question": "{line}"}}' for line in lines),
        grids[0][:-1],
        grids[0].replace("S", " "),
        grids[0] + "\n" + grids[1],
        lines[0].replace("#", "x", 1),
    ]
    assert compare(task, texts) == []


def test_examples_are_read_as_they_are_written(compare: Any) -> None:
    for name in ("sudoku-9x9", "sudoku-6x6", "sudoku-4x4"):
        task = puzzles.get(name)
        assert isinstance(task, TextPuzzle)
        assert compare(task, [task.text(tokens) for tokens in task.examples()]) == []

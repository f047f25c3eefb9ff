"""What visitors do and what they have: keyboards, phones, dark screens, no network, damaged files, rubbish to paste."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, load_tool, random_model, tiny_spec
from tests.web.conftest import NPM, Served, keep, ready, shown, solve, type_in
from trm_deploy import checkpoints
from trm_deploy.artefacts import shipped
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.evaluation.parity.export_check import check_export
from trm_deploy.export.options import ExportOptions
from trm_deploy.export.pipeline import run_export

PUZZLE = "020500091140003000080000206054069002030700009207034005000000020900007014003005007"
SIZE = next(model for model in shipped.models() if model.task == "sudoku-9x9").files.step.bytes
TASKS = ("maze-7x8", "sudoku-6x6")
AXE = """() => axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
    .then((found) => found.violations.map((rule) => [rule.id, rule.nodes.map((node) => node.html.slice(0, 200))]))"""


@pytest.fixture(scope="module")
def tiny(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page with tiny random models, of a maze and of a small Sudoku."""
    folder = tmp_path_factory.mktemp("tiny")
    site = folder / "site"
    shutil.copytree(built, site)
    models = []
    for task in TASKS:
        model = random_model(tiny_spec("trm-mlp", task=task))
        checkpoints.save(
            folder / "m.pt", Checkpoint(model.spec, model.state_dict(), {"steps": 0, "recipe": "", "seed": 0})
        )
        output = folder / f"{task}-step.onnx"
        run_export(ExportOptions(source=folder / "m.pt", output=output, graph="step"), check=check_export)
        models.append(output)
    load_tool("build_web").build(site, models, NPM / "node_modules")
    served = Served(site)
    yield served
    served.close()


def test_the_keyboard_alone_is_enough(page: Any, site: Served) -> None:
    ready(page, site.address)
    page.get_by_role("button", name="Clear").focus()
    page.keyboard.press("Enter")
    assert shown(page) == "0" * 81
    page.locator("[role=gridcell][tabindex='0']").focus()
    for row in range(0, 81, 9):
        for digit in PUZZLE[row : row + 9]:
            page.keyboard.press(digit)
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Home")
        page.keyboard.press("ArrowDown")
    assert shown(page) == PUZZLE
    page.keyboard.press("Control+z")
    assert shown(page) == PUZZLE[:-1] + "0"
    page.keyboard.press("Control+Shift+z")
    for _ in range(30):  # to the button that solves, by tabs alone
        if page.evaluate("document.activeElement.id") == "solve":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#summary:not(:empty)")
    assert page.text_content("#summary").startswith("Verified in attempt 1")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)])
def test_axe_finds_nothing_and_nothing_is_cut_off(browser: Any, tiny: Served, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 780}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    ready(page, tiny.address)
    page.evaluate((NPM / "node_modules" / "axe-core" / "axe.min.js").read_text())
    for task in ("Maze 7 \u00d7 8", "Sudoku 6 \u00d7 6"):
        page.get_by_role("button", name=task).click()
        assert page.evaluate(AXE) == []
        solve(page)
        assert page.evaluate(AXE) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        keep(page, f"{task.split()[0].lower()}-{scheme}-{width}")
    sizes = page.evaluate(
        "[...document.querySelectorAll('button')].filter((b) => b.offsetParent).map((b) => b.offsetHeight)"
    )
    assert min(sizes) >= 24, "WCAG 2.2 asks for targets of 24 pixels"
    page.get_by_role("button", name="Paste or open").click()
    assert page.evaluate(AXE) == []
    context.close()


def test_a_maze_is_drawn_made_and_solved(page: Any, tiny: Served) -> None:
    ready(page, tiny.address)
    page.get_by_role("button", name="Clear").click()
    assert "0 cells hold S, expected one; 0 cells hold G, expected one" in page.text_content("#note")
    assert page.get_by_role("button", name="Solve").is_disabled()
    cells = page.locator("#board .cell")
    box = [cells.nth(place).bounding_box() for place in (8, 11)]
    page.mouse.move(box[0]["x"] + 5, box[0]["y"] + 5)
    page.mouse.down()
    page.mouse.move(box[1]["x"] + 5, box[1]["y"] + 5, steps=12)
    page.mouse.up()
    page.get_by_role("button", name="Start").click()
    cells.nth(0).click()
    page.get_by_role("button", name="Goal").click()
    cells.nth(16).click()
    cells.nth(17).click()  # there is one goal: the other one goes
    expected = "S       ####     G" + " " * 38
    assert shown(page) == expected
    assert page.text_content("#note") == "The shortest path takes 9 steps."
    page.get_by_role("button", name="Undo").click()
    assert shown(page) == expected[:16] + "G " + expected[18:]
    page.get_by_role("button", name="Make a maze").click()
    assert shown(page).count("S") == shown(page).count("G") == 1
    found = solve(page)
    assert re.match(r"(Verified in attempt|Not solved; attempt) \d", found["summary"])
    assert found["steps"][-1][0] == 4 or "Verified" in found["summary"], "a maze that is not square has four forms"


@pytest.mark.parametrize(
    ("puzzle", "note"),
    [
        ("55" + "0" * 79, "The givens break the rules: row 1 has 5 twice; box 1 has 5 twice."),
        ("1" + "0" * 80, "1 given; more than one answer is possible, and the one that the model finds is shown."),
        ("123456780" + "000000009" + "0" * 63, "9 givens; no answer obeys the rules."),
    ],
)
def test_what_a_puzzle_is_is_said_before_it_is_solved(page: Any, site: Served, puzzle: str, note: str) -> None:
    page.goto(site.address)
    page.locator("#solve:enabled").wait_for()
    type_in(page, puzzle)
    page.get_by_text(note).wait_for()
    assert page.get_by_role("button", name="Solve").is_disabled() == ("break" in note)
    assert page.locator(".cell.wrong").count() == 2 * ("break" in note)


def test_more_than_one_answer_and_the_one_found_is_shown(page: Any, site: Served) -> None:
    ready(page, site.address)
    type_in(page, "0" * 2 + PUZZLE[2:].replace("7", "0"))
    page.get_by_text("more than one answer is possible").wait_for()
    page.get_by_label("Speed").select_option("fastest")
    page.get_by_role("button", name="Solve").click()
    page.locator(".plot .dot").first.wait_for(state="attached")
    assert "0" not in shown(page), "the one found is on the board"


def test_it_stops(page: Any, site: Served) -> None:
    ready(page, site.address)
    type_in(page, "0" * 81)
    page.get_by_role("button", name="Solve").click()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Solve").wait_for()
    count = page.locator(".plot .dot").count()
    page.wait_for_timeout(600)
    assert page.locator(".plot .dot").count() <= count + 1, "the step that was being computed, at most"


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=\"document.title='taken'\">",
        "\0\ufeff\u202e" * 50,
        "[" * 100_000,
        '{"puzzle": {"puzzle": ' * 5_000,
        "a" * 3_000_000,
        ("53..7" * 17 + "\n") * 20_000,
        "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    ],
    ids=["markup", "zeros", "brackets", "objects", "long", "lines", "entities"],
)
def test_rubbish_is_refused_in_words(page: Any, site: Served, text: str) -> None:
    page.goto(site.address)
    page.locator("#solve:enabled").wait_for()
    before = shown(page)
    type_in(page, text)
    assert page.text_content("#import-problem")
    page.keyboard.press("Escape")
    assert shown(page) == before
    assert page.title() != "taken"
    assert page.locator("img").count() == 0


def test_nothing_leaves_the_page_and_it_works_without_a_network(context: Any, site: Served) -> None:
    page = context.new_page()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    ready(page, site.address)
    solve(page)
    page.evaluate(
        "navigator.serviceWorker.register('sw.js').then(() => navigator.serviceWorker.ready).then(() => true)"
    )
    assert [url for url in asked if not url.startswith((site.address, "data:"))] == []
    context.set_offline(True)
    ready(page, site.address)
    type_in(page, PUZZLE)
    assert solve(page)["summary"].startswith("Verified")


@pytest.fixture
def damaged(built: Path, tmp_path: Path) -> Iterator[Callable[[Callable[[Path], None]], str]]:
    """A function that serves the page after its files were changed."""
    opened: list[Served] = []

    def serve(change: Callable[[Path], None]) -> str:
        shutil.copytree(built, tmp_path / "site")
        change(tmp_path / "site")
        opened.append(Served(tmp_path / "site"))
        return opened[0].address

    yield serve
    for served in opened:
        served.close()


def cut(folder: Path) -> None:
    path = folder / "models" / "sudoku-step.onnx"
    path.write_bytes(path.read_bytes()[:1_000_000])


def flip(folder: Path) -> None:
    path = folder / "models" / "sudoku-step.onnx"
    data = bytearray(path.read_bytes())
    data[700_000] ^= 1
    path.write_bytes(data)


MODULE = "ort/ort.wasm.bundle.min.mjs"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, f"models/sudoku-step.onnx has 1,000,000 bytes, expected {SIZE:,}: the file was cut short"),
        (flip, "models/sudoku-step.onnx is damaged: its SHA-256 is not the one in models.json"),
        (
            lambda folder: (folder / "models" / "sudoku-step.onnx").unlink(),
            "models/sudoku-step.onnx cannot be fetched (HTTP 404)",
        ),
        (lambda folder: (folder / "models.json").write_text("{"), "models.json cannot be read"),
        (lambda folder: (folder / "models.json").unlink(), "models.json cannot be read (HTTP 404): run make web"),
        (lambda folder: shutil.rmtree(folder / "ort"), "cannot be fetched (HTTP 404)"),
        (lambda folder: (folder / MODULE).unlink(), f"{MODULE} cannot be fetched (HTTP 404)"),
        (lambda folder: (folder / MODULE).write_text("{"), f"{MODULE} cannot be run (Unexpected end of input)"),
    ],
)
def test_damaged_files_are_named(page: Any, damaged: Any, change: Callable[[Path], None], message: str) -> None:
    page.goto(damaged(change))
    page.locator("#problem").get_by_text(message).wait_for()
    assert message in page.text_content("#problem")


def test_a_browser_without_simd_is_told_what_is_missing(page: Any, site: Served) -> None:
    page.add_init_script("WebAssembly.validate = () => false")
    page.goto(site.address)
    page.locator("#problem").get_by_text("WebAssembly has no SIMD").wait_for()
    assert "Chrome 91, Firefox 89 and Safari 16.4" in page.text_content("#problem")


def test_a_theme_is_kept(page: Any, site: Served) -> None:
    page.goto(site.address)
    button = page.get_by_role("button", name="Theme")
    for _ in range(2):
        button.click()
    assert button.text_content() == "Theme: dark"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    button.wait_for()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground == "rgb(19, 21, 24)"


def test_the_packages_are_pinned() -> None:
    wanted = json.loads((ROOT / "web" / "package.json").read_text())
    versions = {**wanted["dependencies"], **wanted["devDependencies"]}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values())

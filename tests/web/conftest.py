"""A browser for the page: Debian's Chromium under Playwright. Tests skip, with the command that helps, without it."""

from __future__ import annotations

import fcntl
import functools
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, load_tool
from trm_deploy.errors import InputError

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
# Where distributions put it; names that Debian, Ubuntu and Fedora use.
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
NPM = ROOT / "build" / "npm"  # where `make web` puts its packages too
SCREENSHOTS = ROOT / "build" / "screenshots"
# Reads the board by the classes of its cells: what a visitor sees.
BOARD = """() => [...document.querySelectorAll('#board .cell')].map((cell) =>
    cell.closest('.maze') ? (cell.matches('.wall') ? '#' : cell.matches('.start') ? 'S' : cell.matches('.goal') ? 'G'
        : cell.matches('.path') ? 'o' : ' ') : (cell.querySelector('.symbol').textContent || '0')).join('')"""
PASTE = """(text) => {
    const data = new DataTransfer();
    data.setData('text/plain', text);
    document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
}"""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, for all tests of a process."""
    if not CHROMIUM:
        pytest.skip("no chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    """A visitor of their own, without what an earlier one left in the browser."""
    made = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    made.set_default_timeout(60_000)
    yield made
    made.close()


@pytest.fixture
def page(context: Any) -> Iterator[Any]:
    """A page; a script of it that fails, fails the test."""
    opened = context.new_page()
    failed: list[str] = []
    opened.on("pageerror", lambda error: failed.append(str(error)))
    yield opened
    assert failed == []


class Quiet(SimpleHTTPRequestHandler):
    """As `python -m http.server`, without a line a request, and counting them."""

    requested: list[str]

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.requested.append(self.path)
        super().do_GET()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        try:
            super().copyfile(source, outputfile)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the visitor went away


class Served:
    """A folder on loopback.

    Attributes:
        address: of the folder, with a slash at its end.
        requested: the path of each request.
    """

    def __init__(self, folder: Path) -> None:
        self.requested: list[str] = []
        handler = type("Handler", (Quiet,), {"requested": self.requested})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def ready(page: Any, address: str) -> None:
    """Open the page, and wait until the model is there."""
    page.goto(address)
    page.wait_for_selector("html[data-model=ready]")


def keep(page: Any, name: str) -> None:
    """Keep a picture of the page, for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def shown(page: Any) -> str:
    """What is on the board, as the puzzle's one-line text."""
    return str(page.evaluate(BOARD))


def type_in(page: Any, puzzle: str) -> None:
    """Paste a puzzle into the page, as a visitor does."""
    page.evaluate(PASTE, puzzle)


def solve(page: Any) -> dict[str, Any]:
    """Solve what is on the board; the summary, and the steps as the plot has them."""
    page.get_by_label("Speed").select_option("fastest")
    page.get_by_role("button", name="Solve").click()
    page.wait_for_selector("#summary:not(:empty)", timeout=60_000)
    page.get_by_role("button", name="Play", exact=True).wait_for()
    titles = page.locator(".plot .dot title").all_text_contents()
    found = [re.match(r"attempt (\d+), step (\d+): halting logit (\S+),", title) for title in titles]
    steps = [(int(match[1]), int(match[2]), float(match[3])) for match in found if match]
    return {"summary": page.text_content("#summary"), "verdict": page.text_content(".verdict"), "steps": steps}


@pytest.fixture(scope="session")
def modules() -> Path:
    """npm's packages, for the page and for its tests; of several processes one installs them, the others wait."""
    NPM.mkdir(parents=True, exist_ok=True)
    with (NPM / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return Path(load_tool("build_web").packages(NPM, tests=True))
        except InputError as error:
            pytest.skip(f"{error}")


@pytest.fixture(scope="session")
def built(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make web` makes of the shipped models."""
    tool = load_tool("build_web")
    folder = tmp_path_factory.mktemp("web") / "site"
    tool.build(folder, tool.shipped_models(), modules)
    return folder


@pytest.fixture(scope="session")
def site(built: Path) -> Iterator[Served]:
    """The page, as a static host offers it."""
    served = Served(built)
    yield served
    served.close()

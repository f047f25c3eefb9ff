"""`run --ray` on a cluster of two workers: the answers of one process, whatever happens to an actor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_commands import assert_one_line_error, trm
from tests.conftest import ROOT, Published
from trm_deploy import puzzles
from trm_deploy.cli import main
from trm_deploy.cluster import pool as pool_module
from trm_deploy.cluster.pool import Pool
from trm_deploy.cluster.session import ClusterSession, open_cluster
from trm_deploy.cluster.shipping import Shipment, ship, unpacked
from trm_deploy.cluster.worker import Order, Worker
from trm_deploy.errors import CannotRunHere, InputError, MissingPackage, TrmDeployError
from trm_deploy.runtimes.solving.files import FileRun
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession, open_session

ray: Any = pytest.importorskip("ray", reason="Ray is not installed: pip install 'trm-deploy[ray]'")

OPTIONS = SolveOptions(attempts=3, attempt_steps=(2, 4), batch_size=4)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster on this machine with room for two actors, which this process is connected to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False
        )
        signal.signal(signal.SIGTERM, handler)
        try:
            yield ray.get_runtime_context().gcs_address
        finally:
            ray.shutdown()


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A table of puzzles with an answer beside each, and some that cannot be read among them."""
    task = puzzles.get("sudoku-4x4")
    examples = [task.text(tokens) for tokens in task.examples()] * 5
    rows = [f"{number},{text},1234341221434321" for number, text in enumerate(examples[:60])]
    rows[17] = "17,11..............,"
    rows[18] = "18,rubbish,"
    path = tmp_path / "questions.csv"
    path.write_text("number,puzzle,solution\n" + "\n".join(rows) + "\n")
    return path


def solved(session: SolvingSession, names: Path, output: Path, **arguments: Any) -> list[dict[str, Any]]:
    """The lines of a run's file, without the times."""
    with FileRun(session, [str(names)], OPTIONS, output=output, **arguments) as run:
        for _ in run:
            pass
    return lines_of(output)


def lines_of(output: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    for line in lines:
        line.pop("milliseconds", None)
    return lines


@pytest.mark.parametrize("graph", ["step", "loop"])
def test_the_answers_of_one_process_to_the_last_bit(
    graph: Any, address: str, published_bundle: Published, questions: Path, tmp_path: Path
) -> None:
    engine = published_bundle(graph, tmp_path)
    alone = solved(open_session(engine), questions, tmp_path / "alone.jsonl")
    with open_cluster(engine, OPTIONS, address=address) as session:
        assert session.pool is not None
        session.pool.fill()
        together = solved(session, questions, tmp_path / "together.jsonl")
        assert len(set(session.pool.places.values())) == session.pool.actors == 2
        assert session.pool.solved_again == 0
    assert together == alone
    assert len({line["halt_logit"] for line in alone if "halt_logit" in line}) > 5
    assert [number for number, line in enumerate(together) if "error" in line] == [17, 18]
    assert together[18]["columns"]["number"] == "18"


def test_an_actor_that_is_killed_costs_its_block_alone(
    address: str, published_bundle: Published, questions: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = published_bundle("step", tmp_path)
    alone = solved(open_session(engine), questions, tmp_path / "alone.jsonl")
    with open_cluster(engine, OPTIONS, address=address) as session:
        pool = session.pool
        assert pool is not None
        pool.fill()
        output = tmp_path / "together.jsonl"
        with FileRun(session, [str(questions)], OPTIONS, output=output) as run:
            for number, _ in enumerate(run):
                if number == 5:
                    (place, *_) = pool.places.values()
                    os.kill(int(place.rpartition(" ")[2]), signal.SIGKILL)
            assert run.totals.answered == 58
        assert pool.solved_again == 1
        assert pool.actors == 2
    assert lines_of(output) == alone
    assert f"the actor on {place} died; another one solves {questions} line" in caplog.text


SPEAKS = """
import os, signal, sys, time
from pathlib import Path
from trm_deploy.cluster.session import open_cluster
from trm_deploy.runtimes.solving.files import FileRun
from trm_deploy.runtimes.solving.session import SolveOptions
from trm_deploy.support.jsontext import dumps
options = SolveOptions(attempts=3, attempt_steps=(2, 4), batch_size=4)
with open_cluster(Path(sys.argv[1]), options, address=sys.argv[2]) as session:
    with FileRun(session, sys.argv[3:], options) as run:
        for number, answer in enumerate(run):
            print(dumps(answer.to_plain()), flush=True)
            if number == 2:
                os.kill(int(next(iter(session.pool.places.values())).rpartition(" ")[2]), signal.SIGKILL)
    time.sleep(1)
"""


def test_nothing_but_answers_is_printed(
    address: str, published_bundle: Published, questions: Path, tmp_path: Path
) -> None:
    """Ray has much to say of an actor that died, on standard output."""
    engine = published_bundle("step", tmp_path)
    command = [sys.executable, "-c", SPEAKS, str(engine), address, str(questions)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 60
    assert all("puzzle" in line for line in lines)


def test_an_actor_that_hangs_holds_nothing_up(
    address: str,
    published_bundle: Published,
    questions: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "SLOW_S", 0.5)
    engine = published_bundle("step", tmp_path)
    alone = solved(open_session(engine), questions, tmp_path / "alone.jsonl")
    output = tmp_path / "together.jsonl"
    with caplog.at_level("INFO"), open_cluster(engine, OPTIONS, address=address) as session:
        pool = session.pool
        assert pool is not None
        pool.fill()
        with FileRun(session, [str(questions)], OPTIONS, output=output) as run:
            for number, _ in enumerate(run):
                if number == 5:  # whoever of the two is stopped has a block, or will get the next
                    (place, *_) = pool.places.values()
                    os.kill(int(place.rpartition(" ")[2]), signal.SIGSTOP)
        assert pool.solved_twice == 1
        assert pool.solved_again == 0
    assert lines_of(output) == alone
    assert "takes long, so another actor solves them too" in caplog.text


def test_a_node_of_another_version_is_refused(address: str) -> None:
    order = Order(Shipment(()), {}, OPTIONS, version="0.0.1")
    with pytest.raises(
        CannotRunHere, match=r"has trm-deploy .*, this run is of 0\.0\.1; type on each node: pip install"
    ):
        Worker().open(order)
    with pytest.raises(CannotRunHere, match=r"has trm-deploy .*, this run is of 0\.0\.1"):
        Pool(ray, order, size=1)


def test_a_run_goes_on_where_it_was_stopped(
    address: str, published_bundle: Published, questions: Path, tmp_path: Path
) -> None:
    engine, output = published_bundle("step", tmp_path), tmp_path / "answers.jsonl"
    with open_cluster(engine, OPTIONS, address=address) as session:
        whole = solved(session, questions, output)
        text = output.read_text().splitlines(keepends=True)
        output.write_text("".join(text[:31]) + text[31][:40])
        assert solved(session, questions, output, resume=True) == whole
    # One process goes on with what a cluster began.
    output.write_text("".join(text[:31]))
    assert solved(open_session(engine), questions, output, resume=True) == whole
    output.write_text(
        "".join(text[:31]).replace('"attempts":3', '"attempts":2').replace('"attempts": 3', '"attempts": 2')
    )
    with (
        open_cluster(engine, OPTIONS, address=address) as session,
        pytest.raises(InputError, match="attempts is 2, this run gives 3"),
    ):
        solved(session, questions, output, resume=True)


def test_puzzles_that_kill_each_actor_end_the_run(
    address: str, published_bundle: Published, questions: Path, tmp_path: Path
) -> None:
    engine = published_bundle("step", tmp_path)
    with open_cluster(engine, OPTIONS, address=address, actors=1) as session:
        pool = session.pool
        assert pool is not None

        def kill_them() -> Iterator[Any]:
            wait = pool._wait

            def kill_first() -> None:
                for place in pool.places.values():
                    os.kill(int(place.rpartition(" ")[2]), signal.SIGKILL)
                wait()

            pool._wait = kill_first  # type: ignore[method-assign]
            yield from session.read([str(questions)], OPTIONS).questions

        with pytest.raises(TrmDeployError, match=r"line 2 to .* line 5: 3 actors died solving them"):
            list(session.solve(kill_them(), OPTIONS, slots=4))


def test_what_is_damaged_on_the_way_is_refused(address: str, published_bundle: Published, tmp_path: Path) -> None:
    engine = published_bundle("step", tmp_path)
    shipment = ship(ray, [engine, engine.with_name("m.onnx.json")])
    with unpacked(ray, shipment) as path:
        assert path.read_bytes() == engine.read_bytes()
        assert path.with_name("m.onnx.json").is_file()
    assert not path.exists()
    altered = bytearray(engine.read_bytes())
    altered[1000] ^= 1
    object.__setattr__(shipment.files[0], "data", ray.put(memoryview(altered)))
    with pytest.raises(TrmDeployError, match=r"m\.onnx: arrived damaged"), unpacked(ray, shipment):
        pass


def test_an_error_on_a_worker_is_told_as_here(
    address: str, tiny_checkpoint: Path, published_bundle: Published, tmp_path: Path
) -> None:
    engine = published_bundle("loop", tmp_path)
    for arguments, message in (
        ({"overrides": ("arch.L_cycles=3",)}, "m.onnx"),
        ({"runtime": "tensorrt"}, "m.onnx"),
    ):
        with pytest.raises(TrmDeployError) as here:
            open_session(engine, **arguments)
        with pytest.raises(type(here.value)) as there, open_cluster(engine, OPTIONS, address=address, **arguments):
            pass
        assert str(there.value) == str(here.value).replace(f"{tmp_path}{os.sep}", "")
        assert message in str(there.value)
    with (
        pytest.raises(CannotRunHere, match="the cluster has 0 GPUs, and --gpus-per-actor is 1"),
        open_cluster(engine, OPTIONS, address=address, device="cuda"),
    ):
        pass


def test_a_checkpoint_travels_too(address: str, tiny_checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    alone = solved(open_session(tiny_checkpoint), questions, tmp_path / "alone.jsonl")
    with open_cluster(tiny_checkpoint, OPTIONS, address=address) as session:
        assert isinstance(session, ClusterSession)
        assert solved(session, questions, tmp_path / "together.jsonl") == alone


def test_the_command(address: str, published_bundle: Published, questions: Path, tmp_path: Path) -> None:
    engine = published_bundle("step", tmp_path)
    flags = ("-e", engine, "--attempts", 3, "--attempt-steps", "2,4", "--batch", 4)
    assert trm("run", *flags, questions, "-o", "alone.jsonl", cwd=tmp_path).returncode == 2
    result = trm("run", *flags, questions, "--ray", address, "-o", "together.jsonl", cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert "58 puzzles, " in result.stderr
    assert "2 unreadable" in result.stderr
    assert "Traceback" not in result.stderr
    assert lines_of(tmp_path / "together.jsonl") == lines_of(tmp_path / "alone.jsonl")
    # A cluster of another version: what Ray itself refuses.
    code = "import sys, ray; ray.__version__ = '2.0.0'; from trm_deploy.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "-e", str(engine), "1" + "." * 15, "--ray", address]
    other = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert_one_line_error(other, 4, f"the cluster has Ray {ray.__version__} and Python", "this machine Ray 2.0.0")


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and message of a command in this process."""
    monkeypatch.setattr(sys, "argv", ["trm-deploy", "run", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0), capsys.readouterr().err


def test_what_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    puzzle = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for arguments, code, text in (
        (("--actors", "2"), 2, "--actors applies to --ray; add --ray local"),
        (("--gpus-per-actor", "1"), 2, "--gpus-per-actor applies to --ray"),
        (("--ray", "nonsense"), 2, "expected local, auto, or HOST:PORT of a cluster's head"),
        (("--ray", "127.0.0.1:1"), 2, "--ray 127.0.0.1:1: no Ray cluster answers there"),
        (("--ray", "local", "-e", "missing.onnx"), 2, "missing.onnx: there is no such file"),
    ):
        found, message = refused(monkeypatch, capsys, puzzle, *arguments)
        assert (found, message.count("\n")) == (code, 1), message
        assert text in message
    monkeypatch.setitem(sys.modules, "ray", None)
    found, message = refused(monkeypatch, capsys, puzzle, "--ray", "local")
    assert found == MissingPackage.exit_code
    assert "ray is needed to solve with --ray" in message
    assert "pip install 'trm-deploy[ray]'" in message

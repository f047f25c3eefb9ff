"""OpenVINO runs the files that ONNX Runtime runs, and computes in bfloat16 only where it may."""

from __future__ import annotations

import copy
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.cli.test_commands import assert_one_line_error, trm
from tests.conftest import ASSETS, GRAPHS, ROOT, Graph, exported, random_model, tiny_spec
from trm_deploy import puzzles, runtimes
from trm_deploy.artefacts import record
from trm_deploy.artefacts.kind import Kind
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError, MissingPackage
from trm_deploy.evaluation import parity
from trm_deploy.evaluation.parity.bounds import BOUNDS, bounds_name
from trm_deploy.evaluation.parity.pytorch import reference_and_controls
from trm_deploy.export.graph.passes.fixing import fix_batch
from trm_deploy.runtimes import registry
from trm_deploy.runtimes.backends import ov
from trm_deploy.runtimes.base import StepRuntime, initial_numpy_state
from trm_deploy.runtimes.solving.session import open_session

openvino = pytest.importorskip("openvino", reason="type: pip install 'trm-deploy[openvino]'")
TOKENS = np.random.default_rng(0).integers(1, 6, (5, 16)).astype(np.int32)
HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
NEEDS_BF16 = pytest.mark.skipif(not HAS_BF16, reason="this processor does not compute bfloat16")


def saved(folder: Path, name: str, graph: Graph, **how: Any) -> Path:
    path = folder / f"{name}-{graph}.onnx"
    onnx.save(exported(name, graph, **how), path)
    return path


FORMS: list[tuple[str, Graph]] = [*(("trm-mlp", graph) for graph in GRAPHS), ("trm-att", "loop"), ("hrm", "step")]


@pytest.mark.parametrize(("name", "graph"), FORMS)
def test_answers_are_those_of_onnx_runtime(name: str, graph: Graph, tmp_path: Path) -> None:
    path = saved(tmp_path, name, graph)
    theirs, ours = runtimes.load(path), runtimes.load(path, "openvino")
    assert (ours.backend, ours.graph, ours.arithmetic, ours.fixed_steps) == (
        "openvino", graph, "fp32", theirs.fixed_steps,
    )  # fmt: skip
    for threshold in (-math.inf, 0.0, 0.3, math.inf):
        expected = theirs.solve(TOKENS, max_steps=6, halt_threshold=threshold)
        found = ours.solve(TOKENS, max_steps=6, halt_threshold=threshold)
        np.testing.assert_array_equal(found.answer, expected.answer)
        np.testing.assert_array_equal(found.steps, expected.steps)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)


@pytest.mark.parametrize(("threads", "batch", "expected"), [(2, 4, [2, 2]), (4, 4, [2, 2]), (3, 4, [4]), (2, 3, [3])])
def test_a_batch_is_divided_among_the_threads(
    threads: int, batch: int, expected: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = saved(tmp_path, "trm-mlp", "step")
    whole = runtimes.load(path, "openvino")
    monkeypatch.setattr("trm_deploy.support.machine.threads", lambda: threads)
    divided = runtimes.load(path, "openvino")
    assert isinstance(whole, StepRuntime)
    assert isinstance(divided, StepRuntime)
    states = [initial_numpy_state(whole.spec, batch)] * 2
    for step in range(3):
        results = [
            runtime.step(TOKENS[:batch], np.arange(batch) == step, *state)
            for runtime, state in zip((whole, divided), states)
        ]
        states = [(result.y, result.z) for result in results]
        for field in ("answer", "halt_logit", "logits", "y", "z"):
            expected_values, found = (getattr(result, field) for result in results)
            np.testing.assert_allclose(found, expected_values, atol=1e-5)
    requests = divided.session._requests[len(expected)]  # type: ignore[attr-defined]
    assert [len(request.get_tensor("tokens").data) for request in requests] == expected


def test_ctrl_c_between_two_parts_waits_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trm_deploy.support.machine.threads", lambda: 2)
    runtime = runtimes.load(ASSETS / "sudoku.onnx", "openvino", precision="fp32")
    tokens = np.repeat(puzzles.get("sudoku-9x9").examples()[:1], 4, axis=0)
    whole = runtime.solve(tokens, max_steps=2, halt_threshold=math.inf)
    session: Any = runtime.session  # type: ignore[attr-defined]
    with monkeypatch.context() as patched:
        begun = []

        def press_once(request: Any) -> RuntimeError | None:
            begun.append(request)
            if len(begun) == 1:
                raise KeyboardInterrupt
            return wait(request)

        wait = ov._wait
        patched.setattr(ov, "_wait", press_once)
        with pytest.raises(KeyboardInterrupt):
            runtime.solve(tokens, max_steps=2, halt_threshold=math.inf)
    parts = session._requests[2]
    assert begun == [parts[0], *parts]
    assert [request.wait_for(0) for request in parts] == [True, True]
    again = runtime.solve(tokens, max_steps=2, halt_threshold=math.inf)
    np.testing.assert_array_equal(again.logits, whole.logits)


def test_openvino_is_imported_without_its_statistics_of_use() -> None:
    code = (
        "import sys; from trm_deploy.errors import require; require('openvino', extra='', purpose='');"
        "import openvino.tools.ovc as ovc; print(type(ovc.telemetry).__module__, 'openvino_telemetry' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "False"]


def test_a_graph_of_one_batch_size_is_not_divided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("trm_deploy.support.machine.threads", lambda: 2)
    onnx.save(fix_batch(copy.deepcopy(exported("trm-mlp", "loop")), 4), tmp_path / "four.onnx")
    theirs, ours = runtimes.load(tmp_path / "four.onnx"), runtimes.load(tmp_path / "four.onnx", "openvino")
    expected = theirs.solve(TOKENS, max_steps=3, halt_threshold=0.0)
    np.testing.assert_array_equal(ours.solve(TOKENS, max_steps=3, halt_threshold=0.0).answer, expected.answer)


def test_a_state_is_the_next_steps_input_and_stays_what_it_was(tmp_path: Path) -> None:
    path = saved(tmp_path, "trm-mlp", "step")
    theirs, ours = runtimes.load(path), runtimes.load(path, "openvino")
    assert isinstance(theirs, StepRuntime)
    assert isinstance(ours, StepRuntime)
    states = [initial_numpy_state(ours.spec, 5), initial_numpy_state(ours.spec, 5)]
    first = None
    for step in range(4):
        reset = np.full(5, step == 0)
        results = [runtime.step(TOKENS, reset, *state) for runtime, state in zip((theirs, ours), states)]
        states = [(result.y, result.z) for result in results]
        np.testing.assert_allclose(np.asarray(results[1].y), np.asarray(results[0].y), atol=1e-4)
        if first is None:
            first = results[1], np.array(results[1].y)
    np.testing.assert_array_equal(np.asarray(first[0].y), first[1])  # type: ignore[index]


@NEEDS_BF16
def test_bfloat16_where_the_flag_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path, "trm-mlp", "step")
    wide, narrow = runtimes.load(path, "openvino"), runtimes.load(path, "openvino", precision="bf16")
    assert (narrow.precision, narrow.arithmetic) == ("fp32", "bf16")
    assert "bf16" in narrow.description
    found = [runtime.solve(TOKENS, max_steps=2, halt_threshold=math.inf).logits for runtime in (wide, narrow)]
    difference = np.abs(found[0] - found[1]).max()
    assert 1e-4 < difference < 0.5, "rounded, but the same model"


def test_the_shipped_model_solves_its_examples_in_both_forms() -> None:
    puzzle = puzzles.get("sudoku-9x9")
    tokens = puzzle.examples()[:3]
    for file in ("sudoku.onnx", "sudoku-step.onnx"):
        runtime = runtimes.load(ASSETS / file, "openvino", precision="fp32")
        answers = runtime.solve(tokens, max_steps=16, halt_threshold=0.0).answer
        expected = runtimes.load(ASSETS / file).solve(tokens, max_steps=16, halt_threshold=0.0)
        np.testing.assert_array_equal(answers, expected.answer)
        assert [puzzle.answer_faults(*pair) for pair in zip(tokens, answers)].count([]) >= 2


def test_a_precision_that_the_processor_does_not_compute_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRunHere, match=r"--precision bf16: OpenVINO does not compute it on this processor"):
        ov.choose_arithmetic(tmp_path / "x.onnx", "bf16", ["FP32", "INT8"])
    with pytest.raises(CannotRunHere, match=r"--precision int8: .* expected fp32 or bf16"):
        ov.choose_arithmetic(tmp_path / "x.onnx", "int8", ["FP32", "BF16", "INT8"])
    assert ov.choose_arithmetic(tmp_path / "x.onnx", None, ["FP32", "BF16"]) == "fp32"


@pytest.mark.parametrize("graph", GRAPHS)
def test_int8_with_static_scales(graph: Graph, tmp_path: Path) -> None:
    """Held to int8's bounds of parity; chosen by itself, unlike int8 with a scale for each row."""
    model = random_model(tiny_spec("trm-mlp"))
    path = saved(tmp_path, "trm-mlp", graph, precision="int8", static_scales=True)
    engine = runtimes.load(path, "openvino")
    assert (engine.description, engine.arithmetic) == (f"OpenVINO {graph} int8", "int8")
    report = parity.compare(
        *reference_and_controls(model, 1), [("static", engine)], TOKENS, solved=None, max_steps=4, halt_threshold=0.0
    )
    report.raise_if_failed()
    assert report.engines[0].step_differences[0].largest > 1e-4  # float32 is nearer
    (tmp_path / "rows").mkdir()
    by_row = saved(tmp_path / "rows", "trm-mlp", "loop", precision="int8")
    names = [registry.fastest(each, Kind.onnx, "cpu").name for each in (path, by_row)]
    assert names == ["openvino", "onnxruntime"]


def test_int8_is_computed_in_int8_alone(tmp_path: Path) -> None:
    path = saved(tmp_path, "trm-mlp", "loop", precision="int8", static_scales=True)
    with pytest.raises(CannotRunHere, match=r"--precision bf16: .* is in int8, and computed so; leave out --precision"):
        runtimes.load(path, "openvino", precision="bf16")
    with pytest.raises(CannotRunHere, match="is in int8, which OpenVINO does not compute on this processor"):
        ov.refuse_other_than_int8(path, None, ["FP32", "BF16"])
    by_row = saved(tmp_path, "trm-mlp", "loop", precision="int8")
    with pytest.raises(CannotRunHere, match=r"a scale for each row, .* or export it with --static-scales"):
        runtimes.load(by_row, "openvino")


def test_what_openvino_cannot_run_names_what_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    int8 = saved(tmp_path, "trm-mlp", "loop", precision="int8")
    with pytest.raises(CannotRunHere, match=r"a scale for each row, .*leave out --runtime openvino"):
        runtimes.load(int8, "openvino")
    path = saved(tmp_path, "trm-mlp", "step")
    with pytest.raises(InputError, match=r"OpenVINO runs on the processor"):
        runtimes.load(path, "openvino", device="cuda")
    with pytest.raises(InputError, match=r"--precision applies to checkpoints"):
        runtimes.load(path, precision="bf16")
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ArtefactError, match=r"cut\.onnx: OpenVINO cannot load it \(.*\); add --runtime onnxruntime"):
        ov.OpenVinoSession(openvino, openvino.Core(), cut, "fp32", ())
    with pytest.raises(ArtefactError, match=r"cut\.onnx"):
        runtimes.load(cut, "openvino")
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(MissingPackage, match=r"pip install 'trm-deploy\[openvino\]'"):
        runtimes.load(path, "openvino")


EASY = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=NEEDS_BF16)])
def test_run_takes_it_and_computes_as_the_flag_says(precision: str) -> None:
    flags = ("--runtime", "openvino", "--precision", precision, "--json")
    assert json.loads(trm("run", EASY, *flags).stdout)["verified"] is True


def test_run_takes_it_by_default_and_never_narrower_than_the_record_accepts(tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    shutil.copy(ASSETS / "sudoku-step.onnx", path)
    opened = open_session(path).runtime
    assert (opened.backend, opened.arithmetic) == ("openvino", "fp32")
    shutil.copy(ASSETS / "sudoku-step.onnx.json", record.path_of(path))
    opened = open_session(path).runtime
    assert (opened.backend, opened.arithmetic) == ("openvino", "bf16" if HAS_BF16 else "fp32")
    assert open_session(path, precision="fp32").runtime.arithmetic == "fp32"
    assert open_session(path, runtime="onnxruntime").runtime.backend == "onnxruntime"


@NEEDS_BF16
def test_parity_holds_it_to_the_bounds_of_what_it_computes_in(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = saved(tmp_path, "trm-mlp", "step")
    flags = ("--controls", 1, "--halt-threshold", "inf", "--runtime", "openvino")
    narrow = trm("parity", tiny_checkpoint, path, *flags, "--precision", "bf16", "--json")
    assert narrow.returncode == 0, narrow.stderr
    (engine,) = json.loads(narrow.stdout)["engines"]
    assert (engine["precision"], engine["arithmetic"]) == ("fp32", "bf16")
    first = engine["step_differences"][0]
    assert first["bound"] >= BOUNDS["bf16"].logits
    assert first["largest"] > BOUNDS["fp32"].logits
    assert "it is held to the bounds of bf16" in engine["notes"][0]
    (engine,) = json.loads(trm("parity", tiny_checkpoint, path, *flags, "--json").stdout)["engines"]
    assert engine["arithmetic"] is None
    assert engine["step_differences"][0]["largest"] < 1e-4
    refused = trm("parity", tiny_checkpoint, path, "--precision", "bf16")
    assert_one_line_error(refused, 2, "--precision is for a checkpoint as an engine")
    refused = trm("parity", tiny_checkpoint, tiny_checkpoint, *flags)
    assert_one_line_error(refused, 2, "is a file for torch (checkpoint), and --runtime openvino does not read it")


def test_the_bounds_are_those_of_the_narrower() -> None:
    assert [bounds_name("fp32", name) for name in (None, "bf16", "fp32 between casts")] == ["fp32", "bf16", "fp32"]
    assert bounds_name("fp16", "fp32") == "fp16"
    assert bounds_name("int8", "int8 products") == "int8"
    assert bounds_name("unknown", "bf16") == "unknown"
